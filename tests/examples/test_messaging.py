"""The patterns of messaging, each with its own programs."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest

from tests.examples.finished import run_program
from tests.examples.programs import EXAMPLES, Program
from tests.server_process import ServerProcess, wait_until


class Site:
    """A server, and programs of examples/messaging that talk to it."""

    def __init__(self, server: ServerProcess, stack: ExitStack) -> None:
        self.server = server
        self._stack = stack
        self.address = f"127.0.0.1:{server.port}"

    def start(self, program: str, *arguments: str) -> Program:
        """Start a program that goes on."""
        return self._stack.enter_context(Program(f"messaging/{program}.py", *arguments, f"--redqueue={self.address}"))

    def run(self, program: str, *arguments: str, status: int = 0) -> list[str]:
        """Run a program to its end."""
        return run_program(f"messaging/{program}.py", *arguments, f"--redqueue={self.address}", status=status)

    def items(self, queue: str) -> int:
        """What is in a queue, reserved or not."""
        return int(self.server.connect().stats(b"queue %s" % queue.encode()).get("items", "0"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ServerProcess(tmp_path) as server, ExitStack() as stack:
        yield Site(server, stack)


@pytest.fixture
def request_reply() -> ModuleType:
    spec = importlib.util.spec_from_file_location("request_reply", EXAMPLES / "messaging" / "request_reply.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_service_answers_each_caller(site: Site) -> None:
    site.start("fibonacci", "serve")
    assert site.run("fibonacci", "30") == ["832040"]
    assert site.run("fibonacci", "100") == ["354224848179261915075"]
    assert "n wants to be" in site.run("fibonacci", "10001", status=1)[-1]
    assert site.run("fibonacci", "10") == ["55"]


def test_a_call_that_nobody_answers_ends(site: Site) -> None:
    assert site.run("fibonacci", "30", "--timeout=0.3", status=1) == ["fibonacci has not answered within 0.3 s"]


def test_a_late_answer_is_not_taken_for_another(site: Site, request_reply: ModuleType) -> None:
    caller = request_reply.Caller(site.address, "fibonacci")
    with site.server.connect() as wire:
        wire.put(caller.replies.encode(), json.dumps({"id": "earlier", "result": 1}).encode())
    site.start("fibonacci", "serve")
    assert caller.call(20) == 6765
    assert site.items(caller.replies) == 0


def test_what_is_no_request_ends_no_service(site: Site) -> None:
    service = site.start("fibonacci", "serve")
    with site.server.connect() as wire:
        wire.put(b"fibonacci", b"{}")
        wire.put(b"fibonacci", b"{")
    assert site.run("fibonacci", "10") == ["55"]
    assert len([line for line in service.lines if line.startswith("not a request")]) == 2


def test_the_agent_runs_what_is_on_its_list(site: Site) -> None:
    site.start("agent", "mill")
    assert site.run("run_on", "mill", "kernel")[0].startswith("Linux")
    for command in ("reboot", "date; reboot", "/bin/date"):
        assert "is not allowed; there are date" in site.run("run_on", "mill", command, status=1)[-1]
    assert "timed out" in site.run("run_on", "mill", "hang", status=1)[-1]
    assert "has not answered" in site.run("run_on", "barn", "date", "--timeout=0.2", status=1)[-1]


def test_a_busy_worker_gets_no_other_task(site: Site) -> None:
    slow = site.start("worker", "--second=600")
    site.run("new_task", "big.")
    slow.line_with("begins big.")
    fast = site.start("worker", "--second=0.01")
    site.run("new_task", *(f"small-{number}." for number in range(10)))
    fast.line_with("done small-9.")
    assert slow.lines == ["begins big."]

    slow.kill()
    fast.line_with("done big.")
    wait_until(lambda: not site.items("tasks"), what="an empty queue")


def test_tasks_survive_the_server(site: Site) -> None:
    site.run("new_task", "one", "two")
    site.server.kill()
    with ServerProcess(site.server.logdir, port=site.server.port):
        site.start("worker").line_with("done two")


def test_each_subscriber_gets_a_copy(site: Site) -> None:
    subscribers = [site.start("subscribe", name, "news") for name in ("ann", "ben")]
    for subscriber in subscribers:
        subscriber.line_with("subscribed")
    site.run("publish", "news", "rain")
    for subscriber in subscribers:
        subscriber.line_with("rain")


def test_direct_bindings_choose_by_name(site: Site) -> None:
    disk = site.start("subscribe", "disk", "logs.error")
    screen = site.start("subscribe", "screen", "logs.info", "logs.error")
    for subscriber in (disk, screen):
        subscriber.line_with("subscribed")
    site.run("publish", "logs.info", "all is well")
    site.run("publish", "logs.error", "it is not")
    disk.line_with("it is not")
    screen.line_with("all is well")
    screen.line_with("it is not")
    assert "all is well" not in disk.lines


def test_topics_choose_by_pattern(site: Site) -> None:
    pager = site.start("subscribe", "pager", "logs.*.error", "kern.#")
    archive = site.start("subscribe", "archive", "logs.#")
    for subscriber in (pager, archive):
        subscriber.line_with("subscribed")
    site.run("publish", "logs.web.info", "up")
    site.run("publish", "logs.web.error", "down")
    site.run("publish", "kern.disk.sda.error", "smoke")
    pager.line_with("smoke")
    archive.line_with("down")
    assert sorted(pager.lines[1:]) == ["down", "smoke"]
    assert archive.lines[1:] == ["up", "down"]
