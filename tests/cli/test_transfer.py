"""``redqueue journal export`` and ``import``: a queue goes out and comes in as it was."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueue.cli.main import main
from redqueue.journal import framing
from redqueue.journal import record as rec
from redqueue.journal import segment as seg
from redqueue.journal.log import Log
from redqueue.journal.parse import HAS_DELIVERIES, HAS_ORIGIN, HAS_READY_AT, Item, records
from tests.cli.tool import COMMAND, FOREVER, NOW, Handmade, contents, environment, flip, put, redqueue, rewrite
from tests.server_process import ServerProcess


def export(directory: Path, queue: str = "jobs", status: int = 0) -> list[dict[str, Any]]:
    done = redqueue("journal", "export", directory, f"--queue={queue}")
    assert done.returncode == status, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def take_in(
    directory: Path, lines: list[object], queue: str = "jobs", status: int = 0
) -> subprocess.CompletedProcess[str]:
    data = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    done = redqueue("journal", "import", directory, f"--queue={queue}", data=data)
    assert done.returncode == status, done.stderr
    return done


def items_in(directory: Path) -> list[Item]:
    """Every item record, in the order of the journal."""
    found = []
    for number, path in seg.list_segments(directory):
        for frame in framing.frames(memoryview(path.read_bytes()), number, seg.HEADER_SIZE):
            found += [record for record in records(frame.payload) if isinstance(record, Item)]
    return found


# -- export ----------------------------------------------------------------------


def test_items_in_the_order_of_delivery(life: Path) -> None:
    assert [(entry["id"], entry["flags"], entry["payload"]) for entry in export(life)] == [
        (i + 1, i, f"item {i}") for i in range(5)
    ]
    assert export(life, "count")[0]["payload"] == "42"
    assert export(life, "gone") == []
    assert export(life, "café")[0]["payload_base64"] == "ABtbMkr/DQpc"
    assert export(life, r"odd\xff/name")[0]["payload"] == "crème brûlée ☕"


def test_places_and_fields(tmp_path: Path) -> None:
    made = Handmade(tmp_path / "journal")
    made.frame(rec.name(1, b"jobs"), put(1, 1, b"a"), put(1, 2, b"first", place=-7), put(1, 3, b"last", place=99))
    made.frame(put(1, 4, b"b", expires=FOREVER), put(1, 5, b"old", expires=7), put(1, 6, b"second", place=-6))
    made.frame(rewrite(1, 1, b"A", flags=4))
    found = export(made.directory)
    assert [entry["payload"] for entry in found] == ["first", "second", "A", "b", "last"]
    assert found[3] == {
        "id": 4,
        "time": "2027-01-15T08:00:00.000000000Z",
        "flags": 0,
        "expires": "2116-02-20T23:53:38.427387904Z",
        "payload": "b",
    }


def test_a_file_is_written_whole_or_not_at_all(life: Path, tmp_path: Path) -> None:
    target = tmp_path / "jobs.jsonl"
    assert redqueue("journal", "export", life, "--queue=jobs", target).returncode == 0
    assert [json.loads(line) for line in target.read_text().splitlines()] == export(life)
    target.unlink()
    target.mkdir()
    done = redqueue("journal", "export", life, "--queue=jobs", target)
    assert done.returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs.jsonl", "journal"]


def test_no_such_queue(life: Path) -> None:
    done = redqueue("journal", "export", life, "--queue=jbos")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no queue jbos" in done.stderr
    assert "stat" in done.stderr


def test_a_damaged_journal(tmp_path: Path) -> None:
    made = Handmade(tmp_path / "journal")
    made.frame(rec.name(1, b"jobs"), put(1, 1, b"a"))
    broken = made.frame(put(1, 2, b"b"))
    made.frame(put(1, 3, b"c"), durable=seg.position(1, broken.end))
    flip(made.path(), broken.end - 1)
    done = redqueue("journal", "export", made.directory, "--queue=jobs")
    assert done.returncode == 1
    assert [json.loads(line)["payload"] for line in done.stdout.splitlines()] == ["a", "c"]
    assert "is damaged from offset" in done.stderr


def test_a_queue_whose_name_is_lost(tmp_path: Path) -> None:
    made = Handmade(tmp_path / "journal")
    made.frame(put(9, 1, b"whose"))
    assert [entry["payload"] for entry in export(made.directory, "lost-name-9", status=1)] == ["whose"]


def test_beside_a_server_under_load(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, segment_size="64kb") as server, server.connect() as wire:
        for i in range(20):
            wire.put(b"jobs", b"%d" % i)
        wire.get(b"jobs")
        stopped = threading.Event()

        def work() -> None:
            with server.connect() as other:
                while not stopped.is_set():
                    other.put(b"busy", b"x" * 1000)
                    other.get(b"busy")
                    other.ask(b"delete busy")

        thread = threading.Thread(target=work)
        thread.start()
        try:
            for _ in range(5):
                assert [entry["payload"] for entry in export(tmp_path)] == [str(i) for i in range(20)]
        finally:
            stopped.set()
            thread.join()


# -- import ------------------------------------------------------------------------


def test_round_trip_to_a_server(life: Path, tmp_path: Path) -> None:
    exported = export(life)
    take_in(tmp_path / "new", exported, "moved/jobs")
    with ServerProcess(tmp_path / "new", prefetch=10) as server, server.connect() as wire:
        assert [wire.get(b"moved/jobs")[0][1:] for _ in range(5)] == [(i, b"item %d" % i) for i in range(5)]
        assert wire.put(b"moved/jobs", b"one more") == b"STORED"
        server.stop()
    again = export(tmp_path / "new", "moved/jobs")
    assert [{**entry, "id": 0} for entry in again[:5]] == [{**entry, "id": 0} for entry in exported]
    assert again[5]["id"] == 6


def test_it_appends_to_what_is_there(life: Path) -> None:
    done = take_in(life, [{"payload": "new"}, {"payload_base64": "AP8=", "flags": 9}])
    assert done.stderr == "imported 2 items into jobs\n"
    found = export(life)
    assert [(entry["id"], entry.get("payload")) for entry in found[4:]] == [(5, "item 4"), (11, "new"), (12, None)]
    with ServerProcess(life, prefetch=10) as server, server.connect() as wire:
        assert [wire.get(b"jobs")[0][2] for _ in range(7)][4:] == [b"item 4", b"new", b"\x00\xff"]
        assert wire.get("café".encode())[0][2] == b"\x00\x1b[2J\xff\r\n\\"


def test_files_and_empty_lines(tmp_path: Path) -> None:
    source = tmp_path / "items"
    source.write_bytes(b'{"payload": "a"}\n\n  \n{"payload": "b"}')
    assert redqueue("journal", "import", tmp_path / "new" / "journal", "--queue=q", source).returncode == 0
    assert [entry["payload"] for entry in export(tmp_path / "new" / "journal", "q")] == ["a", "b"]


def test_expired_items_are_left_out(tmp_path: Path) -> None:
    lines: list[object] = [{"payload": "old", "expires": "2001-01-01T00:00:00Z"}, {"payload": "good"}]
    assert "1 that have expired are left out" in take_in(tmp_path / "new", lines).stderr
    assert [entry["payload"] for entry in export(tmp_path / "new")] == ["good"]


member = st.fixed_dictionaries(
    {"payload": st.binary(max_size=60)},
    optional={
        "flags": st.integers(1, 2**32 - 1),
        "expires": st.integers(2 * 10**18, 2**63),
        "place": st.integers(-(2**40), -1),
        "ready_at": st.integers(1, 2**63),
        "deliveries": st.integers(1, 2**64 - 1),
        "origin": st.just(2),
    },
)


@settings(deadline=None, max_examples=60)
@given(st.lists(member, max_size=8))
def test_every_field_round_trips(members: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as base:
        made = Handmade(Path(base) / "journal")
        made.frame(rec.name(1, b"jobs"), rec.name(2, b"origin\xfe"))
        for item_id, fields in enumerate(members, 1):
            made.frame(_record(item_id, fields))
        lines, new = Path(base) / "lines", Path(base) / "new"
        assert main(["journal", "export", str(made.directory), "--queue=jobs", str(lines)]) == 0
        assert main(["journal", "import", str(new), "--queue=jobs", str(lines)]) == 0
        ordered = sorted(enumerate(members, 1), key=lambda entry: (entry[1].get("place", entry[0]), entry[0]))
        found = items_in(new)
        assert [_fields(item) for item in found] == [
            {name: value for name, value in fields.items() if name not in ("place", "origin")} for _, fields in ordered
        ]
        assert [bool(item.origin) for item in found] == ["origin" in fields for _, fields in ordered]
        assert all(item.time == NOW for item in found)


def _record(item_id: int, fields: dict[str, Any]) -> bytes:
    more = {name: fields[name] for name in ("flags", "expires", "place") if name in fields}
    record = bytearray(put(1, item_id, b"", **more))
    for name, bit in (("ready_at", HAS_READY_AT), ("deliveries", HAS_DELIVERIES), ("origin", HAS_ORIGIN)):
        if name in fields:
            record[1] |= bit
            record += fields[name].to_bytes(8, "big")
    record[28:32] = len(fields["payload"]).to_bytes(4, "big")
    return bytes(record) + fields["payload"]


def _fields(item: Item) -> dict[str, Any]:
    found: dict[str, Any] = {"payload": bytes(item.payload)}
    for name in ("flags", "expires", "ready_at", "deliveries"):
        if getattr(item, name):
            found[name] = getattr(item, name)
    return found


def test_flags_of_zero_are_those_of_an_item_without(tmp_path: Path) -> None:
    take_in(tmp_path / "new", [{"payload": "a"}, {"payload": "b", "flags": 0}])
    assert [item.flags for item in items_in(tmp_path / "new")] == [0, 0]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (["payload"], "wants an object"),
        ({}, "either payload or payload_base64"),
        ({"payload": "a", "payload_base64": "YQ=="}, "either payload or payload_base64"),
        ({"payload": 7}, "payload wants to be a string"),
        ({"payload": "\ud800"}, "half a character"),
        ({"payload_base64": "*"}, "not base64"),
        ({"payload_base64": 7}, "not base64"),
        ({"payload": "a", "flag": 1}, "unknown members flag"),
        ({"payload": "a", "flags": -1}, "flags wants a whole number"),
        ({"payload": "a", "flags": 2**32}, "flags wants a whole number"),
        ({"payload": "a", "flags": True}, "flags wants a whole number"),
        ({"payload": "a", "flags": "1"}, "flags wants a whole number"),
        ({"payload": "a", "deliveries": 2**64}, "deliveries wants a whole number"),
        ({"payload": "a", "expires": "soon"}, "expires wants a moment"),
        ({"payload": "a", "expires": 1234}, "expires wants a moment"),
        ({"payload": "a", "time": "2026-13-01T00:00:00Z"}, "time wants a moment"),
        ({"payload": "a", "origin": ""}, "origin wants to be a name"),
    ],
)
def test_a_bad_line_imports_nothing(life: Path, line: object, reason: str) -> None:
    before = contents(life)
    done = take_in(life, [{"payload": "good"}, line], status=2)
    assert re.search(rf"line 2: .*{reason}.*; nothing was imported", done.stderr), done.stderr
    assert contents(life) == before


@pytest.mark.parametrize("name", ["", "a b", "x" * 251, r"a\x00b"])
def test_a_bad_name(tmp_path: Path, name: str) -> None:
    assert "wants a name" in take_in(tmp_path / "new", [], name, status=2).stderr
    assert not (tmp_path / "new").exists()


def test_a_journal_in_use_is_left_alone(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server, server.connect() as wire:
        wire.put(b"jobs", b"item")
        before = contents(tmp_path)
        done = take_in(tmp_path, [{"payload": "a"}], status=2)
        assert f"in use by a server (process id {server.process.pid}): stop that" in done.stderr
        assert contents(tmp_path) == before


def test_a_damaged_journal_is_left_alone(tmp_path: Path) -> None:
    made = Handmade(tmp_path / "journal")
    made.frame(rec.name(1, b"jobs"), put(1, 1, b"a"))
    made.next_segment()
    flip(made.path(1), 60)
    before = {name: data for name, data in contents(made.directory).items() if name != "lock"}
    assert "is damaged at offset 48" in take_in(made.directory, [{"payload": "b"}], status=1).stderr
    assert {name: data for name, data in contents(made.directory).items() if name != "lock"} == before


def test_a_disk_that_fails_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was written before counts, and the message says how much that is."""
    lines = tmp_path / "lines"
    lines.write_bytes(b"".join(json.dumps({"payload": "z" * 700_000, "flags": i}).encode() + b"\n" for i in range(7)))
    real, calls = Log.write, []

    def failing(log: Log) -> bool:
        calls.append(1)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(log)

    monkeypatch.setattr(Log, "write", failing)
    assert main(["journal", "import", str(tmp_path / "new"), "--queue=jobs", str(lines)]) == 2
    assert "No space left on device; the first 4 items are in the journal, the others not" in capsys.readouterr().err
    assert [entry["flags"] for entry in export(tmp_path / "new")] == [0, 1, 2, 3]


def test_from_one_into_the_other(life: Path, tmp_path: Path) -> None:
    """As in a shell: export … | import …, with more than a frame's worth of items."""
    take_in(life, [{"payload": "y" * 10_000, "flags": i} for i in range(500)], "big")
    out = subprocess.Popen(
        [*COMMAND, "journal", "export", str(life), "--queue=big"], stdout=subprocess.PIPE, env=environment()
    )
    done = subprocess.run(
        [*COMMAND, "journal", "import", str(tmp_path / "new"), "--queue=big"],
        stdin=out.stdout,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert (out.wait(10), done.returncode) == (0, 0)
    found = items_in(tmp_path / "new")
    assert [(item.item_id, item.flags, len(item.payload)) for item in found] == [(i + 1, i, 10_000) for i in range(500)]
