"""Trains a config: `python train.py --config=configs/mmae_attention.py[:variant] --workdir=DIR [--config.key=value]`."""

import sys

from mmjax.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
