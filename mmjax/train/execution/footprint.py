"""What a config costs before anything is allocated: parameters, operations and memory, from shapes alone (`jax.eval_shape`).

Scratch memory is the gradients and what a step keeps for its way back; XLA, asked by compiling, knows what it really takes.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
from jax.stages import Lowered

from mmjax.config import Settings
from mmjax.modalities.base import InputSpec
from mmjax.modalities.shapes import tree_bytes
from mmjax.tasks.base import Task, make_task, phases
from mmjax.train.execution.compile import ProgramShapes, lower_predict
from mmjax.train.execution.cost import step_cost
from mmjax.train.execution.parallel import Executor
from mmjax.train.execution.plan import Plan, Sizes, make_plan
from mmjax.train.fold_data import evaluation_batch
from mmjax.train.optim import make_optimizer

_SCRATCH = ("gradients", "activations")


@dataclass(frozen=True)
class Footprint:
    """One phase of a run.

    Attributes:
      phase: name of its task.
      parameters: number of parameters by module.
      step_flops: floating-point operations of one fold's training step.
      step_bytes: memory of one fold while it trains, in bytes, by what it holds; gradients and activations live for a step.
      rows_bytes: encoded rows of one fold, in bytes.
      scratch_bytes: what each compiled program takes while it runs, in bytes, as XLA says; empty if it was not asked.
      plan: which folds train together and where, as training would decide on this machine.
    """

    phase: str
    parameters: dict[str, int]
    step_flops: float
    step_bytes: dict[str, int]
    rows_bytes: int
    plan: Plan
    scratch_bytes: dict[str, int] = field(default_factory=dict)

    @property
    def total_parameters(self) -> int:
        """Over all modules."""
        return sum(self.parameters.values())

    @property
    def total_bytes(self) -> int:
        """On one device: the folds that train together there, and their rows where they lie there."""
        plan = self.plan
        together = {"vmap": plan.folds, "folds": -(-plan.folds // plan.devices)}.get(plan.placement, plan.concurrent)
        kept = sum(v for k, v in self.step_bytes.items() if k not in _SCRATCH) + self.rows_bytes * plan.on_device
        activations = self.step_bytes["activations"] // (plan.devices if plan.placement == "batch" else 1)
        scratch = (self.step_bytes["gradients"] + activations) * (plan.folds if plan.placement == "vmap" else 1)
        at_once = 1 if plan.placement == "vmap" else together  # one batched program has all folds' scratch
        return together * kept + at_once * max(self.scratch_bytes.values(), default=scratch)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "total_parameters": self.total_parameters, "total_bytes": self.total_bytes}


def footprints(settings: Settings, spec: InputSpec, rows: int, *, compiled: bool = False) -> list[Footprint]:
    """One entry a phase of the run.

    Args:
      settings: the run's settings.
      spec: sizes of the inputs.
      rows: of the whole table.
      compiled: asks XLA, which takes as long as a run's first minute.
    """
    return [_footprint(settings, name, spec, rows, compiled) for name in phases(settings)]


def _footprint(settings: Settings, name: str, spec: InputSpec, rows: int, compiled: bool) -> Footprint:
    task = make_task(name, settings, spec)
    size = settings.train.batch_size
    params, batch_stats = task.variables
    cost = step_cost(task, size)
    optimizer_state = jax.eval_shape(make_optimizer(settings.optim).init, params)
    held = {
        "parameters": tree_bytes(params),
        "gradients": tree_bytes(params),
        "RMSprop": tree_bytes(optimizer_state),
        "best so far": tree_bytes((params, batch_stats)),
        "BatchNorm": tree_bytes(batch_stats),
        "activations": cost.saved_bytes,
    }
    held_out = -(-rows // settings.cv.folds)
    trained = (rows - held_out) * (1 - settings.cv.valid_fraction)
    sizes = Sizes.of(task, folds=len(settings.cv.only) or settings.cv.folds, train_rows=int(trained), rows=rows)
    plan = make_plan(task, sizes)
    if plan.placement == "one" and plan.concurrent == 1 and settings.cv.folds > 1 and jax.default_backend() == "cpu":
        held["the fold before, being saved"] = held["best so far"]  # on a GPU it is in the host's memory
    valid = rows - held_out - int(trained)
    scratch = _scratch(task, plan, rows, valid, held_out) if compiled and jax.process_count() == 1 else {}
    return Footprint(name, _by_module(params), cost.flops, held, sizes.row_bytes, plan, scratch)


def _scratch(task: Task, plan: Plan, rows: int, valid: int, held_out: int) -> dict[str, int]:
    """Of a step, of validation and of prediction by one fold's module."""
    valid_batch, test_batch = (evaluation_batch(task, n) for n in (valid, held_out))
    executor = Executor(plan)
    shared = make_task(task.name, task.settings, task.spec, executor.axis_name)  # averages over devices, prediction does not
    known = ProgramShapes(shared, executor, rows=rows, batch=task.settings.train.batch_size, valid_batch=valid_batch)
    programs = {
        "training step": known.lower_steps(),
        "validation": known.lower_epoch(),
        "prediction": lower_predict(task, test_batch),
    }
    return {name: max(_temporary(lowered) for lowered in each) for name, each in programs.items()}


def _temporary(lowered: Lowered) -> int:
    found = lowered.compile().memory_analysis()  # None where a backend does not tell
    return found.temp_size_in_bytes if found is not None else 0


def _by_module(params: Mapping[str, Any]) -> dict[str, int]:
    """Parameters by tower, or by encoder and decoder of an autoencoder: the layers of one are added up."""
    counts: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        names = [str(getattr(k, "key", k)) for k in path]
        kept = names[: 2 if names[0] == "autoencoder" else 1]
        name = re.sub(r"_\d+$", "", "/".join(kept))
        counts[name] = counts.get(name, 0) + int(leaf.size)
    return counts
