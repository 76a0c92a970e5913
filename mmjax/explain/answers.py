"""One fold's answers about encoded rows, as they are and as they would be without a modality."""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from mmjax.errors import WorkdirError
from mmjax.inference import Ensemble, Member
from mmjax.modalities.base import Batch
from mmjax.tasks.base import Task

Arrays = dict[str, np.ndarray]
_ROWS, _FEWEST, _ANSWERS, _CODED = 64, 4, 4096, 64
"""Most and fewest rows of a pass; most (variant, row) pairs of a pass, and where an autoencoder computes codes for each."""


_LEAST = 1e-12
"""Smallest probability whose logarithm is taken."""


class FoldAnswers:
    """A fold's model and encoded rows.

    Attributes:
      arrays: of N rows, see mmjax/modalities/base.py.
    """

    def __init__(self, ensemble: Ensemble, member: Member, arrays: Arrays):
        """The fold's parameters are put on the device once.

        Raises:
          WorkdirError: the ensemble predicts no classes.
        """
        *self._before, self._task = ensemble.chain
        if not self._task.predicts_classes:
            raise WorkdirError(f"this workdir trained the task {self._task.name} alone: it predicts no classes to explain.")
        self.arrays, self._ensemble, self._member = arrays, ensemble, member
        self._parameters = jax.device_put(member.parameters)

    def __len__(self) -> int:
        return len(self.arrays["label"])

    @property
    def classes(self) -> int:
        """K."""
        return len(self._task.spec.classes)

    def part(self, rows: slice) -> "FoldAnswers":
        """Consecutive rows, as views."""
        part = copy.copy(self)
        part.arrays = {name: values[rows] for name, values in self.arrays.items()}
        return part

    def probabilities(self, changed: Mapping[str, np.ndarray] | None = None) -> Float[np.ndarray, "N K"]:
        """Class probabilities of every row, or of rows that are otherwise alike but for some arrays."""
        arrays = self.arrays | dict(changed or {})
        rows = np.arange(len(arrays["label"]))
        size = min(_ROWS, _power(len(rows)))
        return self._task.probabilities(self._ensemble.outputs(self._member, self._parameters, arrays, rows, size))

    def metrics(self, p_NxK: Float[np.ndarray, "N K"]) -> dict[str, float]:
        """The task's metrics of every row with a label, from probabilities."""
        return self._task.metrics(self.arrays["label"], {"logits": np.log(np.maximum(p_NxK, _LEAST))})

    def masked(self, keep_SxM: Bool[np.ndarray, "S M"]) -> Float[np.ndarray, "S N K"]:
        """Class probabilities of every row where a mask keeps some of its modalities; absent ones stay absent.

        A frozen autoencoder's codes are computed anew, or an absent photo would speak through them.
        """
        return self.varied({"present": keep_SxM[:, None] & self.arrays["present"]})

    def varied(self, changed: Mapping[str, np.ndarray]) -> Float[np.ndarray, "S N K"]:
        """Class probabilities of every row under S variants of some arrays; what they do not change is computed once.

        Args:
          changed: by name, each S x N x ...
        """
        # Powers of two: a program is compiled for each size, and compiling takes longer than answering.
        variants, size = len(next(iter(changed.values()))), min(_ROWS, max(_FEWEST, _power(len(self))))
        step = min(_power(variants), max(1, (_CODED if self._task.code_width else _ANSWERS) // size))
        program = _varied(self._task, self._before[-1] if self._task.code_width else None)
        variables = [(p.params, p.batch_stats) for p in (self._parameters[task.name] for task in self._chain())]
        found_SxNxK = np.zeros((variants, len(self), self.classes))
        for start, rows_B, batch in _batches(self.arrays, size):
            count = min(size, len(self) - start)
            for at in range(0, variants, step):
                some_s = np.resize(np.arange(at, min(at + step, variants)), step)
                own = {name: values[some_s][:, rows_B] for name, values in changed.items()}
                logits_sxBxK = np.asarray(program(variables, batch | self._constant, own))
                for i, s in enumerate(range(at, min(at + step, variants))):
                    seen = {name: values[:count] for name, values in (batch | {n: v[i] for n, v in own.items()}).items()}
                    out = self._ensemble.blended(self._member, seen, {"logits": logits_sxBxK[i, :count]})
                    found_SxNxK[s, start : start + count] = self._task.probabilities(out)
        return found_SxNxK

    def gradient(self, name: str, values_BxX: np.ndarray, others: Arrays, class_index: int) -> np.ndarray:
        """How a class's probability of each of B rows changes with the values of one array of theirs.

        Args:
          name: of the array, such as `image/pixel`.
          values_BxX: float32, what stands in its place.
          others: the rows' other arrays.
          class_index: k.
        """
        program = _gradient(self._task, self._before[-1] if self._task.code_width else None, name)
        variables = [(p.params, p.batch_stats) for p in (self._parameters[task.name] for task in self._chain())]
        weight = {"weight": np.ones(len(values_BxX), np.float32)}
        gradient = np.asarray(program(variables, others | weight | self._constant, values_BxX, class_index))
        blend = self._member.blend  # trees do not look at pictures
        return gradient if blend is None else (1 - blend.weight) * gradient

    def _chain(self) -> list[Task]:
        return [*(self._before[-1:] if self._task.code_width else []), self._task]

    @functools.cached_property
    def _constant(self) -> Arrays:
        return self._ensemble.constants(self._member, self.arrays["label"])


def _power(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


def _batches(arrays: Arrays, size: int) -> Iterator[tuple[int, Int[np.ndarray, " B"], Batch]]:
    """Blocks of `size` rows: the first one's number, all of them, and a batch; the last is filled up with its first row."""
    count = len(arrays["label"])
    for start in range(0, count, size):
        rows = np.arange(start, start + size)
        rows = np.where(rows < count, rows, start)
        yield start, rows, {k: v[rows] for k, v in arrays.items()} | {"weight": np.ones(size, np.float32)}


def _logits(last: Task, coder: Task | None, variables: Any, batch: Batch) -> Float[jax.Array, "B K"]:
    """Of a batch whose codes, if there are any, are computed from what it holds."""
    params, batch_stats = variables[-1]
    if coder is not None:
        coder_params, coder_stats = variables[0]
        batch = batch | {"codes": coder.outputs(coder_params, coder_stats, batch)["h_mm"]}
    return last.outputs(params, batch_stats, batch)["logits"]


@functools.cache
def _varied(last: Task, coder: Task | None) -> Callable:
    """Compiled: variables, batch, S variants of some arrays -> logits S x B x K; towers that see none of them run once."""

    def answer(variables: Any, batch: Batch, changed: dict[str, jax.Array]) -> jax.Array:
        return jax.vmap(lambda own: _logits(last, coder, variables, batch | own))(changed)

    return jax.jit(answer)


@functools.cache
def _gradient(last: Task, coder: Task | None, name: str) -> Callable:
    """Compiled: variables, batch, values of `name`, class index -> gradient of each row's probability of the class."""

    def probability(values: jax.Array, variables: Any, batch: Batch, class_index: jax.Array) -> jax.Array:
        logits_BxK = _logits(last, coder, variables, batch | {name: values})
        return jnp.sum(jax.nn.softmax(logits_BxK, axis=-1)[:, class_index])  # rows do not know one another

    return jax.jit(lambda variables, batch, values, k: jax.grad(probability)(values, variables, batch, k))
