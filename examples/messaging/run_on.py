"""Has an agent run a command.

usage: python run_on.py MACHINE COMMAND [--timeout=5] [--redqueue=127.0.0.1:12345]
"""

from __future__ import annotations

import argparse
import sys

from request_reply import Caller, NoReply, RemoteError

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("machine")
    parser.add_argument("command")
    parser.add_argument("--timeout", type=float, default=5.0)
    parser.add_argument("--redqueue", default="127.0.0.1:12345")
    options = parser.parse_args()
    try:
        result = Caller(options.redqueue, f"commands.{options.machine}").call(options.command, options.timeout)
    except (NoReply, RemoteError) as error:
        sys.exit(str(error))
    print(result["output"], end="")
    sys.exit(result["status"])
