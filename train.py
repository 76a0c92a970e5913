"""Trains a config: `python train.py --config=configs/mmae_attention.py[:variant] --workdir=DIR [--config.key=value]`."""

import sys

from mmjax.cli.main import main
from mmjax.train.execution.compile import leave

if __name__ == "__main__":
    sys.exit(leave(main(["train", *sys.argv[1:]])))
