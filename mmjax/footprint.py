"""What a config costs before anything is allocated: parameters, operations and memory, from shapes alone (`jax.eval_shape`)."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax

from mmjax.batch import InputSpec
from mmjax.settings import Settings
from mmjax.shapes import blank_rows, tree_bytes
from mmjax.train import run
from mmjax.train.cost import step_cost
from mmjax.train.fitting import rule_of
from mmjax.train.optimizer import make_optimizer
from mmjax.train.plan import Plan
from mmjax.train.tasks import make_task


@dataclass(frozen=True)
class Footprint:
    """One phase of a run.

    Attributes:
      phase: autoencoder or classifier.
      parameters: number of parameters by module.
      step_flops: floating-point operations of one fold's training step.
      step_bytes: memory of one fold while it trains, in bytes, by what it holds; gradients and activations live for a step.
      rows_bytes: encoded rows of one fold, in bytes.
      plan: which folds train together and where, as training would decide on this machine.
    """

    phase: str
    parameters: dict[str, int]
    step_flops: float
    step_bytes: dict[str, int]
    rows_bytes: int
    plan: Plan

    @property
    def total_parameters(self) -> int:
        """Over all modules."""
        return sum(self.parameters.values())

    @property
    def total_bytes(self) -> int:
        """On one device: the folds that train together there, and their rows where they lie there."""
        plan = self.plan
        together = {"vmap": plan.folds, "folds": -(-plan.folds // plan.devices)}.get(plan.placement, plan.beside)
        rows = self.rows_bytes if plan.resident else 0
        elsewhere = self.step_bytes["activations"] * (plan.devices - 1) // plan.devices if plan.placement == "batch" else 0
        return together * (sum(self.step_bytes.values()) - elsewhere + rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "total_parameters": self.total_parameters, "total_bytes": self.total_bytes}


def footprints(settings: Settings, spec: InputSpec, rows: int) -> list[Footprint]:
    """One entry a phase of the run.

    Args:
      settings: the run's settings.
      spec: sizes of the inputs.
      rows: of the whole table.
    """
    return [_footprint(settings, name, spec, rows) for name in run.task_names(settings)]


def _footprint(settings: Settings, name: str, spec: InputSpec, rows: int) -> Footprint:
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
    trained = rows * (settings.cv.folds - 1) / settings.cv.folds * (1 - settings.cv.valid_fraction)
    plan = rule_of(task, folds=len(settings.cv.only) or settings.cv.folds, train_rows=int(trained), rows=rows)
    if plan.placement == "one" and plan.beside == 1 and settings.cv.folds > 1 and jax.default_backend() == "cpu":
        held["the fold before, being saved"] = held["best so far"]  # on a GPU it is in the host's memory
    rows_bytes = rows * tree_bytes(blank_rows(spec, 1, task.code_width))
    return Footprint(name, _by_module(params), cost.flops, held, rows_bytes, plan)


def _by_module(params: Mapping[str, Any]) -> dict[str, int]:
    """Parameters by tower, or by encoder and decoder of an autoencoder: the layers of one are added up."""
    counts: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        names = [str(getattr(k, "key", k)) for k in path]
        kept = names[: 2 if names[0] == "autoencoder" else 1]
        name = re.sub(r"_\d+$", "", "/".join(kept))
        counts[name] = counts.get(name, 0) + int(leaf.size)
    return counts
