"""``python -m redqueue``: the daemon."""

import sys

from redqueue.server.daemon import main

if __name__ == "__main__":
    sys.exit(main())
