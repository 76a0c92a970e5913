"""From settings and sizes to unbound modules."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.batch import IMAGE, IMAGE_FEATURES, TABULAR, TEXT, InputSpec
from mmjax.config import ModelSettings
from mmjax.models.autoencoder import MultiModalAutoencoder
from mmjax.models.classifier import MultiModalClassifier
from mmjax.models.densenet import DenseNet
from mmjax.models.mlp import MLP
from mmjax.models.textcnn import TextCNN

CLASSIFIER_TABLE = ("tower_text", "embedding")
"""Where the classifier's word vectors lie in its parameters."""
AUTOENCODER_TABLE = ("text_table",)
"""Where the autoencoder's word vectors lie in its parameters."""


def build_classifier(
    model: ModelSettings, spec: InputSpec, *, dtype: str = "float32", axis_name: str | None = None
) -> MultiModalClassifier:
    """The classifier of `config.model`.

    Args:
      model: settings.
      spec: sizes of the inputs.
      dtype: compute dtype; parameters stay float32.
      axis_name: device axis that BatchNorm and dropout share a batch over, or None.
    """
    auto = model.autoencoder
    codes = "none" if auto.kind == "none" else {"frozen": "batch", "finetune": "encoder", "joint": "joint"}[auto.mode]
    return MultiModalClassifier(
        spec=spec,
        fusion=model.fusion,
        towers={n: _tower(n, model, spec, jnp.dtype(dtype), axis_name) for n in spec.modalities},
        codes=codes,
        coder=build_autoencoder(model, spec, dtype=dtype) if codes in ("encoder", "joint") else None,
        code_norm=auto.code_norm,
        dtype=jnp.dtype(dtype),
    )


def build_autoencoder(
    model: ModelSettings, spec: InputSpec, *, dtype: str = "float32", axis_name: str | None = None
) -> MultiModalAutoencoder:
    """The autoencoder of `config.model.autoencoder`; it has nothing to share over a device axis."""
    del axis_name
    auto = model.autoencoder
    return MultiModalAutoencoder(
        spec=spec,
        shared=auto.kind == "mmae",
        hidden=auto.hidden,
        code=auto.code,
        embed_dim=model.text.embed_dim,
        embed_scale=model.text.embed_scale,
        train_table=auto.train_table,
        dtype=jnp.dtype(dtype),
    )


def fast_image(choice: str) -> bool:
    """Whether the image tower takes its CPU formulation: where the backend is a CPU, unless the config says."""
    return {"on": True, "off": False, "auto": jax.default_backend() == "cpu"}[choice]


def _tower(name: str, model: ModelSettings, spec: InputSpec, dtype: jnp.dtype, axis_name: str | None) -> nn.Module:
    # parent=None: built here, bound by the classifier.
    if name == TABULAR:
        return MLP((*model.tabular_hidden, model.width), model.tabular_dropout, dtype, axis_name, parent=None)
    if name == IMAGE_FEATURES:
        return MLP((*model.features_hidden, model.width), model.features_dropout, dtype, axis_name, parent=None)
    if name == TEXT:
        text = model.text
        return TextCNN(
            vocabulary=spec.vocabulary,
            embed_dim=text.embed_dim,
            widths=text.widths,
            maps=text.maps,
            dropout=text.dropout,
            width=model.width,
            embed_scale=text.embed_scale,
            train_embedding=text.train_embedding,
            dtype=dtype,
            axis_name=axis_name,
            parent=None,
        )
    assert name == IMAGE
    image = model.image
    return DenseNet(
        growth=image.growth,
        layers=image.layers,
        compression=image.compression,
        stem=image.stem,
        width=model.width,
        fast=fast_image(image.fast),
        dtype=dtype,
        axis_name=axis_name,
        momentum=image.momentum,
        parent=None,
    )
