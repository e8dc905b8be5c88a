"""The plain client against a real server."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from redqueue.client import (
    AuthenticationFailed,
    Client,
    Queue,
    QueueEmpty,
    QueueFull,
    RequestRefused,
    ReservationLost,
    ServerUnavailable,
    back_off,
)
from tests.certificates import Certificates
from tests.documents import free_port
from tests.server_process import ROOT, ServerProcess, wait_until
from tests.users_file import write_users

SOON = 20.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "journal", port=free_port(), max_items=3) as process:
        yield process


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client((server.host, server.port)) as made:
        yield made


@pytest.fixture
def jobs(client: Client) -> Queue:
    return client.queue("jobs")


def figure(server: ServerProcess, name: str, queue: bytes = b"jobs") -> int:
    with server.connect() as wire:
        return int(wire.stats(b"queue " + queue).get(name, 0))


def test_a_block_that_ends_acknowledges(jobs: Queue) -> None:
    number = jobs.put(b"a\r\nb", flags=7)
    with jobs.reserve() as job:
        assert (job.body, job.flags, job.item_id, job.deliveries) == (b"a\r\nb", 7, number, 1)
    with pytest.raises(QueueEmpty, match="no item came to queue jobs within 0 s"):
        jobs.reserve(wait=0)


def test_a_block_that_raises_gives_back(jobs: Queue) -> None:
    jobs.put("a")
    with pytest.raises(ZeroDivisionError), jobs.reserve():
        raise ZeroDivisionError
    with jobs.reserve(wait=0) as job:
        assert job.deliveries == 2


def test_a_block_that_raises_gives_back_for_later(jobs: Queue, server: ServerProcess) -> None:
    asked = []
    jobs.put("a")

    def later(deliveries: int) -> float:
        asked.append(deliveries)
        return 3000

    with pytest.raises(ZeroDivisionError), jobs.reserve(retry_delay=later):
        raise ZeroDivisionError
    assert asked == [1]
    assert figure(server, "delayed") == 1


def test_the_back_off_grows_up_to_its_end() -> None:
    delay = back_off(first=2, factor=3, most=50)
    assert [delay(count) for count in (1, 2, 3, 4, 5000)] == [2, 6, 18, 50, 50]


def test_two_reservations_at_a_time_end_in_any_order(jobs: Queue) -> None:
    for body in "ab":
        jobs.put(body)
    first, second = jobs.reserve(), jobs.reserve()
    second.acknowledge()
    first.give_back()
    assert jobs.reserve(wait=0).body == b"a"


def test_a_reservation_that_was_ended_in_its_block_is_left_alone(jobs: Queue) -> None:
    jobs.put("a")
    with jobs.reserve() as job:
        job.acknowledge()
    with pytest.raises(ReservationLost):
        job.touch()


def test_ttl_and_delay(jobs: Queue, server: ServerProcess) -> None:
    jobs.put("later", delay=3000)
    assert figure(server, "delayed") == 1
    jobs.put("soon", delay=0.05, ttl=3000)
    assert jobs.reserve(SOON).body == b"soon"
    for wrong in ({"ttl": -1}, {"delay": -1}, {"ttl": 2592001}):
        with pytest.raises(ValueError, match="seconds"):
            jobs.put("a", **wrong)


def test_a_full_queue(jobs: Queue) -> None:
    for body in "abc":
        jobs.put(body)
    with pytest.raises(QueueFull, match="queue jobs is full"):
        jobs.put("d")


def test_the_next_stage(client: Client, jobs: Queue) -> None:
    upload = client.queue("upload")
    jobs.put("cat.png")
    with jobs.reserve() as job:
        job.swap(upload, "small.png")
    with upload.reserve(wait=0) as job:
        assert job.body == b"small.png"
    with pytest.raises(QueueEmpty):
        jobs.reserve(wait=0)


def test_a_full_next_stage_leaves_the_reservation(client: Client, jobs: Queue) -> None:
    for _ in range(3):
        client.queue("upload").put("x")
    jobs.put("cat.png")
    with jobs.reserve() as job:
        with pytest.raises(QueueFull):
            job.swap("upload", "small.png")
        job.touch(100)
        job.give_back()
    assert jobs.reserve(wait=0).body == b"cat.png"


def test_a_name_of_any_bytes(client: Client) -> None:
    queue = client.queue(b"two words\xff")
    queue.put("a")
    with queue.reserve(wait=0) as job:
        assert job.body == b"a"


@pytest.mark.parametrize("name", ["", "jobs/t=5", "jobs/open"])
def test_a_name_that_is_none(client: Client, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        client.queue(name)


def test_what_the_server_refuses(client: Client) -> None:
    with pytest.raises(RequestRefused, match="key too long"):
        client.queue("x" * 300).put("a")


def test_the_heartbeat_outlives_the_deadline(jobs: Queue) -> None:
    jobs.put("a")
    with jobs.reserve(deadline=1) as job, pytest.raises(QueueEmpty):
        jobs.reserve(wait=2.5)
    assert not job.lost


def test_a_lost_reservation_says_so(jobs: Queue) -> None:
    jobs.put("a")
    job = jobs.reserve(deadline=1)
    other = jobs.reserve(SOON)
    with pytest.raises(ReservationLost, match="jobs has ended before"):
        job.acknowledge()
    assert job.lost
    other.acknowledge()


def test_the_heartbeat_finds_that_a_reservation_is_lost(jobs: Queue, server: ServerProcess) -> None:
    def work() -> None:
        with jobs.reserve(deadline=1) as job:
            with server.connect() as wire:
                assert wire.ask(b"md jobs C%d" % job.token) == b"HD"
            wait_until(lambda: job.lost)

    jobs.put("a")
    with pytest.raises(ReservationLost):
        work()


def test_a_restart_in_mid_consume(jobs: Queue, server: ServerProcess) -> None:
    seen: list[bytes] = []
    lost: list[ReservationLost] = []

    def work() -> None:
        for job in jobs.consume():
            seen.append(job.body)
            try:
                with job:
                    if len(seen) == 1:
                        server.kill()
                        server.start()
            except ReservationLost as error:
                lost.append(error)
            if job.body == b"end":
                return

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    wait_until(lambda: figure(server, "waiters"))
    server.kill()
    server.start()
    jobs.put("a")
    wait_until(lambda: len(seen) == 2)
    jobs.put("end")
    worker.join(SOON)
    assert not worker.is_alive()
    assert seen == [b"a", b"a", b"end"]
    assert len(lost) == 1


def test_a_killed_worker_loses_nothing(jobs: Queue, server: ServerProcess) -> None:
    jobs.put("a")
    program = (
        "from redqueue.client import Client\n"
        f"with Client(('127.0.0.1', {server.port})).queue('jobs').reserve() as job:\n"
        "    print(job.body, flush=True); input()\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        assert worker.stdout.readline() == "b'a'\n"
    finally:
        worker.kill()
        worker.communicate()
    with jobs.reserve(SOON) as job:
        assert job.deliveries == 2


def test_no_server() -> None:
    with pytest.raises(ServerUnavailable):
        Client(("127.0.0.1", free_port())).queue("jobs").put("a")


def test_a_closed_client(client: Client, jobs: Queue) -> None:
    client.close()
    with pytest.raises(ServerUnavailable, match="this client is closed"):
        jobs.put("a")


def test_a_restart_between_two_puts_is_not_seen(jobs: Queue, server: ServerProcess) -> None:
    jobs.put("a")
    server.kill()
    server.start()
    jobs.put("b")


def test_names_and_passwords(tmp_path: Path) -> None:
    users = write_users(tmp_path / "users", boss="secret writer=jobs", worker="staple reader=jobs")
    with ServerProcess(tmp_path / "journal", users=users) as server:
        address = (server.host, server.port)
        Client(address, user="boss", password="secret").queue("jobs").put("a")
        with Client(address, user="worker", password="staple") as client:
            with client.queue("jobs").reserve(deadline=1) as job:
                wait_until(lambda: client.pool._idle, what="the connection of the heartbeat")
            assert not job.lost
            with pytest.raises(RequestRefused, match="not permitted"):
                client.queue("jobs").put("b")
        wrong = Client(address, user="boss", password="guess").queue("jobs")
        for _ in range(2):
            with pytest.raises(AuthenticationFailed):
                wrong.put("a")


def test_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    options = {"tls_cert": certificates.cert, "tls_key": certificates.key}
    with ServerProcess(tmp_path / "journal", **options) as server:
        trusting = ssl.create_default_context(cafile=str(certificates.ca))
        with Client((server.host, server.port), tls_context=trusting) as client:
            for body in "ab":
                client.queue("jobs").put(body)
            with client.queue("jobs").reserve() as job:
                assert job.body == b"a"
            assert len(client.pool._idle) == 1
        with pytest.raises(ServerUnavailable, match="certificate verify failed"):
            Client((server.host, server.port), tls_context=ssl.create_default_context()).queue("jobs").put("a")


def test_a_unix_socket(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "journal", unix_socket=tmp_path / "socket"):
        Client(str(tmp_path / "socket")).queue("jobs").put("a")
