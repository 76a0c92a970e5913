"""Paper, section 4, Table 1, row #2: the text alone, a TextCNN.

python train.py --config=configs/text.py[:variant] --workdir=runs/text

Expected (PetFinder, five folds): accuracy 29.403 ± 0.32 % in the paper. Ours, and the time it takes: docs/RESULTS.md.
"""

from ml_collections import ConfigDict

from mmjax.configs.base import base


def get_config(arg: str = "") -> ConfigDict:
    """Row #2; `arg` is the variant, see configs/base.py."""
    return base(arg, modalities=("text",), fusion="none")
