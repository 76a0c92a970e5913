"""The autoencoder (paper, section 3.1): reconstructs every modality; its codes may feed a classifier (rows #7, #8, Table 2)."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.config import Settings
from mmjax.errors import ConfigError
from mmjax.modalities.base import Batch, InputSpec
from mmjax.models.autoencoder import MultiModalAutoencoder
from mmjax.registry import register_task
from mmjax.tasks.base import Task, Term, WeightedTerm, digits, mean_of, sums_of


@register_task("autoencoder")
class Reconstruction(Task):
    """Mean squared error of each modality over the values that count."""

    stream = 0

    @classmethod
    def check(cls, settings: Settings) -> None:
        """There must be an autoencoder."""
        if settings.model.autoencoder.kind == "none":
            raise ConfigError("config.task is autoencoder but config.model.autoencoder.kind is none; use independent or mmae.")

    @classmethod
    def build(cls, settings: Settings, spec: InputSpec, axis_name: str | None) -> MultiModalAutoencoder:
        """The autoencoder of `config.model.autoencoder`; it has nothing to share over a device axis."""
        del axis_name
        model, auto = settings.model, settings.model.autoencoder
        return MultiModalAutoencoder(
            targets={name: modality.target(sizes, model) for name, modality, sizes in spec.each()},
            shared=auto.kind == "mmae",
            hidden=auto.hidden,
            code=auto.code,
            train_table=auto.train_table,
            dtype=jnp.dtype(settings.train.dtype),
            code_activation=auto.code_activation,
            bottleneck_activation=auto.bottleneck_activation,
        )

    @property
    def max_epochs(self) -> int:
        """Its own."""
        return self.settings.train.autoencoder_max_epochs

    @property
    def patience(self) -> int:
        """Its own."""
        return self.settings.train.autoencoder_patience

    @property
    def learning_rate(self) -> float:
        """Its own."""
        return self.settings.optim.autoencoder_learning_rate

    def losses(
        self, params: Any, batch_stats: Any, batch: Batch, key: Array | None
    ) -> tuple[dict[str, WeightedTerm], dict[str, Array], Any]:
        """One term a modality."""
        out, batch_stats = self.apply(params, batch_stats, batch, key)
        terms = reconstruction_terms(self.settings, out, batch["weight"], 1.0)
        return terms, sums_of(terms), batch_stats

    def outputs(self, params: Any, batch_stats: Any, batch: Batch) -> dict[str, Array]:
        """`h_mm`, and each modality's `error_` and `count_` per row."""
        out, _ = self.apply(params, batch_stats, batch, None)
        rows = {"h_mm": out["h_mm"]}
        for name, prediction_BxD in out["prediction"].items():
            weight_BxD = jnp.broadcast_to(out["target_weight"][name], prediction_BxD.shape)
            rows[f"error_{name}"] = jnp.sum(weight_BxD * (prediction_BxD - out["target"][name]) ** 2, axis=1)
            rows[f"count_{name}"] = jnp.sum(weight_BxD, axis=1)
        return rows

    def monitored(self, sums: dict[str, Array]) -> Array:
        """Minus the weighted error."""
        weights = self.settings.model.autoencoder.weights
        return -jnp.asarray(sum(weights.get(m, 1.0) * mean_of(sums, m) for m in self.spec.modalities))

    def metrics(self, label_N: np.ndarray, out: Mapping[str, np.ndarray]) -> dict[str, float]:
        """mse_<modality> over the values that count; dead_units: share of h_mm's that are the same in every row."""
        del label_N
        sums = {n: tuple(out[f"{part}_{n}"].sum(dtype=np.float64) for part in ("error", "count")) for n in self.spec.modalities}
        errors = {f"mse_{n}": float(error / count) for n, (error, count) in sums.items()}
        return errors | {"dead_units": float(np.mean(np.ptp(out["h_mm"], axis=0) == 0))}

    def prediction_columns(self, label_N: np.ndarray, out: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """mse_<modality> of each row."""
        del label_N
        counts = {n: np.maximum(out[f"count_{n}"].astype(np.float64), 1.0) for n in self.spec.modalities}
        return {f"mse_{n}": digits(out[f"error_{n}"] / count) for n, count in counts.items()}


def reconstruction_terms(settings: Settings, out: dict, weight_B: Float[Array, " B"], scale: float) -> dict[str, WeightedTerm]:
    """Weighted squared errors (paper, section 3.1, equations 4 and 7): alpha, beta, gamma are `autoencoder.weights`."""
    weights = settings.model.autoencoder.weights
    return {m: WeightedTerm(scale * weights.get(m, 1.0), *t) for m, t in squared_errors(out, weight_B).items()}


def squared_errors(out: dict, weight_B: Float[Array, " B"]) -> dict[str, Term]:
    """Squared error of every modality's reconstruction.

    Args:
      out: what the autoencoder returns: `prediction`, `target` and `target_weight` by modality, each B x D.
      weight_B: 1 for a row that counts, 0 for padding.

    Returns:
      By modality, the weighted sum of squared errors and the number of values that count.
    """
    terms = {}
    for name, prediction_BxD in out["prediction"].items():
        weight_BxD = jnp.broadcast_to(out["target_weight"][name] * weight_B[:, None], prediction_BxD.shape)
        error_BxD = prediction_BxD.astype(jnp.float32) - out["target"][name].astype(jnp.float32)
        terms[name] = (jnp.sum(weight_BxD * error_BxD**2), jnp.sum(weight_BxD))
    return terms
