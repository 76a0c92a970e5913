"""The autoencoder (paper, section 3.1): reconstructs every modality; its codes may feed a classifier (rows #7, #8, Table 2)."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.config import Settings
from mmjax.errors import ConfigError
from mmjax.modalities.base import Batch, InputSpec
from mmjax.modalities.shapes import blank_batch
from mmjax.models.autoencoder import Autoencoder, MultiModalAutoencoder, Target, squared_error
from mmjax.models.denoising import DenoisingAutoencoder
from mmjax.ops import prng
from mmjax.registry import register_task
from mmjax.tasks.base import Task, digits
from mmjax.tasks.error_parts import error_histograms
from mmjax.tasks.parts import Part
from mmjax.tasks.terms import Term, WeightedTerm, mean_of, sums_of

if TYPE_CHECKING:
    import pandas as pd


@register_task("autoencoder")
class Reconstruction(Task):
    """Mean squared error of each modality over the values that count; of a denoising one, each modality's own error."""

    stream = 0
    trains_on_every_row = True

    @classmethod
    def check(cls, settings: Settings) -> None:
        """There must be an autoencoder."""
        if settings.model.autoencoder.kind == "none":
            raise ConfigError("config.task is autoencoder but config.model.autoencoder.kind is none; use mmae, for one.")

    @classmethod
    def build(cls, settings: Settings, spec: InputSpec, axis_name: str | None) -> Autoencoder:
        """The autoencoder of `config.model.autoencoder`."""
        auto, found = settings.model.autoencoder, targets(settings, spec)
        common: dict[str, Any] = {"targets": found, "modalities": spec.modalities, "train_table": auto.train_table}
        common["dtype"] = jnp.dtype(settings.train.dtype)
        if auto.kind == "denoising":
            parts = {n: tuple(m.arrays(sizes)) for n, m, sizes in spec.each() if n in found}
            own = auto.denoising
            return DenoisingAutoencoder(
                **common, rows=parts, hidden=own.hidden, code=own.code, noise=own.noise, axis_name=axis_name
            )
        return MultiModalAutoencoder(
            **common,
            shared=auto.kind == "mmae",
            hidden=auto.hidden,
            code=auto.code,
            code_activation=auto.code_activation,
            bottleneck_activation=auto.bottleneck_activation,
        )

    @classmethod
    def title(cls, settings: Settings) -> str:
        """The kind of autoencoder."""
        names = {"mmae": "MMAE", "independent": "AE", "denoising": "denoising AE"}
        return names.get(settings.model.autoencoder.kind, cls.name)

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

    @cached_property
    def kept(self) -> tuple[Any, Any]:
        """Without the decoders, if codes are all that the next task reads: half of the parameters."""
        if not self._codes_alone:
            return self.variables
        init = partial(self.module.init, method="encode")
        return jax.eval_shape(init, prng.KEY, blank_batch(self.spec, 2))["params"], {}

    def losses(
        self, params: Any, batch_stats: Any, batch: Batch, key: Array | None
    ) -> tuple[dict[str, WeightedTerm], dict[str, Array], Any]:
        """One term a modality."""
        out, batch_stats = self.apply(params, batch_stats, batch, key)
        terms = reconstruction_terms(self.settings, out, batch["weight"], 1.0)
        return terms, sums_of(terms), batch_stats

    def outputs(self, params: Any, batch_stats: Any, batch: Batch) -> dict[str, Array]:
        """`h_mm`, and each modality's `error_` and `count_` per row, unless codes are all that the next task reads."""
        if self._codes_alone:
            code: Any = self.module.apply({"params": params}, batch, method="encode")
            return {"h_mm": code}
        out, _ = self.apply(params, batch_stats, batch, None)
        rows = {"h_mm": out["h_mm"]}
        for name, prediction_BxD in out["prediction"].items():
            if "error" in out:
                rows[f"error_{name}"], rows[f"count_{name}"] = out["error"][name], out["count"][name]
            else:
                found = squared_error(prediction_BxD, out["target"][name], out["target_weight"][name])
                rows[f"error_{name}"], rows[f"count_{name}"] = found
        return rows

    def monitored(self, sums: dict[str, Array]) -> Array:
        """Minus the weighted error."""
        weights = self.settings.model.autoencoder.weights
        return -jnp.asarray(sum(weights.get(m, 1.0) * mean_of(sums, m) for m in self._names))

    def metrics(self, label_N: np.ndarray, out: Mapping[str, np.ndarray]) -> dict[str, float]:
        """mse_<modality> over the values that count; dead_units: share of h_mm's that are the same in every row.

        Of a denoising autoencoder they are called error_<modality>: a table's categories have a cross-entropy.
        """
        del label_N
        sums = {n: tuple(out[f"{part}_{n}"].sum(dtype=np.float64) for part in ("error", "count")) for n in self._names}
        errors = {f"{self._error}_{n}": float(error / max(count, 1e-12)) for n, (error, count) in sums.items()}
        return errors | {"dead_units": float(np.mean(np.ptp(out["h_mm"], axis=0) == 0))}

    def prediction_columns(self, label_N: np.ndarray, out: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """mse_<modality>, or error_<modality>, of each row."""
        del label_N
        counts = {n: np.maximum(out[f"count_{n}"].astype(np.float64), 1.0) for n in self._names}
        return {f"{self._error}_{n}": digits(out[f"error_{n}"] / count) for n, count in counts.items()}

    @classmethod
    def parts(cls, predictions: "pd.DataFrame", classes: Sequence[str]) -> list[Part]:
        """How large the errors of rows are, by modality."""
        del classes
        names = [name for name in predictions.columns if name.startswith(("mse_", "error_"))]
        return [*error_histograms(predictions, names)]

    @property
    def _codes_alone(self) -> bool:
        return self.settings.task != self.name and self.settings.model.autoencoder.mode == "frozen"

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """Modalities that are reconstructed."""
        return tuple(targets(self.settings, self.spec))

    @property
    def _error(self) -> str:
        return "error" if self.settings.model.autoencoder.kind == "denoising" else "mse"


def targets(settings: Settings, spec: InputSpec) -> dict[str, Target]:
    """What is reconstructed, by modality: of those that say something without knowing labels.

    Raises:
      ConfigError: there is none.
    """
    found = {name: modality.target(sizes, settings.model) for name, modality, sizes in spec.each()}
    if found := {name: target for name, target in found.items() if target.size}:
        return found
    raise ConfigError(
        f"config.model.autoencoder.kind is {settings.model.autoencoder.kind!r}, but {', '.join(spec.modalities)} hold nothing "
        "that an autoencoder reads; add a modality, or set it to none."
    )


def code_width(settings: Settings, spec: InputSpec) -> int:
    """Length of h_mm: M k (paper, equation 5), or the one code of a denoising autoencoder."""
    auto = settings.model.autoencoder
    return auto.denoising.code if auto.kind == "denoising" else len(targets(settings, spec)) * auto.code


def reconstruction_terms(settings: Settings, out: dict, weight_B: Float[Array, " B"], scale: float) -> dict[str, WeightedTerm]:
    """Weighted squared errors (paper, section 3.1, equations 4 and 7): alpha, beta, gamma are `autoencoder.weights`."""
    weights = settings.model.autoencoder.weights
    return {m: WeightedTerm(scale * weights.get(m, 1.0), *t) for m, t in reconstruction_errors(out, weight_B).items()}


def reconstruction_errors(out: dict, weight_B: Float[Array, " B"]) -> dict[str, Term]:
    """Squared error of every modality's reconstruction; a denoising autoencoder's own errors.

    Args:
      out: what the autoencoder returns: `prediction`, `target` and `target_weight` by modality, each B x D.
      weight_B: 1 for a row that counts, 0 for padding.

    Returns:
      By modality, the weighted sum of squared errors and the number of values that count.
    """
    if "error" in out:
        return {n: (jnp.sum(e_B * weight_B), jnp.sum(out["count"][n] * weight_B)) for n, e_B in out["error"].items()}
    terms = {}
    for name, prediction_BxD in out["prediction"].items():
        weight_BxD = jnp.broadcast_to(out["target_weight"][name] * weight_B[:, None], prediction_BxD.shape)
        error_BxD = prediction_BxD.astype(jnp.float32) - out["target"][name].astype(jnp.float32)
        terms[name] = (jnp.sum(weight_BxD * error_BxD**2), jnp.sum(weight_BxD))
    return terms
