"""Pi by throwing points at a square: the share of them in the quarter of a circle is pi/4.

usage: python pi.py ROLE [--points=10000] [--seed=N] [--redqueue=127.0.0.1:12345]

Start inside, outside, judge, calculator and tally, and then source. Each role is a process, and may be on any machine.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import memcache

sys.path.append(str(Path(__file__).resolve().parents[1] / "messaging"))
from request_reply import Caller, NoReply, serve

BITS = 32
INSIDE = ["points.0.0.#"]
"""Both coordinates begin with 0, so they are below 1/2, and x² + y² is below 1/2."""
OUTSIDE = ["points.1.1.1.1"]
"""Both begin with 11, so they are at least 3/4, and x² + y² is at least 9/8."""
UNCLEAR = ["points.0.1.#", "points.1.0.#", "points.1.1.0.#", "points.1.1.1.0"]


def source(redqueue: str, points: int, seed: int | None) -> None:
    """Publish random bits, those of x and of y by turns; the first four name the topic."""
    client = memcache.Client([redqueue], dead_retry=1)
    generator = random.Random(seed)
    for _ in range(points):
        bits = format(generator.getrandbits(2 * BITS), f"0{2 * BITS}b")
        while not client.set(f"points.{'.'.join(bits[:4])}", bits):
            time.sleep(0.01)  # a reader is too far behind


def read(redqueue: str, name: str, prefixes: list[str], verdict: Callable[[str], str | None]) -> None:
    """Pass what ``verdict`` says of each point with one of these prefixes to the tally; None gives the point back."""
    client = memcache.Client([redqueue], dead_retry=1)
    children = [f"{prefix}+{name}" for prefix in prefixes]
    client.get_multi([f"{child}/peek" for child in children])  # a child exists from its first read on
    print("ready", flush=True)
    one_of_them = [f"{child}/or" for child in children[:-1]] + [f"{children[-1]}/t=2000"]
    while True:
        found = client.get_multi(one_of_them)
        for key, bits in found.items():
            child = key.rpartition("/")[0]
            said = verdict(bits)
            if said and client.set("verdicts", said):
                client.delete(child)
            else:
                client.get(f"{child}/abort")
        if not found:
            time.sleep(0.01)  # where the server is away, get does not wait


def square_sum(body: list[int]) -> int:
    """x² + y²."""
    return body[0] ** 2 + body[1] ** 2


def judge(redqueue: str) -> Callable[[str], str | None]:
    """Has the calculator do the sum, and compares it with the radius."""
    calculator = Caller(redqueue, "square_sum")

    def verdict(bits: str) -> str | None:
        try:
            distance = calculator.call([int(bits[0::2], 2), int(bits[1::2], 2)])
        except NoReply as error:
            print(error, flush=True)
            return None
        return "inside" if distance < (1 << BITS) ** 2 else "outside"

    return verdict


def tally(redqueue: str) -> None:
    """Count verdicts, and say what that makes pi, and how far off that is."""
    client = memcache.Client([redqueue], dead_retry=1)
    counts = {"inside": 0, "outside": 0}
    while True:
        said = client.get("verdicts/t=2000")
        if said is None:
            time.sleep(0.01)
            continue
        counts[said] += 1
        client.delete("verdicts")
        points = sum(counts.values())
        if points % 500 == 0:
            pi = 4 * counts["inside"] / points
            print(json.dumps({"points": points, "pi": pi, "off": round(pi - math.pi, 5)}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["source", "inside", "outside", "judge", "calculator", "tally"])
    parser.add_argument("--points", type=int, default=10_000, help="how many the source throws")
    parser.add_argument("--seed", type=int, help="the source's, to have the same points again")
    parser.add_argument("--redqueue", default="127.0.0.1:12345")
    options = parser.parse_args()
    if options.role == "source":
        source(options.redqueue, options.points, options.seed)
    elif options.role == "inside":
        read(options.redqueue, "inside", INSIDE, lambda bits: "inside")
    elif options.role == "outside":
        read(options.redqueue, "outside", OUTSIDE, lambda bits: "outside")
    elif options.role == "judge":
        read(options.redqueue, "judge", UNCLEAR, judge(options.redqueue))
    elif options.role == "calculator":
        serve(options.redqueue, "square_sum", square_sum)
    else:
        tally(options.redqueue)
