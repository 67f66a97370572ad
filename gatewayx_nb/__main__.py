"""``python -m gatewayx_nb``, the same as the command ``gatewayx``."""

import sys

from gatewayx_nb.cli import main

if __name__ == "__main__":
    sys.exit(main())
