"""Paper, section 4, Table 1, row #3: the photo alone, a DenseNet of two blocks.

python train.py --config=configs/image.py[:variant] --workdir=runs/image

Expected (PetFinder, five folds): accuracy 29.252 ± 0.31 % in the paper. Ours, and the time it takes: docs/RESULTS.md.
"""

from ml_collections import ConfigDict

from mmjax.configs.base import base


def get_config(arg: str = "") -> ConfigDict:
    """Row #3; `arg` is the variant, see configs/base.py."""
    return base(arg, modalities=("image",), fusion="none")
