"""Spreads jobs over the shards, and draws how they lie there.

usage: python put.py ADDRESS[=WEIGHT] ... [--jobs=1000], such as: put.py 127.0.0.1:12345 127.0.0.1:22345=2
"""

from __future__ import annotations

import argparse
import sys

import memcache

WIDTH = 60


def shard(text: str) -> tuple[str, int]:
    """Address and weight of a shard."""
    address, _, weight = text.partition("=")
    return address, int(weight or 1)


def put(shards: list[tuple[str, int]], jobs: int) -> None:
    """One job for each customer. All jobs of a customer are on one shard, so they stay in their order."""
    client = memcache.Client(shards)
    for number in range(jobs):
        customer = f"customer-{number}"
        place = memcache.serverHashFunction(customer.encode())
        # of a pair, the first chooses the server, as the hash of a plain key would, and the second is the key there
        if not client.set((place, "jobs"), f"bill {customer}"):
            sys.exit(f"not stored: the job of {customer}")


def draw(shards: list[tuple[str, int]]) -> None:
    """A bar for each shard."""
    counts = {}
    for address, weight in shards:
        figures = memcache.Client([address]).get_stats()
        counts[f"{address} weight {weight}"] = int(figures[0][1].get("curr_items", 0)) if figures else 0
    total = max(1, sum(counts.values()))
    for name, count in counts.items():
        print(f"{name:<30} {count:>6} {100 * count // total:>3} % {'#' * (WIDTH * count // total)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("shards", nargs="+", type=shard)
    parser.add_argument("--jobs", type=int, default=1000)
    options = parser.parse_args()
    put(options.shards, options.jobs)
    draw(options.shards)
