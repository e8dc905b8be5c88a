"""Which settings are in force for a queue."""

from __future__ import annotations

import pytest

from redqueue.engine.settings import QueueSettings, SettingsBook

DEFAULTS = QueueSettings(prefetch=1, wait=7)


def prefetch(name: bytes, **tables: int) -> int:
    book = SettingsBook(DEFAULTS, {key.encode(): {"prefetch": value} for key, value in tables.items()})
    return book.of(name).prefetch


def test_without_tables_every_queue_has_the_defaults() -> None:
    assert SettingsBook(DEFAULTS).of(b"anything") is DEFAULTS


def test_a_literal_name_counts_for_itself_alone() -> None:
    assert prefetch(b"mail", mail=5) == 5
    assert prefetch(b"mail.in", mail=5) == 1


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"mail.in": 2, "mail.*": 3}, 2),
        ({"mail.*": 2, "mail.#": 3}, 2),
        ({"mail.#": 2, "*.in": 3}, 2),
        ({"*.in": 2, "*.*": 3}, 2),
        ({"*.*": 2, "#.in": 3}, 2),
        ({"#.in": 2, "#": 3}, 2),
        ({"mail": 3, "mail.in.spam": 3}, 1),
    ],
)
def test_the_more_specific_table_counts_whatever_the_order(tables: dict[str, int], expected: int) -> None:
    assert prefetch(b"mail.in", **tables) == expected
    assert prefetch(b"mail.in", **dict(reversed(tables.items()))) == expected


def test_each_setting_comes_from_the_most_specific_table_that_has_it() -> None:
    book = SettingsBook(DEFAULTS, {b"mail.*": {"prefetch": 2, "max_items": 5}, b"mail.in": {"prefetch": 3}})
    settings = book.of(b"mail.in")
    assert (settings.prefetch, settings.max_items, settings.wait) == (3, 5, 7)


def test_a_child_has_the_settings_of_its_parent() -> None:
    tables = {b"orders": {"prefetch": 4}, b"orders+audit": {"max_items": 9}, b"*+pager": {"prefetch": 6}}
    book = SettingsBook(DEFAULTS, tables)
    assert (book.of(b"orders+audit").prefetch, book.of(b"orders+audit").max_items) == (4, 9)
    assert (book.of(b"orders+other").prefetch, book.of(b"orders+other").max_items) == (4, 0)
    assert book.of(b"orders+pager").prefetch == 6
    assert book.of(b"orders").max_items == 0
    assert book.of(b"logs.web+pager").prefetch == 1


def test_the_child_of_a_topic_has_the_settings_of_what_matches_its_pattern() -> None:
    book = SettingsBook(DEFAULTS, {b"logs.#": {"prefetch": 4}})
    assert book.of(b"logs.*.error+pager").prefetch == 4


def test_names_are_remembered_up_to_a_number() -> None:
    book = SettingsBook(DEFAULTS, {b"#": {"prefetch": 2}})
    for number in range(20_000):
        assert book.of(b"q%d" % number).prefetch == 2
    assert len(book._known) <= 4096


@pytest.mark.parametrize(
    ("settings", "name", "expected"),
    [
        (QueueSettings(), b"jobs", b"jobs.dead"),
        (QueueSettings(), b"orders+audit", b"orders.audit.dead"),
        (QueueSettings(), b"x" * 250, b"x" * 245 + b".dead"),
        (QueueSettings(dead_letter="graves"), b"jobs", b"graves"),
    ],
)
def test_where_dead_letters_go(settings: QueueSettings, name: bytes, expected: bytes) -> None:
    assert settings.dead_letter_of(name) == expected
