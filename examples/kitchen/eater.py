"""Eats dishes, one at a time, for ever.

usage: python eater.py NAME [--redqueue=127.0.0.1:12345]
"""

from __future__ import annotations

import argparse
import time

import memcache


def eat(name: str, redqueue: str) -> None:
    """Take a dish and eat it. Whoever dies with a dish in hand leaves it to the next."""
    client = memcache.Client([redqueue], dead_retry=1)
    while True:
        dish = client.get("dishes/t=2000")  # python-memcached gives up after 3 s, so wait for less
        if dish is None:
            time.sleep(0.05)  # where the server is away, get does not wait
        elif client.delete("dishes"):
            print(name, "has eaten", dish, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--redqueue", default="127.0.0.1:12345")
    options = parser.parse_args()
    eat(options.name, options.redqueue)
