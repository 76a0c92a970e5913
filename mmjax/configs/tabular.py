"""Paper, section 4, Table 1, row #1: the table alone, a two-layer network.

python train.py --config=configs/tabular.py[:variant] --workdir=runs/tabular

Expected (PetFinder, five folds): accuracy 36.729 ± 0.61 % in the paper. Ours, and the time it takes: docs/RESULTS.md.
"""

from ml_collections import ConfigDict

from mmjax.configs.base import base


def get_config(arg: str = "") -> ConfigDict:
    """Row #1; `arg` is the variant, see configs/base.py."""
    return base(arg, modalities=("tabular",), fusion="none")
