"""Several cooks, several eaters, and a counter between them that is soon full."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.examples.programs import Program, config
from tests.server_process import ServerProcess, wait_until

COOKS = ("Ann", "Ben", "Cem")
EATERS = ("Dan", "Eve")
DISHES = 20


def test_cooks_wait_while_the_counter_is_full_and_each_dish_is_eaten_once(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, config=config("kitchen")) as server, ExitStack() as stack:
        address = f"--redqueue=127.0.0.1:{server.port}"
        cooks = [stack.enter_context(Program("kitchen/cook.py", name, f"--dishes={DISHES}", address)) for name in COOKS]
        for cook in cooks:
            cook.line_with("waits with")
        assert server.connect().stats(b"queue dishes")["items"] == "5"

        eaters = [stack.enter_context(Program("kitchen/eater.py", name, address)) for name in EATERS]

        def eaten() -> list[str]:
            return sorted(line.partition(" has eaten ")[2] for eater in eaters for line in list(eater.lines))

        wait_until(lambda: len(eaten()) >= len(COOKS) * DISHES, seconds=60, what="all dishes")
        assert eaten() == sorted(f"dish {number} of {name}" for name in COOKS for number in range(1, DISHES + 1))
        assert all(eater.lines for eater in eaters)
