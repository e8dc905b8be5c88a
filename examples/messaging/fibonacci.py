"""A service that calculates Fibonacci numbers, and its caller.

usage: python fibonacci.py serve | N [--timeout=5] [--redqueue=127.0.0.1:12345]
"""

from __future__ import annotations

import argparse
import sys

from request_reply import Caller, NoReply, RemoteError, serve


def fibonacci(n: int) -> int:
    """The ``n``-th Fibonacci number."""
    if not isinstance(n, int) or not 0 <= n <= 10_000:
        raise ValueError(f"n wants to be a whole number from 0 to 10000, not {n!r}")
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("n", help="or: serve")
    parser.add_argument("--timeout", type=float, default=5.0)
    parser.add_argument("--redqueue", default="127.0.0.1:12345")
    options = parser.parse_args()
    if options.n == "serve":
        serve(options.redqueue, "fibonacci", fibonacci)
    try:
        print(Caller(options.redqueue, "fibonacci").call(int(options.n), options.timeout))
    except (NoReply, RemoteError, ValueError) as error:
        sys.exit(str(error))
