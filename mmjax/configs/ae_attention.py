"""Paper, section 4, Table 1, row #7: as #6, with the codes of three independent autoencoders.

python train.py --config=configs/ae_attention.py[:variant] --workdir=runs/ae_attention

Expected (PetFinder, five folds): accuracy 37.582 ± 0.32 % in the paper. Ours, and the time it takes: docs/RESULTS.md.
"""

from ml_collections import ConfigDict

from mmjax.configs.base import base


def get_config(arg: str = "") -> ConfigDict:
    """Row #7; `arg` is the variant, see configs/base.py."""
    return base(arg, fusion="attention", autoencoder={"kind": "independent", "code_norm": "rms"})
