"""`python -m mmjax`: the command line."""

import sys

from mmjax.cli.main import entry

if __name__ == "__main__":
    sys.exit(entry())
