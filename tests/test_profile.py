"""A trace of some steps of a user's own run, and what GPU kernels are in a trace."""

import gzip
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from benchmarks import kernels
from mmjax.errors import ConfigError, Interrupted
from mmjax.train.callbacks import StopSignals
from mmjax.train.cross_validation import cross_validate
from mmjax.train.profiling import STEPS, Profiler
from mmjax.train.trainer import Trainer
from tests.shrunken import shrunken

TASKS = ("autoencoder", "classifier")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def traces(workdir: Path) -> dict[str, bytes]:
    return {str(f.relative_to(workdir)): f.read_bytes() for f in (workdir / "profile").rglob("*") if f.is_file()}


def about_profiles(lines: list[str]) -> list[str]:
    return [line for line in lines if "rofile" in line]


def test_each_task_is_traced_once_and_no_number_changes(cache: Path, tmp_path: Path):
    """Two folds in threads and dispatches of one step: the trace begins with the second epoch, whose three steps are asked for.

    Breaks when a trace is missing or made twice, when the run's numbers depend on it, or when its setting is another run's.
    """
    base = {"train__steps_per_dispatch": 1, "model__autoencoder__kind": "mmae"}
    plain, traced, log = tmp_path / "plain", tmp_path / "traced", []
    cross_validate(shrunken("tabular", cache, **base), plain, lambda line: None)
    assert not (plain / "profile").exists()
    settings = shrunken("tabular", cache, **base, train__profile=3)
    cross_validate(settings, traced, log.append)

    for name in ("predictions.csv", "summary.json", "folds.csv"):
        assert (plain / name).read_bytes() == (traced / name).read_bytes()
    numbers = [[json.loads(v) | {"time": 0} for v in (w / "metrics.jsonl").read_text().splitlines()] for w in (plain, traced)]
    assert numbers[0] == numbers[1]

    assert sorted(p.name for p in (traced / "profile").iterdir()) == [*TASKS]
    for task in TASKS:
        folder = traced / "profile" / task
        noted = json.loads((folder / STEPS).read_text())
        assert (noted["steps"], len(noted["folds"]), noted["epoch"]) == (3, 1, 2)
        (run,) = (folder / "plugins" / "profile").iterdir()
        assert sorted(p.name.split(".", 1)[1] for p in run.iterdir()) == ["trace.json.gz", "xplane.pb"]
        assert "train_chunk" in gzip.decompress(next(run.glob("*.gz")).read_bytes()).decode()
    said = about_profiles(log)
    assert [re.match(r"Profile of 3 training steps \(fold \d, (\w+), epoch 2\) in ", line)[1] for line in said] == [*TASKS]
    assert all("tensorboard --logdir=" in line and "ui.perfetto.dev" in line for line in said)

    before, log = traces(traced), []
    (traced / "fold_1" / "done.json").unlink()
    for model in ("classifier", "autoencoder"):
        (traced / "fold_1" / model / "manifest.json").unlink()
    again = shrunken("tabular", cache, **base, train__profile=4)  # may differ: it is the same run
    cross_validate(again, traced, log.append)  # trains fold 1 again
    assert not about_profiles(log)
    assert traces(traced) == before
    assert (plain / "predictions.csv").read_bytes() == (traced / "predictions.csv").read_bytes()


def test_a_trace_in_the_first_epoch_and_one_that_a_signal_cut_short(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The first dispatch is never in it. Breaks when a trace outlives its training: the next one could not start."""
    settings = shrunken("tabular", cache, train__steps_per_dispatch=1, train__profile=2, train__fold_parallel="sequential")
    calls, original = 0, StopSignals.__init__

    def stop_before_the_third_dispatch() -> bool:
        nonlocal calls
        calls += 1
        return calls >= 3

    with monkeypatch.context() as patch:
        patch.setattr(StopSignals, "__init__", lambda self, stop, *args: original(self, stop_before_the_third_dispatch, *args))
        log: list[str] = []
        with pytest.raises(Interrupted):
            cross_validate(settings, tmp_path / "cut", log.append)
    (line,) = about_profiles(log)
    assert line.startswith("Profile of 1 training steps (fold 0, classifier, epoch 1) in ")
    with jax.profiler.trace(tmp_path / "free"):  # raises where one is active
        pass
    log = []
    cross_validate(settings, tmp_path / "whole", log.append)
    (line,) = about_profiles(log)
    assert line.startswith("Profile of 2 training steps (fold 0, classifier, epoch 1) in ")


def test_a_folder_that_cannot_be_made_is_a_sentence(cache: Path, tmp_path: Path):
    """A folder that cannot be made; the run ends as without."""
    settings = shrunken("tabular", cache, train__steps_per_dispatch=1, train__profile=2, train__fold_parallel="sequential")
    folder, log = tmp_path / "file" / "profile", []

    def in_the_way(line: str) -> None:
        log.append(line)
        folder.write_text("not a folder")

    summary = cross_validate(settings, folder.parent, in_the_way)
    assert summary["folds_finished"] == 2
    (line,) = about_profiles(log)
    assert line.startswith(f"No profile in {folder / 'classifier'} (")
    assert re.search("[Nn]ot a directory.*; the training is not affected.$", line)


def said_of(folder: Path, wanted: int, *, steps: int, dispatches: int, epochs: int) -> str:
    """What a profiler says that is called as by a trainer whose `dispatches` of `steps` steps compute nothing."""
    log: list[str] = []
    profiler = Profiler(folder, wanted, log.append, lambda: None)
    executor = SimpleNamespace(plan=SimpleNamespace(steps=steps))
    training = SimpleNamespace(
        title="fold 0", name="classifier", folds=(0,), executor=executor, dispatches=dispatches, epochs=epochs
    )
    trainer: Any = SimpleNamespace(training=training, state=jnp.zeros(()), epoch=0, dispatch=0)
    for trainer.epoch in range(epochs):
        for trainer.dispatch in range(dispatches):
            profiler.before_dispatch(trainer)
            profiler.after_dispatch(trainer)
    profiler.on_end(trainer)
    (line,) = log
    return line


@pytest.mark.parametrize(
    ("wanted", "steps", "dispatches", "epochs", "expected"),
    [
        (3, 1, 7, 1, "Profile of 3 training steps (fold 0, classifier, epoch 1)"),
        (3, 2, 3, 2, "Profile of 4 training steps (fold 0, classifier, epoch 1)"),
        (5, 2, 3, 2, "Profile of 6 training steps (fold 0, classifier, epoch 2)"),  # 4 are left in the first
        (3, 337, 1, 2, "Profile of 337 training steps (fold 0, classifier, epoch 2)"),
        (9, 1, 3, 2, "Profile of 3 training steps (fold 0, classifier, epoch 2)"),  # no validation
        (9, 1, 3, 1, "Profile of 2 training steps (fold 0, classifier, epoch 1)"),  # there is no other
    ],
)
def test_whole_dispatches_of_one_epoch(wanted: int, steps: int, dispatches: int, epochs: int, expected: str, tmp_path: Path):
    assert said_of(tmp_path, wanted, steps=steps, dispatches=dispatches, epochs=epochs).startswith(expected)


def test_another_trace_and_a_training_of_one_dispatch_are_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with jax.profiler.trace(tmp_path / "other"):
        line = said_of(tmp_path, 2, steps=1, dispatches=3, epochs=1)
    assert "(Profile has already been started. Only one profile may be run at a time);" in line
    line = said_of(tmp_path, 2, steps=3, dispatches=1, epochs=1)
    assert "(fold 0 ended too soon after its first dispatch, which is warm-up);" in line
    stop = jax.profiler.stop_trace

    def full_disk() -> None:
        stop()
        raise RuntimeError("RESOURCE_EXHAUSTED: No space left on device\nmore")

    monkeypatch.setattr(jax.profiler, "stop_trace", full_disk)
    line = said_of(tmp_path, 2, steps=1, dispatches=3, epochs=1)
    assert line == f"No profile in {tmp_path} (RESOURCE_EXHAUSTED: No space left on device); the training is not affected."


def test_an_error_in_the_loop_ends_the_trace(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And is what the user sees. Breaks when the trace goes on, or hides it."""
    settings = shrunken("tabular", cache, train__steps_per_dispatch=1, train__profile=2, train__fold_parallel="sequential")
    original = Trainer._next_batches

    def fails(self: Trainer) -> Any:
        if self.dispatch == 1:
            raise RuntimeError("no more rows")
        return original(self)

    monkeypatch.setattr(Trainer, "_next_batches", fails)
    log: list[str] = []
    with pytest.raises(RuntimeError, match="no more rows"):
        cross_validate(settings, tmp_path / "run", log.append)
    (line,) = about_profiles(log)
    assert "the training ended within the first dispatch that was traced" in line
    assert not (tmp_path / "run" / "profile" / "classifier" / STEPS).exists()
    with jax.profiler.trace(tmp_path / "free"):
        pass


def test_a_negative_number_of_steps_is_refused(cache: Path):
    with pytest.raises(ConfigError, match="config.train.profile is -1; it must be 0 or more"):
        shrunken("tabular", cache, train__profile=-1)


def stream(pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": name}}


def process(pid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": name}}


def span(pid: int, tid: int, start: float, end: float, name: str) -> dict[str, Any]:
    return {"ph": "X", "pid": pid, "tid": tid, "ts": start, "dur": end - start, "name": name}


MADE = [
    span(1, 14, 100.0, 110.0, "input_reduce_fusion_3"),  # before its thread is named
    process(1, "/device:GPU:0"),
    process(7, "/host:CPU"),
    stream(1, 14, "Stream #14(Compute)"),
    stream(1, 15, "Stream #15(MemcpyD2D)"),
    stream(1, 9, "XLA Ops"),
    stream(7, 14, "Stream #14(Compute)"),
    span(1, 9, 0.0, 900.0, "fusion.3"),  # a line that XLA derives from the streams
    span(7, 14, 0.0, 900.0, "train_chunk"),
    span(1, 14, 110.0, 112.0, "loop_add_fusion"),
    span(1, 14, 120.0, 140.0, "sm90_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize64x64x32"),
    span(1, 15, 130.0, 150.0, "MemcpyD2D"),  # ten of them beside the product
    span(1, 15, 135.0, 138.0, "MemcpyD2D"),
    span(1, 14, 190.0, 200.0, "input_reduce_fusion_3"),
    {},
]


def test_kernels_are_summed_by_kind():
    """By hand: six spans on streams; covered 100-112, 120-150, 190-200 = 52 of 100 us; own times 10+2+20+20+3+10."""
    summary = kernels.summarise(MADE, steps=2)
    assert summary["kernels"] == 6
    assert summary["kernels_a_step"] == 3
    assert summary["busy_ms"] == pytest.approx(0.026)
    assert summary["window_ms"] == pytest.approx(0.050)
    assert summary["kernel_ms"] == pytest.approx(0.0325)
    assert summary["gap_share"] == pytest.approx(0.48)
    assert summary["short_kernels_a_step"] == 0.5  # the 3 us are not under 3 us
    assert list(summary["kinds"]) == [
        "concatenations, memsets, copies, scatter",
        "reductions",
        "matrix products",
        "elementwise",
    ]
    assert summary["kinds"]["reductions"] == {"launches": 1, "ms": pytest.approx(0.010), "share": pytest.approx(20 / 65)}
    assert summary["kinds"]["concatenations, memsets, copies, scatter"]["ms"] == pytest.approx(0.0115)
    assert summary["largest"][0]["name"] == "MemcpyD2D"
    text = kernels.shown(summary)
    assert "| reductions | 1 | 0.010 | 31% |" in text
    assert "gaps: 48.0% of the 0.050 ms a step" in text
    second = [e | {"pid": 2} for e in MADE if e.get("pid") == 1]
    second = [e | {"args": {"name": "/device:GPU:1"}} if e["name"] == "process_name" else e for e in second]
    both = kernels.summarise(MADE + [e | {"ts": e["ts"] + 5e3} if "ts" in e else e for e in second], steps=2)
    assert both["busy_ms"] == pytest.approx(0.052)
    assert both["gap_share"] == pytest.approx(0.48), "the time between two devices' work is no gap"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("input_multiply_reduce_fusion_12", "reductions"),
        ("loop_reduce_window_fusion", "reductions"),
        ("wrapped_add", "elementwise"),
        ("loop_convert_fusion_2", "elementwise"),
        ("input_add_fusion", "elementwise"),
        ("nvjet_tst_64x32_64x16_1x4_h_bz_TNN", "matrix products"),
        ("gemm_fusion_dot_17", "matrix products"),
        ("void cublasLt::splitKreduce_kernel<32, 16, int, float>", "matrix products"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm_128x64_16x6_nn_align4>", "matrix products"),
        ("sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32_nhwckrsc_nhwc", "convolutions forward"),
        ("void implicit_convolve_sgemm<float, float, 1024, 5, 5>", "convolutions forward"),
        ("void cudnn::cnn::conv2d_grouped_direct_kernel<false>", "convolutions forward"),
        ("sm90_xmma_dgrad_implicit_gemm_indexed_tf32f32", "convolution input gradients"),
        ("void wgrad_alg0_engine_NHWC<float, 128, 6, 8, 3, 3, 5>", "convolution weight gradients"),
        ("void cutlass__5x_cudnn::Kernel<cutlass_tensorop_s1688wgrad_optimized_tf32>", "convolution weight gradients"),
        ("triton_softmax_5", "softmax and other Triton fusions"),
        ("input_concatenate_fusion", "concatenations, memsets, copies, scatter"),
        ("Memset", "concatenations, memsets, copies, scatter"),
        ("input_scatter_fusion", "concatenations, memsets, copies, scatter"),
        ("ncclDevKernel_AllReduce_Sum_f32_RING_LL", "between GPUs"),
        ("RngBitGenerator", "other"),
    ],
)
def test_kinds(name: str, expected: str):
    assert kernels.kind(name) == expected


def test_a_trace_without_gpu_kernels_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A real trace, of the CPU. Breaks when jax writes its traces elsewhere, or in another form."""
    f, x = jax.jit(lambda x: jnp.tanh(x @ x).sum()), jnp.ones((8, 8))
    f(x).block_until_ready()
    with jax.profiler.trace(tmp_path / "own"):
        f(x).block_until_ready()
    with pytest.raises(SystemExit, match="add --steps=N"):
        kernels.main([str(tmp_path / "own")])
    kernels.main([str(tmp_path / "own"), "--steps=1", f"--out={tmp_path / 'new' / 'kernels.json'}"])
    assert capsys.readouterr().out.startswith("The trace holds no GPU kernels")
    assert json.loads((tmp_path / "new" / "kernels.json").read_text())["kernels"] == 0


def test_a_trace_is_found_with_its_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Also that a trace XLA has cut says so, and that two traces are not mixed up."""
    task = tmp_path / "profile" / "classifier"
    run = task / "plugins" / "profile" / "2026_11_27_20_00_45"
    run.mkdir(parents=True)
    (run / "vm.trace.json.gz").write_bytes(gzip.compress(json.dumps({"traceEvents": MADE}).encode()))
    (task / STEPS).write_text('{"steps": 2}')
    kernels.main([str(task), f"--out={tmp_path / 'kernels.json'}"])
    said = capsys.readouterr().out
    assert "- steps: 2\n- kernels a step: 3\n" in said
    assert "left events out" not in said
    assert json.loads((tmp_path / "kernels.json").read_text())["kernels"] == 6
    monkeypatch.setattr(kernels, "MOST_EVENTS", len(MADE))
    kernels.main([str(tmp_path / "profile")])
    assert "XLA left events out of this trace" in capsys.readouterr().out
    (task.parent / "autoencoder").mkdir()
    (task.parent / "autoencoder" / "vm.trace.json.gz").write_bytes(b"")
    with pytest.raises(SystemExit, match="holds 2 traces"):
        kernels.main([str(tmp_path / "profile")])
    with pytest.raises(SystemExit, match="holds 0 traces"):
        kernels.main([str(tmp_path / "profile" / "no")])
