"""Works on tasks, one at a time: whoever is busy gets no other, so a free worker does.

usage: python worker.py [--second=1.0] [--redqueue=127.0.0.1:12345]
"""

from __future__ import annotations

import argparse
import time

import memcache


def work(redqueue: str, second: float) -> None:
    """Reserve, work, and only then acknowledge: a worker that is killed leaves its task to the next."""
    client = memcache.Client([redqueue], dead_retry=1)
    while True:
        task = client.get("tasks/t=2000")  # python-memcached gives up after 3 s, so wait for less
        if task is None:
            time.sleep(0.01)  # where the server is away, get does not wait
            continue
        print("begins", task, flush=True)
        time.sleep(task.count(".") * second)
        if client.delete("tasks"):
            print("done", task, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--second", type=float, default=1.0, help="how long a dot takes")
    parser.add_argument("--redqueue", default="127.0.0.1:12345")
    options = parser.parse_args()
    work(options.redqueue, options.second)
