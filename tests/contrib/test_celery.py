"""Celery over RedQueue, with real workers: nothing is lost, whoever dies."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.contrib.celery_worker import Worker, broker_url
from tests.contrib.figures import figures, queues_with_items
from tests.server_process import ROOT, ServerProcess, wait_until

SECONDS = 60.0
RETRIED_TASKS = int(os.environ.get("REDQUEUE_CELERY_TASKS", "300"))
"""10,000, with as many retries, took 205 s on a fifth of two cores."""

pytestmark = pytest.mark.timeout(2000 if RETRIED_TASKS > 1000 else 240)


@pytest.fixture(scope="module")
def crowd(shared_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker with two children that acknowledges late, and has deadlines shorter than some tasks."""
    settings = {"task_acks_late": True, "broker_transport_options": {"reserve_timeout": 3}}
    notes = tmp_path_factory.mktemp("crowd") / "notes"
    with Worker(broker_url(shared_server), notes, "-c2", "-E", **settings) as worker:
        yield worker
        worker.stop()


@pytest.fixture
def app(crowd: Worker) -> Iterator[Celery]:
    with application(crowd) as app:
        yield app


class application:  # noqa: N801
    """The application of a worker, for the test's own process."""

    def __init__(self, worker: Worker) -> None:
        broker = worker.environment["TEST_BROKER"]
        self.app = Celery("tests.contrib.celery_app", broker=broker, backend="rpc://", set_as_current=False)
        self.app.conf.update(broker_transport="redqueue.contrib.kombu:Transport")

    def __enter__(self) -> Celery:
        return self.app

    def __exit__(self, *_: object) -> None:
        self.app.close()


def send(app: Celery, name: str, *args: Any, **options: Any) -> Any:
    return app.send_task(f"tests.contrib.celery_app.{name}", args, **options)


class TestOneWorker:
    def test_results(self, app: Celery) -> None:
        assert send(app, "add", 2, 3).get(timeout=SECONDS) == 5

    def test_inspect_and_status(self, app: Celery, crowd: Worker, shared_server: ServerProcess) -> None:
        assert app.control.ping(timeout=20, limit=1)[0].popitem()[1] == {"ok": "pong"}
        for command in (["inspect", "ping"], ["status"]):
            ended = subprocess.run(
                [
                    *(sys.executable, "-m", "celery", "-A", "tests.contrib.celery_app"),
                    *(*command, "--timeout=30", f"--destination={crowd.name}"),
                ],
                capture_output=True,
                text=True,
                env=crowd.environment,
                cwd=ROOT,
                timeout=SECONDS,
                check=False,
            )
            assert "1 node online." in ended.stdout, ended.stdout + ended.stderr
        wait_until(lambda: not [name for name in queues_with_items(shared_server) if "reply" in name])

    def test_events(self, app: Celery) -> None:
        wanted = {"task-received", "task-started", "task-succeeded", "worker-heartbeat"}
        with app.connection() as connection:

            def see(event: dict[str, Any]) -> None:
                if event["type"] == "worker-heartbeat" and "worker-heartbeat" in wanted:
                    send(app, "work", "seen", 0)  # now that events come
                wanted.discard(event["type"])
                receiver.should_stop = not wanted

            receiver = app.events.Receiver(connection, handlers={"*": see})
            receiver.capture(limit=None, timeout=SECONDS)
        assert not wanted

    def test_eta_waits_on_the_server(self, app: Celery, crowd: Worker, shared_server: ServerProcess) -> None:
        wait_until(lambda: figures(shared_server, "celery")["items"] == 0, SECONDS)
        eta = datetime.now(timezone.utc) + timedelta(seconds=1)
        send(app, "record_time", "late", eta=eta)
        found = figures(shared_server, "celery")
        assert (found["delayed"], found["reserved"]) == (1, 0)
        wait_until(lambda: crowd.noted("at", "late"), SECONDS)
        assert float(crowd.noted("at", "late")[0].split()[2]) >= eta.timestamp()

    def test_prefetch_with_late_acknowledgements(
        self, app: Celery, crowd: Worker, shared_server: ServerProcess
    ) -> None:
        for number in range(12):
            send(app, "work", f"prefetched-{number}", 0.5)
        wait_until(lambda: figures(shared_server, "celery")["reserved"] == 8, SECONDS)
        assert figures(shared_server, "celery")["items"] > 8
        wait_until(lambda: figures(shared_server, "celery")["items"] == 0, SECONDS)
        names = [line.split()[1] for line in crowd.noted("ended") if "prefetched" in line]
        assert sorted(names) == sorted(f"prefetched-{number}" for number in range(12))

    def test_a_task_longer_than_the_deadline_runs_once(
        self, app: Celery, crowd: Worker, shared_server: ServerProcess
    ) -> None:
        send(app, "work", "long", 5)
        wait_until(lambda: crowd.noted("ended", "long") and not figures(shared_server, "celery")["items"], SECONDS)
        assert len(crowd.noted("began", "long")) == 1

    def test_a_lost_child_is_made_good(self, app: Celery, crowd: Worker) -> None:
        send(app, "deadly", "child")
        wait_until(lambda: crowd.noted("ended", "child"), SECONDS)
        assert crowd.noted("began", "child") == ["began child False", "began child True"]

    def test_reject_is_a_dead_letter(self, app: Celery, shared_server: ServerProcess) -> None:
        send(app, "rejected")
        wait_until(lambda: figures(shared_server, "celery.dead")["items"] == 1, SECONDS)

    def test_what_no_worker_knows_is_a_dead_letter(self, app: Celery, shared_server: ServerProcess) -> None:
        before = figures(shared_server, "celery.dead")["items"]
        app.send_task("nobody.knows.it")
        wait_until(lambda: figures(shared_server, "celery.dead")["items"] == before + 1, SECONDS)

    def test_retries(self, app: Celery, crowd: Worker, shared_server: ServerProcess) -> None:
        numbers = range(RETRIED_TASKS)
        for number in numbers:
            send(app, "retried", f"retried-{number}", number % 3)
        deadline = time.monotonic() + 1800
        while figures(shared_server, "celery")["items"] and time.monotonic() < deadline:
            time.sleep(0.2)  # thousands of tasks take a while, and should have the processor for themselves
        times = Counter(line.split()[1] for line in crowd.noted("ran"))
        assert times == {f"retried-{number}": 1 for number in numbers}


def test_kill_9_of_the_worker_in_mid_task_runs_it_once_more(own_server: ServerProcess, tmp_path: Path) -> None:
    """Only the process with the connections is killed; its children live on for a while, and keep nothing open."""
    with (
        Worker(broker_url(own_server), tmp_path / "first", "-c2", task_acks_late=True) as first,
        application(first) as app,
    ):
        send(app, "work", "a", 30)
        wait_until(lambda: first.noted("began", "a"), SECONDS)
        assert figures(own_server, "celery")["reserved"] == 1
        first.kill_main()
        wait_until(lambda: figures(own_server, "celery")["reserved"] == 0, SECONDS)
        first.kill()
    with Worker(broker_url(own_server), tmp_path / "second", "-c1", task_acks_late=True) as second:
        wait_until(lambda: second.noted("began", "a"), SECONDS)
        assert second.noted("began", "a") == ["began a True"]


def test_kill_9_of_the_server_under_load_loses_nothing(own_server: ServerProcess, tmp_path: Path) -> None:
    count = 300
    settings = {"task_acks_late": True, "broker_connection_max_retries": None}
    with Worker(broker_url(own_server), tmp_path / "notes", "-c2", **settings) as worker, application(worker) as app:

        def produce() -> None:
            for number in range(count):
                send(app, "record", f"task-{number}", retry_policy={"max_retries": None, "interval_max": 0.2})

        producer = threading.Thread(target=produce)
        producer.start()
        for done in (count // 4, count // 2):
            wait_until(lambda done=done: len(worker.noted("ran")) > done, SECONDS)
            own_server.kill()
            own_server.start()
        producer.join(SECONDS)
        assert not producer.is_alive()
        wait_until(lambda: len({*worker.noted("ran")}) == count, SECONDS, "the end of all tasks")
        wait_until(lambda: figures(own_server, "celery")["items"] == 0, SECONDS)
        worker.stop()


def test_the_server_ends_and_comes_back_while_the_worker_is_idle(own_server: ServerProcess, tmp_path: Path) -> None:
    with Worker(broker_url(own_server), tmp_path / "notes", "-c1") as worker:
        own_server.stop()
        own_server.start()
        with application(worker) as app:
            send(app, "record", "behind")
            wait_until(lambda: worker.noted("ran", "behind"), SECONDS)
            assert app.control.ping(timeout=20, limit=1)
        worker.stop()


def test_priorities(own_server: ServerProcess, tmp_path: Path) -> None:
    worker = Worker(
        broker_url(own_server), tmp_path / "notes", "-c1", worker_prefetch_multiplier=1, task_acks_late=True
    )
    with application(worker) as app:
        for priority in (0, 5, 9, 3):
            send(app, "record", priority, priority=priority)
        with worker:
            wait_until(lambda: len(worker.noted("ran")) == 4, SECONDS)
    assert worker.noted("ran") == ["ran 9", "ran 5", "ran 3", "ran 0"]


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_other_pools(pool: str, own_server: ServerProcess, tmp_path: Path) -> None:
    """Their tasks may keep the event loop busy for longer than the deadline: a thread touches what is held."""
    settings = {"task_acks_late": True, "broker_transport_options": {"reserve_timeout": 3}}
    worker = Worker(broker_url(own_server), tmp_path / "notes", f"--pool={pool}", "-c2", **settings)
    with worker, application(worker) as app:
        send(app, "work", "long", 5)
        for number in range(20):
            send(app, "record", number)
        wait_until(lambda: len(worker.noted("ran")) == 20 and worker.noted("ended", "long"), SECONDS)
        wait_until(lambda: figures(own_server, "celery")["items"] == 0, SECONDS)
        assert len(worker.noted("began", "long")) == 1
        worker.stop()


def test_a_warm_shutdown_gives_back_what_has_not_begun(own_server: ServerProcess, tmp_path: Path) -> None:
    worker = Worker(broker_url(own_server), tmp_path / "notes", "-c1", task_acks_late=True)
    with worker, application(worker) as app:
        for number in range(4):
            send(app, "work", number, 2)
        wait_until(lambda: worker.noted("began"), SECONDS)
        worker.stop()
        assert len(worker.noted("began")) == len(worker.noted("ended"))
        found = figures(own_server, "celery")
        assert (found["items"], found["reserved"]) == (4 - len(worker.noted("ended")), 0)
