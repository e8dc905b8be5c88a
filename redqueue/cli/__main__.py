"""``python -m redqueue.cli``: the same as the script ``redqueue``."""

import sys

from redqueue.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
