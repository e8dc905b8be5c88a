"""docs/settings.md is true: its file is loaded, its rules are tried, and its console block is run as written."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from redqueue.config.load import load
from redqueue.engine.settings import QueueSettings, SettingsBook
from redqueue.options import OPTIONS
from tests.documents import ConsoleSession, blocks
from tests.server_process import ROOT, ServerProcess

DOCUMENT = "docs/settings.md"
TEXT = (ROOT / DOCUMENT).read_text(encoding="utf-8")
(EXAMPLE,) = (block.text for block in blocks(DOCUMENT) if block.language == "toml")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "redqueue.toml"
    path.write_text(EXAMPLE)
    return path


@pytest.fixture
def book(path: Path) -> SettingsBook:
    return load([f"--config={path}"], {}).book


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("anything", {}),
        ("mail", {"max_deliveries": 5, "retry_delay": 10}),
        ("mail.in.spam", {"max_deliveries": 5, "retry_delay": 10}),
        ("mail.urgent", {"max_deliveries": 5, "retry_delay": 1, "reserve_timeout": 30}),
        ("thumbs.preview", {"ttl": 3600, "max_items": 10000, "overflow": "drop-oldest"}),
        ("thumbs.big.preview", {}),
        ("orders", {"fanout_only": True, "max_bytes": 1 << 30}),
        ("orders+audit", {"fanout_only": True, "max_bytes": 1 << 30, "reserve_timeout": 3600}),
        ("orders+other", {"fanout_only": True, "max_bytes": 1 << 30}),
    ],
)
def test_its_file_means_what_it_says(book: SettingsBook, name: str, changes: dict[str, object]) -> None:
    settings = book.of(name.encode())
    for each in fields(QueueSettings):
        if each.init:
            expected = changes.get(each.name, getattr(book.defaults, each.name))
            assert getattr(settings, each.name) == expected, each.name
    assert book.defaults.reserve_timeout == 300


def test_a_server_goes_by_it(path: Path, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", config=path) as server, server.connect() as wire:
        for queue in (b"mail.urgent", b"thumbs.preview"):
            assert wire.put(queue, b"x") == b"STORED"
        urgent, preview = wire.stats(b"queue mail.urgent"), wire.stats(b"queue thumbs.preview")
        assert (urgent["setting_retry_delay"], urgent["setting_max_deliveries"]) == ("1", "5")
        assert urgent["setting_dead_letter"] == "mail.urgent.dead"
        assert (preview["setting_overflow"], preview["setting_ttl"]) == ("drop-oldest", "3600")
        tables = {name: value for name, value in wire.stats(b"settings").items() if name.startswith("queue.")}
        assert tables["queue.mail.#.max_deliveries"] == "5"
        assert tables["queue.orders.fanout_only"] == "yes"
        assert len(tables) == 10


def test_its_table_has_every_setting_with_its_default() -> None:
    table = TEXT[TEXT.index("| setting ") : TEXT.index("An item is lost")]
    written = {}
    for names, default in re.findall(r"^\| (`.*?) \|(.*?)\|", table, re.MULTILINE):
        written.update(dict.fromkeys(re.findall(r"`(\w+)`", names), default.strip(" `")))
    options = {option.name: option.default for option in OPTIONS}
    assert written == {each.name: options[each.name] for each in fields(QueueSettings) if each.init}


def test_the_order_of_tables_is_as_written() -> None:
    order = re.search(r"So for `mail\.urgent` the\norder is (.*?)\. What", TEXT, re.DOTALL)
    assert order
    keys = re.findall(r"`(.*?)`", order[1])
    assert len(keys) == 5
    for used in range(len(keys)):
        tables = {key.encode(): {"prefetch": 10 + place} for place, key in enumerate(keys) if place >= used}
        for given in (tables, dict(reversed(tables.items()))):
            assert SettingsBook(QueueSettings(), given).of(b"mail.urgent").prefetch == 10 + used


def test_its_console_block_runs_as_written(tmp_path: Path) -> None:
    (block,) = (block for block in blocks(DOCUMENT) if block.language == "console")
    with ConsoleSession(tmp_path) as console:
        console.run(block)
