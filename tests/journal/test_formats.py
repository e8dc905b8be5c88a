"""The journals of every released version load, with all that was in them, and the tools list them."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest

from redqueue import __version__
from tests.cli.tool import contents, redqueue
from tests.journal.formats.make_journals import EXPECTED, HERE, WIPED
from tests.server_process import ServerProcess

VERSIONS = sorted(path.name for path in HERE.iterdir() if path.name[0].isdigit())
JOURNALS = {"plain": EXPECTED, "torn": EXPECTED, "wiped": WIPED}

every_journal = pytest.mark.parametrize("kind", JOURNALS)
every_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def journal(version: str, kind: str, tmp_path: Path) -> Path:
    """A copy of a journal, to be used and changed."""
    return Path(shutil.copytree(HERE / version / kind, tmp_path / "journal"))


def test_the_first_release_is_there() -> None:
    assert "1.0.0" in VERSIONS


@every_version
@every_journal
def test_a_server_loads_it(journal: Path, kind: str) -> None:
    with ServerProcess(journal, prefetch=100) as server, server.connect() as wire:
        assert ("torn tail" in server.log) == (kind == "torn")
        for queue, items in JOURNALS[kind].items():
            assert [wire.get(queue)[0][1:] for _ in items] == items
            assert wire.get(queue) == []
        assert int(wire.stats()["curr_items"]) == sum(map(len, JOURNALS[kind].values()))


@every_version
@every_journal
def test_the_tools_list_it(journal: Path, kind: str) -> None:
    before = contents(journal)
    (journal / "lock").touch()
    done = redqueue("journal", "verify", journal, "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["result"]) == (0, "good")
    assert [finding["finding"] for finding in report["findings"]] == ["torn tail"] * (kind == "torn")
    for queue, items in JOURNALS[kind].items():
        done = redqueue("journal", "export", journal, f"--queue={queue.decode()}")
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert [
            (
                entry["flags"],
                entry["payload"].encode() if "payload" in entry else base64.b64decode(entry["payload_base64"]),
            )
            for entry in found
        ] == items
    dumped = [json.loads(line) for line in redqueue("journal", "dump", journal, "--json").stdout.splitlines()]
    kinds = {entry["kind"] for entry in dumped if "kind" in entry}
    assert kinds == ({"NAME", "PUT", "WIPE"} if kind == "wiped" else {"NAME", "PUT", "ACK", "REWRITE", "DROP"})
    (journal / "lock").unlink()
    assert contents(journal) == before


def test_the_version_that_is_here_has_its_journals() -> None:
    """A release without them would be one whose journals nobody promises to load."""
    assert __version__ in VERSIONS, "run: python -m tests.journal.formats.make_journals"
