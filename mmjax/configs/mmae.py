"""Paper, Table 2: error of the reconstructed photo by what the encoder sees.

python train.py --config=configs/mmae.py:image+tabular+text --workdir=runs/mmae        (synthetic data)
python train.py --config=configs/mmae.py:image+tabular+text,petfinder --workdir=runs/mmae --config.data.root=DIR

Variants: `image`, `image+tabular`, `image+tabular+text` (default), then a comma and a data set of configs/base.py;
or a data set alone, `:table`, as in the other config files.
Expected (PetFinder, 512 x 512): MSE 0.03786, 0.03557, 0.03468 in the paper. Ours: docs/RESULTS.md.
"""

from ml_collections import ConfigDict

from mmjax.configs.base import VARIANTS, base
from mmjax.errors import ConfigError

INPUTS = ("tabular", "text", "image")


def get_config(arg: str = "") -> ConfigDict:
    """Table 2; `arg` is `modalities[,data set]` or `data set`."""
    inputs, _, variant = ("", "", arg) if arg.partition("+")[0] in VARIANTS else arg.partition(",")
    names = tuple(inputs.split("+")) if inputs else INPUTS
    if unknown := [n for n in names if n not in INPUTS]:
        raise ConfigError(
            f"{unknown[0]!r} is neither a modality nor a data set of configs/mmae.py; use image, image+tabular or "
            f"image+tabular+text, then a comma and one of {', '.join(VARIANTS)}."
        )
    modalities = tuple(m for m in INPUTS if m in names)
    config = base(variant, modalities=modalities, autoencoder={"kind": "mmae"})
    config.task = "autoencoder"
    config.data.rows_with = "image"  # our reading: rows without a photo have no photo to reconstruct
    config.train.autoencoder_max_epochs = 20  # our reading
    config.train.autoencoder_patience = 3  # our reading
    return config
