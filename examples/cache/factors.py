"""The prime factors of a number: out of memcached, or else computed by whoever serves.

usage: python factors.py serve | N [N ...] [--redqueue=127.0.0.1:12345] [--memcached=127.0.0.1:11211]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import memcache

sys.path.append(str(Path(__file__).resolve().parents[1] / "messaging"))
from request_reply import Caller, NoReply, RemoteError, serve

HOUR = 3600


def factors(n: int) -> list[int]:
    """The prime factors of ``n``, the slow way."""
    if not 1 <= n < 1 << 48:
        raise ValueError(f"n wants to be from 1 to 2**48 - 1, not {n}")
    found, divisor = [], 2
    while divisor * divisor <= n:
        if n % divisor:
            divisor += 1
        else:
            found.append(divisor)
            n //= divisor
    return [*found, n] if n > 1 else found


def look_up(cache: memcache.Client, n: int) -> list[int] | None:
    """What is in the cache; None where it has nothing, or is away."""
    text = cache.get(f"factors:{n}")
    return json.loads(text) if text else None


def computing(cache: memcache.Client) -> Callable[[int], list[int]]:
    """Compute, and put it in the cache; unless it has come there while the request was in the queue."""

    def answer(n: int) -> list[int]:
        found = look_up(cache, n)
        if found is None:
            found = factors(n)
            print("computed", n, flush=True)
            cache.set(f"factors:{n}", json.dumps(found), time=HOUR)
        return found

    return answer


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("numbers", nargs="+", metavar="N", help="or: serve")
    parser.add_argument("--redqueue", default="127.0.0.1:12345")
    parser.add_argument("--memcached", default="127.0.0.1:11211")
    options = parser.parse_args()
    cache = memcache.Client([options.memcached], dead_retry=1)
    if options.numbers == ["serve"]:
        serve(options.redqueue, "factors", computing(cache))
    caller = Caller(options.redqueue, "factors")
    for n in map(int, options.numbers):
        found, source = look_up(cache, n), "cached"
        try:
            if found is None:
                found, source = caller.call(n, timeout=30), "asked"
        except (NoReply, RemoteError) as error:
            sys.exit(str(error))
        print(n, "=", *found, f"({source})")
