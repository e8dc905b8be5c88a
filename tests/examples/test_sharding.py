"""Three servers behind the hashing of the client."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

from tests.examples.finished import run_program
from tests.examples.programs import Program
from tests.server_process import ServerProcess, wait_until

JOBS = 1000


def test_jobs_spread_by_weight_and_one_worker_does_them_all(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(ServerProcess(tmp_path / str(number))) for number in range(3)]
        small, other, big = (f"127.0.0.1:{server.port}" for server in servers)
        chart = run_program("sharding/put.py", small, other, f"{big}=2", f"--jobs={JOBS}")
        counts = [int(re.split(r" +", line)[3]) for line in chart]
        assert [line.partition(" ")[0] for line in chart] == [small, other, big]
        assert sum(counts) == JOBS
        for line, count, share in zip(chart, counts, (0.25, 0.25, 0.5), strict=True):
            assert abs(count - share * JOBS) < 0.1 * JOBS, chart
            assert line.count("#") == 60 * count // JOBS

        worker = stack.enter_context(Program("sharding/worker.py", small, other, big))
        wait_until(lambda: len(worker.lines) >= JOBS, seconds=60, what="all jobs")
        done = [line.rpartition(" of ") for line in worker.lines]
        assert sorted(job for job, _, _ in done) == sorted(f"done bill customer-{n}" for n in range(JOBS))
        assert [sum(address == each for _, _, address in done) for each in (small, other, big)] == counts


def test_where_a_shard_is_down_the_others_take_its_jobs(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "0") as up, ServerProcess(tmp_path / "1") as down:
        addresses = [f"127.0.0.1:{server.port}" for server in (up, down)]
        down.kill()
        chart = run_program("sharding/put.py", *addresses, "--jobs=50")
        assert [int(re.split(r" +", line)[3]) for line in chart] == [50, 0]
        with Program("sharding/worker.py", *addresses) as worker:
            wait_until(lambda: len(worker.lines) >= 50, what="all jobs")
