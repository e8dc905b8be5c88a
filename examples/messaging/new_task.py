"""Puts tasks on the work queue.

usage: python new_task.py TASK [TASK ...] [--redqueue=127.0.0.1:12345]; a dot in a task is a second of work
"""

from __future__ import annotations

import argparse
import sys

import memcache

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--redqueue", default="127.0.0.1:12345")
    options = parser.parse_args()
    client = memcache.Client([options.redqueue])
    for task in options.tasks:
        if not client.set("tasks", task):
            sys.exit(f"not stored: {task}")
