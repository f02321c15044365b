"""Makes `python -m tuner` the same as the `tuner` command, so that a cluster job needs no installed script."""

import sys

from tuner.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
