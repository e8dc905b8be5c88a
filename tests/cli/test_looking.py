"""stats, queues and peek, and what all commands do alike: servers, names, terminals, errors."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from redqueue.cli.main import COMMANDS as NAMES
from redqueue.cli.main import main
from tests.cli.live import Live, terminal, without_rich
from tests.cli.tool import redqueue
from tests.documents import free_port


def test_stats_in_groups(live: Live) -> None:
    live.fill(b"jobs", b"a", b"b")
    text = live.redqueue("stats").stdout
    groups = re.findall(r"^(\w+)$", text, re.MULTILINE)
    assert groups == ["server", "items", "connections", "requests", "journal"]
    assert re.search(r"^  curr_items +2$", text, re.MULTILINE)
    fields = live.json("stats")
    assert (fields["curr_items"], fields["reliable"]) == (2, "yes")
    assert isinstance(fields["rusage_user"], float)


@pytest.mark.parametrize("topic", ["queues", "settings", "items"])
def test_stats_of_a_topic(live: Live, topic: str) -> None:
    live.fill(b"jobs", b"a")
    fields = live.json("stats", topic)
    with live.connect() as wire:
        names = wire.stats(topic.encode())
    assert fields.keys() == names.keys()
    first = next(iter(names))
    assert re.search(rf"^{first} ", live.redqueue("stats", topic).stdout, re.MULTILINE)


def test_stats_of_connections(live: Live) -> None:
    live.fill(b"jobs", b"a")
    with live.connect() as wire:
        assert wire.get(b"jobs")
        rows = live.json_lines("stats", "conns")
        assert {row["reserved"] for row in rows} == {0, 1}
        assert all(isinstance(row["connection"], int) for row in rows)
        assert re.match(r"connection +addr +reserved +waiting", live.redqueue("stats", "conns").stdout)


def test_stats_of_a_queue(live: Live) -> None:
    live.fill(b"jobs", b"abc")
    assert live.json("stats", "queue", "jobs")["setting_dead_letter"] == "jobs.dead"
    assert live.json("stats", "queue", "nobody", status=1) == {}
    assert "wants the NAME" in live.redqueue("stats", "queue", status=2).stderr
    assert "wants the NAME" in live.redqueue("stats", "settings", "jobs", status=2).stderr


def test_queues(live: Live) -> None:
    live.fill(b"jobs", b"a", b"bb")
    live.fill(b"mail", b"c")
    live.fill("caf\u00e9".encode(), b"c")
    live.fill(b"odd\xff/name", b"x" * 5000)
    with live.connect() as wire:
        wire.put(b"jobs/delay=100", b"later")
        wire.get(b"jobs")
        wire.ask(b"pause mail")
        text = live.redqueue("queues").stdout.splitlines()
        assert [line.split()[0] for line in text] == ["queue", "caf\u00e9", "jobs", "mail", r"odd\xff/name"]
        assert re.fullmatch(r"jobs +1 +1 +1 +8 B +.* +0 +0", text[2])
        assert text[3].endswith("paused")
        assert "4.9 KiB" in text[4]
        rows = live.json_lines("queues")
    assert [row.get("queue") for row in rows] == ["caf\u00e9", "jobs", "mail", None]
    assert rows[3]["queue_base64"] == "b2Rk/y9uYW1l"
    jobs = rows[1]
    assert (jobs["ready"], jobs["reserved"], jobs["delayed"], jobs["items"], jobs["bytes"]) == (1, 1, 1, 3, 8)
    assert (jobs["put"], jobs["delivered"], rows[2]["paused"]) == (3, 1, True)


def test_queues_sorted_cut_and_chosen(live: Live) -> None:
    for i, name in enumerate((b"b.one", b"a.two", b"c.two", b"x[1]")):
        live.fill(name, *[b"x"] * (i + 1))

    def names(*arguments: str) -> list[str]:
        return live.redqueue("queues", "--names", *arguments).stdout.split()

    assert names() == ["a.two", "b.one", "c.two", "x[1]"]
    assert names("--reverse") == ["x[1]", "c.two", "b.one", "a.two"]
    assert names("--sort", "ready") == ["x[1]", "c.two", "a.two", "b.one"]
    assert names("--sort", "ready", "--reverse", "--limit", "2") == ["b.one", "a.two"]
    assert names("*.two") == ["a.two", "c.two"]
    assert names("--limit", "9", "*.two", "b*", "x[1]") == ["a.two", "b.one", "c.two", "x[1]"]
    done = live.redqueue("queues", "nobody*", status=1)
    assert (done.stdout, done.stderr) == ("", "")


def test_more_queues_than_one_answer_tells_of(live: Live) -> None:
    with live.connect() as wire:
        wire.send(b"".join(b"ms many%d 1 q\r\nx\r\n" % i for i in range(2500)) + b"mn\r\n")
        assert wire.line() == b"MN"
    names = live.redqueue("queues", "--names").stdout.split()
    assert sorted(names) == sorted(f"many{i}" for i in range(2500))
    top = live.json("top", "--once", "--interval", "100ms", "--limit", "3")
    assert len(top["queues"]) == 3


def test_peek(live: Live) -> None:
    live.fill(b"jobs", b"first", b"\x00\x1b[2J\xff", "caf\u00e9 \\ \t!\nnext".encode())
    text = live.redqueue("peek", "jobs", "-n", "9").stdout
    assert re.fullmatch(
        r"jobs: id \d+, 5 bytes, flags 0, \d+m?s old\nfirst\n"
        r"jobs: id \d+, .*\n\\x00\\x1b\[2J\\xff\n"
        r"jobs: id \d+, .*\ncaf\u00e9 \\ \t!\nnext\n",
        text,
    ), text
    assert live.redqueue("peek", "jobs").stdout.endswith("\nfirst\n")
    assert live.redqueue("peek", "jobs", "--from", "1", "--hex").stdout.endswith(
        f"\n00000000  {'00 1b 5b 32 4a ff':<47}  ..[2J.\n"
    )
    rows = live.json_lines("peek", "jobs", "-n", "3")
    assert [row.get("payload") for row in rows] == ["first", None, "caf\u00e9 \\ \t!\nnext"]
    assert rows[1]["payload_base64"] == "ABtbMkr/"
    assert {key: rows[0][key] for key in ("queue", "flags", "size", "ttl", "deliveries")} == {
        "queue": "jobs", "flags": 0, "size": 5, "ttl": None, "deliveries": 0
    }  # fmt: skip
    assert live.figure(b"jobs", "transactions") == 0
    assert live.redqueue("peek", "nobody", status=1).stdout == ""


def test_peek_at_many_and_at_long_items(live: Live) -> None:
    live.fill(b"jobs", *[b"%d" % i for i in range(45)])
    rows = live.json_lines("peek", "jobs", "-n", "100")
    assert [row["payload"] for row in rows] == [str(i) for i in range(45)]
    live.fill(b"long", b"x" * 5000)
    assert "x" * 2000 + "\n... and 3000 bytes more (--full)\n" in live.redqueue("peek", "long").stdout
    assert "x" * 5000 in live.redqueue("peek", "long", "--full").stdout


@pytest.mark.parametrize(
    ("name", "wire_name"),
    [
        ("caf\u00e9", "caf\u00e9".encode()),
        (r"odd\xff", b"odd\xff"),
        (b"raw\xff", b"raw\xff"),
        ("with space", b"with space"),
        (r"line\x0d\x0aend", b"line\r\nend"),
        (r"50%\\", b"50%\\"),
        ("a/b", b"a/b"),
    ],
)
def test_odd_names(live: Live, name: str | bytes, wire_name: bytes) -> None:
    live.redqueue("put", name, "x", "y")
    (shown,) = live.redqueue("queues", "--names", "--sort", "items", "--limit", "1").stdout.splitlines()
    assert live.redqueue("take", shown).stdout == "x\n"
    item = live.json("peek", shown)
    assert item["payload"] == "y"
    assert live.redqueue("take", shown, "--exec", "cat", "--all").stdout == "y"
    if b" " not in wire_name and b"\r" not in wire_name:
        assert live.figure(wire_name, "total_items") == 2
        live.redqueue("drop", shown)
        assert live.figure(wire_name, "total_items") == 0
    else:
        assert "drop cannot name this queue" in live.redqueue("drop", shown, status=2).stderr


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("jobs/t=5", "what ends in /t is an option"),
        ("/peek", "what ends in /peek is an option"),
        ("", "a queue has a name"),
        ("x" * 251, "no name of a queue is longer than 250 bytes"),
        (r"back\slash", "a backslash in"),
    ],
)
def test_names_that_none_has(live: Live, name: str, complaint: str) -> None:
    assert complaint in live.redqueue("peek", name, status=2).stderr


def test_nobody_listens() -> None:
    port = free_port()
    done = redqueue("stats", f"--server=127.0.0.1:{port}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"redqueue: cannot connect to 127.0.0.1:{port}: connection refused; is the server running? "
        "--server names another\n"
    )
    done = redqueue("stats", "--server=unix:/nowhere/socket")
    assert "cannot connect to unix:/nowhere/socket: there is no such socket" in done.stderr


@pytest.mark.parametrize("server", ["", "host:", "host:99999", "a:b:c", "unix:", "[::1"])
def test_servers_that_are_none(server: str) -> None:
    done = redqueue("stats", "--server", server or " ")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--timeout=0",), "--timeout wants more than 0"),
        (("--key=x",), "--key wants --cert as well"),
        (("--tls", "--server=unix:/x"), "there is no TLS over a Unix socket"),
        (("--password-file=x",), "--password-file wants --user as well"),
        (("--user=a b",), "there is a space in it"),
        (("--ca-file=/nowhere",), "/nowhere: No such file"),
    ],
)
def test_options_that_do_not_go(options: tuple[str, ...], complaint: str) -> None:
    done = redqueue("stats", *options)
    assert done.returncode == 2
    assert complaint in done.stderr or "No such file" in done.stderr


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with Live(tmp_path / "journal", unix_socket=path) as server:
        server.fill(b"jobs", b"a")
        done = redqueue("queues", "--names", f"--server=unix:{path}")
        assert (done.returncode, done.stdout) == (0, "jobs\n")


class Impostor:
    """Something else that listens: it says ``reply`` to whatever comes, or nothing."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()
        self._kept: list[socket.socket] = []

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            self._kept.append(connection)
            connection.recv(4096)
            if self._reply:
                connection.sendall(self._reply)
                connection.close()


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no RedQueue: it answers HTTP/1.1 400 Bad Request"),
        (b"STAT pid 1", "has closed the connection"),
        (b"", "has not answered within 0.2 s (--timeout)"),
    ],
)
def test_something_else_listens(reply: bytes, complaint: str) -> None:
    done = redqueue("stats", "--server", Impostor(reply).address, "--timeout=200ms")
    assert done.returncode == 2
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_tls_there(live: Live) -> None:
    done = live.redqueue("stats", "--tls", status=2)
    assert re.match(r"redqueue: cannot connect to 127.0.0.1:\d+: no TLS there", done.stderr), done.stderr


def test_a_user_where_nobody_asks_is_no_item(live: Live) -> None:
    live.redqueue("stats", "--user=ann", REDQUEUE_PASSWORD="secret")
    assert "auth" not in live.redqueue("queues", status=None).stdout


def test_a_reader_that_has_seen_enough(live: Live) -> None:
    live.fill(b"jobs", *[b"x" * 3000 for _ in range(100)])
    process = live.start_command("peek", "jobs", "-n", "100", "--full", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(20) == 2
    process.stderr.close()


@pytest.mark.parametrize("rich", [True, False])
def test_a_table_on_a_terminal(live: Live, rich: bool) -> None:
    live.fill(b"jobs", b"a")
    if rich:
        with terminal(live, "queues") as shown:
            assert shown.end() == 0
            assert re.search(r"jobs +1 +0 +0 ", shown.read())
    else:
        done = subprocess.run(without_rich(("queues",)), env=live.environment(), capture_output=True, check=False)
        assert re.search(rb"jobs +1 +0 +0 ", done.stdout)


COMMANDS = sorted(NAMES)


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = redqueue("--help").stdout
    assert set(COMMANDS) <= set(re.findall(r"^    (\w+)", text, re.MULTILINE))
    for command in COMMANDS:
        if command in ("journal", "passwd", "completion"):
            continue
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = capsys.readouterr().out
        assert "exit status:" in text, command
        assert "REDQUEUE_SERVER" in text, command
        assert all(len(line) <= 120 for line in text.splitlines()), command
