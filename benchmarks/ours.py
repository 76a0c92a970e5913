"""Our side of a comparison: the production path (make_plan, Executor, train_chunk), fed with random rows."""

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contenders import Contender, Run
from benchmarks.sizes import STEPS_PER_EPOCH, Case, Size, make_settings, make_spec, random_rows
from mmjax.modalities.shapes import blank_constants, shared_arrays
from mmjax.tasks.base import Task, make_task
from mmjax.tasks.classification import Classification
from mmjax.train import state
from mmjax.train.execution.concurrent_folds import run_concurrently
from mmjax.train.execution.parallel import Executor
from mmjax.train.execution.plan import Plan, Sizes, make_plan
from mmjax.train.optim import make_optimizer
from mmjax.train.step import FoldArrays, train_chunk


def start_device() -> None:
    """What a process's first use of the device takes, before a timer runs; `theirs.set_up` does the same."""
    jax.block_until_ready(jnp.zeros(1))


@dataclass(frozen=True, eq=False)
class EncodingTask(Classification):
    """A classifier that computes its frozen codes anew at every step, as a PyTorch loop does; ours computes them once."""

    coder: Task | None = None

    def losses(self, params: Any, batch_stats: Any, batch: Any, key: Any) -> Any:
        """As `Task.losses`, with the codes of `batch["coder"]`, the autoencoder's parameters."""
        assert self.coder is not None
        codes = self.coder.module.apply({"params": batch["coder"]}, batch, method="encode")
        return super().losses(params, batch_stats, {k: v for k, v in batch.items() if k != "coder"} | {"codes": codes}, key)


@dataclass
class Prepared:
    """A compiled step and what it needs.

    Attributes:
      case: what is trained.
      plan: as production plans it.
      step_flops: floating-point operations of one fold's step (mmjax/train/execution/cost.py).
      parameters: of one fold.
      minimum_bytes: memory one fold's step must move at least: parameters read forward and backward, gradient written and read,
        RMSprop's average and the parameters read and written.
      xla_bytes: XLA's own count of the compiled chunk, its loop's body once.
      compile_seconds: lowering and compiling the chunk.
      run: repeats dispatches.
    """

    case: Case
    plan: Plan
    step_flops: float
    parameters: int
    minimum_bytes: float
    xla_bytes: float
    compile_seconds: float
    run: Run

    def to_dict(self) -> dict[str, Any]:
        """What JSON keeps."""
        return {
            "plan": asdict(self.plan),
            "step_flops": self.step_flops,
            "parameters": self.parameters,
            "minimum_bytes": self.minimum_bytes,
            "xla_bytes_of_chunk": self.xla_bytes,
        }


def prepare(
    case: Case,
    size: Size,
    *,
    dtype: str = "float32",
    encode: bool = False,
    folds: int = 1,
    train: dict[str, Any] | None = None,
    scan: bool | None = None,
) -> Prepared:
    """Builds, places and compiles.

    Args:
      case: what is trained.
      size: of inputs and towers.
      dtype: compute dtype.
      encode: compute the frozen codes at every step.
      folds: folds that are to be trained; the plan decides how many of them go together.
      train: further settings of `config.train`.
      scan: whether a dispatch scans over its steps inside one program; None: as the plan decides.
    """
    settings = make_settings(case.row, size, train={"dtype": dtype, "devices": 1} | (train or {}))
    spec = make_spec(case.row, size)
    width = len(spec.modalities) * size.code if case.codes else 0
    arrays = random_rows(spec, size.rows, code_width=0 if encode else width)
    task = make_task(case.task, settings, spec)
    shapes = task.variables
    parameters = sum(x.size for x in jax.tree.leaves(shapes[0]))
    needed = Sizes.of(task, folds=folds, train_rows=STEPS_PER_EPOCH * size.batch, rows=size.rows)
    plan = make_plan(task, needed)
    plan = plan if scan is None else replace(plan, scan=scan)
    executor = Executor(plan)
    # Batch placement averages over devices inside the step, so the task must know the axis.
    task = make_task(case.task, settings, spec, executor.axis_name)
    constant: dict[str, Any] = {k: np.ones(v.shape, v.dtype) for k, v in blank_constants(spec).items()}
    if encode:
        coder = make_task("autoencoder", settings, spec)
        task = EncodingTask(settings, spec, task.module, coder)
        constant["coder"] = random_parameters(coder.variables[0])
    optimizer = make_optimizer(settings.optim)
    params, batch_stats = random_parameters(shapes)
    one = state.create(
        params, batch_stats, optimizer, np.zeros(2, np.uint32), steps_per_epoch=STEPS_PER_EPOCH, max_epochs=10**6
    )
    stacked = jax.tree.map(lambda x: np.stack([np.asarray(x)] * executor.width), one)
    rows = executor.put_rows(
        FoldArrays(
            shared={k: v for k, v in arrays.items() if k in shared_arrays(spec)},
            fold={k: np.stack([v] * executor.width) for k, v in arrays.items() if k not in shared_arrays(spec)},
            constant=jax.tree.map(lambda x: np.stack([x] * executor.width), constant),
        )
    )
    chunk = executor.train(partial(train_chunk, task, optimizer, executor.axis_name))
    placed = executor.put(stacked, by_fold=True)
    run, seconds, xla_bytes = _runner(chunk, placed, rows, executor, size)
    coder_parameters = sum(x.size for x in jax.tree.leaves(constant.get("coder", {})))
    minimum = 4.0 * (8 * parameters + coder_parameters)
    return Prepared(case, plan, needed.step_flops, parameters, minimum, xla_bytes, seconds, run)


def _runner(chunk: Any, placed: Any, rows: FoldArrays, executor: Executor, size: Size) -> tuple[Run, float, float]:
    """The run, seconds to compile and XLA's count of bytes; steps count every fold that trains."""
    plan, rng = executor.plan, np.random.default_rng(0)
    indices = [rng.integers(0, size.rows, (executor.width, plan.steps, size.batch), np.int32) for _ in range(4)]
    active = np.ones((executor.width, plan.steps), bool)
    xla_bytes, start = 0.0, time.perf_counter()
    if plan.placement in ("one", "vmap"):
        # A later call of the chunk itself finds the program (mmjax/train/execution/compile.py).
        cost = chunk.lower(placed, rows, indices[0], active).compile().cost_analysis() or {}
        xla_bytes = float(cost.get("bytes accessed", 0.0))
    else:  # several devices: functions around pmap, compiled by their first call
        placed, _ = chunk(placed, rows, indices[0], active)
        jax.block_until_ready(placed)
    seconds = time.perf_counter() - start
    states = [placed, *(jax.tree.map(jnp.copy, placed) for _ in range(1, plan.concurrent))]

    def run(repeats: int) -> int:
        def train(fold: int, stop: Any) -> None:
            del stop
            for i in range(repeats):
                states[fold], sums = chunk(states[fold], rows, indices[i % len(indices)], active)
            jax.block_until_ready((states[fold], sums))

        run_concurrently([partial(train, fold) for fold in range(plan.concurrent)], plan.concurrent, lambda: False)
        assert not any(np.any(np.asarray(s.halted_step) >= 0) for s in states), "the loss stopped being finite"
        return repeats * plan.steps * plan.folds * plan.concurrent

    return run, seconds, xla_bytes


def contender(name: str, case: Case, size: Size, **options: Any) -> Contender:
    """A contender; what it found is filled in once it is prepared."""
    found: dict[str, Any] = {}

    def make() -> tuple[Run, float]:
        prepared = prepare(case, size, **options)
        found.update(prepared.to_dict())
        return prepared.run, prepared.compile_seconds

    return Contender(name, make, found=found)


def evaluation(name: str, case: Case, size: Size, *, evaluate: int) -> Contender:
    """Predictions of all rows in batches of `evaluate`; a step is all rows."""

    def make() -> tuple[Run, None]:
        from mmjax.inference import predict_in_batches  # noqa: PLC0415 - it needs grain, which a bare GPU machine lacks
        from mmjax.train.fold_data import FoldData, FoldParameters  # noqa: PLC0415
        from mmjax.train.fold_rows import FoldRows  # noqa: PLC0415

        task = make_task(case.task, make_settings(case.row, size), make_spec(case.row, size))
        arrays = random_rows(task.spec, size.rows, code_width=task.code_width)
        constant = {k: np.ones(v.shape, v.dtype) for k, v in blank_constants(task.spec).items()}
        rows = np.arange(size.rows)
        fold = FoldData(0, None, arrays, FoldRows(rows, rows, rows), constant)  # type: ignore[arg-type] - nothing is encoded
        parameters = FoldParameters(*random_parameters(task.variables), {})

        def run(repeats: int) -> int:
            for _ in range(repeats):
                predict_in_batches(task, fold, parameters, rows, batch_size=evaluate)
            return repeats

        return run, None

    return Contender(name, make)


def random_parameters(shapes: Any) -> Any:
    """Parameters of about the right scale without compiling an init: He-like normals; BatchNorm's variances at one."""
    rng = np.random.default_rng(0)

    def leaf(path: Any, s: Any) -> np.ndarray:
        name = str(getattr(path[-1], "key", path[-1]))
        if name in ("var", "scale"):
            return np.ones(s.shape, s.dtype)
        if name in ("bias", "mean") or name.endswith("_bias"):
            return np.zeros(s.shape, s.dtype)
        scale = np.float32((2.0 / max(1, int(np.prod(s.shape[:-1])))) ** 0.5)
        return rng.standard_normal(s.shape, np.float32) * scale

    return jax.tree_util.tree_map_with_path(leaf, shapes)
