"""Cooks dishes, and waits while the counter is full.

usage: python cook.py NAME [--dishes=20] [--redqueue=127.0.0.1:12345]
"""

from __future__ import annotations

import argparse
import time

import memcache


def cook(name: str, dishes: int, redqueue: str) -> None:
    """Put ``dishes`` dishes on the counter, each as soon as there is room."""
    client = memcache.Client([redqueue], dead_retry=1)
    for number in range(1, dishes + 1):
        dish = f"dish {number} of {name}"
        waits = False
        while not client.set("dishes", dish):  # NOT_STORED; or the server is away
            if not waits:
                print(name, "waits with", dish, flush=True)
            waits = True
            time.sleep(0.05)
        print(name, "has cooked", dish, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--dishes", type=int, default=20)
    parser.add_argument("--redqueue", default="127.0.0.1:12345")
    options = parser.parse_args()
    cook(options.name, options.dishes, options.redqueue)
