"""Prints what is published: one subscriber, with as many bindings as it likes.

usage: python subscribe.py SUBSCRIBER BINDING [BINDING ...] [--redqueue=127.0.0.1:12345]

A binding is a name (news, logs.error) or a pattern of names (logs.*.error, logs.#).
"""

from __future__ import annotations

import argparse
import time

import memcache


def subscribe(subscriber: str, bindings: list[str], redqueue: str) -> None:
    """Print what comes, from whichever binding."""
    client = memcache.Client([redqueue], dead_retry=1)
    children = [f"{binding}+{subscriber}" for binding in bindings]
    client.get_multi([f"{child}/peek" for child in children])  # a child exists from its first read on
    print("subscribed", *bindings, flush=True)
    one_of_them = [f"{child}/or" for child in children[:-1]] + [f"{children[-1]}/t=2000"]
    while True:
        messages = client.get_multi(one_of_them)
        for key, message in messages.items():
            print(message, flush=True)
            client.delete(key.rpartition("/")[0])
        if not messages:
            time.sleep(0.01)  # where the server is away, get does not wait


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("subscriber")
    parser.add_argument("bindings", nargs="+")
    parser.add_argument("--redqueue", default="127.0.0.1:12345")
    options = parser.parse_args()
    subscribe(options.subscriber, options.bindings, options.redqueue)
