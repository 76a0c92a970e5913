"""Settings refuse what they do not know, with the key and the value in the sentence."""

import re
from pathlib import Path

import pytest

from mmjax.config import Settings
from mmjax.configs import get_config
from mmjax.configs.base import VARIANTS
from mmjax.errors import ConfigError

ROWS = "tabular text image concat concat_discretized attention ae_attention mmae_attention".split()


def test_the_kind_of_attention_needs_attention():
    """Broken if a run that was asked for scaled attention trains without any, and nobody is told."""
    with pytest.raises(ConfigError, match="has no effect: config.model.fusion is 'concatenate'"):
        get_config("recommended", {"model.attention": "scaled"})
    for fusion in ("attention", "gated"):
        allowed = {"model.fusion": fusion} | ({"model.attention": "scaled"} if fusion == "attention" else {})
        assert get_config("recommended", allowed).model.fusion == fusion


def test_round_trip():
    settings = Settings()
    assert Settings.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": {"epochs": 3}}, "config.train.epochs is not a setting"),
        ({"train": {"seed": "one"}}, "config.train.seed must be int, got 'one'"),
        ({"train": {"batch_size": True}}, "config.train.batch_size must be int"),
        ({"model": {"fusion": "sum"}}, "config.model.fusion is 'sum'; it must be one of"),
        ({"model": {"modalities": ("text", "text")}}, "config.model.modalities"),
        ({"model": {"fusion": "none"}}, "more than one modality"),
        ({"cv": {"only": (5,)}}, "config.cv.only names fold 5"),
        ({"optim": {"learning_rate": 0.0}}, "must be greater than 0"),
        ({"optim": {"learning_rate": float("nan")}}, "must be greater than 0"),
        ({"train": {"seed": -1}}, "config.train.seed is -1; it must be 0 or more"),
        ({"data": {"max_rows": -1}}, "config.data.max_rows is -1"),
        ({"model": {"text": {"dropout": 1.0}}}, "config.model.text.dropout is 1.0; it must be at least 0 and below 1"),
        ({"task": "autoencoder"}, "config.model.autoencoder.kind is none"),
    ],
)
def test_refusals_name_the_key(change: dict, message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        Settings.from_dict(change)


@pytest.mark.parametrize("variant", [*VARIANTS, "petfinder+grouped", ""])
@pytest.mark.parametrize("row", ROWS)
def test_every_config_is_valid_in_every_variant(row: str, variant: str):
    """And says its paper row, its command and its expected score."""
    module = __import__(f"mmjax.configs.{row}", fromlist=["get_config"])
    settings = Settings.from_dict(module.get_config(variant).to_dict())
    assert settings.train.batch_size == 32
    assert settings.optim.learning_rate == 0.001
    assert Path(module.__file__).read_text().count(f"configs/{row}.py") >= 1
    assert "Expected" in module.__doc__


def test_petfinder_is_the_papers_size():
    from mmjax.configs.mmae_attention import get_config

    settings = Settings.from_dict(get_config("petfinder").to_dict())
    assert (settings.data.image_size, settings.data.text_length, settings.model.text.embed_dim) == (512, 100, 300)
    assert (settings.model.autoencoder.hidden, settings.model.autoencoder.code, settings.model.width) == (512, 64, 128)


@pytest.mark.parametrize("inputs", ["image", "image+tabular", "image+tabular+text", ""])
def test_table2_variants(inputs: str):
    from mmjax.configs.mmae import get_config

    settings = Settings.from_dict(get_config(inputs).to_dict())
    assert settings.task == "autoencoder"
    assert set(settings.model.modalities) == set((inputs or "image+tabular+text").split("+"))


def test_an_unknown_variant_is_named():
    from mmjax.configs.tabular import get_config

    with pytest.raises(ConfigError, match="'kaggle' is not a variant"):
        get_config("kaggle")
