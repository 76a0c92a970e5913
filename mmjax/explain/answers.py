"""One fold's answers about encoded rows, as they are and as they would be without a modality."""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from mmjax.errors import WorkdirError
from mmjax.inference import Ensemble, Member
from mmjax.modalities.base import Batch
from mmjax.tasks.base import Task

Arrays = dict[str, np.ndarray]
_ROWS, _ANSWERS, _CODED = 64, 4096, 64
"""Rows of a pass; most (mask, row) pairs of a pass, and most where an autoencoder computes codes for each pair."""


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
        return self._task.probabilities(self._outputs(self.arrays | dict(changed or {})))

    def metrics(self, changed: Mapping[str, np.ndarray] | None = None) -> dict[str, float]:
        """The task's metrics of every row."""
        return self._task.metrics(self.arrays["label"], self._outputs(self.arrays | dict(changed or {})))

    def masked(self, keep_SxM: Bool[np.ndarray, "S M"]) -> Float[np.ndarray, "S N K"]:
        """Class probabilities of every row where a mask keeps some of its modalities; absent ones stay absent.

        A frozen autoencoder's codes are computed anew, or an absent photo would speak through them.
        """
        size = min(_ROWS, 1 << (len(self) - 1).bit_length())
        step = max(1, (_CODED if self._task.code_width else _ANSWERS) // size)
        program = _masked(self._task, self._before[-1] if self._task.code_width else None)
        variables = [(p.params, p.batch_stats) for p in (self._parameters[task.name] for task in self._chain())]
        found_SxNxK = np.zeros((len(keep_SxM), len(self), self.classes))
        for start, batch in _batches(self.arrays, size):
            rows = slice(start, min(start + size, len(self)))
            for at in range(0, len(keep_SxM), step):
                keep_sxM = np.resize(keep_SxM[at : at + step], (min(step, len(keep_SxM)), keep_SxM.shape[1]))
                logits = program(variables, batch | self._constant, keep_sxM[:, None] & batch["present"])
                count = min(step, len(keep_SxM) - at)
                for s, logits_BxK in enumerate(np.asarray(logits)[:count], at):
                    seen = {name: values[: rows.stop - start] for name, values in batch.items()}
                    seen["present"] = seen["present"] & keep_SxM[s]
                    out = {"logits": logits_BxK[: rows.stop - start]}
                    found_SxNxK[s, rows] = self._task.probabilities(self._ensemble.blended(self._member, seen, out))
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

    def _outputs(self, arrays: Arrays) -> Arrays:
        rows = np.arange(len(arrays["label"]))
        size = min(_ROWS, 1 << (len(rows) - 1).bit_length())
        return self._ensemble.outputs(self._member, self._parameters, arrays, rows, size)


def _batches(arrays: Arrays, size: int) -> Iterator[tuple[int, Batch]]:
    """Blocks of `size` rows; the last one is filled up with its first row."""
    count = len(arrays["label"])
    for start in range(0, count, size):
        rows = np.arange(start, start + size)
        rows = np.where(rows < count, rows, start)
        yield start, {k: v[rows] for k, v in arrays.items()} | {"weight": np.ones(size, np.float32)}


def _logits(last: Task, coder: Task | None, variables: Any, batch: Batch) -> Float[jax.Array, "B K"]:
    """Of a batch whose codes, if there are any, are computed from what it holds."""
    params, batch_stats = variables[-1]
    if coder is not None:
        coder_params, coder_stats = variables[0]
        batch = batch | {"codes": coder.outputs(coder_params, coder_stats, batch)["h_mm"]}
    return last.outputs(params, batch_stats, batch)["logits"]


@functools.cache
def _masked(last: Task, coder: Task | None) -> Callable:
    """Compiled: variables, batch, presence S x B x M -> logits S x B x K; towers do not see presence and run once."""

    def answer(variables: Any, batch: Batch, present_SxBxM: jax.Array) -> jax.Array:
        return jax.vmap(lambda present_BxM: _logits(last, coder, variables, batch | {"present": present_BxM}))(present_SxBxM)

    return jax.jit(answer)


@functools.cache
def _gradient(last: Task, coder: Task | None, name: str) -> Callable:
    """Compiled: variables, batch, values of `name`, class index -> gradient of each row's probability of the class."""

    def probability(values: jax.Array, variables: Any, batch: Batch, class_index: jax.Array) -> jax.Array:
        logits_BxK = _logits(last, coder, variables, batch | {name: values})
        return jnp.sum(jax.nn.softmax(logits_BxK, axis=-1)[:, class_index])  # rows do not know one another

    return jax.jit(lambda variables, batch, values, k: jax.grad(probability)(values, variables, batch, k))
