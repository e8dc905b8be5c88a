"""``redqueue put``: forms of input, how far it went, full queues, memory."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.cli.live import Live, terminal
from tests.cli.tool import COMMAND
from tests.server_process import wait_until


def test_from_arguments(live: Live) -> None:
    assert live.redqueue("put", "jobs", "a", "", "c d", b"\xff").stdout == "4 items stored in jobs (reliable=yes)\n"
    assert live.contents(b"jobs") == [b"a", b"", b"c d", b"\xff"]


def test_options_may_stand_before_the_items(live: Live) -> None:
    live.redqueue("put", "jobs", "--flags", "7", "a", "b")
    live.redqueue("put", "jobs", "--ttl=1h", "--", "--c")
    assert live.contents(b"jobs") == [b"a", b"b", b"--c"]
    rows = live.json_lines("peek", "jobs", "-n", "3")
    assert [row["flags"] for row in rows] == [7, 7, 0]
    assert 3590 < rows[2]["ttl"] <= 3600


@pytest.mark.parametrize(
    ("options", "data", "items"),
    [
        ((), b"a\nb\n", [b"a", b"b"]),
        ((), b"a\n\nb", [b"a", b"", b"b"]),
        ((), b"a\r\nb\r\n", [b"a\r", b"b\r"]),
        (("--null",), b"a\nb\0c\0", [b"a\nb", b"c"]),
        (("--whole",), b"a\nb\0c\n", [b"a\nb\0c\n"]),
        (("--whole",), b"", [b""]),
        (("--file=-",), b"\xff\x00\n", [b"\xff\x00"]),
    ],
)
def test_from_standard_input(live: Live, options: tuple[str, ...], data: bytes, items: list[bytes]) -> None:
    live.redqueue("put", "jobs", *options, data=data)
    assert live.contents(b"jobs") == items


def test_nothing(live: Live) -> None:
    assert live.redqueue("put", "jobs").stdout == "0 items stored in jobs (reliable=yes)\n"


def test_a_long_life_a_delay_the_head_and_only_once(live: Live) -> None:
    live.redqueue("put", "jobs", "--ttl=40d", "x")
    assert 40 * 86400 - 100 < live.json("peek", "jobs")["ttl"] <= 40 * 86400
    live.redqueue("put", "jobs", "--delay=100.5s", "later")
    assert live.figure(b"jobs", "delayed") == 1
    live.redqueue("put", "jobs", "--head", "first", "before")
    assert live.contents(b"jobs") == [b"before", b"first", b"x"]
    done = live.redqueue("put", "jobs", "--add", "y", status=1)
    assert done.stdout == "0 items stored in jobs (reliable=yes)\n"
    assert done.stderr.startswith(
        "redqueue: the queue holds something, or the server takes no items; not stored: items 1"
    )
    live.redqueue("put", "once", "--add", "y")
    assert live.contents(b"once") == [b"y"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--flags=4294967296", "x"), "--flags wants 32 bits"),
        (("--whole", "x"), "items are either arguments or input"),
        (("--file=/nowhere",), "/nowhere: No such file"),
        (("--ttl=soon", "x"), "wants a duration"),
        (("--add", "--head", "x"), "not allowed with"),
    ],
)
def test_options_that_do_not_go(live: Live, options: tuple[str, ...], complaint: str) -> None:
    assert complaint in live.redqueue("put", "jobs", *options, status=2).stderr


def test_many_lines_keep_their_order(live: Live, tmp_path: Path) -> None:
    lines = [b"%d %b" % (i, b"x" * (i % 700)) for i in range(20_000)]
    path = tmp_path / "lines"
    path.write_bytes(b"\n".join(lines))
    fields = live.json("put", "jobs", f"--file={path}")
    assert (fields["stored"], fields["bytes"]) == (20_000, sum(map(len, lines)))
    with live.connect() as wire:
        wire.send(b"mg jobs/prefetch=30000 v\r\n" * len(lines))
        for line in lines:
            assert wire.line() == b"VA %d" % len(line)
            assert wire.read(len(line) + 2)[:-2] == line


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Live:
    with Live(tmp_path_factory.mktemp("small") / "journal", max_items=1000, max_item_size=1000) as server:
        yield server


@pytest.fixture
def full(small: Live) -> Live:
    """A server whose queues hold a thousand items of a thousand bytes."""
    small.empty()
    return small


def test_a_full_queue(full: Live) -> None:
    data = b"".join(b"%d\n" % i for i in range(1, 1501))
    done = full.redqueue("put", "jobs", data=data, status=1)
    assert done.stdout == "1000 items stored in jobs (reliable=yes)\n"
    match = re.fullmatch(
        r"redqueue: the queue is full, or the server takes no items; not stored: items 1001-(\d+); "
        r"stopped behind item (\d+)\n",
        done.stderr,
    )
    assert match, done.stderr
    assert match[1] == match[2]
    assert full.contents(b"jobs") == [b"%d" % i for i in range(1, 1001)]
    process = subprocess.run(
        [*COMMAND, "put", "jobs", "a", "b", "--json"], capture_output=True, env=full.environment(), check=False
    )
    fields = json.loads(process.stdout)
    assert (process.returncode, fields["stored"], fields["refused"]) == (1, 0, [1, 2])


def test_a_full_queue_that_is_waited_for(full: Live, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"".join(b"%d\n" % i for i in range(5000)))
    process = full.start_command("put", "jobs", f"--file={path}", "--wait=forever", stdout=subprocess.PIPE)
    found = []
    with full.connect() as wire:
        while len(found) < 5000:
            for _, _, item in wire.get(b"jobs/t=10000"):
                found.append(int(item))
                assert wire.ask(b"delete jobs") == b"DELETED"
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, b"5000 items stored in jobs (reliable=yes)\n", b"")
    assert sorted(found) == list(range(5000))


def test_a_full_queue_that_is_not_waited_for_long(full: Live) -> None:
    data = b"".join(b"%d\n" % i for i in range(1100))
    done = full.redqueue("put", "jobs", "--wait=300ms", data=data, status=1)
    assert done.stdout == "1000 items stored in jobs (reliable=yes)\n"


def test_an_item_that_is_too_long(full: Live) -> None:
    data = b"a\nb\n" + b"x" * 1001 + b"\nc\n"
    done = full.redqueue("put", "jobs", data=data, status=1)
    assert done.stdout == "2 items stored in jobs (reliable=yes)\n"
    assert done.stderr == "redqueue: item 3 is longer than the 1000 bytes that the server takes (--max_item_size)\n"
    assert full.contents(b"jobs") == [b"a", b"b"]
    assert "item 1 is longer" in full.redqueue("put", "jobs", "x" * 1001, status=1).stderr


def test_what_is_there_is_put_at_once(live: Live) -> None:
    process = live.start_command("put", "jobs", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    for line in (b"first\n", b"second\n"):
        process.stdin.write(line)
        process.stdin.flush()
        wait_until(lambda line=line: line.strip() in live.contents(b"jobs"))
    process.stdin.write(b"third, and no end of the line")
    output, _ = process.communicate(timeout=20)
    assert output == b"3 items stored in jobs (reliable=yes)\n"


def test_the_server_dies_under_it(tmp_path: Path) -> None:
    with Live(tmp_path / "journal") as server:
        process = server.start_command("put", "jobs", "--json", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(b"a\nb\n")
        process.stdin.flush()
        wait_until(lambda: server.figure(b"jobs", "items") == 2)
        server.kill()
        output, _ = process.communicate(b"c\nd\n", timeout=20)
        fields = json.loads(output)
        assert process.returncode == 1
        assert fields["stored"] == 2
        assert fields["unknown"] in ([], [3, 4])
        assert "127.0.0.1" in fields["reason"]
        server.start()
        assert server.contents(b"jobs") == [b"a", b"b"]


def test_a_progress_bar_on_a_terminal(live: Live, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"x\n" * 100_000)
    with terminal(live, "put", "jobs", f"--file={path}") as shown:
        assert shown.end() == 0
        text = shown.read()
    assert "putting into jobs" in text
    assert "100%" in text
    assert "100000 items stored in jobs" in text


def test_lines_that_are_typed(live: Live) -> None:
    with terminal(live, "put", "jobs") as shown:
        shown.press(b"first\nsecond\n")
        wait_until(lambda: live.contents(b"jobs") == [b"first", b"second"])
        shown.press(b"\x04")
        assert shown.end() == 0
        assert "2 items stored in jobs" in shown.read()


@pytest.mark.parametrize("lines", [True, False])
def test_an_input_longer_than_memory(tmp_path: Path, lines: bool) -> None:
    """Its size does not show in the memory of the command."""
    size = 150 << 20
    with Live(tmp_path / "journal", reliable="no", max_items=5000, overflow="drop-oldest") as server:
        with (tmp_path / "output").open("wb") as output:
            process = subprocess.Popen(
                [*COMMAND, "put", "jobs"], stdin=subprocess.PIPE, stdout=output, stderr=output, env=server.environment()
            )
        assert process.stdin is not None
        block = (b"x" * 9_999 + b"\n") * 100 if lines else b"x" * 1_000_000
        most = 0
        try:
            for _ in range(size // len(block)):
                process.stdin.write(block)
                most = max(most, peak_memory(process.pid))
            process.stdin.close()
        except BrokenPipeError:
            assert not lines
        assert process.wait(60) == (0 if lines else 1)
    text = (tmp_path / "output").read_text()
    if lines:
        assert text == f"{size // 1_000_000 * 100} items stored in jobs (reliable=no)\n"
    else:
        assert "item 1 is longer than the 1048576 bytes" in text
    assert 0 < most < 80 << 10, f"{most} KiB"


def peak_memory(pid: int) -> int:
    """The most memory that a process has had, in KiB; 0 where it is gone."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) if match else 0
