"""docs/protocol.md is true: each of its conversations is held with a real server, as it is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from redqueue.protocol.commands import COMMANDS
from redqueue.protocol.key import MAX_KEY
from redqueue.protocol.request import MAX_LINE
from redqueue.server import tcp
from tests.documents import Block, Conversation, blocks
from tests.server_process import ROOT, ServerProcess

DOCUMENT = "docs/protocol.md"
TEXT = (ROOT / DOCUMENT).read_text(encoding="utf-8")
CONVERSATIONS = [block for block in blocks(DOCUMENT) if block.language == "transcript"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("journal")) as running:
        yield running


@pytest.mark.parametrize(
    "block", CONVERSATIONS, ids=[f"{block.heading.split(':')[0]}-{block.line}" for block in CONVERSATIONS]
)
def test_the_conversation_goes_as_written(block: Block, server: ServerProcess, tmp_path: Path) -> None:
    if block.words:
        options = dict(word.split("=", 1) for word in block.words)
        with ServerProcess(tmp_path, **options) as own:
            Conversation(own.port).run(block)
        return
    with server.connect() as wire:
        assert wire.ask(b"flush_all") == b"OK"
    Conversation(server.port).run(block)


def test_every_verb_has_its_section() -> None:
    headings = set(re.findall(r"\w+", " ".join(re.findall(r"^##+ (.*)$", TEXT, re.MULTILINE))))
    elsewhere = {"append", "gets"}
    assert {verb.decode() for verb in COMMANDS} - elsewhere <= headings
    for verb in elsewhere:
        assert f"`{verb}` is" in TEXT


def test_every_figure_of_a_queue_is_explained(server: ServerProcess) -> None:
    with server.connect() as wire:
        assert wire.put(b"figures", b"x") == b"STORED"
        given = wire.stats(b"queue figures")
    table = TEXT[TEXT.index("| figure of a queue") : TEXT.index("## version")]
    explained = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE))))
    of_letters = {"head_origin"}
    assert explained - of_letters == {name for name in given if not name.startswith("setting_")}


def test_its_limits_are_those_of_the_code(server: ServerProcess) -> None:
    assert f"a key over {MAX_KEY} bytes" in TEXT
    assert f"a line over {MAX_LINE} bytes" in TEXT
    with server.connect() as wire:
        assert wire.ask(b"get " + b"k" * (MAX_KEY + 1)).startswith(b"CLIENT_ERROR key too long")
        assert wire.get(b"k" * MAX_KEY) == []
        wire.send(b"g" * (MAX_LINE + 10) + b"\r\n")
        assert wire.line() == b"CLIENT_ERROR line too long"
        assert wire.rest() == b""
    keepalive = dict(tcp._KEEPALIVE)
    assert keepalive["TCP_KEEPIDLE"] + keepalive["TCP_KEEPINTVL"] * keepalive["TCP_KEEPCNT"] == 120


def test_what_a_closed_connection_held_is_ready_for_the_very_next_request(server: ServerProcess) -> None:
    with server.connect() as other:
        for number in range(50):
            assert other.put(b"lost", b"%d" % number) == b"STORED"
            with server.connect() as worker:
                assert worker.get(b"lost") == [(b"lost", 0, b"%d" % number)]
            assert other.get(b"lost") == [(b"lost", 0, b"%d" % number)]
            assert other.ask(b"delete lost") == b"DELETED"
