"""What children and delays cost the engine: puts with ten thousand subscriptions, and a million delayed items.

No sockets and no journal: the part that grows with their number.
"""

from __future__ import annotations

import argparse
import random
import time
import tracemalloc
from collections.abc import Callable

from redqueue.engine.broker import Broker
from redqueue.engine.clock import ManualClock
from redqueue.engine.delayed import Moments
from redqueue.engine.journal import NullJournal
from redqueue.engine.settings import QueueSettings

REPEATS = 5


def microseconds(call: Callable[[int], object], times: int) -> float:
    """Microseconds of CPU for a call, the best of several runs."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        for number in range(times):
            call(number)
        best = min(best, time.process_time() - start)
    return best * 1e6 / times


def subscribed(subscriptions: int) -> Broker:
    """A broker with so many subscriptions, half of them patterns, none to ``plain``."""
    broker = Broker(QueueSettings(), ManualClock(), NullJournal())
    for number in range(subscriptions):
        pattern = b"logs.host%d.*.error.#" if number % 2 else b"logs.host%d.web"
        broker.subscribe(pattern % number + b"+child%d" % number)
    broker.commit(broker.seal())
    return broker


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscriptions", type=int, default=10_000)
    parser.add_argument("--delayed", type=int, default=1_000_000)
    arguments = parser.parse_args()

    print("subscriptions   put, no child   put, one child   match a name   (us of CPU)")
    for number in (0, 100, arguments.subscriptions):
        broker = subscribed(number)

        def put(name: bytes, broker: Broker = broker) -> float:
            def once(_: int) -> None:
                broker.open(name).put(b"x" * 64, 0, 0, None)
                if len(broker.puts) > 1000:
                    broker.commit(broker.seal())

            return microseconds(once, 20_000)

        one = put(b"logs.host1.disk.error.full") if number else float("nan")
        names = [b"logs.host%d.disk.error.full.now" % n for n in range(1000)]
        match = microseconds(lambda n, b=broker, names=names: b.subscriptions.children_of(names[n % 1000]), 20_000)  # type: ignore[misc]
        print(f"{number:13}   {put(b'plain'):13.2f}   {one:14.2f}   {match:12.2f}")

    moments = Moments()
    due = [random.getrandbits(62) for _ in range(arguments.delayed)]
    tracemalloc.start()
    for number, moment in enumerate(due):
        moments.push(moment, number)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    start = time.process_time()
    moments = Moments()
    for number, moment in enumerate(due):
        moments.push(moment, number)
    pushed = time.process_time()
    while moments.first() is not None:
        moments.pop()
    popped = time.process_time()
    each = 1e6 / arguments.delayed
    print(
        f"{arguments.delayed} delayed items: {size / arguments.delayed:.1f} bytes of index each, "
        f"{(pushed - start) * each:.2f} us to add, {(popped - pushed) * each:.2f} us to take"
    )


if __name__ == "__main__":
    main()
