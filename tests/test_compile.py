"""Every step compiles once a run, ahead of its phase, whatever the folds' vocabularies and however often it trains."""

import logging
import threading
import time
from collections import Counter
from pathlib import Path

import jax
import pytest

from mmjax.errors import Interrupted
from mmjax.train.cross_validation import cross_validate
from mmjax.train.execution.compile import PREDICT, STEPS, AheadOfTime, leave
from tests import quick_xla
from tests.shrunken import shrunken


@pytest.mark.parametrize(
    ("fold_parallel", "resident", "devices", "placement"),
    [
        ("vmap", "device", 1, "auto"),
        pytest.param("threads", "device", 1, "auto", marks=pytest.mark.slow),
        pytest.param("sequential", "host", 1, "auto", marks=pytest.mark.slow),
        pytest.param("auto", "device", 2, "folds", marks=pytest.mark.slow),
        ("auto", "host", 2, "batch"),
    ],
)
def test_each_step_compiles_once_and_ahead(
    fold_parallel: str, resident: str, devices: int, placement: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Breaks where a shape is guessed wrong, or depends on the fold, the phase's group or the refit."""
    settings = shrunken(
        "mmae_attention",
        tmp_path / "cache",
        model__modalities=("tabular", "text"),
        cv__folds=3,
        train__refit=True,
        train__fold_parallel=fold_parallel,
        train__resident=resident,
        train__devices=devices,
        train__placement=placement,
    )
    jax.config.update("jax_log_compiles", True)  # jax.log_compiles() would not reach the other thread
    try:
        with caplog.at_level(logging.WARNING, logger="jax"):
            cross_validate(settings, tmp_path / "run", lambda line: None)
    finally:
        jax.config.update("jax_log_compiles", False)
    done = [r for r in caplog.records if r.getMessage().startswith("Finished XLA compilation of jit(")]
    compiled = Counter(r.getMessage().split("(")[1].split(")")[0] for r in done)
    tasks = 2  # the autoencoder and the classifier
    chunk = "train_chunk" if devices == 1 else "_fun"  # pmap's own name for all it maps
    for name in ("initialise", chunk, "evaluate"):
        assert compiled[name] == tasks, name
        threads = {r.threadName for r in done if f"jit({name})" in r.getMessage()}
        assert threads == {"mmjax-compile"}, f"{name}: not ahead"
    assert compiled["predict"] == tasks, "the codes of all rows, the held-out rows"
    assert {r.threadName for r in done if "jit(predict)" in r.getMessage()} == {"mmjax-compile"}
    # The sums of batches are added by one program a process, whatever the run: an earlier test may have compiled it.
    assert {r.threadName for r in done if "jit(add_sums)" in r.getMessage()} <= {"mmjax-compile"}
    assert compiled["finish_epoch"] == tasks + 1, "and the refit's, which never stops early"


def test_a_signal_ends_the_wait_for_a_compilation():
    release = threading.Event()
    ahead = AheadOfTime()
    key = ("classifier", PREDICT)
    ahead.start({key: lambda: None if release.wait() else ()})
    begun = time.monotonic()
    with pytest.raises(
        Interrupted, match=r"while what trained models predict with was compiled \(classifier\); the same command"
    ):
        ahead.wait(key, lambda: True)
    assert time.monotonic() - begun < 1
    release.set()
    ahead.wait(key)


def test_a_job_that_fails_is_left_to_its_phase_and_none_begins_after_a_stop():
    done = []
    ahead = AheadOfTime()
    ahead.start({"bad": lambda: 1 / 0, "stops": ahead.stop, "late": lambda: done.append("late")})
    for key in ("bad", "stops", "late", "never asked for"):
        ahead.wait(key)
    assert done == []
    assert leave(3) == 3, "no thread compiles any more: the process is left as usual"


def test_one_thread_traces_while_the_other_compiles():
    """A later job is traced, and one that compiles nothing is done, while an earlier one's program compiles."""
    compiling, traced, release = (threading.Event() for _ in range(3))
    order = []

    class Program:
        def __init__(self, name: str):
            self.name = name

        def compile(self) -> None:
            order.append((self.name, threading.current_thread().name))
            compiling.set()
            release.wait()

    def later():
        traced.set()
        return [Program("second")]

    ahead = AheadOfTime()
    steps = ("classifier", STEPS)
    ahead.start({steps: lambda: iter([Program("first")]), "plan": lambda: None, "later": later})
    assert compiling.wait(10)
    assert traced.wait(10)
    ahead.wait("plan")
    with pytest.raises(Interrupted, match="while training steps were compiled"):
        ahead.wait(steps, lambda: True)
    release.set()
    ahead.wait("later")
    assert order == [(name, "mmjax-compile") for name in ("first", "second")]


def test_the_tests_programs_are_named_when_they_are_whole(monkeypatch: pytest.MonkeyPatch):
    """Breaks where jax writes its cache in another way: a worker would read half of what another one writes."""
    named: list[Path] = []

    def replace(part: Path, entry: Path) -> None:
        named.append(entry)
        part.rename(entry)

    monkeypatch.setattr(quick_xla, "_replace", replace)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # commands in earlier tests raise it
    unseen = float(time.time_ns())
    jax.jit(lambda x: x + unseen).lower(1.0).compile()
    assert [entry.exists() for entry in named] == [True]
    assert {entry.parent.name for entry in named} == {"compiled"}
