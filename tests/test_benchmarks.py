"""The claim is "the same network": PyTorch's twins hold our parameters and give our numbers; and the harness is fair."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import ablation, apart, contenders, harness, ready, report, sizes, step_throughput, switches, synth
from mmjax.data.data_report import DataReport
from mmjax.schema import Schema
from mmjax.tasks.base import make_task
from tests.reading import read_file

TINY = sizes.SIZES["tiny"]


def _init(case):
    """Task, parameters and statistics at random, moved off the special values init gives (zeros, ones)."""
    task = make_task(case.task, sizes.make_settings(case.row, TINY), sizes.make_spec(case.row, TINY))
    width = len(task.spec.modalities) * TINY.code if case.codes else 0
    arrays = sizes.random_rows(task.spec, TINY.batch, code_width=width)
    batch = {k: jnp.asarray(v) for k, v in arrays.items()} | {"weight": jnp.ones(TINY.batch), "class_weight": jnp.ones(5)}
    shapes = jax.eval_shape(task.init, jax.random.key(0), batch)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda s: (0.3 * rng.standard_normal(s.shape)).astype(np.float32), shapes[0])
    stats = jax.tree.map(lambda s: rng.uniform(0.5, 1.5, s.shape).astype(np.float32), shapes[1])
    return task, params, stats, arrays, batch


@pytest.mark.parametrize("name", list(sizes.CASES))
def test_twins_have_as_many_parameters(name):
    """Fails when a layer, a bias or a width of one side changes and not of the other."""
    pytest.importorskip("torch")
    from benchmarks import theirs

    case = sizes.CASES[name]
    for size in (TINY, sizes.SIZES["small"]):
        task = make_task(case.task, sizes.make_settings(case.row, size), sizes.make_spec(case.row, size))
        width = len(task.spec.modalities) * size.code if case.codes else 0
        shapes, _ = jax.eval_shape(task.init, jax.random.key(0), sizes.blank_batch(task.spec, 2, width))
        ours = sum(x.size for x in jax.tree.leaves(shapes))
        assert sum(p.numel() for p in theirs.build(case, size).parameters()) == ours


@pytest.mark.parametrize("name", ["row8", "mmae", "ae"])
def test_twins_give_the_same_loss(name):
    """Fails when a twin's layers, their order, paddings, masks or normalisations differ from ours."""
    torch = pytest.importorskip("torch")
    from benchmarks import theirs

    case = sizes.CASES[name]
    task, params, stats, arrays, batch = _init(case)
    module = theirs.build(case, TINY).eval()
    _copy(module, params, stats)
    # PyTorch pads a strided window on the other side: the mirrored photo with mirrored kernels is the same computation.
    mirrored = arrays | {"image": arrays["image"][:, ::-1, ::-1]} if case.task == "classifier" else arrays
    with torch.no_grad():
        theirs_loss = float(module(theirs.to_batch(mirrored, task.spec)))
    terms, _, _ = jax.jit(lambda p, s, b: task.losses(p, s, b, None))(params, stats, batch)
    ours_loss = float(sum(t.weight * t.sum / t.count for t in terms.values()))
    assert theirs_loss == pytest.approx(ours_loss, rel=1e-4), "the PyTorch twin computes something else"


def _copy(module, params, stats):
    """Our parameters into the twin."""
    import torch

    def put(target, value):
        assert target.shape == value.shape, (target.shape, value.shape)
        with torch.no_grad():
            target.copy_(torch.from_numpy(np.ascontiguousarray(value)))

    def dense(layer, ours, order=slice(None)):
        put(layer.weight, ours["kernel"].T)
        put(layer.bias, ours["bias"])
        if not isinstance(order, slice):  # pixels lie as CHW there, as HWC here
            put(layer.weight, ours["kernel"].T[:, order] if layer.in_features == len(order) else ours["kernel"].T[order])
            put(layer.bias, ours["bias"] if layer.in_features == len(order) else ours["bias"][order])

    if not hasattr(module, "towers"):
        put(module.table.weight, params["text_table"] * (np.arange(TINY.vocabulary) > 0)[:, None])
        side = TINY.image
        pixels = np.arange(side * side * 3).reshape(side, side, 3).transpose(2, 0, 1).ravel()
        for name in module.names:
            for kind, layers in (("encode", module.encoders[name]), ("decode", module.decoders[name])):
                for i, layer in enumerate(layers):
                    outer = name == "image" and len(pixels) in (layer.in_features, layer.out_features)
                    dense(layer, params[f"{kind}_{name}_{i}"], pixels if outer else slice(None))
        return
    for i, layer in enumerate(module.towers["tabular"].dense):
        dense(layer, params["tower_tabular"][f"dense_{i}"])
    text, ours = module.towers["text"], params["tower_text"]
    put(text.embedding.weight, ours["embedding"] * (np.arange(TINY.vocabulary) > 0)[:, None])
    for width, conv in zip((3, 4, 5), text.conv, strict=True):
        put(conv.weight, ours[f"conv_{width}_kernel"].transpose(2, 1, 0))
        put(conv.bias, ours[f"conv_{width}_bias"])
    dense(text.dense, ours["dense"])
    _copy_densenet(module.towers["image"], params["tower_image"], stats["tower_image"], put, dense)
    put(module.mu, params["attention"]["mu"])
    dense(module.classify, params["classify"])


def _copy_densenet(image, ours, stats, put, dense):
    def conv(layer, name):
        put(layer.weight, ours[name]["kernel"][::-1, ::-1].transpose(3, 2, 0, 1))

    def norm(layer, name):
        put(layer.weight, ours[name]["norm"]["scale"])
        put(layer.bias, ours[name]["norm"]["bias"])
        put(layer.running_mean, stats[name]["norm"]["mean"])
        put(layer.running_var, stats[name]["norm"]["var"])

    conv(image.stem_conv, "stem_conv")
    norm(image.stem_norm, "stem_norm")
    for b, block in enumerate(image.blocks):
        for i, layer in enumerate(block):
            name = f"block_{b}_layer_{i}"
            norm(layer.norm_1, f"{name}_norm_1")
            conv(layer.conv_1, f"{name}_conv_1")
            norm(layer.norm_2, f"{name}_norm_2")
            conv(layer.conv_3, f"{name}_conv_3")
        norm(image.norms[b], f"block_{b}_norm")
    conv(image.transitions[0], "transition_0_conv")
    dense(image.dense, ours["dense"])


def test_the_synthetic_table_reads_as_its_schema_says(tmp_path):
    """Fails when the table both sides train on loses a column, a photo or its texts."""
    folder = synth.write_data(tmp_path / "data", 60, tokens=8, photo=(32, 24))
    schema = Schema.load(folder / "schema.toml")
    report_of_data = DataReport(strict=True)
    table = read_file(folder / synth.TABLE, schema, text_length=8, report=report_of_data)
    assert len(table.ids) == 60
    assert table.categorical.shape == (60, len(synth.LEVELS))
    assert table.continuous.shape == (60, synth.NUMBERS)
    assert (table.words[:, 0] > 0).all()
    assert table.label is not None
    assert set(table.label.tolist()) <= set(range(5))
    assert all((folder / synth.PHOTOS / name).is_file() for name in table.image)


def test_rounds_alternate_and_ratios_are_formed_within_them():
    """Fails when contenders are measured one after the other, or a ratio pairs different rounds."""
    order = []

    def contender(name):
        def run(repeats):
            order.append(name)
            return repeats

        return contenders.Contender(name, lambda: (run, 0.0))

    a, b = contender("a"), contender("b")
    contenders.interleave([a, b], rounds=3, seconds=0.0)
    assert order == ["a", "a", "b", "b", *"ababab"], "two warm-up runs each, then turns"
    a.seconds, b.seconds = [1.0, 2.0, 4.0], [3.0, 2.0, 4.0]
    assert contenders.ratio(a, b) == {"median": 1.0, "min": 1.0, "max": 3.0}


def test_a_contender_that_fails_is_left_out_with_its_reason():
    """Fails when torch.compile without a compiler ends a benchmark, or when ours may fail in silence."""

    def broken():
        raise RuntimeError("no compiler")

    good = contenders.Contender("ours", lambda: (lambda repeats: repeats, 0.0))
    bad = contenders.Contender("torch_compile", broken, optional=True)
    contenders.interleave([good, bad], rounds=1, seconds=0.0)
    assert bad.to_dict() == {"failed": "RuntimeError: no compiler"}
    assert contenders.ratio(good, bad) is None
    with pytest.raises(RuntimeError, match="no compiler"):
        contenders.interleave([contenders.Contender("ours", broken)], rounds=1, seconds=0.0)


WORKER = """
import os, sys, time
from benchmarks import contenders, harness

def work(job):
    def prepare():
        print("what a library prints is no answer")
        if job["name"] == "waits":
            time.sleep(60)
        if job["name"] == "refuses":
            raise ValueError("no compiler")
        return run, 0.25

    def run(repeats):
        with open(job["log"], "a") as log:
            log.write(job["name"][0])
        if job["name"] == "dies" and open(job["log"]).read().count("d") == 4:
            sys.exit("no memory")
        return repeats

    return contenders.Contender(job["name"], prepare, found={"process": os.getpid()})

harness.run_cases(harness.arguments("", "some").parse_args(), "some", iter, work)
"""


def _apart(name, folder, *, optional=False, patience=0.0):
    job = json.dumps({"name": name, "log": str(folder / "log")})
    return apart.Apart(name, [sys.executable, "-c", WORKER, "--worker", job], optional=optional, patience=patience)


def test_processes_take_turns_and_end(tmp_path, monkeypatch):
    """Fails when two workers share a process, run at the same time, outlive their case or lose their results."""
    monkeypatch.setattr(apart, "PAUSE", 0.0)
    a, b = _apart("a", tmp_path), _apart("b", tmp_path)
    contenders.interleave([a, b], rounds=3, seconds=0.0)
    assert (tmp_path / "log").read_text() == "aabb" + "ababab"
    assert a.compile_seconds == 0.25
    assert len(contenders.ratio(a, b)) == len(a.to_dict()["rounds_s"]) == 3
    pids = {os.getpid(), a.found["process"], b.found["process"]}
    assert len(pids) == 3
    for pid in pids - {os.getpid()}:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(
    ("name", "why"), [("refuses", "ValueError: no compiler"), ("dies", "its process ended with 1: no memory")]
)
def test_a_process_that_fails_is_left_out_with_its_reason(tmp_path, monkeypatch, name, why):
    """Fails when a worker's error or death hangs or ends a benchmark, hides its reason, or ours may die in silence."""
    monkeypatch.setattr(apart, "PAUSE", 0.0)
    good, bad = _apart("a", tmp_path), _apart(name, tmp_path, optional=True)
    contenders.interleave([bad, good], rounds=3, seconds=0.0)
    assert bad.to_dict() == {"failed": why}
    assert len(good.seconds) == 3
    assert contenders.ratio(good, bad) is None
    (tmp_path / "log").unlink()
    with pytest.raises(contenders.WorkerError, match=why) as raised:
        contenders.interleave([_apart(name, tmp_path), _apart("a", tmp_path)], rounds=3, seconds=0.0)
    assert str(raised.value).splitlines()[-1] in why, "what it wrote last"


def test_a_process_that_is_not_ready_in_time_is_left_out(tmp_path, monkeypatch):
    """Fails when a compiler that does not end takes the whole case's time."""
    monkeypatch.setattr(apart, "PAUSE", 0.0)
    good, slow = _apart("a", tmp_path), _apart("waits", tmp_path, optional=True, patience=2.0)
    contenders.interleave([good, slow], rounds=1, seconds=0.0)
    assert slow.failed.startswith("not ready in 2 s")
    assert {"step_s", "peak_bytes"} <= set(good.to_dict())


@pytest.mark.slow
def test_step_throughput_writes_what_the_report_reads(tmp_path):
    """Fails when a script's JSON and the report part ways, or facts of the machine are missing."""
    flags = f"--size tiny --cases row1 --rounds 2 --seconds 0.01 --modes eager --name step_throughput_again --out {tmp_path}"
    step_throughput.main([*flags.split(), "--no-torch"])
    found = json.loads((tmp_path / "step_throughput_again.json").read_text())
    assert {"device", "versions", "git", "date", "cores"} <= set(found["facts"])
    assert found["cases"]["row1"]["contenders"]["ours"]["step_s"]["median"] > 0
    (tmp_path / "step_throughput.json").write_text(json.dumps(found))
    report.main(["--out", str(tmp_path)])
    shown = (tmp_path / "report.md").read_text()
    assert [line for line in shown.splitlines() if line.startswith("## Tr")] == [
        "## Training steps",
        "## Training steps: again",
    ]
    assert shown.count("| row1 |") == 2
    assert "peak GiB" in shown


def test_every_switch_replaces_something():
    """Fails when an optimisation is renamed or gone and its switch would measure nothing; in a process of its own."""
    thrown = "from benchmarks.switches import ALL, SWITCHES; [s.off() for s in SWITCHES.values()]; print({*ALL} - {*SWITCHES})"
    done = subprocess.run([sys.executable, "-c", thrown], capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.slow
def test_ablation_prints_what_a_switch_costs(tmp_path):
    """Fails when a variant does not run, or its ratio is of the wrong two."""
    flags = f"--size tiny --rows 1 --parts steps --variants lookup --rounds 2 --seconds 0.01 --out {tmp_path}"
    ablation.main(flags.split())
    found = json.loads((tmp_path / "ablation.json").read_text())
    assert {"device", "versions", "git", "date", "cores"} <= set(found["facts"])
    pair = found["cases"]["steps_1_0"]["variants"]["lookup"]["step"]
    assert [len(pair[k]) for k in ("on", "off", "on_cpu", "off_cpu")] == [2, 2, 2, 2]
    pair = {"on": [1.0, 2.0, 4.0], "off": [3.0, 2.0, 4.0], "on_cpu": [1.0, 1.0, 1.0], "off_cpu": [2.0, 2.0, 2.0]}
    shown = switches.table([{"cases": {"steps_1_0": {"variants": {"lookup": {"step": pair}}}}}])
    assert "| 1.00 (1.00-3.00), best 2.00, cpu 2.00 |" in shown


def test_a_case_that_fails_leaves_the_others(tmp_path):
    """Fails when one case's error, or the time running out, takes the other cases' results away."""
    options = harness.arguments("", "some").parse_args(["--out", str(tmp_path), "--minutes", "1"])

    def cases(found):
        yield "good", lambda: {"value": 1}
        yield "bad", lambda: 1 / 0
        yield "better", lambda: {"value": 2}
        found.start -= 61
        yield "late", lambda: {"value": 3}

    with pytest.raises(SystemExit):
        harness.run_cases(options, "some", cases)
    found = json.loads((tmp_path / "some.json").read_text())
    assert found["cases"] == {"good": {"value": 1}, "better": {"value": 2}}
    assert found["failed"] == {"bad": "ZeroDivisionError: division by zero"}
    assert found["left_out"] == ["late"]


def test_targets_say_met_missed_and_not_measured():
    """Fails when a miss is shown as met, a share of waiting as a ratio, or a target that was not measured is left out."""

    def folder(backend, size="small"):
        def ratio(value):
            return {"median": value, "min": value, "max": value}

        steps = {"row1": {"same": {"torch_eager": ratio(2.5)}}, "row2": {"same": {"torch_eager": ratio(1.2)}}}
        photos = {"photos_224": {"wait_share": {"ours": ratio(0.05)}}, "photos_512": {"wait_share": {"ours": ratio(0.01)}}}
        head = {"facts": {"backend": backend}, "options": {"size": size}}
        ratios = {name: {"ratios": values} for name, values in steps.items()}
        return {"step_throughput": head | {"cases": ratios}, "input_pipeline": head | {"cases": photos}}

    shown = report.aims(folder("cpu"))
    assert "| tabular step | 2.0x | 2.50 (2.50-2.50) | met |" in shown
    assert "| TextCNN step | 1.5x | 1.20 (1.20-1.20) | missed by 20 % |" in shown
    assert "| MMAE step | 1.5x | - | not measured |" in shown
    shown = report.aims(folder("gpu"))
    assert "| waiting for data, share of a step, 224 px | < 2 % | 5.0 % | missed by 150 % |" in shown
    assert "| waiting for data, share of a step, 512 px | < 2 % | 1.0 % | met |" in shown
    assert report.aims(folder("cpu", "tiny")) == "", "another size is not what the targets are for"


def test_a_gpus_targets_look_through_all_files_of_steps():
    """Fails when a file of the paper's size, or a mode that failed, stands for row #8, or a slower mode for the fastest."""

    def steps(size, **ratios):
        shown = {f"torch_{k}": v and {"median": v, "min": v, "max": v} for k, v in ratios.items()}
        case = {"ratios": {"same": shown}}
        return {"facts": {"backend": "gpu"}, "options": {"size": size}, "cases": {"row8": case}}

    files = {
        "step_throughput": steps("paper", compile=9.0),
        "step_throughput_a": steps("small", eager=None, compile=1.5, **{"reduce-overhead": 1.2}),
        "step_throughput_b": steps("small", compile=8.0),
    }
    shown = report.aims(files)
    assert "| full model #8 step, against torch.compile | 1.3x | 1.50 (1.50-1.50) | met |" in shown
    assert "| full model #8 step, against PyTorch's fastest mode | 1.3x | 1.20 (1.20-1.20) | missed by 8 % |" in shown


def test_parts_that_cannot_run_are_named(monkeypatch, capsys):
    """Fails when a missing package is not noticed before a GPU's minutes run, or takes parts that can do without it."""
    works = dict.fromkeys(ready.CHECKS, "")
    monkeypatch.setattr(ready, "CHECKS", works | {"folds": "import no_such_package", "torch": "import time; time.sleep(60)"})
    monkeypatch.setattr(ready, "LIMIT", 2)
    ready.main(["--any-device"])
    said = capsys.readouterr()
    assert said.out.split() == ["row8", "photos", "steps", "paper", "bf16", "scaling"]
    assert "folds: ModuleNotFoundError: No module named 'no_such_package'" in said.err
    assert "torch: not done after 2 s" in said.err
    monkeypatch.setattr(ready, "CHECKS", works | {"gpu": "import no_such_package"})
    with pytest.raises(SystemExit):
        ready.main([])


def _gpu_sh(out, **environment):
    command = [str(Path(__file__).parents[1] / "benchmarks" / "gpu.sh"), str(out)]
    env = os.environ | {"PYTHON": sys.executable, "SIZE": "tiny"} | environment
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    whole = (out / "report.md").read_text()
    assert done.stdout.endswith(whole), "the end of the output is all that is left if the files are lost"
    return done.stdout, {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}


@pytest.mark.slow
def test_the_gpu_script_runs_a_part(tmp_path):
    """Fails when the script and the flags of a benchmark part ways: seen here, not on a borrowed GPU."""
    said, files = _gpu_sh(tmp_path, PARTS="paper", TORCH="0")
    assert list(files) == ["step_throughput_paper"]
    assert files["step_throughput_paper"]["options"]["no_torch"]
    assert list(files["step_throughput_paper"]["cases"]) == ["mmae"]
    assert "## Training steps: paper" in said


@pytest.mark.slow
def test_the_gpu_script_runs_every_part(tmp_path):
    """Fails when a part fails, writes no file, or there are more than the eight files that come back."""
    pytest.importorskip("torch")
    said, files = _gpu_sh(tmp_path)
    assert "FAILED" not in said
    assert {stem: list(file["cases"]) for stem, file in files.items()} == {
        "step_throughput": ["row8"],
        "step_throughput_steps": ["row1", "row2", "mmae"],
        "step_throughput_paper": ["mmae"],
        "step_throughput_bf16": ["mmae_bfloat16"],
        "crossval_throughput": ["row1"],
        "input_pipeline": ["photos_32"],
        "scaling": ["folds_2", "image_16"],
    }
    assert len(list(tmp_path.iterdir())) == 8
