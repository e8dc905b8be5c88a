"""A server with a file of users: who is let in, who is seen off, and what a reload changes."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from redqueue.access.passwords import hash_password
from tests.server_process import ServerProcess, Wire, run_server, wait_until
from tests.users_file import write_users

FAILED = b"CLIENT_ERROR authentication failure"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """alice is admin of everything, worker reads jobs, boss writes them."""
    return write_users(
        tmp_path / "users", alice="secret admin=#", worker="reads reader=jobs.#", boss="writes writer=jobs.#"
    )


@pytest.fixture
def server(tmp_path: Path, users: Path) -> Iterator[ServerProcess]:
    """A server that knows them."""
    with ServerProcess(tmp_path / "log", users=users, unix_socket=tmp_path / "socket") as process:
        yield process


def login(wire: Wire, name: str, password: str) -> bytes:
    """Authenticate; returns the answer."""
    return wire.put(b"auth", f"{name} {password}".encode())


def connect_as(server: ServerProcess, name: str, password: str) -> Wire:
    """A connection that is let in."""
    wire = server.connect()
    assert login(wire, name, password) == b"STORED"
    return wire


def test_boss_and_worker_do_what_they_may(server: ServerProcess) -> None:
    with connect_as(server, "boss", "writes") as boss, connect_as(server, "worker", "reads") as worker:
        assert boss.put(b"jobs.new", b"a") == b"STORED"
        assert boss.ask(b"get jobs.new") == b"CLIENT_ERROR not permitted, it needs reader=jobs.new"
        assert worker.put(b"jobs.new", b"b") == b"CLIENT_ERROR not permitted, it needs writer=jobs.new"
        assert worker.get(b"jobs.new") == [(b"jobs.new", 0, b"a")]
        assert worker.ask(b"delete jobs.new") == b"DELETED"
        assert worker.ask(b"pause jobs.new") == b"CLIENT_ERROR not permitted, it needs admin=jobs.new"
    with connect_as(server, "alice", "secret") as alice:
        assert alice.ask(b"readonly on") == b"OK"
        assert alice.ask(b"readonly off") == b"OK"
        stats = alice.stats()
        assert (stats["auth_cmds"], stats["auth_errors"], stats["denied_requests"]) == ("3", "0", "3")


def test_a_wrong_password_is_said_logged_without_it_and_closed(server: ServerProcess) -> None:
    with server.connect() as wire:
        assert login(wire, "alice", "a-wrong-one") == FAILED
        assert wire.rest() == b""
    wait_until(lambda: "authentication failure" in server.log)
    server.says("127.0.0.1")
    assert "a-wrong-one" not in server.log


def test_a_flood_of_wrong_passwords_is_logged_in_a_few_lines(server: ServerProcess) -> None:
    for number in range(30):
        with server.connect() as wire:
            assert login(wire, "alice", f"wrong{number}") == FAILED
    with connect_as(server, "alice", "secret"):
        pass
    assert server.log.count("authentication failure") <= 3


def test_nothing_of_it_is_on_the_disk(server: ServerProcess) -> None:
    with connect_as(server, "alice", "secret") as alice:
        assert alice.put(b"q", b"marker") == b"STORED"
    journal = b"".join(path.read_bytes() for path in server.logdir.glob("*") if path.is_file())
    assert b"marker" in journal
    assert b"alice" not in journal
    assert b"secret" not in journal


def test_the_unix_socket_asks_for_a_password_unless_it_is_trusted(
    tmp_path: Path, users: Path, server: ServerProcess
) -> None:
    with Wire.unix(tmp_path / "socket") as wire:
        assert wire.ask(b"version") == b"CLIENT_ERROR unauthenticated"
        assert login(wire, "alice", "secret") == b"STORED"
    options = {"users": users, "unix_socket": tmp_path / "trusted", "trust_unix_socket": "yes"}
    with ServerProcess(tmp_path / "log2", **options) as trusting:
        with Wire.unix(tmp_path / "trusted") as wire:
            assert wire.ask(b"version").startswith(b"VERSION")
            assert wire.ask(b"readonly off") == b"OK"
        with trusting.connect() as wire:
            assert wire.ask(b"version") == b"CLIENT_ERROR unauthenticated"


def test_who_does_not_authenticate_in_time_is_seen_off(tmp_path: Path, users: Path) -> None:
    with ServerProcess(tmp_path / "log", users=users, auth_timeout="300ms") as server:
        silent, half, chatty = server.connect(), server.connect(), server.connect()
        half.send(b"set auth 0 0 12\r\nalice sec")
        chatty.send(b"version\r\n")
        inside = connect_as(server, "alice", "secret")
        assert silent.rest() == b""
        assert half.rest() == b""
        assert chatty.rest() == b"CLIENT_ERROR unauthenticated\r\n"
        wait_until(lambda: "it did not authenticate in time" in server.log)
        assert inside.ask(b"version").startswith(b"VERSION")
        wait_until(lambda: inside.stats()["curr_connections"] == "1")


def test_a_crowd_that_says_nothing_keeps_nobody_out(tmp_path: Path, users: Path) -> None:
    with ServerProcess(tmp_path / "log", users=users, auth_timeout="60s") as server:
        crowd = []
        for _ in range(1100):
            sock = socket.create_connection((server.host, server.port))
            crowd.append(sock)
        with connect_as(server, "alice", "secret") as alice:
            assert int(alice.stats()["curr_connections"]) <= 1025
        assert crowd[0].recv(1) == b""  # who had stood there longest
        for sock in crowd:
            sock.close()


def test_a_flood_before_authentication_takes_no_memory(server: ServerProcess) -> None:
    with connect_as(server, "alice", "secret"):
        pass
    before = server.resident_bytes()
    for junk in (b"set auth 0 0 2000000000\r\n" + b"x" * 1_000_000, b"\x80\x01" + bytes(6) + b"\x7f" * 1_000_000):
        wires = [server.connect() for _ in range(20)]
        for wire in wires:
            wire.send(junk)
        for wire in wires:
            wire.close()
    with connect_as(server, "alice", "secret") as alice:
        assert alice.stats()["total_items"] == "0"
    assert server.resident_bytes() < before + (10 << 20)


def test_a_dear_hash_keeps_nobody_waiting_and_a_fleet_costs_one(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(f"alice {hash_password(b'secret')} admin=#\n")  # as redqueue passwd makes it
    path.chmod(0o600)
    with ServerProcess(tmp_path / "log", users=path) as server:
        with connect_as(server, "alice", "secret"):
            pass
        attackers = []
        for number in range(4):
            wire = server.connect()
            wire.send(b"set auth 0 0 8\r\nalice %02d\r\n" % number)
            attackers.append(wire)
        # these have been seen before, and do not wait behind those
        fleet = [connect_as(server, "alice", "secret") for _ in range(100)]
        assert all(wire.ask(b"version").startswith(b"VERSION") for wire in fleet)
        for wire in attackers:
            assert wire.line() == FAILED
        for wire in fleet:
            wire.close()


def test_more_attempts_than_are_good_are_sent_away_and_can_try_again(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(f"alice {hash_password(b'secret')} admin=#\n")
    path.chmod(0o600)
    with ServerProcess(tmp_path / "log", users=path) as server:
        wires = [server.connect() for _ in range(10)]
        for number, wire in enumerate(wires):
            wire.send(b"set auth 0 0 8\r\nalice %02d\r\n" % number)
        answers = [wire.rest() for wire in wires]
        assert set(answers) == {FAILED + b"\r\n", b"SERVER_ERROR too many attempts to authenticate, try again\r\n"}
        with connect_as(server, "alice", "secret"):
            pass


def test_a_reload_takes_new_users_and_sees_off_those_who_are_gone_or_changed(
    server: ServerProcess, users: Path
) -> None:
    alice, worker, boss = (
        connect_as(server, "alice", "secret"),
        connect_as(server, "worker", "reads"),
        connect_as(server, "boss", "writes"),
    )
    lines = dict(line.split(" ", 1) for line in users.read_text().splitlines())
    write_users(users, alice="other admin=#", carol="new admin=#")
    worker_line = "worker " + lines["worker"].replace("reader=jobs.#", "reader=jobs.old")
    users.write_text(users.read_text() + worker_line + "\n")
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reload: done" in server.log)
    assert alice.rest() == b""  # another password
    assert boss.rest() == b""  # no longer there
    assert worker.ask(b"get jobs.new") == b"CLIENT_ERROR not permitted, it needs reader=jobs.new"
    assert worker.ask(b"get jobs.old") == b"END"
    with connect_as(server, "carol", "new"), server.connect() as late:
        assert login(late, "boss", "writes") == FAILED
    users.write_text("nonsense\n")
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reload: nothing has changed" in server.log)
    server.says("user 'nonsense' wants a hash")
    with connect_as(server, "carol", "new"):
        pass


def test_items_of_who_is_seen_off_go_to_the_next(server: ServerProcess, users: Path) -> None:
    boss, worker = connect_as(server, "boss", "writes"), connect_as(server, "worker", "reads")
    boss.put(b"jobs", b"a")
    assert worker.get(b"jobs") == [(b"jobs", 0, b"a")]
    write_users(users, alice="secret admin=#", worker="anew reader=jobs.#")
    server.process.send_signal(signal.SIGHUP)
    assert worker.rest() == b""
    with connect_as(server, "worker", "anew") as again:
        assert again.get(b"jobs/t=5000") == [(b"jobs/t=5000", 0, b"a")]


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        ("", 0o600, "names nobody; redqueue passwd add"),
        ("alice plain\n", 0o600, ":1: user 'alice' wants a hash"),
        ("alice HASH admin=#\n", 0o644, "chmod 600"),
        (None, 0, "cannot be read: No such file or directory; redqueue passwd add makes it"),
    ],
)
def test_a_bad_file_stops_the_start(tmp_path: Path, text: str | None, mode: int, reason: str) -> None:
    path = tmp_path / "users"
    if text is not None:
        path.write_text(text.replace("HASH", str(hash_password(b"x", ln=4, p=1))))
        path.chmod(mode)
    for action in ([], ["--check-config"]):
        done = run_server(f"--users={path}", "--port=0", f"--logdir={tmp_path / 'log'}", *action)
        assert done.returncode == 2
        assert "users" in done.stderr
        assert reason in done.stderr
    assert not (tmp_path / "log").exists()


def warnings_of(tmp_path: Path, **options: object) -> str:
    with ServerProcess(tmp_path / "log", **options) as server:
        wait_until(lambda: "hot modules" in server.log)
        return "".join(line for line in server.log.splitlines() if "WARNING" in line)


def test_a_server_that_others_can_reach_says_what_that_means(tmp_path: Path, users: Path) -> None:
    assert warnings_of(tmp_path) == ""
    assert warnings_of(tmp_path, host="localhost") == ""
    exposed = warnings_of(tmp_path, host="0.0.0.0")
    assert "whoever can reach 0.0.0.0:" in exposed
    assert "Set users=FILE" in exposed
    plain = warnings_of(tmp_path, host="0.0.0.0", users=users)
    assert "travel unencrypted" in plain
    assert "Set tls_cert" in plain


def test_the_end_waits_for_nobody_who_has_not_authenticated(server: ServerProcess) -> None:
    wire = server.connect()
    wire.send(b"set auth 0 0 12\r\nali")
    assert server.stop() == 0


def test_many_at_once(server: ServerProcess) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with connect_as(server, "boss", "writes") as boss, connect_as(server, "worker", "reads") as worker:
                queue = b"jobs.%d" % number
                for item in (b"a", b"b"):
                    assert boss.put(queue, item) == b"STORED"
                    assert worker.get(queue) == [(queue, 0, item)]
                    assert worker.ask(b"delete " + queue) == b"DELETED"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
