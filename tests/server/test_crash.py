"""A short run of the crash ledger; ``make crash`` runs a long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import crash


@pytest.mark.parametrize(("seed", "promises"), [(1, ("yes",)), (2, ("sync",))])
def test_kill_9_under_load_breaks_no_promise(tmp_path: Path, seed: int, promises: tuple[str, ...]) -> None:
    lines: list[str] = []
    ledger = crash.run(tmp_path / "log", rounds=4, seed=seed, report=lines.append, promises=promises)
    print("\n".join(lines))
    assert not ledger.violations, f"seed {seed}: {ledger.violations[:20]}"
    items = ledger.items.values()
    assert sum(item.put == "confirmed" for item in items) > 100, ledger.summary()
    assert sum(item.ack == "confirmed" for item in items) > 50, ledger.summary()
    assert ledger.compacted_segments > 0, ledger.summary()


def test_ledger_sees_every_kind_of_violation() -> None:
    """The rules themselves, on a history that was made up."""

    def ledger_with(*acks: str) -> tuple[crash.Ledger, list[crash.Item]]:
        ledger = crash.Ledger()
        items = [ledger.intend_put(b"q", "p", 100) for _ in acks]
        for item, ack in zip(items, acks, strict=True):
            ledger.answer_put(item, b"STORED")
            item.ack = ack
        return ledger, items

    def deliver(ledger: crash.Ledger, number: int, queue: bytes = b"q", flags: int | None = None) -> None:
        item = crash.Item(number, queue, "p", 100)
        ledger.record_delivery(queue, crash.make_flags(item) if flags is None else flags, crash.make_body(item), ())

    ledger, _ = ledger_with("")
    ledger.judge()
    assert "is lost" in ledger.violations[0]

    ledger, _ = ledger_with("confirmed")
    deliver(ledger, 1)
    assert "after its acknowledgement" in ledger.violations[0]

    ledger, _ = ledger_with("", "")
    deliver(ledger, 2)
    deliver(ledger, 1)
    assert "item 1 came after 2" in ledger.violations[0]

    ledger, _ = ledger_with("")
    deliver(ledger, 1, flags=3)
    assert "other flags" in ledger.violations[0]

    ledger, _ = ledger_with("")
    deliver(ledger, 1, queue=b"r")
    deliver(ledger, 5)
    assert ["never put there" in text for text in ledger.violations] == [True, True]

    for deliveries, expected in (((), "both lost"), ((1, 2), "both come"), ((1,), ""), ((2,), "")):
        ledger, (before, after) = ledger_with("", "intended")
        after.put = "intended"
        deliver(ledger, 1)
        ledger.intend_ack(before, after)
        ledger.draining = True
        for number in deliveries:
            deliver(ledger, number)
        ledger.judge()
        assert len(ledger.violations) == bool(expected)
        assert all(expected in text for text in ledger.violations)
