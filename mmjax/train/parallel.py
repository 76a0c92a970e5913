"""Which folds train together, on which devices, how many steps a dispatch: the one place that decides, and the only pmap.

Every function here takes and returns a leading fold axis F on state, `rows.fold`, `rows.constant` and indices. Placements:

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
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from mmjax.batch import IMAGE, TEXT
from mmjax.errors import ConfigError
from mmjax.settings import Settings
from mmjax.train.steps import Rows

DEVICE_AXIS = "device"
_FOLD_AXES = Rows(shared=None, fold=0, constant=0)  # type: ignore[arg-type]
_NO_AXES = Rows(shared=None, fold=None, constant=None)  # type: ignore[arg-type]


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
      why: the rule's reason, printed.
    """

    placement: str
    folds: int
    devices: int
    vectorised: bool
    resident: bool
    steps: int
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for plan.json."""
        return asdict(self)


def make_plan(
    settings: Settings, *, phase: str, folds: int, steps_per_epoch: int, step_flops: float, row_bytes: int, state_bytes: int
) -> Plan:
    """The rule.

    Args:
      settings: `train.fold_parallel`, `placement`, `resident`, `steps_per_dispatch` and `devices` override it.
      phase: "autoencoder" or "classifier".
      folds: unfinished folds.
      steps_per_epoch: of the largest fold.
      step_flops: floating-point operations of one fold's training step.
      row_bytes: size of all encoded rows of a fold.
      state_bytes: size of one fold's state.

    Raises:
      ConfigError: `placement=batch` with a batch that the devices do not divide.
    """
    train, modalities = settings.train, settings.model.modalities
    devices = min(train.devices or jax.device_count(), jax.device_count())
    processes = _check_processes(settings, devices)
    # Measured on two cores (docs/RESULTS.md, fold parallelism): batched small matrix products win, because one fold's step
    # is all dispatch overhead; a batched convolution becomes a grouped one and loses, and a fold with large matrices
    # (text or pixel autoencoders) is already at the memory's speed.
    dense = not ({TEXT, IMAGE} & set(modalities))
    vectorise = {"vmap": True, "sequential": False, "auto": dense and state_bytes < 64 << 20}[train.fold_parallel]
    budget = 0.5 * _device_bytes()
    resident = {"device": True, "host": False, "auto": row_bytes * (folds if vectorise else 1) < budget}[train.resident]
    placement, together, why = "one", 1, "one device, folds one after the other"
    if devices > 1:
        fits = train.batch_size % devices == 0
        if train.placement == "batch" and not fits:
            raise ConfigError(
                f"config.train.placement is batch, but config.train.batch_size={train.batch_size} is not a multiple of "
                f"{devices} devices; set config.train.devices to a divisor of it."
            )
        by_fold = (
            processes == 1
            and resident
            and folds > 1
            and (train.placement == "folds" or (train.placement == "auto" and folds >= devices / 2))
        )
        if by_fold:
            devices = min(devices, folds)
            placement, together, why = "folds", folds, f"{folds} folds placed on {devices} devices"
        elif fits:
            placement, why = "batch", f"the batch of {train.batch_size} sharded over {devices} devices"
        else:
            devices = 1
    if devices == 1 and vectorise and resident and folds > 1:
        placement, together, why = "vmap", folds, f"{folds} folds in one batched program"
    steps = train.steps_per_dispatch or _steps(steps_per_epoch, step_flops * together)
    where = "rows on the device" if resident else "rows on the host, prefetched"
    return Plan(placement, together, devices, vectorise, resident, steps, f"{phase}: {why}; {where}; {steps} steps a dispatch")


def _check_processes(settings: Settings, devices: int) -> int:
    """Number of processes; several share every batch over all their devices."""
    processes, everywhere, train = jax.process_count(), jax.device_count(), settings.train
    if processes > 1 and (devices != everywhere or train.batch_size % devices or train.placement == "folds"):
        raise ConfigError(
            f"{processes} processes with {everywhere} devices share every batch: set config.train.batch_size to a multiple of "
            f"{everywhere} (it is {train.batch_size}), config.train.devices to 0 and config.train.placement to auto or batch."
        )
    return processes


def _steps(steps_per_epoch: int, flops: float) -> int:
    """Steps of about two seconds' work, so that progress, checkpoints and signals are never far away."""
    rate = 4e10 if jax.default_backend() == "cpu" else 1e13
    most = max(1, min(steps_per_epoch, int(2 * rate / max(flops, 1.0))))
    dispatches = -(-steps_per_epoch // most)
    return -(-steps_per_epoch // dispatches)


def _device_bytes() -> float:
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return float(stats["bytes_limit"])
    import os  # noqa: PLC0415 - only the CPU backend, which has no limit of its own, asks the machine

    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


class Executor:
    """Compiles the pure steps for a plan and puts arrays where the plan wants them."""

    def __init__(self, plan: Plan):
        self.plan = plan
        devices = jax.local_devices()[: plan.devices // jax.process_count()]
        self._mesh = Mesh(np.array(devices), (DEVICE_AXIS,))
        self._devices = devices
        self._made: dict[Any, Any] = {}

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` returned for this key before: compiled programs outlive the group of folds they were made for."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @property
    def axis_name(self) -> str | None:
        """Device axis a step must average over, or None."""
        return DEVICE_AXIS if self.plan.placement == "batch" else None

    @property
    def sharding(self) -> Sharding:
        """Where `put` places what every fold shares."""
        if self.plan.placement in ("one", "vmap"):
            return SingleDeviceSharding(self._devices[0])
        return NamedSharding(self._mesh, PartitionSpec())

    @property
    def width(self) -> int:
        """Leading axis of stacked arrays: the plan's folds, padded to a multiple of the devices they are placed on."""
        if self.plan.placement != "folds":
            return self.plan.folds
        return -(-self.plan.folds // self.plan.devices) * self.plan.devices

    def put(self, tree: Any, *, by_fold: bool) -> Any:
        """Places a stacked tree (`by_fold`) or a tree that every fold shares."""
        split = by_fold and self.plan.placement == "folds"
        return jax.device_put(tree, NamedSharding(self._mesh, PartitionSpec(DEVICE_AXIS)) if split else self.sharding)

    def put_rows(self, rows: Rows) -> Rows:
        """Places a phase's rows."""
        return Rows(
            shared=self.put(rows.shared, by_fold=False),
            fold=self.put(rows.fold, by_fold=True),
            constant=self.put(rows.constant, by_fold=True),
        )

    def train(self, chunk: Callable) -> Callable:
        """`chunk(state, rows, index, active) -> (state, sums)` over the fold axis; the state is donated."""
        local = _over_folds(chunk, (0, _FOLD_AXES, 0, 0), self.plan)
        if self.plan.placement == "batch":
            return self._shard_batch(local)
        if self.plan.placement == "folds":
            return self._place_folds(local)
        return jax.jit(local, donate_argnums=0)

    def map(self, function: Callable, axes: tuple) -> Callable:
        """Any other function over the fold axis; XLA follows where its arguments lie."""
        return jax.jit(_over_folds(function, axes, self.plan))

    def _shard_batch(self, local: Callable) -> Callable:
        devices = len(self._devices)
        # Over several processes pmap takes every device there is and each process hands over its own part of the batch.
        chosen = self._devices if jax.process_count() == 1 else None
        mapped = jax.pmap(
            local, DEVICE_AXIS, in_axes=(None, _NO_AXES, 2, None), out_axes=None, devices=chosen, donate_argnums=0
        )

        def split(x: Any) -> Any:  # F x S x B x ... -> F x S x P x B/P x ...
            return x.reshape(*x.shape[:2], devices, x.shape[2] // devices, *x.shape[3:])

        return lambda state, rows, index, active: mapped(state, rows, jax.tree.map(split, index), active)

    def _place_folds(self, local: Callable) -> Callable:
        devices = self.plan.devices
        mapped = jax.pmap(local, DEVICE_AXIS, in_axes=(0, _FOLD_AXES, 0, 0), devices=self._devices, donate_argnums=0)
        split = jax.jit(lambda tree: jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), tree))
        join = jax.jit(lambda tree: jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree))

        def run(state: Any, rows: Rows, index: Any, active: Any) -> tuple[Any, Any]:
            rows = Rows(rows.shared, split(rows.fold), split(rows.constant))
            return join(mapped(split(state), rows, split(index), split(active)))

        return run


def _over_folds(function: Callable, axes: tuple, plan: Plan) -> Callable:
    """Maps over the leading fold axis of what lies on one device."""

    def run(*args: Any) -> Any:
        folds = _fold_count(args, axes)
        if folds == 1:
            squeezed = [_take(a, axis, 0) for a, axis in zip(args, axes, strict=True)]
            return jax.tree.map(lambda x: x[None], function(*squeezed))
        if plan.vectorised:
            return jax.vmap(function, in_axes=axes)(*args)
        parts = [function(*[_take(a, axis, f) for a, axis in zip(args, axes, strict=True)]) for f in range(folds)]
        return jax.tree.map(lambda *x: jnp.stack(x), *parts)

    run.__name__ = getattr(function, "func", function).__name__  # a partial's own: a profile then names the step
    return run


def _fold_count(args: tuple, axes: tuple) -> int:
    first = next(a for a, axis in zip(args, axes, strict=True) if axis == 0 and jax.tree.leaves(a))
    return jax.tree.leaves(first)[0].shape[0]


def _take(arg: Any, axis: Any, fold: int) -> Any:
    if isinstance(axis, Rows):
        return Rows(arg.shared, *(jax.tree.map(lambda x: x[fold], part) for part in (arg.fold, arg.constant)))
    return arg if axis is None else jax.tree.map(lambda x: x[fold], arg)
