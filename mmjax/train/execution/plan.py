"""Which folds train together, on which devices, how many steps a dispatch: the one place that decides (parallel.py follows).

Placements:

- `one`:   one fold on one device; the axis is squeezed away inside the compiled function.
- `vmap`:  F folds in one batched program on one device.
- `batch`: one fold, the batch sharded over P devices by `pmap`, gradients and BatchNorm statistics averaged; the only one
  that spans processes: each holds its own devices' copy of the state and reads its own part of a batch.
- `folds`: F folds placed on P devices by `pmap`, F / P on each.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import jax

from mmjax.config import TrainSettings
from mmjax.data.arrays import host_memory
from mmjax.errors import ConfigError
from mmjax.io.atomic import write_json
from mmjax.io.processes import is_primary
from mmjax.io.workdir import damaged, read_json
from mmjax.modalities.shapes import blank_rows, tree_bytes
from mmjax.tasks.base import Task
from mmjax.train.execution.concurrent_folds import cores
from mmjax.train.execution.cost import step_cost

_SMALL = 64 << 20
"""Bytes of a state below which one fold leaves much of a machine idle."""
_ADVICE = "go on with the commit in environment.json, or start again in another workdir"


@dataclass(frozen=True)
class Plan:
    """How one task of a run trains; kept in the workdir so that a resumed run goes the same way.

    Attributes:
      placement: one | vmap | batch | folds.
      folds: folds trained together, F.
      devices: P.
      vmap: folds on one device share one batched program (else they run one after the other inside it).
      on_device: encoded rows live on the device; Grain then yields row numbers.
      steps: S, steps of a dispatch.
      scan: the dispatch is one program that scans over its steps; else one program a step, sent S times.
      reason: why, printed.
      concurrent: folds trained at the same time, each in a thread and a program of its own.
    """

    placement: str
    folds: int
    devices: int
    vmap: bool
    on_device: bool
    steps: int
    scan: bool
    reason: str
    concurrent: int = 1


class Plans:
    """Plans of a run by task and folds: in memory, and in plan.json for the session that resumes it."""

    def __init__(self, file: Path):
        self._file, self._lock = file, threading.Lock()
        self._known: dict[str, Plan] | None = None

    def get(self, name: str, folds: Sequence[int], make: Callable[[], Plan]) -> Plan:
        """The plan for a task's folds on this machine's devices: the resumed run's, or what `make` returns.

        Raises:
          WorkdirError: plan.json is damaged, of another version of mmjax, or cannot be written.
        """
        key = f"{name}:{','.join(map(str, folds))}:{jax.device_count()}"
        with self._lock:
            known = self._load()
        if key not in known:
            plan = make()  # not under the lock: it takes a while, and other tasks' plans are asked for meanwhile
            with self._lock:
                # A checkpoint counts dispatches: whatever the rule says today, a begun fold goes on as it began.
                begun = [p.steps for k, p in known.items() if k.split(":")[0] == name and p.folds == plan.folds]
                known.setdefault(key, replace(plan, steps=begun[0]) if begun else plan)
                if is_primary():
                    write_json(self._file, {k: asdict(p) for k, p in known.items()})
        return known[key]

    def groups(self, name: str) -> list[set[int]]:
        """Folds of a task that were planned to train together in one program.

        Raises:
          WorkdirError: as `get`.
        """
        with self._lock:
            known = [(key.split(":"), plan) for key, plan in self._load().items()]
        return [set(map(int, folds.split(","))) for (task, folds, _), plan in known if task == name and plan.folds > 1]

    def _load(self) -> dict[str, Plan]:
        if self._known is None:
            saved = read_json(self._file, dict, _ADVICE) if self._file.exists() else {}
            try:
                self._known = {key: Plan(**plan) for key, plan in saved.items()}
            except TypeError as error:
                raise damaged(self._file, f"or of another version of mmjax: {error}", _ADVICE) from error
        return self._known


@dataclass(frozen=True)
class Sizes:
    """What is to be planned for: numbers of one fold, in bytes and operations.

    Attributes:
      folds: unfinished folds.
      steps_per_epoch: of the largest fold.
      step_flops: floating-point operations of a training step.
      row_bytes: all encoded rows.
      state_bytes: parameters, gradient, running square, best so far.
      scratch_bytes: what a step needs besides.
      batch_bytes: a batch's encoded rows.
      smallest_batch: rows of a batch of the smallest fold, which `train.batch_share` may cut; 0: `train.batch_size`.
    """

    folds: int
    steps_per_epoch: int
    step_flops: float
    row_bytes: int
    state_bytes: int
    scratch_bytes: int = 0
    batch_bytes: int = 0
    smallest_batch: int = 0

    @classmethod
    def of(cls, task: Task, *, folds: int, train_rows: int, rows: int, smallest_batch: int = 0) -> "Sizes":
        """From shapes alone.

        Args:
          task: what is to be trained.
          folds: how many of them.
          train_rows: of the largest.
          rows: of the whole table.
          smallest_batch: see the class.
        """
        batch = task.settings.train.batch_size
        cost, row = step_cost(task, batch), tree_bytes(blank_rows(task.spec, 1, task.code_width))
        state = 4 * tree_bytes(task.variables[0])
        steps = max(1, train_rows // batch)
        return cls(folds, steps, cost.flops, rows * row, state, cost.saved_bytes, batch * row, smallest_batch)

    def fit(self, folds: int, share: int, room: float) -> bool:
        """Whether so many folds train on one device with their rows there, each on the `share`-th part of its batches."""
        rows = folds * self.row_bytes
        return rows < 0.5 * room and rows + folds * (self.state_bytes + self.scratch_bytes // share) < 0.9 * room


def make_plan(task: Task, sizes: Sizes) -> Plan:
    """The rule; `fold_parallel`, `placement`, `resident`, `steps_per_dispatch` and `devices` of `config.train` override it.

    Raises:
      ConfigError: more devices than there are, or `placement=batch` with a batch that they do not divide.
    """
    train, folds, room = task.settings.train, sizes.folds, _device_bytes()

    def fit(together: int, share: int = 1) -> bool:
        return {"device": True, "host": False, "auto": sizes.fit(together, share, room)}[train.resident]

    placement, devices, obstacle = _place(train, sizes, _devices(train), fit)
    on_device = fit(1, devices if placement == "batch" else 1)
    vmap, together, concurrent, reason = _vmap(task, sizes), 1, 1, "one device, folds one after the other"
    if placement == "folds":
        together, on_device, reason = folds, True, f"{folds} folds placed on {devices} devices"
    elif placement == "batch":
        reason = f"the batch of {train.batch_size} sharded over {devices} devices"
    elif vmap and folds > 1 and fit(folds):
        placement, together, reason = "vmap", folds, f"{folds} folds in one batched program"
    elif (concurrent := _concurrent(task, sizes, room, on_device=on_device)) > 1:
        reason = f"{concurrent} concurrent folds, a thread each"
    ignored = [f"placement={train.placement}: {obstacle}"] if obstacle else []
    if folds > 1 and train.fold_parallel in ("vmap", "threads") and placement in ("one", "batch") and concurrent == 1:
        short = "rows stay on the host" if train.resident == "host" else "memory is short"
        ignored.append(f"fold_parallel={train.fold_parallel}: {short if devices == 1 else 'devices share a batch'}")
    rule = _steps(sizes, together, 0 if on_device else sizes.batch_bytes)
    steps = train.steps_per_dispatch or min(rule, train.profile or rule)  # a trace holds whole dispatches
    lines = [
        f"{task.name}: {reason}",
        "rows on the device" if on_device else "rows on the host, prefetched",
        f"{steps} steps a dispatch{'' if task.scans else ', one by one'}",
        f"a fold needs rows {_size(sizes.row_bytes)} + state {_size(sizes.state_bytes)} + scratch {_size(sizes.scratch_bytes)} "
        f"of {_size(room)}",
        *(f"override ignored: config.train.{i}" for i in ignored),
    ]
    return Plan(placement, together, devices, vmap, on_device, steps, task.scans, "; ".join(lines), concurrent)


def _vmap(task: Task, sizes: Sizes) -> bool:
    """Whether folds on one device share a batched program.

    On a GPU batched small matrix products win: one fold's step is all dispatch overhead. A batched convolution becomes a
    grouped one and loses, and a fold with large matrices (text or pixel autoencoders) is already at the memory's speed. On a
    CPU threads win (docs/PERFORMANCE.md): nothing waits for the slowest part of a small operation.
    """
    wins = task.dense and sizes.state_bytes < _SMALL and jax.default_backend() != "cpu"
    return {"vmap": True, "auto": wins}.get(task.settings.train.fold_parallel, False)


def _concurrent(task: Task, sizes: Sizes, room: float, *, on_device: bool) -> int:
    """Folds that train at the same time on one device, each in a thread.

    More than there are cores, if memory holds them: five folds on two cores take two and a half turns instead of three.
    """
    wins = jax.default_backend() == "cpu" and cores() > 1 and (sizes.state_bytes < _SMALL or task.convolves)
    if not {"threads": True, "auto": wins}.get(task.settings.train.fold_parallel, False):
        return 1
    one = sizes.state_bytes + sizes.scratch_bytes + sizes.row_bytes * on_device
    return max(1, min(sizes.folds, int(0.5 * room // max(one, 1))))


def _place(train: TrainSettings, sizes: Sizes, devices: int, fit: Callable[[int], bool]) -> tuple[str, int, str]:
    """Placement (one, folds or batch), devices used, and why `train.placement` is ignored if it is.

    Raises:
      ConfigError: see `make_plan`.
    """
    folds, batch = sizes.folds, sizes.smallest_batch or train.batch_size
    shares = devices > 1 and batch % devices == 0
    if train.placement == "batch":
        if devices > 1 and not shares:
            raise ConfigError(
                f"config.train.placement is batch, but a batch of {batch} rows (config.train.batch_size={train.batch_size}) is "
                f"not a multiple of {devices} devices; set config.train.devices to a divisor of it."
            )
        return ("batch", devices, "") if shares else ("one", 1, "there is one device")
    processes = jax.process_count()
    obstacles = {
        "there is one device": devices == 1,
        f"{processes} processes share every batch": processes > 1,
        "one fold is left": folds == 1,
        "rows stay on the host": train.resident == "host",
        "a device's memory does not hold its folds": not fit(-(-folds // devices)),
    }
    obstacle = next((reason for reason, there in obstacles.items() if there), "")
    wanted = train.fold_parallel in ("auto", "vmap") and folds >= devices / 2
    if not obstacle and (train.placement == "folds" or wanted):
        return "folds", min(devices, folds), ""
    ignored = obstacle if train.placement == "folds" else ""
    return ("batch", devices, ignored) if shares else ("one", 1, ignored)


def _devices(train: TrainSettings) -> int:
    """Devices to use; several processes share every batch over all theirs."""
    devices, everywhere, processes = train.devices or jax.device_count(), jax.device_count(), jax.process_count()
    if devices > everywhere:
        raise ConfigError(
            f"config.train.devices is {devices}, but jax sees {everywhere} ({jax.default_backend()}); set it to at "
            "most that, or to 0 for all there are."
        )
    if processes > 1 and (devices != everywhere or train.batch_size % devices or train.placement == "folds"):
        raise ConfigError(
            f"{processes} processes with {everywhere} devices share every batch: set config.train.batch_size to a multiple of "
            f"{everywhere} (it is {train.batch_size}), config.train.devices to 0 and config.train.placement to auto or batch."
        )
    return devices


def _steps(sizes: Sizes, together: int, batch_bytes: int) -> int:
    """Steps of about two seconds' work, so that progress, checkpoints and signals are never far away.

    Batches gathered on the host travel together and wait there two dispatches deep: no more than 256 MiB of them.
    """
    rate = 4e10 if jax.default_backend() == "cpu" else 1e13
    flops = max(sizes.step_flops * together, 1.0)
    most = min(sizes.steps_per_epoch, int(2 * rate / flops), 2**28 // max(batch_bytes, 1))
    dispatches = -(-sizes.steps_per_epoch // max(1, most))
    return -(-sizes.steps_per_epoch // dispatches)


def _size(count: float) -> str:
    unit, size = next(((u, s) for u, s in (("GB", 1e9), ("MB", 1e6)) if count >= s), ("kB", 1e3))
    return f"{count / size:.3g} {unit}"


def _device_bytes() -> float:
    stats = jax.local_devices()[0].memory_stats() or {}
    return float(stats.get("bytes_limit", 0) or host_memory())  # the CPU backend has no limit of its own
