"""The model we recommend for a table of one's own: not the paper's, but built to predict best (docs/RESULTS.md).

python train.py --config=configs/recommended.py:table --config.data.table=mine.csv --config.data.schema=mine.toml

Numbers are piecewise linear on their quantiles; texts are counted words and pieces of words; a seller, or another column of
many values, says how often and with what labels it occurs; and a linear model of all of it goes straight to the scores. A small
network whose members share most of their weights reads the rest. Photos are read at 64 x 64 by a DenseNet that a CPU can train.
"""

from typing import Any

from mmjax.configs.base import base

MODALITIES = ("tabular", "entity", "profile", "words", "linear", "forest", "vectors")


def get_config(arg: str = "") -> Any:
    """The recommended model; `arg` is the variant, see configs/base.py."""
    photos = () if arg.startswith("petfinder") else ("image",)  # PetFinder's vectors stand for its photos
    config = base(
        arg,
        modalities=(*MODALITIES, *photos),
        lacking="leave_out",
        fusion="concatenate",
        activation="silu",
        head={"members": 8},
    )
    config.model.update(init="lecun", input_dropout=0.1)
    config.model.tabular.update(hidden=(), dropout=0.0)
    config.model.vectors.update(hidden=(), dropout=0.0)
    config.model.image.update(growth=8, layers=(2, 2), stem=16, momentum=0.9)
    config.data.image_size = 64
    config.data.update(bins=24, numbers="piecewise", exact_values=30, vector_root=True, vector_clip=4.0, vector_least=0.005)
    config.optim.update(name="adamw", learning_rate=0.003, eps=1e-8, weight_decay=0.01, clip_norm=1.0)
    config.optim.update(schedule="cosine", warmup_fraction=0.05, average=0.98)
    config.train.update(batch_size=256, batch_share=0.125, max_epochs=10, min_steps=400, patience=1000)
    config.train.update(monitor="loss", refit=False)
    config.cv.valid_fraction = 0.1
    return config
