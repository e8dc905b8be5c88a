"""Publishes a message: each subscriber whose binding matches the name gets a copy.

usage: python publish.py NAME MESSAGE [--redqueue=127.0.0.1:12345]
"""

from __future__ import annotations

import argparse
import sys

import memcache

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name", help="such as news, or logs.web.error")
    parser.add_argument("message")
    parser.add_argument("--redqueue", default="127.0.0.1:12345")
    options = parser.parse_args()
    if not memcache.Client([options.redqueue]).set(options.name, options.message):
        sys.exit("not stored")
