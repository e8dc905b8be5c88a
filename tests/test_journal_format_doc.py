"""docs/journal-format.md is normative: its tables alone suffice to write a journal and to read one."""

from __future__ import annotations

import re
import time
import zlib
from pathlib import Path

import pytest

from redqueue.journal import framing
from redqueue.journal import segment as seg
from redqueue.journal.recovery import JournalDamaged, Recovery
from tests.journal.journaled_queues import recovered_records
from tests.server_process import ROOT, ServerProcess

TEXT = (ROOT / "docs/journal-format.md").read_text(encoding="utf-8")
NOW = time.time_ns()
HOUR = 3600 * 10**9


class Layout:
    """A table of the document: the fields of a structure, in their order."""

    def __init__(self, heading: str) -> None:
        section = re.search(rf"^### {heading}\n(.*?)(?=^##)", TEXT + "\n##", re.MULTILINE | re.DOTALL)
        assert section, heading
        self.fields: list[tuple[str, int, bytes | None]] = []
        self.size = 0
        for offset, size, field, value in re.findall(
            r"^\| (\w+) \| (\w+) \| ([\w ]+) \| (.*?) \|$", section[1], re.MULTILINE
        ):
            if offset == "offset":
                continue
            if not size.isdecimal():
                break
            assert int(offset) == self.size, f"{heading}: {field} is not at {offset}"
            constant = None
            if re.fullmatch(r"\d+", value):
                constant = int(value).to_bytes(int(size), "big")
            elif re.fullmatch(r"`\w+`", value):
                constant = value.strip("`").encode()
                assert len(constant) == int(size)
            self.fields.append((field, int(size), constant))
            self.size += int(size)
        assert self.fields, heading

    def pack(self, **values: int) -> bytes:
        """The bytes of the structure; fields with a constant value need not be given."""
        data = b""
        for field, size, constant in self.fields:
            data += constant if constant is not None else values.pop(field.replace(" ", "_")).to_bytes(size, "big")
        assert not values
        return data

    def unpack(self, data: bytes) -> dict[str, int]:
        """The values of the fields at the start of ``data``; constants must be there."""
        found, at = {}, 0
        for field, size, constant in self.fields:
            raw = data[at : at + size]
            assert constant is None or raw == constant, f"{field} is {raw!r}"
            found[field.replace(" ", "_")] = int.from_bytes(raw, "big")
            at += size
        return found


HEADER, FRAME, COVERED = Layout("Segment header"), Layout("Frame"), Layout("Covered prefix")
PUT, ACK, NAME, DROP, WIPE, REWRITE = map(Layout, ("PUT", "ACK", "NAME", "DROP", "WIPE", "REWRITE"))


def header(number: int, first_id: int, previous_end: int) -> bytes:
    whole = HEADER.pack(segment=number, time=NOW, first_id=first_id, previous_end=previous_end, crc=0)
    return whole[:-4] + zlib.crc32(whole[:-4]).to_bytes(4, "big")


def frame(number: int, offset: int, *records: bytes, durable: int = 0) -> bytes:
    payload = b"".join(records)
    shared = {"length": len(payload), "records": len(records), "time": NOW, "durable": durable}
    crc = zlib.crc32(COVERED.pack(segment=number, offset=offset, **shared) + payload)
    return FRAME.pack(crc=crc, **shared) + payload


def put(queue: int, item_id: int, payload: bytes, flags: int = 0, expires: int = 0, place: int = 0) -> bytes:
    attributes = bool(expires) | bool(place) << 1
    head = PUT.pack(attributes=attributes, queue=queue, id=item_id, time=NOW, flags=flags, size=len(payload))
    if expires:
        head += expires.to_bytes(8, "big")
    if place:
        head += place.to_bytes(8, "big", signed=True)
    return head + payload


def rewrite(record: bytes) -> bytes:
    return REWRITE.fields[0][2] + record[1:]


def name(queue: int, text: bytes) -> bytes:
    return NAME.pack(length=len(text), queue=queue) + text


def write_segment(directory: Path, number: int, first_id: int, *frames: tuple[bytes, ...], rest: bytes = b"") -> Path:
    before = directory / f"segment-{number - 1:010d}.rqj"
    data = header(number, first_id, before.stat().st_size if before.exists() else 0)
    for records in frames:
        data += frame(number, len(data), *records)
    path = directory / f"segment-{number:010d}.rqj"
    path.write_bytes(data + rest)
    return path


def test_a_journal_written_by_hand_is_recovered(tmp_path: Path) -> None:
    write_segment(
        tmp_path,
        1,
        1,
        (name(1, b"jobs"), put(1, 1, b"first", flags=7), put(1, 2, b"second")),
        (name(2, b"dropped"), put(2, 3, b"x"), put(1, 4, b"10"), put(1, 5, b"expired", expires=NOW - HOUR)),
        (ACK.pack(id=1), rewrite(put(1, 4, b"15", flags=9)), DROP.pack(queue=2, id=4)),
    )
    write_segment(
        tmp_path,
        2,
        6,
        (name(1, b"jobs"), put(1, 6, b"at the head", place=-1, expires=NOW + HOUR)),
        (name(2, b"dropped"), put(2, 7, b"after the flush")),
        rest=b"\0" * 5000,
    )
    with ServerProcess(tmp_path, prefetch=100) as server, server.connect() as wire:
        assert "torn" not in server.log
        found = [wire.get(b"jobs")[0][1:] for _ in range(3)]
        assert found == [(0, b"at the head"), (0, b"second"), (9, b"15")]
        assert wire.get(b"jobs") == []
        assert wire.get(b"dropped") == [(b"dropped", 0, b"after the flush")]


def put_with(queue: int, item_id: int, payload: bytes, **attributes: int) -> bytes:
    """A PUT with fields of these bits, by the words of the document's table of them."""
    words = {"ready": "not ready", "losses": "lost", "origin": "dead letter came from"}
    table = dict(
        re.findall(r"^\| (\d) \| (.*?) \|$", TEXT[TEXT.index("| bit |") : TEXT.index("### REWRITE")], re.MULTILINE)
    )
    bits = {int(bit): attributes[key] for bit, text in table.items() for key in attributes if words[key] in text}
    assert len(bits) == len(attributes)
    mask = sum(1 << bit for bit in bits)
    head = PUT.pack(attributes=mask, queue=queue, id=item_id, time=NOW - HOUR, flags=0, size=len(payload))
    return head + b"".join(bits[bit].to_bytes(8, "big") for bit in sorted(bits)) + payload


def test_delays_letters_and_children_written_by_hand_are_recovered(tmp_path: Path) -> None:
    write_segment(
        tmp_path,
        1,
        1,
        (name(1, b"jobs"), put_with(1, 1, b"later", ready=NOW + HOUR), put_with(1, 2, b"due", ready=NOW - HOUR)),
        (name(2, b"jobs.dead"), put(1, 3, b"letter")),
        (rewrite(put_with(2, 3, b"letter", losses=5, origin=1)), name(3, b"\0subscriptions"), put(3, 4, b"jobs+copy")),
    )
    with ServerProcess(tmp_path) as server, server.connect() as wire:
        assert wire.get(b"jobs") == [(b"jobs", 0, b"due")]
        assert wire.stats(b"queue jobs")["delayed"] == "1"
        letter = wire.stats(b"queue jobs.dead")
        assert (letter["head_id"], letter["head_deliveries"], letter["head_origin"]) == ("3", "5", "jobs")
        assert letter["head_time"] == str((NOW - HOUR) // 10**9)
        assert wire.put(b"jobs", b"shared") == b"STORED"
        assert wire.get(b"jobs+copy") == [(b"jobs+copy", 0, b"shared")]


def test_a_wipe_written_by_hand_is_obeyed(tmp_path: Path) -> None:
    write_segment(tmp_path, 1, 1, (name(1, b"a"), name(2, b"b"), put(1, 1, b"x"), put(2, 2, b"y"), WIPE.pack(id=2)))
    queues = Recovery(tmp_path).run().queues
    assert list(queues) == [b"b"]


def test_a_journal_of_the_server_is_read_by_hand(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        with server.connect() as wire:
            assert wire.put(b"jobs", b"one", flags=3) == b"STORED"
            assert wire.put(b"jobs", b"two", exptime=1000) == b"STORED"
            assert wire.put(b"jobs", b"zero", verb=b"prepend") == b"STORED"
            assert wire.get(b"jobs")[0][2] == b"zero"
            assert wire.ask(b"delete jobs") == b"DELETED"
            assert wire.put(b"count", b"41") == b"STORED"
            assert wire.ask(b"incr count 1") == b"42"
            assert wire.ask(b"flush count") == b"OK"
            assert wire.ask(b"flush_all") == b"OK"
        assert (tmp_path / "lock").read_text() == f"{server.process.pid}\n"
        server.kill()
    (path,) = tmp_path.glob("segment-*.rqj")
    assert path.name == "segment-0000000001.rqj"
    seen = list(read_by_hand(path.read_bytes(), 1))
    kinds = [kind for kind, *_ in seen]
    assert sorted(kinds) == sorted(["NAME", "PUT", "PUT", "PUT", "ACK", "NAME", "PUT", "REWRITE", "DROP", "WIPE"])
    puts = [(fields["id"], fields["flags"], body) for kind, fields, body in seen if kind == "PUT"]
    assert [(i, flags, body[-3:]) for i, flags, body in puts] == [
        (1, 3, b"one"),
        (2, 0, b"two"),
        (3, 0, b"ero"),
        (4, 0, b"41"),
    ]
    assert abs(int.from_bytes(puts[1][2][:8], "big") - time.time_ns() - 1000 * 10**9) < 600 * 10**9
    assert int.from_bytes(puts[2][2][:8], "big", signed=True) < 0
    assert [fields["id"] for kind, fields, _ in seen if kind == "ACK"] == [3]
    assert [fields["id"] for kind, fields, _ in seen if kind in ("DROP", "WIPE")] == [5, 5]
    assert [body for kind, _, body in seen if kind in ("NAME", "REWRITE")] == [b"jobs", b"count", b"42"]


def read_by_hand(data: bytes, number: int) -> list[tuple[str, dict[str, int], bytes]]:
    """Kind, fields and what follows them, of every record of a segment."""
    assert HEADER.unpack(data)["segment"] == number
    assert zlib.crc32(data[:44]) == HEADER.unpack(data)["crc"]
    kinds = {layout.fields[0][2]: layout for layout in (PUT, ACK, NAME, DROP, WIPE)}
    names = {
        layout.fields[0][2]: text
        for text, layout in zip(("PUT", "ACK", "NAME", "DROP", "WIPE"), kinds.values(), strict=True)
    }
    found, at = [], HEADER.size
    while data[at : at + 4] == b"RQF1":
        head = FRAME.unpack(data[at:])
        payload = data[at + FRAME.size : at + FRAME.size + head["length"]]
        covered = COVERED.pack(
            segment=number, offset=at, **{k: v for k, v in head.items() if k not in ("magic", "crc")}
        )
        assert zlib.crc32(covered + payload) == head["crc"]
        assert head["durable"] >> 32 == number
        assert (head["durable"] & 0xFFFFFFFF) <= at
        at += FRAME.size + len(payload)
        records = 0
        while payload:
            kind = payload[:1]
            layout, text = kinds.get(kind, PUT), names.get(kind, "REWRITE")
            if text == "REWRITE":
                assert kind == REWRITE.fields[0][2]
                payload = PUT.fields[0][2] + payload[1:]
            fields = layout.unpack(payload)
            rest = fields.get("length", fields.get("size", 0)) + 8 * fields.get("attributes", 0).bit_count()
            found.append((text, fields, payload[layout.size : layout.size + rest]))
            payload = payload[layout.size + rest :]
            records += 1
        assert records == head["records"]
    assert not data[at:].strip(b"\0")
    return found


def test_a_torn_tail_is_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_segment(tmp_path, 1, 1, (name(1, b"jobs"), put(1, 1, b"whole")))
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes() + frame(1, whole, put(1, 2, b"cut short"))[:-1])
    recovered = Recovery(tmp_path).run()
    assert [record[-5:] for record in recovered_records(recovered)[b"jobs"]] == [b"whole"]
    assert path.stat().st_size == whole
    assert f"cut at offset {whole}" in caplog.text


def test_what_durable_says_tells_a_torn_tail_from_damage(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 1, 1, (name(1, b"jobs"), put(1, 1, b"whole")))
    good = path.read_bytes()
    lost = b"\0" * 100
    at = len(good) + len(lost)
    path.write_bytes(good + lost + frame(1, at, put(1, 3, b"later"), durable=(1 << 32) + len(good)))
    copy = path.read_bytes()
    assert len(Recovery(tmp_path).run().queues[b"jobs"]) == 1
    path.write_bytes(copy[: len(good) + len(lost)] + frame(1, at, put(1, 3, b"later"), durable=(1 << 32) + at))
    with pytest.raises(JournalDamaged, match=f"damaged at offset {len(good)}; the next good frame is at {at}"):
        Recovery(tmp_path).run()


def test_damage_before_the_last_segment_stops_the_start(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 1, 1, (name(1, b"jobs"), put(1, 1, b"whole")))
    write_segment(tmp_path, 2, 2)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(JournalDamaged, match=r"segment-0000000001\.rqj is damaged at offset 48"):
        Recovery(tmp_path).run()
    assert len(Recovery(tmp_path, salvage=True).run().index.segments) == 2


def test_a_missing_segment_stops_the_start(tmp_path: Path) -> None:
    for number in (1, 3):
        write_segment(tmp_path, number, 1)
    with pytest.raises(JournalDamaged, match="missing"):
        Recovery(tmp_path).run()


def test_the_sizes_in_the_tables_are_those_of_the_code() -> None:
    assert HEADER.size == seg.HEADER_SIZE == 48
    assert FRAME.size == framing.FRAME_SIZE
    assert f"Version {seg.VERSION}." in TEXT
