"""``redqueue journal salvage`` saves exactly what the damage has left, and lists exactly what it has not."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueue.cli.main import main
from redqueue.journal import record as rec
from redqueue.journal import segment as seg
from redqueue.journal.log import Log
from redqueue.journal.recovery import Recovery
from tests.cli.accidents import ModelItem, accident, befall, list_numbers, model, steps_of_segments, write
from tests.cli.tool import Handmade, ack, contents, flip, put, redqueue, rewrite
from tests.journal.journaled_queues import recovered_records
from tests.server_process import ServerProcess


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    monkeypatch.setattr("redqueue.journal.segment._datasync", lambda fd: None)


def run(*arguments: object) -> tuple[int, str]:
    """A command in this process: exit status and standard output."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        status = main(["journal", *map(str, arguments)])
    return status, output.getvalue()


def salvage(directory: Path, out: Path) -> tuple[int, dict[str, Any]]:
    status, output = run("salvage", directory, out, "--json")
    return status, json.loads(output)


def records(directory: Path) -> list[dict[str, Any]]:
    status, output = run("dump", directory, "--json")
    assert status == 0
    return [json.loads(line) for line in output.splitlines()]


def items_in(directory: Path) -> dict[bytes, list[ModelItem]]:
    """The items of a good journal, read by the server's own replay."""
    recovered = Recovery(directory).run()
    return {
        name: [
            ModelItem(rec.place(r), rec.item_id(r), rec.flags(r), rec.expires(r), rec.time(r), rec.payload(r))
            for r in queue
        ]
        for name, queue in recovered_records(recovered).items()
    }


@settings(deadline=None, max_examples=200)
@given(steps_of_segments, st.lists(accident, max_size=3))
def test_exactly_the_items_of_the_frames_outside_of_the_damage(
    segments: list[list[list[tuple[object, ...]]]], accidents: list[tuple[object, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as base:
        directory, out = Path(base) / "journal", Path(base) / "out"
        written = write(directory, segments)
        for event in accidents:
            befall(written, event)
        spared = written.spared()
        if not list_numbers(directory):
            return
        before = contents(directory)
        status, report = salvage(directory, out)
        assert contents(directory) == before
        expected = model(spared)
        assert run("verify", out)[0] == 0
        assert items_in(out) == expected
        assert sum(entry["items"] for entry in report["saved"]) == sum(map(len, expected.values()))
        _check_list(report, written.handmade, spared, expected)
        if status == 0:
            assert not report["not_saved"]
            there = [frame for frame in written.handmade.frames if frame.segment >= list_numbers(directory)[0]]
            assert spared == there[: len(spared)]


def _check_list(
    report: dict[str, Any], handmade: Handmade, spared: list[Any], saved: dict[bytes, list[ModelItem]]
) -> None:
    """Every item that a lost frame brought is saved, known to be gone, or in the list; what is saved is not."""

    def is_listed(item_id: int) -> bool:
        return any(
            ids["first"] <= item_id <= (ids["last"] or 1 << 64)
            for entry in report["not_saved"]
            for ids in entry["missing_ids"]
        )

    saved_ids = {item.item_id for items in saved.values() for item in items}
    seen = {rec.item_id(r) for f in spared for r in f.records if r[0] in (rec.PUT, rec.REWRITE)}
    acknowledged = {int.from_bytes(r[1:9], "big") for f in spared for r in f.records if r[0] == rec.ACK}
    # nothing need be left to tell of what is lost at the end, nor of oldest segments, which might have been dead
    last = handmade.frames.index(spared[-1]) if spared else 0
    oldest = list_numbers(handmade.directory)[0]
    for frame in handmade.frames[:last]:
        for record in frame.records if frame not in spared and frame.segment >= oldest else ():
            if record[0] == rec.PUT and rec.item_id(record) not in seen | acknowledged:
                assert is_listed(rec.item_id(record)), report["not_saved"]
    assert not [item_id for item_id in saved_ids if is_listed(item_id)]


@pytest.fixture
def three(tmp_path: Path) -> Handmade:
    """Three segments: ids 1 to 12, two in each frame."""
    handmade = Handmade(tmp_path / "journal")
    for first in range(1, 13, 2):
        if first in (5, 9):
            handmade.next_segment()
        handmade.frame(rec.name(1, b"jobs"), put(1, first, b"odd"), put(1, first + 1, b"even"))
    return handmade


def missing(report: dict[str, Any]) -> list[tuple[str, int, list[tuple[int, int | None]]]]:
    return [
        (entry["finding"], entry["segment"], [(ids["first"], ids["last"]) for ids in entry["missing_ids"]])
        for entry in report["not_saved"]
    ]


def test_a_good_journal_is_saved_whole(three: Handmade, tmp_path: Path) -> None:
    status, report = salvage(three.directory, tmp_path / "out")
    assert (status, report) == (
        0,
        {"saved": [{"queue": "jobs", "items": 12}], "expired": 0, "not_saved": [], "lost_names": []},
    )
    assert items_in(tmp_path / "out") == model(three.frames)


def test_the_ids_that_may_be_missing(three: Handmade, tmp_path: Path) -> None:
    flip(three.path(2), three.frames[2].offset + 40)
    status, report = salvage(three.directory, tmp_path / "out")
    assert (status, missing(report)) == (1, [("damage", 2, [(5, 6)])])
    entry = report["not_saved"][0]
    assert (entry["offset"], entry["end"]) == (three.frames[2].offset, three.frames[2].end)


def test_ids_at_the_end_of_a_segment_end_where_the_next_one_begins(three: Handmade, tmp_path: Path) -> None:
    os.truncate(three.path(1), three.frames[1].offset)
    assert missing(salvage(three.directory, tmp_path / "out")[1]) == [("wrong length", 1, [(3, 4)])]


def test_ids_at_both_sides_of_a_beginning_segment(three: Handmade, tmp_path: Path) -> None:
    os.truncate(three.path(1), three.frames[1].offset)
    flip(three.path(2), three.frames[2].offset + 40)
    assert missing(salvage(three.directory, tmp_path / "out")[1]) == [
        ("wrong length", 1, [(3, 4)]),
        ("damage", 2, [(5, 6)]),
    ]


def test_ids_in_the_last_segment_end_where_the_next_frame_begins(three: Handmade, tmp_path: Path) -> None:
    flip(three.path(3), three.frames[-2].offset + 40)
    assert missing(salvage(three.directory, tmp_path / "out")[1]) == [("torn tail", 3, [(9, 10)])]


def test_ids_of_a_missing_segment(three: Handmade, tmp_path: Path) -> None:
    three.path(2).unlink()
    assert missing(salvage(three.directory, tmp_path / "out")[1]) == [("missing segments", 2, [(5, 8)])]


def test_ids_at_the_very_end_are_not_known(three: Handmade, tmp_path: Path) -> None:
    flip(three.path(), three.frames[-1].offset + 40)
    status, report = salvage(three.directory, tmp_path / "out")
    assert (status, missing(report)) == (1, [("torn tail", 3, [(11, None)])])


def test_ids_that_are_known_to_be_elsewhere_are_not_missing(three: Handmade, tmp_path: Path) -> None:
    three.frame(ack(6), rewrite(1, 7, b"copied"))
    for frame in three.frames[2:4]:
        flip(three.path(2), frame.offset + 40)
    report = salvage(three.directory, tmp_path / "out")[1]
    assert missing(report) == [("damage", 2, [(5, 5), (8, 8)])]


def test_a_lost_name(three: Handmade, tmp_path: Path) -> None:
    broken = three.frame(rec.name(9, b"mail"), put(9, 13, b"gone"))
    three.frame(put(9, 14, b"whose"))
    flip(three.path(), broken.end - 1)
    status, report = salvage(three.directory, tmp_path / "out")
    assert status == 1
    assert report["lost_names"] == [{"number": 9, "queue": "lost-name-9", "items": 1}]
    assert [item.payload for item in items_in(tmp_path / "out")[b"lost-name-9"]] == [b"whose"]


def test_expired_items_are_left_out(three: Handmade, tmp_path: Path) -> None:
    three.frame(put(1, 13, b"old", expires=5))
    status, report = salvage(three.directory, tmp_path / "out")
    assert (status, report["expired"], report["saved"]) == (0, 1, [{"queue": "jobs", "items": 12}])


def test_no_id_is_given_twice(three: Handmade, tmp_path: Path) -> None:
    three.frame(put(1, 13, b"done"))
    three.frame(ack(13))
    salvage(three.directory, tmp_path / "out")
    with ServerProcess(tmp_path / "out") as server, server.connect() as wire:
        assert wire.stats()["curr_items"] == "12"
        wire.put(b"jobs", b"new")
        server.kill()
    assert max(record.get("id", 0) for record in records(tmp_path / "out")) == 14


def test_the_text_says_the_same(three: Handmade, tmp_path: Path) -> None:
    flip(three.path(2), three.frames[2].offset + 40)
    done = redqueue("journal", "salvage", three.directory, tmp_path / "out")
    assert done.returncode == 1
    assert f"saved 10 items in 1 queues of {three.directory} to {tmp_path / 'out'}" in done.stdout
    frame = three.frames[2]
    assert f"segment-0000000002.rqj is damaged from offset {frame.offset} to {frame.end}" in done.stdout
    assert "ids 5 to 6" in done.stdout
    assert "may come back" in done.stdout


def test_where_it_may_write(three: Handmade, tmp_path: Path) -> None:
    before = contents(three.directory)
    full = tmp_path / "full"
    full.mkdir()
    (full / "something").touch()
    for out in (full, full / "something", three.directory, three.directory / "out"):
        done = redqueue("journal", "salvage", three.directory, out)
        assert done.returncode == 2, done
        assert "wants to be" in done.stderr
    assert contents(three.directory) == before
    assert contents(full) == {"something": b""}
    (tmp_path / "empty").mkdir()
    assert redqueue("journal", "salvage", three.directory, tmp_path / "empty").returncode == 0


def test_a_disk_that_fails_on_the_way(
    three: Handmade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(log: Log) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Log, "write", failing)
    assert main(["journal", "salvage", str(three.directory), str(tmp_path / "out")]) == 2
    assert "out cannot be written and is to be removed: [Errno 28] No space left" in capsys.readouterr().err


def test_what_a_server_wrote_and_a_disk_spoiled(tmp_path: Path) -> None:
    directory, out = tmp_path / "journal", tmp_path / "out"
    with ServerProcess(directory, segment_size="64kb") as server:
        with server.connect() as wire:
            for i in range(300):
                assert wire.put(b"jobs", b"%d " % i * 200, flags=i) == b"STORED"
            for _ in range(30):
                wire.get(b"jobs")
                assert wire.ask(b"delete jobs") == b"DELETED"
        status, report = salvage(directory, tmp_path / "beside")  # while it runs
        assert (status, report["saved"]) == (0, [{"queue": "jobs", "items": 270}])
        server.stop()
    second = seg.list_segments(directory)[1][1]
    flip(second, second.stat().st_size // 2)
    with ServerProcess(tmp_path / "beside") as server:
        assert server.connect().stats()["curr_items"] == "270"
    status, report = salvage(directory, out)
    (entry,) = report["not_saved"]
    (lost,) = entry["missing_ids"]
    count = lost["last"] - lost["first"] + 1
    assert status == 1
    with ServerProcess(out, prefetch=1000) as server, server.connect() as wire:
        for number in [n for n in range(30, 300) if not lost["first"] <= n + 1 <= lost["last"]]:
            assert wire.get(b"jobs") == [(b"jobs", number, b"%d " % number * 200)]
        assert wire.get(b"jobs") == []
        assert wire.stats()["curr_items"] == str(270 - count)
