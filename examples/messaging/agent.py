"""Runs commands on a machine for others: those on its list, and no others.

usage: python agent.py MACHINE [--redqueue=127.0.0.1:12345]
"""

from __future__ import annotations

import argparse
import subprocess
from typing import Any

from request_reply import serve

COMMANDS = {"date": ["date"], "disk": ["df", "-P", "/"], "kernel": ["uname", "-sr"], "hang": ["sleep", "3600"]}
"""What callers may name, and what is run then: nothing that they send becomes part of a command line."""
COMMAND_SECONDS = 2


def run(name: str) -> dict[str, Any]:
    """Run the command of this name; returns its exit status and output."""
    if name not in COMMANDS:
        raise ValueError(f"{name!r} is not allowed; there are {', '.join(sorted(COMMANDS))}")
    done = subprocess.run(COMMANDS[name], capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    return {"status": done.returncode, "output": done.stdout + done.stderr}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("machine")
    parser.add_argument("--redqueue", default="127.0.0.1:12345")
    options = parser.parse_args()
    serve(options.redqueue, f"commands.{options.machine}", run)
