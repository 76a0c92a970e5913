"""Which folds train together, on which devices, how many steps a dispatch: the one place that decides (parallel.py obeys).

Placements:

- `one`:   one fold on one device; the axis is squeezed away inside the compiled function.
- `vmap`:  F folds in one batched program on one device.
- `batch`: one fold, the batch sharded over P devices by `pmap`, gradients and BatchNorm statistics averaged; the only one
  that spans processes: each holds its own devices' copy of the state and reads its own part of a batch.
- `folds`: F folds placed on P devices by `pmap`, F / P on each.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import jax

from mmjax.config import Settings
from mmjax.data.arrays import host_memory
from mmjax.errors import ConfigError
from mmjax.tasks.base import Task
from mmjax.train.execution.concurrent_folds import cores


@dataclass(frozen=True)
class Plan:
    """How one phase runs; saved in the work folder so that a resumed run goes the same way.

    Attributes:
      placement: one | vmap | batch | folds.
      folds: folds trained together, F.
      devices: P.
      vectorised: folds on one device share one batched program (else they run one after the other inside it).
      resident: encoded rows live on the device; Grain then yields row numbers.
      steps: S, steps of a dispatch.
      looped: the dispatch is one program that loops over its steps; else one program a step, sent S times.
      why: the rule's reason, printed.
      beside: folds trained at the same time, each in a thread and a program of its own.
    """

    placement: str
    folds: int
    devices: int
    vectorised: bool
    resident: bool
    steps: int
    looped: bool
    why: str
    beside: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values for plan.json."""
        return asdict(self)


@dataclass(frozen=True)
class _Memory:
    """What one fold needs of a device, in bytes."""

    rows: int
    state: int
    scratch: int
    room: float

    def holds(self, folds: int, share: int = 1) -> bool:
        """Whether so many folds train on one device with their rows there, each on the `share`-th part of its batches."""
        rows = folds * self.rows
        return rows < 0.5 * self.room and rows + folds * (self.state + self.scratch // share) < 0.9 * self.room

    def __str__(self) -> str:
        return " + ".join(f"{n} {_size(getattr(self, n))}" for n in ("rows", "state", "scratch")) + f" of {_size(self.room)}"


def make_plan(
    task: Task,
    *,
    folds: int,
    steps_per_epoch: int,
    step_flops: float,
    row_bytes: int,
    state_bytes: int,
    scratch_bytes: int = 0,
    batch_bytes: int = 0,
) -> Plan:
    """The rule.

    Args:
      settings: `train.fold_parallel`, `placement`, `resident`, `steps_per_dispatch` and `devices` override it; what of them
        cannot be obeyed is said in `why`.
      task: what is trained.
      folds: unfinished folds.
      steps_per_epoch: of the largest fold.
      step_flops: floating-point operations of one fold's training step.
      row_bytes: size of all encoded rows of a fold.
      state_bytes: size of one fold's state.
      scratch_bytes: what one fold's step needs besides.
      batch_bytes: size of a batch's encoded rows.

    Raises:
      ConfigError: more devices than there are, or `placement=batch` with a batch that they do not divide.
    """
    settings, phase = task.settings, task.name
    train = settings.train
    devices = train.devices or jax.device_count()
    if devices > jax.device_count():
        raise ConfigError(
            f"config.train.devices is {devices}, but jax sees {jax.device_count()} ({jax.default_backend()}); set it to at "
            "most that, or to 0 for all there are."
        )
    processes = _check_processes(settings, devices)
    # On a GPU batched small matrix products win: one fold's step is all dispatch overhead. A batched convolution becomes a
    # grouped one and loses, and a fold with large matrices (text or pixel autoencoders) is already at the memory's speed.
    # On a CPU threads win (docs/RESULTS.md, Speed): nothing waits for the slowest part of a small operation.
    on_cpu, small = jax.default_backend() == "cpu", state_bytes < 64 << 20
    dense = task.dense
    vectorise = train.fold_parallel == "vmap" or (train.fold_parallel == "auto" and dense and small and not on_cpu)
    memory = _Memory(row_bytes, state_bytes, scratch_bytes, _device_bytes())

    def resident(together: int, share: int = 1) -> bool:
        return {"device": True, "host": False, "auto": memory.holds(together, share)}[train.resident]

    placement, devices, obstacle = _place(settings, folds, devices, processes, resident)
    together, why, beside = 1, "one device, folds one after the other", 1
    lies = resident(1, devices if placement == "batch" else 1)
    if placement == "folds":
        together, why, lies = folds, f"{folds} folds placed on {devices} devices", True
    elif placement == "batch":
        why = f"the batch of {train.batch_size} sharded over {devices} devices"
    elif vectorise and folds > 1 and resident(folds):
        placement, together, why = "vmap", folds, f"{folds} folds in one batched program"
    elif train.fold_parallel == "threads" or (
        train.fold_parallel == "auto" and on_cpu and cores() > 1 and (small or task.stream)
    ):
        # More threads than cores, if memory holds them: five folds on two cores take two and a half turns instead of three.
        most = int(0.5 * memory.room // max(state_bytes + scratch_bytes + row_bytes * lies, 1))
        beside = max(1, min(folds, most))
        turns = f", {cores()} at a time" if beside > cores() else ""
        why = f"{beside} folds side by side, a thread each{turns}" if beside > 1 else why
    unheard = [f"placement={train.placement}: {obstacle}"] if obstacle else []
    if folds > 1 and train.fold_parallel in ("vmap", "threads") and placement in ("one", "batch") and beside == 1:
        short = "rows stay on the host" if train.resident == "host" else "memory is short"
        unheard.append(f"fold_parallel={train.fold_parallel}: {short if devices == 1 else 'devices share a batch'}")
    steps = train.steps_per_dispatch or _steps(steps_per_epoch, step_flops * together, 0 if lies else batch_bytes)
    # XLA's CPU backend computes a convolution by plain loops on one thread where it stands in a loop's body: twenty times
    # slower (docs/RESULTS.md, Speed). Everything else wins by the loop: the state stays in place and dispatches are saved.
    looped = not on_cpu or task.scans
    where = "rows on the device" if lies else "rows on the host, prefetched"
    how = f"{steps} steps a dispatch" if looped else f"{steps} steps a dispatch, one by one"
    said = "; ".join(
        [f"{phase}: {why}", where, how, f"a fold needs {memory}", *(f"not obeyed: config.train.{u}" for u in unheard)]
    )
    return Plan(placement, together, devices, vectorise, lies, steps, looped, said, beside)


def _place(
    settings: Settings, folds: int, devices: int, processes: int, resident: Callable[[int], bool]
) -> tuple[str, int, str]:
    """Placement (one, folds or batch), devices used, and why `train.placement` is not obeyed if it is not.

    Raises:
      ConfigError: see `make_plan`.
    """
    train = settings.train
    shares = devices > 1 and train.batch_size % devices == 0
    if train.placement == "batch":
        if devices > 1 and not shares:
            raise ConfigError(
                f"config.train.placement is batch, but config.train.batch_size={train.batch_size} is not a multiple of "
                f"{devices} devices; set config.train.devices to a divisor of it."
            )
        return ("batch", devices, "") if shares else ("one", 1, "there is one device")
    obstacles = {
        "there is one device": devices == 1,
        f"{processes} processes share every batch": processes > 1,
        "one fold is left": folds == 1,
        "rows stay on the host": train.resident == "host",
        "a device's memory does not hold its folds": not resident(-(-folds // devices)),
    }
    obstacle = next((why for why, there in obstacles.items() if there), "")
    wanted = train.fold_parallel in ("auto", "vmap") and folds >= devices / 2
    if not obstacle and (train.placement == "folds" or wanted):
        return "folds", min(devices, folds), ""
    unheard = obstacle if train.placement == "folds" else ""
    return ("batch", devices, unheard) if shares else ("one", 1, unheard)


def _check_processes(settings: Settings, devices: int) -> int:
    """Number of processes; several share every batch over all their devices."""
    processes, everywhere, train = jax.process_count(), jax.device_count(), settings.train
    if processes > 1 and (devices != everywhere or train.batch_size % devices or train.placement == "folds"):
        raise ConfigError(
            f"{processes} processes with {everywhere} devices share every batch: set config.train.batch_size to a multiple of "
            f"{everywhere} (it is {train.batch_size}), config.train.devices to 0 and config.train.placement to auto or batch."
        )
    return processes


def _steps(steps_per_epoch: int, flops: float, batch_bytes: int) -> int:
    """Steps of about two seconds' work, so that progress, checkpoints and signals are never far away.

    Batches gathered on the host travel together and wait there two dispatches deep: no more than 256 MiB of them.
    """
    rate = 4e10 if jax.default_backend() == "cpu" else 1e13
    most = min(steps_per_epoch, int(2 * rate / max(flops, 1.0)), 2**28 // max(batch_bytes, 1))
    dispatches = -(-steps_per_epoch // max(1, most))
    return -(-steps_per_epoch // dispatches)


def _size(count: float) -> str:
    unit, size = next(((u, s) for u, s in (("GB", 1e9), ("MB", 1e6)) if count >= s), ("kB", 1e3))
    return f"{count / size:.3g} {unit}"


def _device_bytes() -> float:
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return float(stats["bytes_limit"])
    return float(host_memory())  # the CPU backend has no limit of its own
