"""Programs of examples/ that end by themselves."""

from __future__ import annotations

import subprocess
import sys

from tests.examples.programs import EXAMPLES


def run_program(path: str, *arguments: str, status: int = 0) -> list[str]:
    """Run ``python examples/<path>`` to its end, which is to be with ``status``; returns the lines it has written."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stdout
    return done.stdout.splitlines()
