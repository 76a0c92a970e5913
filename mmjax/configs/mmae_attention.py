"""Paper, section 4, Table 1, row #8: as #6, with the joint code of the multi-modal autoencoder.

python train.py --config=configs/mmae_attention.py[:variant] --workdir=runs/mmae_attention

Expected (PetFinder, five folds): accuracy 37.883 ± 0.37 % in the paper. Ours, and the time it takes: docs/RESULTS.md.
"""

from ml_collections import ConfigDict

from mmjax.configs.base import base


def get_config(arg: str = "") -> ConfigDict:
    """Row #8; `arg` is the variant, see configs/base.py."""
    return base(arg, fusion="attention", autoencoder={"kind": "mmae", "code_norm": "rms"})
