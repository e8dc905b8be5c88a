"""Files whose values know their lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueue.config.kinds import BadOption
from redqueue.config.toml_file import TomlFile


def read(tmp_path: Path, text: str) -> TomlFile:
    path = tmp_path / "redqueue.toml"
    path.write_text(text, newline="")
    return TomlFile(path, "redqueue.toml")


def complaint(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "redqueue.toml"
    path.write_bytes(content)
    with pytest.raises(BadOption) as caught:
        TomlFile(path, "redqueue.toml")
    return str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_in_all_the_ways_to_write_toml(tmp_path: Path, end: str) -> None:
    text = '''# a comment
a = 1

b = """
c = 5
[d]
"""   # and its end
"e.f" = [ 1,   # in a list

  2 ]
g.h = 'x'  # [i]
[queue . "a.b"]
  ttl = "1h"
[queue]
jobs = {ttl = 5, "wait" = 6}
[queue.'c"d'] # [e]
prefetch=1
[[more]]
x = 1
[[more]]
x = 2'''
    file = read(tmp_path, text.replace("\n", end))
    lines = {
        ("a",): 2,
        ("b",): 4,
        ("e.f",): 8,
        ("g", "h"): 11,
        ("queue", "a.b"): 12,
        ("queue", "a.b", "ttl"): 13,
        ("queue",): 14,
        ("queue", "jobs", "wait"): 15,
        ("queue", 'c"d', "prefetch"): 17,
        ("more", "x"): 19,
    }
    assert {keys: file.line(*keys) for keys in lines} == lines
    assert file.place("a") == "redqueue.toml:2"
    assert file.line("c") == 1


BLANK = st.sampled_from(["", "# a comment", "   ", "#x = 5", '# """'])
VALUE = st.sampled_from(["5", '"x"', "'# no comment'", '"""\nx = 1\n"""', "[\n1,\n2]", '"\\"[x]"', "{y = 1}"])


@given(st.lists(st.one_of(BLANK, VALUE)), st.booleans())
def test_each_line_is_found_whatever_stands_between(entries: list[str], in_table: bool) -> None:
    lines, found = ["[queue.t]"] if in_table else [], {}
    for number, entry in enumerate(entries):
        if entry == "" or entry.lstrip().startswith("#") or entry.isspace():
            lines.append(entry)
            continue
        found[f"k{number}"] = len(lines) + 1
        lines += f"k{number} = {entry}".split("\n")
    file = TomlFile.__new__(TomlFile)
    file._text = "\n".join(lines)
    prefix = ("queue", "t") if in_table else ()
    assert {key: file.line(*prefix, key) for key in found} == found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = 1\nport", "2: is not TOML: Expected '=' after a key in a key/value pair; an option is"),
        (b"a = 1\n\nb = 5m\n", "3: is not TOML: Expected newline or end of document after a statement; "),
        (b"host = localhost\n", "1: is not TOML: Invalid value; text and quantities with a unit stand in"),
        (b"a = 1\nb = 2\na = 3\n", "3: is not TOML: Cannot overwrite a value; it is there twice"),
        (b'a = 1\nb = """x\n', "3: is not TOML: Unterminated string"),
        (b"a = 1\nb = '\xff'\n", "2: is not TOML: wants UTF-8, not the byte 0xff"),
    ],
)
def test_what_is_no_toml(tmp_path: Path, content: bytes, message: str) -> None:
    assert complaint(tmp_path, content).startswith(f"redqueue.toml:{message}")


def test_complaints_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    file = read(tmp_path, "a = 1\nb = 2\n[c]\nd = 1\n")
    file.complain(("c", "d"), "third")
    file.complain(("b",), "second")
    file.complain(("a",), "first")
    assert file.complaints() == ["redqueue.toml:1: first", "redqueue.toml:2: second", "redqueue.toml:4: third"]
