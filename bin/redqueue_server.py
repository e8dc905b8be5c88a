#!/usr/bin/env python3
"""The RedQueue daemon; see --help."""

import sys

from redqueue.server.daemon import main

if __name__ == "__main__":
    sys.exit(main())
