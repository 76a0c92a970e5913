"""What of the package is there for a CPU's speed, and how to do without: each switch replaces attributes of its modules.

A switch changes the process it is thrown in, so each is thrown in a process of its own, before anything is traced.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from benchmarks import ours
from benchmarks.contenders import spread
from mmjax.data import arrays, loader
from mmjax.modalities import image, tabular
from mmjax.models import densenet, textcnn
from mmjax.ops import prng, text_convolution
from mmjax.ops.cpu import convolution
from mmjax.tasks.base import Task
from mmjax.train import cross_validation, fold_training, state, step
from mmjax.train.execution import compile as ahead
from mmjax.train.execution import runtime
from mmjax.train.execution.concurrent_folds import cores
from mmjax.train.execution.plan import Plan

EVERY = ("1", "2", "6", "8", "mmae")
LARGE = "6@128"
"""Row 6 with photos of 128 x 128: below that XLA convolves 64 features of pixels itself."""
PHOTOS, TEXTS, TABLES = ("6", "8", LARGE), ("2", "6", "8"), ("1", "6", "8")
FOLDS = ("1", "2", "8")


@dataclass(frozen=True)
class Switch:
    """One optimisation that can be switched off.

    Attributes:
      instead: what runs in its place.
      off: replaces it in this process.
      steps: rows whose training step it can change.
      folds: rows whose five folds it can change by more than their steps.
      photos: likewise, the loop behind photos on the host.
    """

    instead: str
    off: Callable[[], None]
    steps: tuple[str, ...] = ()
    folds: tuple[str, ...] = ()
    photos: tuple[str, ...] = ()


def put(*modules: Any, **values: Any) -> None:
    """Replaces attributes; one that is not there was renamed, and its switch would do nothing."""
    for module in modules:
        for name, value in values.items():
            assert hasattr(module, name), f"{module.__name__} has no {name}"
            setattr(module, name, value)


def _jax_random(impl: str) -> None:
    shape = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0, impl=impl))).shape
    times = shape[0] // 2  # two words are kept, rbg's key has four

    def wrap(data_2: jax.Array) -> jax.Array:
        return jax.random.wrap_key_data(jnp.tile(data_2, times), impl=impl)

    put(prng, wrap=wrap, KEY=jax.eval_shape(lambda: wrap(jnp.zeros(2, jnp.uint32))))


def _summed_onehot(number_BxS: jax.Array, id_BxC: jax.Array, onehot: int, dtype: Any) -> jax.Array:
    each_BxCxO = jax.nn.one_hot(id_BxC.astype(jnp.int32), onehot, dtype=dtype)
    return jnp.concatenate([number_BxS.astype(dtype), each_BxCxO.sum(axis=1)], axis=-1)


def _replan(change: Callable[[Task, Plan], dict[str, Any]]) -> None:
    """Changes every plan of a run, and of a timed step."""
    before = fold_training.make_plan

    def planned(task: Task, sizes: Any) -> Plan:
        plan = before(task, sizes)
        return replace(plan, **change(task, plan))

    put(fold_training, ours, make_plan=planned)


def _convolved_text() -> None:
    def convolve_max(x_BxTxE: jax.Array, kernels: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        layout = ("NWC", "WIO", "NWC")
        each = [jax.lax.conv_general_dilated(x_BxTxE, k, (1,), "VALID", dimension_numbers=layout) for k in kernels]
        return tuple(y_BxPxF.max(axis=1) for y_BxPxF in each)

    put(textcnn, convolve_max=convolve_max)
    # As production would plan a tower of convolutions: XLA computes them slowly in a loop.
    _replan(lambda task, plan: {"scan": plan.scan and "text" not in task.spec.modalities})


def _derived_text(x_BxTxE: jax.Array, kernels: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    return text_convolution._forward(x_BxTxE, kernels)[0]


def _xla_1x1() -> None:
    fast = convolution.convolve

    def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
        return (convolution.plain_convolve if kernel.shape[0] == 1 else fast)(x, kernel, stride)

    put(convolution, convolve=convolve)


def _flax_norm() -> None:
    norm = densenet.NormReLU
    put(densenet, NormReLU=lambda **fields: norm(**fields | {"fast": False}))


def _compiled_when_needed() -> None:
    lock = threading.Lock()

    def start(self: Any, jobs: dict[Any, Any]) -> None:
        self.jobs = dict(jobs)

    def wait(self: Any, key: Any, stop: Any = None) -> None:
        del stop
        with lock:  # concurrent folds come here together
            for program in (getattr(self, "jobs", {}).pop(key, lambda: None)()) or ():
                program.compile()

    put(ahead.AheadOfTime, start=start, wait=wait)


def _chosen_leaves(condition: jax.Array, yes: Callable[..., Any], no: Callable[..., Any], *args: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes(*args), no(*args))


SWITCHES = {
    "same": Switch("nothing: what a ratio of equals scatters", lambda: None, (*EVERY, LARGE), FOLDS),
    "memory": Switch(
        "malloc as it is",
        partial(put, runtime, keep_memory=lambda: None),
        ("2", "6", "8", "mmae", LARGE),
        ("2", "8"),
    ),
    "threefry": Switch("jax's default generator", partial(_jax_random, "threefry2x32"), ("1", "2", "6", "8"), FOLDS),
    "rbg": Switch("jax's rbg generator", partial(_jax_random, "rbg"), ("1", "2", "6", "8"), FOLDS),
    "lookup": Switch(
        "first layer multiplies one-hot columns",
        partial(put, tabular, onehot_product=lambda *_: jax.lax.dot_general),
        TABLES,
        ("1",),
    ),
    "scatter": Switch("one-hot columns summed over groups", partial(put, tabular, onehot_vector=_summed_onehot), ("mmae",)),
    "text_conv": Switch("TextCNN by lax.conv, a program a step", _convolved_text, TEXTS),
    "text_taps": Switch("TextCNN's taps, derived by jax", partial(put, textcnn, convolve_max=_derived_text), TEXTS, ("2",)),
    "text_dense": Switch(
        "TextCNN's gradients by products",
        partial(put, text_convolution, picked_gradients=text_convolution.dense_gradients),
        TEXTS,
    ),
    "image": Switch("Flax's DenseNet", partial(put, image, on_cpu=lambda: False), PHOTOS, ("8",)),
    "max_pool": Switch(
        "Flax's max-pool", partial(put, convolution, max_pool=lambda x: nn.max_pool(x, (3, 3), (2, 2), "SAME")), PHOTOS
    ),
    "conv_3x3": Switch("XLA's 3x3 convolutions", partial(put, convolution, convolve_3x3=convolution.plain_convolve), PHOTOS),
    "conv_1x1": Switch("XLA's 1x1 convolutions", _xla_1x1, PHOTOS),
    "pixels": Switch(
        "XLA's convolution of pixels", partial(put, convolution, convolve_pixels=convolution.plain_convolve), (LARGE,)
    ),
    "norms": Switch("Flax's BatchNorm, statistics at each layer", _flax_norm, PHOTOS),
    "ahead": Switch(
        "programs compile when first called", partial(put, cross_validation, compile_ahead=lambda run: None), (), FOLDS
    ),
    "ahead_lazy": Switch("programs compile when waited for", _compiled_when_needed, (), FOLDS),
    "recycled": Switch("batches in new memory", partial(put, loader, Reused=lambda: arrays.in_memory), (), ("8",), ("photos",)),
    "threads": Switch("one fold after the other", partial(_replan, lambda task, plan: {"concurrent": 1}), (), FOLDS),
    "two_threads": Switch(
        "as many concurrent folds as cores",
        partial(_replan, lambda task, plan: {"concurrent": min(plan.concurrent, cores())}),
        (),
        FOLDS,
    ),
    "either": Switch("jnp.where for each leaf", partial(put, state, step, either=_chosen_leaves), EVERY, ("1", "8")),
    "step_by_step": Switch("convolutions in a loop of steps", partial(_replan, lambda task, plan: {"scan": True}), ("6", "8")),
    "scan": Switch("a program a step", partial(_replan, lambda task, plan: {"scan": False}), ("1", "2", "mmae")),
}
"""By name; `ALL` has one of those that exclude each other."""
ALL = (
    *("memory", "threefry", "lookup", "scatter", "text_conv", "image"),
    *("ahead", "recycled", "threads", "either"),
)


def switch_off(name: str) -> None:
    """Switches one off, or `all` of them but the loop over steps; `on` leaves this process as it is."""
    for each in ALL if name == "all" else () if name == "on" else (name,):
        SWITCHES[each].off()


def shown(pair: dict[str, list[float]]) -> str:
    """Median, least and largest of the rounds' ratios; the ratio of the fastest rounds, and of the least processor time."""
    wall = spread([b / a for a, b in zip(pair["on"], pair["off"], strict=True)])
    best, cpu = (min(pair[f"off{clock}"]) / min(pair[f"on{clock}"]) for clock in ("", "_cpu"))
    return f"{wall['median']:.2f} ({wall['min']:.2f}-{wall['max']:.2f}), best {best:.2f}, cpu {cpu:.2f}"


def table(files: Sequence[dict[str, Any]]) -> str:
    """Markdown: a line a variant, a column for each row and part."""
    cells: dict[tuple[str, str], dict[str, list[float]]] = {}
    for label, case in (item for file in files for item in file["cases"].items()):
        for name, found in case["variants"].items():
            for kind, pair in ((k, v) for k, v in found.items() if k not in ("failed", "compile_s")):
                cell = cells.setdefault((name, f"{label.split('_')[1]} {kind}"), {})
                for clock, values in pair.items():
                    cell[clock] = cell.get(clock, []) + values
    columns = list(dict.fromkeys(column for _, column in cells))
    lines = [f"| off | instead | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns)]
    instead = {name: s.instead for name, s in SWITCHES.items()} | {"all": "all of these, but the loop over steps"}
    for name in (n for n in instead if any(n == known for known, _ in cells)):
        values = (shown(cells[name, c]) if (name, c) in cells else "-" for c in columns)
        lines.append(f"| {name} | {instead[name]} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"
