"""Paper, section 4, Table 1, row #4: table, text and photo, concatenated.

python train.py --config=configs/concat.py[:variant] --workdir=runs/concat

Expected (PetFinder, five folds): accuracy 37.080 ± 0.55 % in the paper. Ours, and the time it takes: docs/RESULTS.md.
"""

from ml_collections import ConfigDict

from mmjax.configs.base import base


def get_config(arg: str = "") -> ConfigDict:
    """Row #4; `arg` is the variant, see configs/base.py."""
    return base(arg, fusion="concatenate")
