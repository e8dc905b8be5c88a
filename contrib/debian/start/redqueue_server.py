#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/usr/lib/redqueue")

from redqueue.server.daemon import main

sys.exit(main())
