"""The benchmark: its table, its checks of replies, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import load
from benchmarks.dialects import BODY, DIALECTS, ReplyError
from benchmarks.heartbeat import Pauses
from benchmarks.load import Load
from benchmarks.mixtures import MIXTURES, Disk, Mixture
from benchmarks.pipeline import Pipeline
from benchmarks.workloads import WORKLOADS
from tests.server_process import ROOT, ServerProcess, wait_until

VALUE = b"VALUE q 0 64\r\n" + BODY + b"\r\nEND\r\n"
REPLIES = {
    "RedQueue": [b"STORED\r\n", VALUE, b"DELETED\r\n"],
    "memcached": [b"STORED\r\n", VALUE.replace(b" q ", b" k7 "), b"DELETED\r\n"],
    "beanstalkd": [b"INSERTED 12\r\n", b"RESERVED 12 64\r\n" + BODY + b"\r\n", b"DELETED\r\n"],
    "redis": [b":13\r\n", b"$64\r\n" + BODY + b"\r\n", b":1\r\n"],
}
"""The right replies to one cycle of connection 7."""


def command(directory: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.compare", f"--directory={directory}", *arguments]


def compare(directory: Path, *arguments: str, path: str | None = None) -> str:
    """Run the benchmark and return what it printed."""
    environment = {**os.environ, "PATH": os.environ["PATH"] if path is None else path}
    run = subprocess.run(
        command(directory, *arguments), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert not list(directory.glob("redqueue-benchmark-*"))
    return run.stdout


def rows(output: str) -> dict[str, dict[str, str]]:
    """The cells of the only table in ``output``, by first cell and heading."""
    headings, _, *lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if line.startswith("|")
    ]
    return {line[0]: dict(zip(headings, line, strict=True)) for line in lines}


def number(cell: str) -> float:
    return float(cell.replace(",", ""))


def test_a_table_of_redqueue_with_no_peer_installed(tmp_path: Path) -> None:
    output = compare(tmp_path, "--seconds=0.2", "--rounds=1", "--only=cycle-10", path="/nowhere")
    found = rows(output)
    assert list(found) == [
        "RedQueue reliable=yes",
        "memcached: not installed (apt-get install memcached)",
        "beanstalkd: not installed (apt-get install beanstalkd)",
        "redis: not installed (apt-get install redis-server)",
    ]
    ours = found["RedQueue reliable=yes"]
    assert list(ours) == [
        "server",
        "requests/s",
        "server CPU us/request",
        "server busy %",
        "p50 us",
        "p99 us",
        "errors",
        "ratio: requests/s",
        "ratio: requests/CPU s",
    ]
    assert ours["errors"] == "0"
    assert number(ours["requests/s"]) > 0
    assert number(ours["server CPU us/request"]) > 0
    assert 0 < number(ours["p50 us"]) <= number(ours["p99 us"])


def test_figures_of_every_round_in_json(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    arguments = ("--items=20000", "--rounds=2", "--peers=none", "--only=memory", "--only=recovery", f"--json={file}")
    compare(tmp_path, *arguments)
    workloads = json.loads(file.read_text())["workloads"]
    assert list(workloads) == ["memory", "recovery"]
    for workload in workloads.values():
        ours = workload["servers"]["RedQueue"]
        assert [figures["errors"] for figures in ours["rounds"]] == [[], []]
    assert workloads["memory"]["servers"]["RedQueue"]["median"]["item"] > len(BODY)
    # A record for each item and one for the queue's name.
    assert workloads["recovery"]["servers"]["RedQueue"]["median"]["records"] == 20001


def test_backlog(tmp_path: Path) -> None:
    arguments = ("--items=4000", "--rotations=1", "--only=memory", "--only=recovery", f"--directory={tmp_path}")
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.backlog", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert not list(tmp_path.iterdir())
    memory, recovery = run.stdout.split("## recovery")
    full = rows(memory)["1024 B: full"]
    assert number(full["bytes an item"]) > 1024 / 2
    assert number(full["pause ms"]) <= number(full["with others' CPU ms"])
    assert rows(recovery)["every second one acknowledged"]["records"] == "6,002"


@pytest.mark.parametrize("mixture", MIXTURES, ids=lambda mixture: mixture.title)
def test_mixtures_leave_what_they_count(mixture: Mixture, tmp_path: Path) -> None:
    with ServerProcess(tmp_path, segment_size="64kb") as server:
        disk = Disk(tmp_path, 64 << 10)
        with closing(Pipeline((server.host, server.port), disk.sample)) as client:
            assert mixture.run(client, disk, 200_000) > 100
        figures = stats(server)
        assert int(figures["curr_items"]) == disk.items
        assert int(figures["journal_live_bytes"]) == disk.live
        assert disk.peak >= 64 << 10


def test_an_item_out_of_order_is_seen(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server, closing(Pipeline((server.host, server.port))) as client:
        client.put(b"q", range(100), 64)
        client.take(b"q", range(99), 64)
        client.put(b"q", range(101, 102), 64)
        client.take(b"q", range(99, 100), 64)
        with pytest.raises(ReplyError):
            client.take(b"q", range(100, 101), 64)


def test_a_pause_is_noted_in_another_process(tmp_path: Path) -> None:
    ours, theirs = Pauses(tmp_path / "pauses"), Pauses(tmp_path / "pauses")
    theirs.note(0.2, 0.1)
    theirs.note(0.3, 0.05)
    assert ours.count == 2
    assert ours.take() == (0.3, 0.1)
    assert ours.take() == (0.0, 0.0)


@pytest.mark.extra
def test_every_workload_with_every_peer(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    output = compare(tmp_path, "--seconds=0.2", "--rounds=1", "--items=20000", f"--json={file}")
    assert "not installed" not in output
    workloads = json.loads(file.read_text())["workloads"]
    for workload in WORKLOADS:
        measured = workloads[workload.name]["servers"]
        assert list(measured) == [setting.name for setting in workload.settings]
        for name, server in measured.items():
            assert server["rounds"][0]["errors"] == [], (workload.name, name)
            assert set(server["rounds"][0]["values"]) == {column.key for column in workload.columns}
            assert name == "RedQueue" or all(ratio > 0 for ratio in server["ratio"].values())


def command_line(pid: int) -> str:
    """Of a process; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def children(pid: int) -> dict[int, str]:
    """The command lines of a process's children."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child): command_line(int(child)) for child in found}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_it_started(tmp_path: Path, number: signal.Signals) -> None:
    arguments = ("--seconds=60", "--only=cycle-10", "--peers=none")
    process = subprocess.Popen(
        command(tmp_path, *arguments),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    started: dict[int, str] = {}

    def running() -> bool:
        started.update(children(process.pid))
        lines = " ".join(started.values())
        return "redqueue_server.py --port=0" in lines and "spawn_main" in lines

    def left() -> list[int]:
        return [pid for pid, line in started.items() if line and command_line(pid) == line]

    try:
        wait_until(running, what="server and load")
        assert list(tmp_path.iterdir())
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does, to the whole group
        else:
            process.send_signal(number)
        _, log = process.communicate(timeout=40)
        assert process.returncode == 130
        assert "interrupted" in log
        assert "Traceback" not in log
        # The tracker that multiprocessing starts ends by itself, a moment after its parent.
        wait_until(lambda: not left(), what="the end of its processes")
        assert not list(tmp_path.iterdir())
    finally:
        for pid in left():
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


def stats(server: ServerProcess) -> dict[str, str]:
    with server.connect() as wire:
        return wire.stats()


def test_two_load_processes_share_the_connections(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    with ServerProcess(tmp_path, reliable="no") as server:
        at_start: list[str] = []
        outcome = load.run(
            Load("puts", connections=5, depth=4, batches=10),
            "RedQueue",
            (server.host, server.port),
            [cpu, cpu],
            before=lambda: at_start.append(stats(server)["curr_connections"]),
        )
        assert outcome.errors == []
        assert outcome.requests == 5 * 4 * 10
        assert len(outcome.latencies) == 5 * 10
        assert outcome.ended > outcome.begun
        assert all(0 < latency <= outcome.ended - outcome.begun for latency in outcome.latencies)
        assert stats(server)["curr_items"] == "200"
    assert at_start == ["6"]


@pytest.mark.parametrize("server", DIALECTS)
def test_replies_in_single_bytes(server: str) -> None:
    conversation = DIALECTS[server].cycle(7, [])
    requests = [next(conversation)]
    for reply in REPLIES[server] * 2:
        *early, last = [bytes([byte]) for byte in reply]
        assert [conversation.send(byte) for byte in early] == [None] * len(early)
        requests.append(conversation.send(last))
    assert None not in requests
    assert requests[:3] == requests[3:6]
    assert BODY in (requests[0] or b"")


WRONG = [b"ERROR\r\n", b"END\r\n", b"NOT_FOUND\r\n", b"$-1\r\n", b":0\r\n"]


@pytest.mark.parametrize(
    ("server", "step", "wrong"),
    [
        (server, step, wrong)
        for server, right in REPLIES.items()
        for step, reply in enumerate(right)
        for wrong in [*WRONG, reply.replace(BODY, BODY[:-1] + b"X"), reply[:-3] + b"\r\n"]
        # redis answers a put with the length of the queue, beanstalkd with an id
        if wrong != reply and not (step == 0 and wrong[:1] in (b":", b"I") and wrong[:1] == reply[:1])
    ],
)
def test_wrong_replies_are_seen(server: str, step: int, wrong: bytes) -> None:
    conversation = DIALECTS[server].cycle(7, [])
    next(conversation)
    for reply in REPLIES[server][:step]:
        conversation.send(reply)
    with pytest.raises(ReplyError):
        conversation.send(wrong)


@pytest.mark.parametrize("server", DIALECTS)
def test_batches(server: str) -> None:
    reply = REPLIES[server][0]
    conversation = DIALECTS[server].puts(7, [], 3, 2)
    first = next(conversation) or b""
    assert first.count(BODY) == 3
    assert conversation.send(reply * 2 + reply[:-1]) is None
    second = conversation.send(reply[-1:]) or b""
    assert second.count(BODY) == 3
    assert (first == second) is (server != "memcached")
    with pytest.raises(ReplyError):
        conversation.send(reply * 2 + b"ERROR\r\n")


@pytest.mark.parametrize("server", DIALECTS)
def test_a_conversation_ends_between_items(server: str) -> None:
    stop: list[bool] = []
    conversation = DIALECTS[server].cycle(7, stop)
    next(conversation)
    stop.append(True)
    put, take, acknowledge = REPLIES[server]
    assert conversation.send(put)
    assert conversation.send(take)
    with pytest.raises(StopIteration):
        conversation.send(acknowledge)


def test_failed_connections_are_counted_and_the_others_go_on() -> None:
    """Three connections: one gets an error, one is closed, one is answered well until its item is done."""
    ours, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
    stop: list[bool] = []

    def answer() -> None:
        for reply in REPLIES["RedQueue"]:
            theirs[2].recv(4096)
            theirs[2].sendall(reply)

    theirs[0].sendall(b"SERVER_ERROR out of memory storing object\r\n")
    theirs[1].shutdown(socket.SHUT_WR)
    server = threading.Thread(target=answer)
    server.start()
    conversations = {connection: DIALECTS["RedQueue"].cycle(0, stop) for connection in ours}
    outcome = load.drive(conversations, stop, Load("cycle", 3, seconds=0.0))
    server.join()
    assert sorted(outcome.errors) == [
        "the server closed the connection",
        "wrong reply: b'SERVER_ERROR out of memory storing object\\r\\n'",
    ]
    assert outcome.requests == len(outcome.latencies) == 3
    for connection in theirs:
        connection.close()


def test_what_asking_over_http_costs_is_measured() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.web", "--queues=30", "--rounds=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert len(rows(done.stdout)) >= 5


def test_celery_on_redqueue_alone() -> None:
    command = [sys.executable, "-m", "benchmarks.celery", "--only=redqueue", "--tasks=30", "--rounds=1"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^\| redqueue \S+ .* 1\.00 \|$", run.stdout, re.MULTILINE), run.stdout
