"""memcached beside RedQueue: computed once, cached from then on."""

from __future__ import annotations

import math
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.documents import free_port
from tests.examples.finished import run_program
from tests.examples.programs import Program
from tests.server_process import ServerProcess, wait_until

NUMBER = 2**35 - 31 * 3
CALLERS = 8


@pytest.fixture
def memcached() -> Iterator[int]:
    """A memcached of our own; its port."""
    program = shutil.which("memcached")
    assert program, "this test needs memcached: apt install memcached"
    port = free_port()
    process = subprocess.Popen([program, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-u", "nobody"])

    def answers() -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", port)) == 0

    wait_until(answers, what="memcached")
    yield port
    process.kill()
    process.wait()


@pytest.mark.extra
def test_what_many_ask_for_is_computed_once(tmp_path: Path, memcached: int) -> None:
    with ServerProcess(tmp_path) as server:
        addresses = (f"--redqueue=127.0.0.1:{server.port}", f"--memcached=127.0.0.1:{memcached}")

        def ask(_: int) -> str:
            return run_program("cache/factors.py", str(NUMBER), *addresses)[0]

        with Program("cache/factors.py", "serve", *addresses) as worker, ThreadPoolExecutor(CALLERS) as pool:
            answers = list(pool.map(ask, range(CALLERS)))
            assert worker.lines == [f"computed {NUMBER}"]
        # nobody serves any more
        assert ask(0).endswith("(cached)")
        for answer in answers:
            assert math.prod(map(int, answer.partition(" = ")[2].split()[:-1])) == NUMBER


def test_without_a_cache_it_is_computed(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        addresses = (f"--redqueue=127.0.0.1:{server.port}", "--memcached=127.0.0.1:1")
        with Program("cache/factors.py", "serve", *addresses):
            assert run_program("cache/factors.py", "360", "1001", *addresses) == [
                "360 = 2 2 2 3 3 5 (asked)",
                "1001 = 7 11 13 (asked)",
            ]
            assert "wants to be from 1" in run_program("cache/factors.py", "0", *addresses, status=1)[-1]
