"""The Flask example under load: each task done, each subscriber served, whatever dies."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.examples.programs import Program, config
from tests.server_process import ServerProcess, wait_until

CLIENTS = 50
REQUESTS = 400
PRIMES = {n: sum(all(m % d for d in range(2, m)) for m in range(2, n)) for n in range(40)}


def ask(url: str, body: object = None) -> tuple[int, Any]:
    """POST ``body`` as JSON, or GET; returns status and JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


class Site:
    """RedQueue, the web application, and the workers that a test starts."""

    def __init__(self, server: ServerProcess, stack: ExitStack) -> None:
        self.server = server
        self._stack = stack
        self.address = f"127.0.0.1:{server.port}"
        self.workers: list[Program] = []
        app = stack.enter_context(Program("web_tasks/app.py", "--port=0", f"--redqueue={self.address}"))
        self.url = app.line_with("web application on").split()[-1]

    def start_again(self) -> None:
        """RedQueue once more, after its death, on the port that it had."""
        again = ServerProcess(self.server.logdir, port=self.server.port, config=config("web_tasks"))
        self.server = self._stack.enter_context(again)

    def start_workers(self, *queues: str) -> None:
        """A worker for each queue named."""
        for queue in queues:
            worker = Program("web_tasks/worker.py", queue, f"--redqueue={self.address}")
            self.workers.append(self._stack.enter_context(worker))

    def done(self) -> Counter[tuple[str, ...]]:
        """How often the workers have acknowledged each (queue, task)."""
        lines = [line.split() for worker in self.workers for line in list(worker.lines)]
        return Counter(tuple(words[1:]) for words in lines if words[0] == "done")

    def post_many(self, path: str, bodies: list[dict[str, object]]) -> list[str]:
        """POST all of them from many threads at once; returns the tasks' ids."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(lambda body: ask(self.url + path, body), bodies))
        assert {status for status, _ in answers} == {202}
        return [answer["id"] for _, answer in answers]

    def results(self, ids: list[str]) -> list[dict[str, object]]:
        """What is reported of each task."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            return [answer for _, answer in pool.map(lambda task: ask(f"{self.url}results/{task}"), ids)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ServerProcess(tmp_path / "log", config=config("web_tasks")) as server, ExitStack() as stack:
        yield Site(server, stack)


def test_each_task_of_many_clients_is_done_once(site: Site) -> None:
    site.start_workers("primes", "primes", "primes")
    bodies: list[dict[str, object]] = [{"below": number % 40} for number in range(REQUESTS)]
    ids = site.post_many("primes", bodies)
    wait_until(lambda: len(site.done()) == REQUESTS, seconds=60, what="all tasks")
    assert site.done() == Counter(("primes", task) for task in ids)
    assert all(any("done" in line for line in worker.lines) for worker in site.workers)
    assert site.results(ids) == [{"primes": PRIMES[number % 40]} for number in range(REQUESTS)]


def test_each_subscriber_gets_each_order_once(site: Site) -> None:
    site.start_workers("orders+mail", "orders+stock", "orders+stock")
    ids = site.post_many("orders", [{"item": f"shoe {number}"} for number in range(REQUESTS)])
    wait_until(lambda: len(site.done()) == 2 * REQUESTS, seconds=60, what="all copies")
    assert site.done() == Counter((f"orders+{name}", task) for name in ("mail", "stock") for task in ids)
    assert site.results(ids) == [
        {"orders+mail": f"mailed: we have your order of shoe {number}", "orders+stock": f"one less: shoe {number}"}
        for number in range(REQUESTS)
    ]


def test_a_subscriber_that_starts_late_has_missed_nothing(site: Site) -> None:
    ids = site.post_many("orders", [{"item": f"hat {number}"} for number in range(20)])
    site.start_workers("orders+mail")
    wait_until(lambda: len(site.done()) == 20, what="all copies")
    assert {task for _, task in site.done()} == set(ids)


def test_workers_and_server_may_be_killed(site: Site) -> None:
    """At least once then: the reports are complete, and none is there twice since ``add`` refuses the second."""
    site.start_workers("primes", "primes")
    ids = site.post_many("primes", [{"below": 3000 + number} for number in range(100)])
    wait_until(lambda: len(site.done()) >= 5, what="the first tasks")
    site.workers[0].kill()
    site.server.kill()
    site.start_again()
    site.start_workers("primes")

    def reported() -> bool:
        return all("primes" in result for result in site.results(ids))

    wait_until(reported, seconds=60, what="all reports")
    figures = site.server.connect().stats(b"queue primes")
    assert figures.get("items", "0") in ("0", "1"), figures  # the last acknowledgement may still be under way


@pytest.mark.parametrize(
    ("path", "body"), [("primes", {"below": "x"}), ("primes", {"below": -1}), ("primes", []), ("orders", {})]
)
def test_a_bad_task_is_refused(site: Site, path: str, body: object) -> None:
    status, answer = ask(site.url + path, body)
    assert status == 400
    assert "send" in answer["error"]


def test_a_task_that_cannot_be_kept_is_not_accepted(site: Site) -> None:
    with site.server.connect() as wire:
        assert wire.ask(b"readonly on") == b"OK"
    assert ask(site.url + "orders", {"item": "shoes"})[0] == 503
