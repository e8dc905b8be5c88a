"""Works for all shards: a thread waits at each.

usage: python worker.py ADDRESS ...
"""

from __future__ import annotations

import argparse
import threading
import time

import memcache


def work(address: str) -> None:
    """Do the jobs of one shard. A client of its own, since a reservation belongs to a connection."""
    client = memcache.Client([address], dead_retry=1)
    while True:
        job = client.get("jobs/t=2000")
        if job is None:
            time.sleep(0.05)  # where the shard is away, get does not wait
        elif client.delete("jobs"):
            print(f"done {job} of {address}\n", end="", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("shards", nargs="+")
    for each in parser.parse_args().shards:
        threading.Thread(target=work, args=(each,)).start()
