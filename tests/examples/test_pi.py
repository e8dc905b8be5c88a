"""Six processes, and pi comes out of them."""

from __future__ import annotations

import json
import math
import random
from contextlib import ExitStack
from pathlib import Path

from tests.examples.finished import run_program
from tests.examples.programs import Program, config
from tests.server_process import ServerProcess

POINTS = 4000
SEED = 1


def test_it_converges_on_pi_and_says_how_far_off_it_is(tmp_path: Path) -> None:
    generator = random.Random(SEED)
    inside = 0
    for _ in range(POINTS):
        bits = format(generator.getrandbits(64), "064b")
        inside += int(bits[0::2], 2) ** 2 + int(bits[1::2], 2) ** 2 < 1 << 64

    with ServerProcess(tmp_path, config=config("pi")) as server, ExitStack() as stack:
        address = f"--redqueue=127.0.0.1:{server.port}"
        for role in ("inside", "outside", "judge", "judge"):
            stack.enter_context(Program("pi/pi.py", role, address)).line_with("ready")
        stack.enter_context(Program("pi/pi.py", "calculator", address))
        tally = stack.enter_context(Program("pi/pi.py", "tally", address))
        run_program("pi/pi.py", "source", f"--points={POINTS}", f"--seed={SEED}", address)
        said = json.loads(tally.line_with(f'"points": {POINTS},'))

    assert said["pi"] == 4 * inside / POINTS  # each point counts, and counts once
    assert said["off"] == round(said["pi"] - math.pi, 5)
    assert abs(said["off"]) < 4 * math.sqrt(math.pi * (4 - math.pi) / POINTS)
