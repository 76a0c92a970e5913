"""Two processes of two devices give what one process of four gives, also when they are stopped and go on."""

import json
import os
import signal
import socket
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from mmjax.data.loader import DispatchSource
from mmjax.errors import ConfigError
from mmjax.io import processes
from tests import forked
from tests.quick_xla import FLAGS

OPTIONS = [
    "--config=configs/attention.py",
    "--config.model.modalities=('tabular','image')",  # BatchNorm and dropout, both of the whole batch
    "--config.model.image.layers=(1,)",
    "--config.data.synthetic_rows=160",
    "--config.data.image_size=16",
    "--config.cv.folds=2",
    "--config.cv.only=(0,)",
    "--config.train.max_epochs=3",
    "--config.train.steps_per_dispatch=1",
    "--config.train.placement=batch",
    "--config.train.resident=host",
]


def slurm(process: int, count: int, job: int) -> dict[str, str]:
    """What `srun` tells each of its processes; jax makes the port out of the job's number."""
    where = {"SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_NUM_NODES": "1", "SLURM_LOCALID": str(process)}
    return where | {"SLURM_JOB_ID": str(job), "SLURM_NTASKS": str(count), "SLURM_PROCID": str(process)}


def free_port(first: int) -> int:
    """At or after `first`; 0: any."""
    with socket.socket() as free:
        try:
            free.bind(("localhost", first))
        except OSError:
            return free_port(first + 1)
        return free.getsockname()[1]


@dataclass(frozen=True)
class Process:
    """One of a run's processes, and the file of what it prints."""

    process: BaseProcess
    out: Path

    def wait_for(self, line: str) -> None:
        """Until it has printed that, or ended."""
        while self.process.exitcode is None and not (self.out.exists() and line in self.out.read_text()):
            self.process.join(0.02)

    def end(self) -> tuple[int | None, str]:
        """Exit code and output."""
        self.process.join(300)
        return self.process.exitcode, self.out.read_text()


def launch(workdir: Path, compiled: Path, *, devices: int, count: int, by_slurm: bool = False) -> list[Process]:
    """`count` processes of one run, with `devices` virtual devices each, that find one another by flags or as under SLURM."""
    port, job = free_port(0), free_port(2**16 - 2**12)  # of jax's range, so that port and job number are one
    started = []
    for process in range(count):
        joined = [f"--coordinator=localhost:{port}", f"--processes={count}", f"--process={process}"] if count > 1 else []
        joined = ["--distributed"] if by_slurm else joined
        arguments = ["--verbose", f"--workdir={workdir}", *OPTIONS, f"--config.data.cache={workdir.parent / 'cache'}", *joined]
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {FLAGS}"}
        out = workdir.with_name(f"{workdir.name}{process}{by_slurm}.out")
        env = flags | (slurm(process, count, job) if by_slurm else {})
        started.append(Process(forked.start(arguments, compiled, out, environment=env), out))
    return started


def losses(workdir: Path) -> np.ndarray:
    """Training and validation numbers of every epoch."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return np.array([[e["train"]["loss"], e["valid"]["loss"], e["valid"]["accuracy"], e["step"]] for e in lines])


def test_two_processes_equal_one_stopped_or_not(tmp_path: Path):
    compiled = tmp_path / "compiled"
    (one,) = launch(tmp_path / "one", compiled, devices=4, count=1)
    code, out = one.end()
    assert code == 0, out
    assert "sharded over 4 devices" in out

    # A signal that reaches the second process alone stops both, after the same step.
    pair = launch(tmp_path / "two", compiled, devices=2, count=2)
    pair[0].wait_for("classifier epoch 1")
    os.kill(pair[1].process.pid or 0, signal.SIGTERM)
    stopped = [process.end() for process in pair]
    assert [code for code, _ in stopped] == [75, 75], stopped
    assert list((tmp_path / "two" / "checkpoints").glob("*/0*/arrays")), "saved by process 0"

    ended = [process.end() for process in launch(tmp_path / "two", compiled, devices=2, count=2, by_slurm=True)]
    assert [code for code, _ in ended] == [0, 0], ended
    assert "Going on with fold 0" in ended[0][1]
    assert "epoch" not in ended[1][1], "the second process is silent"
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), atol=1e-5, rtol=1e-5)
    one, two = (json.loads((tmp_path / n / "summary.json").read_text())["mean"] for n in ("one", "two"))
    assert two == pytest.approx(one, abs=1e-4)
    assert not (tmp_path / "two" / "checkpoints").exists()


def test_batches_of_processes_join_to_the_runs_batch():
    def source(share: tuple[int, int]) -> DispatchSource:
        return DispatchSource(np.arange(50), batch_size=8, steps_per_dispatch=2, dispatches=3, epochs=2, seed=7, share=share)

    for i in range(6):
        parts = [source((p, 4))[i] for p in range(4)]
        assert {p.shape for p in parts} == {(2, 2)}
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), source((0, 1))[i])


@pytest.mark.parametrize(("count", "process"), [(0, 0), (2, 2), (2, -1)])
def test_wrong_flags_are_named(count: int, process: int):
    with pytest.raises(ConfigError, match="--processes=N"):
        processes.start("localhost:1", count, process)
