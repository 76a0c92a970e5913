"""Autoencoders (paper, section 3.1, equations 1 to 7): independent ones, or the multi-modal one that shares its code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.models.inputs import inputs_of, presence
from mmjax.models.mlp import dense_init

ACTIVATIONS = {"linear": lambda x: x, "relu": nn.relu, "leaky_relu": nn.leaky_relu, "elu": nn.elu, "silu": nn.silu}
"""By name in `config.model.autoencoder`."""


@dataclass(frozen=True)
class Target:
    """What is reconstructed of a modality.

    Attributes:
      size: D_i, the length of its flattened input; 0: an autoencoder leaves the modality out.
      flatten: (its inputs by part, its parameters, dtype) -> x_i, B x D_i.
      weight: (its inputs by part, B x 1 presence) -> 1 for a value that counts in the loss, B x D_i or B x 1.
      parameters: initialiser and shape of what `flatten` needs, by name; they do not train unless the config says so.
      column_error: (prediction of x_i, x_i, its inputs by part) -> sum of a row's errors over the columns of the table that x_i
        stands for, and how many there are, each B; None: the squared error of each value of x_i. The paper's are squared.
    """

    size: int
    flatten: Callable[[Mapping[str, Array], Mapping[str, Array], Any], Float[Array, "B D"]]
    weight: Callable[[Mapping[str, Array], Float[Array, "B 1"]], Float[Array, "B D"]] = lambda _, present_Bx1: present_Bx1
    parameters: Mapping[str, tuple[Callable, tuple[int, ...]]] = field(default_factory=dict)
    column_error: Callable[[Array, Array, Mapping[str, Array]], tuple[Float[Array, " B"], Float[Array, " B"]]] | None = None

    __hash__ = object.__hash__


def squared_error(
    prediction_BxD: Float[Array, "B D"], target_BxD: Float[Array, "B D"], weight_BxD: Float[Array, "B D"]
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """Sum of each row's weighted squared errors, and of its weights, which may be B x 1."""
    weight_BxD = jnp.broadcast_to(weight_BxD, prediction_BxD.shape)
    return jnp.sum(weight_BxD * (prediction_BxD - target_BxD) ** 2, axis=1), jnp.sum(weight_BxD, axis=1)


class Autoencoder(nn.Module):
    """What the kinds share: they read every modality that has a target, as a vector x_i.

    Attributes:
      targets: what is reconstructed, by modality, in canonical order.
      modalities: of the batch, in the order of `present`; (): those of `targets`.
      train_table: a target's parameters train through the encoder; the target is a constant either way: one that may move
        collapses.
      dtype: compute dtype; parameters stay float32.
    """

    targets: dict[str, Target]
    modalities: tuple[str, ...] = ()
    train_table: bool = False
    dtype: jnp.dtype = jnp.dtype("float32")

    def make_tables(self) -> None:
        """The targets' own parameters; `setup` calls it."""
        self.tables = {
            n: {key: self.param(f"{n}_{key}", init, shape) for key, (init, shape) in t.parameters.items()}
            for n, t in self.targets.items()
        }

    def flattened(self, batch: dict[str, Any]) -> dict[str, Float[Array, "B D"]]:
        """x_i of every modality."""
        tables = self.tables if self.train_table else jax.lax.stop_gradient(self.tables)
        return {n: t.flatten(inputs_of(batch, n), tables[n], self.dtype) for n, t in self.targets.items()}

    def present(self, batch: dict[str, Any], name: str) -> Float[Array, "B 1"]:
        """1 where the row has the modality."""
        return presence(batch, self.modalities or tuple(self.targets), name)


class MultiModalAutoencoder(Autoencoder):
    """Encoders f_i: x_i -> 512 -> 64 = h_i, decoders g_i: code -> 64 -> 512 -> x̂_i, ReLU between, a linear output.

    Attributes:
      shared: True: every decoder reads h_mm = [h_1 ; h_2 ; ...] (MMAE, row #8); False: its own h_i (AE feature, row #7).
      hidden: 512.
      code: k = 64.
      code_activation: of h_i, a name of ACTIVATIONS; a ReLU's unit that is 0 for every row learns no more.
      bottleneck_activation: of a decoder's first layer, as wide as one h_i.
    """

    shared: bool = True
    hidden: int = 512
    code: int = 64
    code_activation: str = "relu"
    bottleneck_activation: str = "relu"

    def setup(self) -> None:
        """Names every layer, so that a trained autoencoder can be copied into a classifier."""

        def dense(size: int, name: str) -> nn.Dense:
            return nn.Dense(size, dtype=self.dtype, kernel_init=dense_init, name=name)

        self.make_tables()
        self.encoders = {n: (dense(self.hidden, f"encode_{n}_0"), dense(self.code, f"encode_{n}_1")) for n in self.targets}
        self.decoders = {
            n: (
                dense(self.code, f"decode_{n}_0"),
                dense(self.hidden, f"decode_{n}_1"),
                dense(target.size, f"decode_{n}_2"),
            )
            for n, target in self.targets.items()
        }

    def codes(self, batch: dict[str, Any], inputs: dict[str, Array]) -> list[Float[Array, "B k"]]:
        """h_i of every modality; zero where it is absent."""
        codes = []
        for name, x_BxD in inputs.items():
            first, second = self.encoders[name]
            h_Bxk = ACTIVATIONS[self.code_activation](second(nn.relu(first(x_BxD))))
            codes.append(h_Bxk * self.present(batch, name).astype(h_Bxk.dtype))
        return codes

    def encode(self, batch: dict[str, Any]) -> Float[Array, "B Mk"]:
        """h_mm (equation 5), or the independent codes side by side: the same size, 3k."""
        return jnp.concatenate(self.codes(batch, self.flattened(batch)), axis=-1).astype(jnp.float32)

    def __call__(self, batch: dict[str, Any], *, train: bool = False) -> dict:
        """Reconstructs every modality.

        Returns:
          `h_mm` B x Mk, and by modality `prediction`, `target`, `target_weight`, each B x D_i or broadcastable to it. A
          weight is 0 for an absent modality and for a value that its modality does not count.
        """
        del train  # no dropout and no BatchNorm: both modes are the same
        inputs = self.flattened(batch)
        codes = self.codes(batch, inputs)
        h_mm_BxMk = jnp.concatenate(codes, axis=-1)
        out = {"h_mm": h_mm_BxMk.astype(jnp.float32), "prediction": {}, "target": {}, "target_weight": {}}
        for i, (name, x_BxD) in enumerate(inputs.items()):
            first, second, last = self.decoders[name]
            code = h_mm_BxMk if self.shared else codes[i]
            bottleneck_Bxk = ACTIVATIONS[self.bottleneck_activation](first(code))
            out["prediction"][name] = last(nn.relu(second(bottleneck_Bxk))).astype(jnp.float32)
            out["target"][name] = jax.lax.stop_gradient(x_BxD).astype(jnp.float32)
            out["target_weight"][name] = self.targets[name].weight(inputs_of(batch, name), self.present(batch, name))
        return out
