"""Set, get, delete: put an item on a queue, reserve it, acknowledge it.

usage: python hello.py [--redqueue=127.0.0.1:12345]
"""

from __future__ import annotations

import argparse
import sys

import memcache

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--redqueue", default="127.0.0.1:12345")
    client = memcache.Client([parser.parse_args().redqueue])
    if not client.set("hello", "Hello, world!"):
        sys.exit("it is not stored: is redqueue_server.py running?")
    print("reserved:", client.get("hello"))
    print("acknowledged:", bool(client.delete("hello")))
    print("and then:", client.get("hello"))
