"""A server whose replay takes until a file is there."""

SLOW_START = """
import os, sys, time
from redqueue.journal.recovery import Recovery
from redqueue.server import daemon

daemon.PROGRESS_SECONDS = 0.05
gate = sys.argv[1]

def run(self):
    while not os.path.exists(gate):
        self._progress(1 << 20, 4 << 20)
        time.sleep(0.01)
    return replay(self)

replay, Recovery.run = Recovery.run, run
sys.exit(daemon.main(sys.argv[2:]))
"""
"""A Python program: its first argument is the path of that file, the others are the server's."""
