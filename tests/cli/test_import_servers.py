"""``redqueue import`` from a real beanstalkd and a real redis-server."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Certificates
from tests.cli.live import Live
from tests.documents import free_port
from tests.server_process import Wire, wait_until

pytestmark = pytest.mark.extra
ITEMS = 3000


def start(*command: str, port: int) -> subprocess.Popen[bytes]:
    assert shutil.which(command[0]), f"{command[0]} is missing: tests/install-extra.sh, or apt-get install {command[0]}"
    process = subprocess.Popen([*command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    wait_until(answers, what=command[0])
    return process


class Peer:
    """A running server of another kind."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.wire = Wire("127.0.0.1", port)

    def redis(self, *words: bytes) -> bytes:
        self.wire.send(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words))
        return self.wire.line()

    def put(self, payload: bytes, tube: bytes = b"t", pri: int = 9, delay: int = 0) -> bytes:
        assert self.wire.ask(b"use " + tube).startswith(b"USING")
        self.wire.send(b"put %d %d 77 %d\r\n%b\r\n" % (pri, delay, len(payload), payload))
        return self.wire.line().split(b" ")[1]

    def tube(self, state: str, tube: bytes = b"t") -> int:
        reply = self.wire.ask(b"stats-tube " + tube)
        if not reply.startswith(b"OK"):
            return 0
        text = self.wire.read(int(reply.split()[1]) + 2).decode()
        return int(text.partition(f"current-jobs-{state}: ")[2].split("\n")[0])


@pytest.fixture
def beanstalkd() -> Iterator[Peer]:
    port = free_port()
    process = start("beanstalkd", "-l", "127.0.0.1", "-p", str(port), port=port)
    yield Peer(port)
    process.kill()
    process.wait()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Peer]:
    port = free_port()
    process = start(
        "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path),
        "--requirepass", "secret", port=port,
    )  # fmt: skip
    peer = Peer(port)
    assert peer.redis(b"AUTH", b"secret") == b"+OK"
    yield peer
    process.kill()
    process.wait()


def test_a_tube(live: Live, beanstalkd: Peer) -> None:
    buried = beanstalkd.put(b"bad")
    with_worker = Wire("127.0.0.1", beanstalkd.port)
    with_worker.send(b"watch t\r\nreserve-with-timeout 0\r\nbury %b 9\r\n" % buried)
    assert [with_worker.line() for _ in range(2)] == [b"WATCHING 2", b"RESERVED %b 3" % buried]
    assert with_worker.read(5) == b"bad\r\n"
    assert with_worker.line() == b"BURIED"
    for payload in (b"2", b"x\r\n\x00", b""):
        beanstalkd.put(payload)
    beanstalkd.put(b"1", pri=1)
    beanstalkd.put(b"later", delay=500)
    source = f"beanstalkd://127.0.0.1:{beanstalkd.port}/t"
    assert live.json("import", source, "jobs", "--dry-run")["queues"] == [{"queue": "jobs", "items": 5}]
    copied = live.json("import", source, "copy", "--copy", "--buried=copy.buried")
    assert (copied["imported"], copied["removed"]) == (6, 0)
    assert [beanstalkd.tube(state) for state in ("ready", "delayed", "buried")] == [4, 1, 1]
    fields = live.json("import", source, "jobs")
    assert (fields["imported"], fields["removed"]) == (5, 5)
    assert "the TTR of the jobs is 77 s" in fields["findings"][1]
    for name in (b"jobs", b"copy"):
        assert live.contents(name) == [b"1", b"2", b"x\r\n\x00", b""]
        assert live.figure(name, "delayed") == 1
    assert live.contents(b"copy.buried") == [b"bad"]
    assert [beanstalkd.tube(state) for state in ("ready", "delayed", "buried")] == [0, 0, 1]
    assert live.json("import", source, "jobs", "--buried=bad")["imported"] == 1
    live.json("import", source, "jobs", status=1)


def test_a_list(live: Live, redis: Peer) -> None:
    source = f"redis://127.0.0.1:{redis.port}/2/my%20jobs"
    assert "NOAUTH" in live.redqueue("import", source, "jobs", status=2).stderr
    redis.redis(b"SELECT", b"2")
    for payload in (b"a", b"", b"x\r\n\xff", b"a"):
        redis.redis(b"LPUSH", b"my jobs", payload)
    password = {"REDQUEUE_SOURCE_PASSWORD": "secret"}
    live.redqueue("import", source, "copy", "--copy", **password)
    assert live.contents(b"copy") == [b"a", b"", b"x\r\n\xff", b"a"]
    assert redis.redis(b"LLEN", b"my jobs") == b":4"
    done = live.redqueue("import", source, "jobs", "--from-left", **password)
    assert (done.stdout, done.stderr) == ("4 items imported into jobs\n", "")
    assert live.contents(b"jobs") == [b"a", b"x\r\n\xff", b"", b"a"]
    assert redis.redis(b"LLEN", b"my jobs") == b":0"
    redis.redis(b"SET", b"my jobs", b"x")
    assert "no list" in live.redqueue("import", source, "jobs", status=2, **password).stderr


def test_a_list_by_tls(live: Live, tmp_path: Path) -> None:
    port, plain = free_port(), free_port()
    files = Certificates(tmp_path)
    process = start(
        "redis-server", "--port", str(plain), "--tls-port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir",
        str(tmp_path), "--tls-cert-file", str(files.cert), "--tls-key-file", str(files.key), "--tls-ca-cert-file",
        str(files.ca), "--tls-auth-clients", "no", port=port,
    )  # fmt: skip
    try:
        Peer(plain).redis(b"LPUSH", b"jobs", b"a")
        source = f"rediss://127.0.0.1:{port}/0/jobs"
        assert "certificate" in live.redqueue("import", source, "jobs", status=2).stderr
        assert live.json("import", source, "jobs", f"--source-ca-file={files.ca}")["removed"] == 1
        assert live.contents(b"jobs") == [b"a"]
    finally:
        process.kill()
        process.wait()


def test_a_full_queue_leaves_the_rest(tmp_path: Path, beanstalkd: Peer) -> None:
    for i in range(150):
        beanstalkd.put(b"%d" % i)
    with Live(tmp_path / "journal", max_items=70) as server:
        fields = server.json("import", f"beanstalkd://127.0.0.1:{beanstalkd.port}/t", "jobs", status=1)
        assert (fields["imported"], fields["removed"]) == (70, 70)
        assert "full" in fields["reason"]
    wait_until(lambda: beanstalkd.tube("ready") == 80)


@pytest.mark.parametrize("kind", ["beanstalkd", "redis"])
def test_killed_again_and_again(live: Live, request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    """What was put is in the source or here; what is in both was of the moment of a kill."""
    peer: Peer = request.getfixturevalue(kind)
    if kind == "redis":
        peer.redis(b"RPUSH", b"t", *[b"%d" % i for i in reversed(range(ITEMS))])
        source = f"redis://127.0.0.1:{peer.port}/0/t"
    else:
        for i in range(ITEMS):
            peer.put(b"%d" % i)
        source = f"beanstalkd://127.0.0.1:{peer.port}/t"
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    options = ["--source-password-file", str(secret)] if kind == "redis" else []
    killed = 0
    for _ in range(6):
        before = live.figure(b"jobs", "items")
        process = live.start_command("import", source, "jobs", *options, stdout=subprocess.DEVNULL)
        wait_until(
            lambda before=before, process=process: live.figure(b"jobs", "items") > before or process.poll() is not None
        )
        killed += process.poll() is None
        process.kill()
        process.communicate(timeout=20)
    assert killed >= 2
    live.redqueue("import", source, "jobs", *options, status=None)
    found = [int(payload) for payload in live_items(live)]
    assert set(found) == set(range(ITEMS))
    assert len(found) - ITEMS <= killed * 200
    assert peer.redis(b"LLEN", b"t") == b":0" if kind == "redis" else peer.tube("ready") == 0


def live_items(live: Live) -> list[bytes]:
    with live.connect() as wire:
        items = []
        while found := wire.get(b"jobs"):
            items.append(found[0][2])
            assert wire.ask(b"delete jobs") == b"DELETED"
        return items
