"""Does the tasks of one queue; start as many as there is work for.

usage: python worker.py primes | orders+mail | orders+stock [--redqueue=127.0.0.1:12345]
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import memcache

HOUR = 3600


def count_primes(task: dict[str, Any]) -> int:
    """How many primes there are below ``task["below"]``, the slow way."""
    return sum(all(n % divisor for divisor in range(2, int(n**0.5) + 1)) for n in range(2, task["below"]))


def send_mail(task: dict[str, Any]) -> str:
    """Stands for a mail that is sent."""
    return f"mailed: we have your order of {task['item']}"


def take_from_stock(task: dict[str, Any]) -> str:
    """Stands for a line in the books of the warehouse."""
    return f"one less: {task['item']}"


WORK = {"primes": count_primes, "orders+mail": send_mail, "orders+stock": take_from_stock}


def serve(queue: str, redqueue: str) -> None:
    """Reserve a task, do it, report, and only then acknowledge: whoever dies before leaves it to the next."""
    client = memcache.Client([redqueue], socket_timeout=30, dead_retry=1)
    while True:
        message = client.get(f"{queue}/t=5000")
        if message is None:
            time.sleep(0.1)  # where the server is away, get does not wait
            continue
        task = json.loads(message)
        result = json.dumps(WORK[queue](task))
        # add, not set: a task that is done a second time does not report a second time
        client.add(f"result.{task['id']}.{queue.replace('+', '.')}", result, time=HOUR)
        if client.delete(queue):
            print("done", queue, task["id"], flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("queue", choices=WORK)
    parser.add_argument("--redqueue", default="127.0.0.1:12345")
    options = parser.parse_args()
    serve(options.queue, options.redqueue)
