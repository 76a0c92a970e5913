"""Trains a config: `python train.py --config=configs/mmae_attention.py[:variant] --workdir=DIR [--config.key=value]`."""

import sys

from mmjax.cli.main import entry

if __name__ == "__main__":
    sys.exit(entry(["train", *sys.argv[1:]]))
