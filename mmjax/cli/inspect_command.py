"""`mmjax inspect`: parameters, operations and memory of a config and what training would decide, before it is trained."""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from mmjax import configs, registry
from mmjax.cli.arguments import Parser
from mmjax.cli.own_table_options import add_own_table, own_table
from mmjax.config import Settings
from mmjax.datasets import synthetic
from mmjax.errors import ConfigError
from mmjax.modalities.base import InputSpec, modalities_of, modality_class
from mmjax.own_table import settings_on

if TYPE_CHECKING:  # jax is imported late
    from mmjax.train.budget.estimate import TimeEstimate
    from mmjax.train.execution.footprint import Footprint

# PetFinder's whole table, and Kaggle's image metadata as vectors (shared sizes of the paper's data set).
NOMINAL = {"rows": 14993, "classes": 5}
"""Sizes assumed where the data set is not at hand, beside those of the modalities."""
_SAID = (
    "Memory is counted from shapes; --compile asks XLA for the scratch memory of each program, instead of gradients and "
    "activations. On a CPU the process also holds jax, compiled programs and memory kept for reuse: 0.5 to 2 GiB."
)


def main(arguments: Sequence[str]) -> int:
    """Runs the command.

    Raises:
      ConfigError: an argument is wrong.
      MmjaxError: the data set is named and cannot be read.
    """
    parser = Parser("inspect", "Parameters, FLOPs and memory of a config, and what training would decide.")
    parser.add_config(required=False)
    add_own_table(parser)
    parser.add_argument(
        "--spec", default="", help=f"assumed sizes instead of the data set's: name=number,... of {', '.join(_assumable())}"
    )
    parser.add_argument("--json", action="store_true", help="prints JSON alone")
    parser.add_argument("--time", action="store_true", help="times ten steps of every phase here: how long a run takes")
    parser.add_argument("--compile", action="store_true", help="compiles the programs and asks XLA for their scratch memory")
    args, overrides = parser.parse_with_overrides(arguments)
    if not args.config and not args.table:
        parser.error("the following arguments are required: --config")
    if args.time and args.spec:
        parser.error("--time trains a few steps on the data set itself; leave --spec out")
    if args.table and args.spec:
        parser.error("--spec assumes sizes instead of a table's; leave one of them out")
    own = own_table(parser, args)
    with TemporaryDirectory(prefix="mmjax-inspect-") as folder:
        changes = configs.parse_overrides(overrides)
        name, log = args.config or "recommended", (lambda line: print(line, file=sys.stderr))
        given = {"overrides": changes, "log": log}
        settings = settings_on(name, workdir=folder, **own, **given) if own else configs.get_config(name, changes)
        return _inspect(args, settings)


def _inspect(args: Namespace, settings: Settings) -> int:
    spec, rows, source = _sizes(settings, args.spec)
    from mmjax.train.execution.footprint import footprints  # noqa: PLC0415 - jax is imported once the arguments are known to be right

    phases = footprints(settings, spec, rows, compiled=args.compile)
    needed = _time(settings) if args.time else None
    if args.json:
        found = {"spec": asdict(spec), "rows": rows, "sizes": source, "phases": [p.to_dict() for p in phases]}
        print(json.dumps(found | ({"time": asdict(needed) | {"seconds": needed.seconds}} if needed else {})))
        return 0
    console = Console()
    console.print(f"Sizes: {source}. {_sentence(spec, rows)}", soft_wrap=True)
    for phase in phases:
        _show(console, phase, settings.train.batch_size)
    console.print(_SAID, soft_wrap=True)
    for line in _time_lines(settings, needed) if needed else ():
        print(line)
    return 0


def _time(settings: Settings) -> "TimeEstimate":
    from mmjax.train.budget.estimate import estimate_time  # noqa: PLC0415
    from mmjax.train.execution import runtime  # noqa: PLC0415

    runtime.set_up(settings)
    return estimate_time(settings)


def _time_lines(settings: Settings, needed: "TimeEstimate") -> list[str]:
    from mmjax.ops import on_cpu  # noqa: PLC0415
    from mmjax.train.budget.estimate import LONG  # noqa: PLC0415
    from mmjax.train.shorter import advice  # noqa: PLC0415

    return [*needed.lines(), *([advice(settings)] if needed.seconds > LONG and on_cpu() else [])]


def _sizes(settings: Settings, text: str) -> tuple[InputSpec, int, str]:
    """Sizes, number of rows, and where they come from."""
    if text:
        return *_assumed(settings, _parse(text)), f"as assumed by --spec ({text})"
    if settings.data.name != synthetic.NAME and not (settings.data.root or settings.data.table):
        return *_assumed(settings, {}), "PetFinder's, assumed: no config.data.root is given"
    return *_measured(settings), f"of the data set {settings.data.name}"


def _assumable() -> dict[str, int]:
    """What --spec may name, and what is assumed without it."""
    return NOMINAL | {name: size for cls in registry.modalities().values() for name, size in cls.nominal_sizes.items()}


def _parse(text: str) -> dict[str, int]:
    sizes, known = {}, _assumable()
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name.strip() not in known or not value.strip().isdigit() or not int(value):
            raise ConfigError(f"inspect: --spec: {part!r} is not a size; write name=number with {', '.join(known)}.")
        sizes[name.strip()] = int(value)
    return sizes


def _assumed(settings: Settings, given: dict[str, int]) -> tuple[InputSpec, int]:
    assumed, names = _assumable() | given, settings.model.modalities
    sizes = {n: modality_class(n).assumed_sizes(settings.data) for n in names}
    sizes = {n: {k: given.get(k, size) for k, size in own.items()} for n, own in sizes.items()}
    classes = tuple(str(k) for k in range(assumed["classes"]))
    return InputSpec(names, classes, {n: n for n in names}, sizes), assumed["rows"]


def _measured(settings: Settings) -> tuple[InputSpec, int]:
    """Encoders fitted on all rows: a fold's are a little smaller. Modalities that need no fitting are not looked at."""
    import numpy as np  # noqa: PLC0415

    from mmjax.data.data_report import DataReport  # noqa: PLC0415
    from mmjax.datasets.dataset import leave_out_lacking, open_dataset  # noqa: PLC0415
    from mmjax.datasets.encoders import FoldEncoders  # noqa: PLC0415
    from mmjax.datasets.locations import find_files  # noqa: PLC0415

    data = replace(settings.data, rows_with="")
    schema = find_files(data).schema
    if settings.model.lacking == "leave_out":
        settings = leave_out_lacking(settings, schema, lambda _: None)
    wanted = modalities_of(schema, data, settings.model.modalities)
    fitted = [m.name for m in wanted if m.learns_sizes]
    dataset = open_dataset(
        data, fitted or [wanted[0].name], task=settings.task, group=settings.cv.group, report=DataReport(), log=lambda _: None
    )
    spec = FoldEncoders.fit(dataset, np.arange(len(dataset))).spec
    sizes = {m.name: spec.sizes.get(m.name) or m.assumed_sizes(data) for m in wanted}
    return InputSpec(tuple(sizes), spec.classes, {m.name: m.kind for m in wanted}, sizes), len(dataset)


def _sentence(spec: InputSpec, rows: int) -> str:
    parts = [modality.describe(sizes) for _, modality, sizes in spec.each()]
    return f"{rows} rows, {len(spec.classes)} classes; {'; '.join(parts)}."


def _show(console: Console, phase: "Footprint", batch_size: int) -> None:
    table = Table(title=f"{phase.phase}: parameters")
    table.add_column("module")
    table.add_column("parameters", justify="right")
    for name, count in phase.parameters.items():
        table.add_row(name, f"{count:,}")
    table.add_section()
    table.add_row("all", f"{phase.total_parameters:,}")
    console.print(table)
    table = Table(title=f"{phase.phase}: memory of one fold")
    table.add_column("what")
    table.add_column("MiB", justify="right")
    rows = {f"{name} (batch of {batch_size})" if name == "activations" else name: v for name, v in phase.step_bytes.items()}
    asked = {f"scratch of {name}, says XLA": size for name, size in phase.scratch_bytes.items()}
    for name, size in (rows | {"encoded rows": phase.rows_bytes} | asked).items():
        table.add_row(name, f"{size / 2**20:,.1f}")
    table.add_section()
    table.add_row("on a device at once, as planned", f"{phase.total_bytes / 2**20:,.1f}")
    console.print(table)
    step = f"{_operations(phase.step_flops)} a training step of one fold (batch of {batch_size})"
    console.print(f"{phase.phase}: {step}.\nPlan on this machine: {phase.plan.reason}.\n", soft_wrap=True)


def _operations(flops: float) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if flops >= size:
            return f"{flops / size:.2f} {unit}FLOP"
    return f"{flops:.0f} FLOP"
