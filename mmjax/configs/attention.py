"""Paper, section 4, Table 1, row #6: as #4, fused by soft attention.

python train.py --config=configs/attention.py[:variant] --workdir=runs/attention

Expected (PetFinder, five folds): accuracy 37.381 ± 0.35 % in the paper. Ours, and the time it takes: docs/RESULTS.md.
"""

from ml_collections import ConfigDict

from mmjax.configs.base import base


def get_config(arg: str = "") -> ConfigDict:
    """Row #6; `arg` is the variant, see configs/base.py."""
    return base(arg, fusion="attention")
