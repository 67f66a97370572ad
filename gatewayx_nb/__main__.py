"""Runs the ``gatewayx`` command as ``python -m gatewayx_nb``."""

import sys

from gatewayx_nb.cli import main

if __name__ == "__main__":
    sys.exit(main())
