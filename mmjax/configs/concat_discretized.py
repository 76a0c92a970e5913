"""Paper, section 4, Table 1, row #5: as #4, continuous columns cut into quantile bins.

python train.py --config=configs/concat_discretized.py[:variant] --workdir=runs/concat_discretized

Expected (PetFinder, five folds): accuracy 37.152 ± 0.2 % in the paper. Ours, and the time it takes: docs/RESULTS.md.
"""

from ml_collections import ConfigDict

from mmjax.configs.base import base


def get_config(arg: str = "") -> ConfigDict:
    """Row #5; `arg` is the variant, see configs/base.py."""
    config = base(arg, fusion="concatenate")
    config.data.discretize = True  # paper: "converts the continuous features to a discrete sequence of tokens"
    return config
