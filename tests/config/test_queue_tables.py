"""Tables of single queues in the file of the daemon, and what is said to those who write something else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from redqueue.config.kinds import BadOption
from redqueue.config.load import load
from tests.server_process import run_server


def complaint(tmp_path: Path, content: str) -> str:
    """What is said of a file, without its path and the line, which is that of the setting or of the table."""
    path = tmp_path / "redqueue.toml"
    path.write_text(content)
    with pytest.raises(BadOption) as caught:
        load([f"--config={path}"], {})
    match = re.fullmatch(re.escape(str(path)) + r":(\d+): (.*)", str(caught.value))
    assert match, "file and line are named"
    is_about_the_table = any(words in match[2] for words in ("a table wants", "whole words", "marks", "'queues'"))
    assert int(match[1]) == (1 if is_about_the_table else 2 if "\n" in content else 1)
    return match[2]


def test_the_defaults_are_the_options() -> None:
    book = load(["--ttl=1h", "--max_deliveries=3", "--requeue=tail", "--dead_letter=graves"], {}).book
    found = book.of(b"anything")
    assert (found.ttl, found.max_deliveries, found.requeue, found.dead_letter) == (3600, 3, "tail", "graves")


def test_the_command_line_wins_over_the_top_of_the_file_and_not_over_its_tables(tmp_path: Path) -> None:
    path = tmp_path / "redqueue.toml"
    path.write_text('prefetch = 2\nmax_items = 2\n[queue.jobs]\nprefetch = 3\n[queue."é"]\nmax-items = 7\n')
    book = load([f"--config={path}", "--prefetch=9"], {}).book
    assert (book.of(b"other").prefetch, book.of(b"jobs").prefetch, book.of(b"jobs").max_items) == (9, 3, 2)
    assert book.of("é".encode()).max_items == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[queue."a.*"]\nttls = 5', "[queue.\"a.*\"]: unknown setting 'ttls', did you mean ttl?"),
        ("[queue.a]\nxyzzy = 5", "[queue.\"a\"]: unknown setting 'xyzzy', known are reserve_timeout, prefetch, "),
        ("[queue.a]\nport = 5", '[queue."a"]: port is an option of the whole server, and belongs at the top'),
        ("[queue.a.b]\nttl = 5", '[queue."a"]: a name with a dot wants quotation marks: [queue."a.b"]'),
        ("[queue]\nttl = 5", "ttl stands in [queue] itself; the settings of one queue go into a table with its name"),
        ("[queue.a]\nttl = []", '[queue."a"]: ttl wants DURATION, not a list'),
        ("[queue.a]\nttl = -1", "[queue.\"a\"]: ttl wants a duration such as 300s, 250ms, 5m or 2h, not '-1'"),
        ("[queue.a]\nprefetch = 0", '[queue."a"]: prefetch wants at least 1, not 0'),
        ("[queue.a]\nretry_delay = '2h'", '[queue."a"]: retry_delay wants at most 1h, not 2h'),
        ("[queue.a]\nrequeue = 'end'", "[queue.\"a\"]: requeue wants one of head, tail, not 'end'"),
        ("[queue.a]\noverflow = true", "[queue.\"a\"]: overflow wants one of refuse, drop-oldest, not 'yes'"),
        ("[queue.a]\nfanout_only = 'maybe'", "[queue.\"a\"]: fanout_only wants yes or no, not 'maybe'"),
        ("[queue.a]\nmax_bytes = '1tb'", '[queue."a"]: max_bytes wants a size such as 512kb, 64mb or 1gb'),
        ("[queue.a]\ndead_letter = 'a'", '[queue."a"]: dead_letter wants another queue than this one; leave it out'),
        ("[queue.a]\ndead_letter = 'b+c'", '[queue."a"]: dead_letter wants the name of a queue that is nobody\'s'),
        ("[queue.a]\ndead_letter = 'b c'", '[queue."a"]: dead_letter wants the name of a queue, up to 250 bytes'),
        ('[queue."mail*"]\nttl = 5', '[queue."mail*"]: * and # stand for whole words between dots, as in mail.* for'),
        ('[queue."a b"]\nttl = 5', '[queue."a b"]: a table wants the name of a queue, up to 250 bytes without spaces'),
        ('[queue.""]\nttl = 5', '[queue.""]: a table wants the name of a queue, or a pattern such as mail.*'),
        ("queue = 5", "unknown option 'queue'"),
        ("[queues.a]\nttl = 5", "unknown option 'queues'"),
    ],
)
def test_what_cannot_be_used_gets_the_place_and_what_to_write_instead(
    tmp_path: Path, content: str, message: str
) -> None:
    assert complaint(tmp_path, content).startswith(message)


def test_a_bad_table_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "redqueue.toml"
    path.write_text("[queue.jobs]\nprefetch = 0\n")
    done = run_server(f"--config={path}", f"--logdir={tmp_path / 'log'}", "--port=0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f'redqueue_server.py: {path}:2: [queue."jobs"]: prefetch wants at least 1, not 0\n'
    assert not (tmp_path / "log").exists()
