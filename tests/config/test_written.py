"""--check-config, --print-config and the sample: what is written can be read back."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from redqueue.config import written
from redqueue.config.configuration import Configuration
from redqueue.config.kinds import (
    BadOption,
    Option,
    parse_duration,
    parse_limit,
    parse_queue,
    parse_size,
    parse_switch,
    parse_whole,
)
from redqueue.config.load import load
from redqueue.config.queue_tables import SETTINGS
from redqueue.options import OPTIONS
from tests.server_process import ROOT, run_server

SAMPLE = ROOT / "contrib" / "redqueue.toml"


def texts(option: Option) -> st.SearchStrategy[str]:
    """What one may write for an option."""
    whole = st.integers(int(option.least or 0), int(option.most or 10**9))
    if option.parse in (parse_whole, parse_limit):
        return whole.map(str)
    if option.parse is parse_size:
        return st.one_of(whole.map(str), st.sampled_from(["1.5mb", "64KB", "512 kb", "100m"]))
    if option.parse is parse_duration:
        return st.one_of(whole.map(str), st.sampled_from(["1s", "2.25s", "250ms", "0.3m", "5 M"]))
    if option.parse is parse_switch:
        return st.sampled_from(["yes", "no", "on", "0"])
    if option.parse is parse_queue:
        return st.sampled_from(["", "graves", "ä", 'a"b', "a\\u0041"])
    if "|" in option.form:
        return st.sampled_from(option.form.split("|"))
    if option.parse is not str:
        return st.just(option.default)
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=10)


WRITABLE = [option for option in OPTIONS if option.name not in ("config", "store")]
GIVEN = st.fixed_dictionaries({}, optional={option.name: texts(option) for option in WRITABLE})
TABLE = st.fixed_dictionaries(
    {}, optional={option.name: texts(option) for option in OPTIONS if option.name in SETTINGS}
)
NAMES = st.one_of(
    st.sampled_from(["a", "*.b", "#", "a+b", 'q"u\\o', "ü.*"]), st.text("aé\"'\\=[]", min_size=1, max_size=5)
)


def same(one: Configuration, other: Configuration) -> None:
    for name, setting in one.settings.items():
        if name != "config":
            assert other.settings[name].value == setting.value, name
    assert {k: v for k, v in other.book.tables.items() if v} == {k: v for k, v in one.book.tables.items() if v}
    assert one.book.defaults == other.book.defaults


@settings(max_examples=200, deadline=None)
@given(GIVEN, st.dictionaries(NAMES, TABLE, max_size=3))
def test_what_is_printed_is_read_back_as_the_same(given_texts: dict[str, str], tables: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        first, second = Path(directory, "first.toml"), Path(directory, "second.toml")
        lines = []
        for name, table in tables.items():
            lines.append(f"[queue.{written._text(name)}]")
            lines += [f"{setting} = {written._text(text)}" for setting, text in table.items()]
        first.write_text("\n".join(lines))
        try:
            before = load([f"--config={first}", *(f"--{name}={text}" for name, text in given_texts.items())], {})
        except BadOption:
            assume(False)
        printed = written.in_force(before)
        second.write_text(printed)
        after = load([f"--config={second}"], {})
        same(before, after)
        third = Path(directory, "third.toml")
        third.write_text(written.in_force(after))
        same(before, load([f"--config={third}"], {}))


def test_what_no_file_can_hold_is_said() -> None:
    with pytest.raises(BadOption, match=r"--logdir: .* cannot stand in a file"):
        written.in_force(load(["--logdir=\udcff"], {}))


# -- the program ------------------------------------------------------------------------


def test_print_config_says_where_everything_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "redqueue.toml"
    path.write_text('ttl = "1d"\n[queue."mail.#"]\nmax_items = 5\n')
    done = run_server(f"--config={path}", "--port=22122", "--print-config")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert 'host = "127.0.0.1"  # default' in lines
    assert "port = 22122  # --port" in lines
    assert f'ttl = "1d"  # {path}:1' in lines
    assert lines[-2:] == ['[queue."mail.#"]', f"max_items = 5  # {path}:3"]
    for option in OPTIONS:
        assert any(line.removeprefix("# ").startswith(f"{option.name} = ") for line in lines), option.name
    assert run_server(f"--config={path}", "--print-config", "--port=x").returncode == 2


def test_check_config_of_a_good_file_touches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "redqueue.toml"
    path.write_text(f'logdir = "{tmp_path}/journal"\nlog_file = "{tmp_path}/redqueue.log"\nport = 1\n')
    done = run_server(f"--config={path}", "--check-config")
    assert (done.returncode, done.stdout, done.stderr) == (0, "OK\n", "")
    assert [*tmp_path.iterdir()] == [path]


def test_check_config_of_a_bad_one_names_all_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "redqueue.toml"
    path.write_text("port = 99999\nwait = 'x'\n")
    done = run_server(f"--config={path}", "--check_config")
    assert (done.returncode, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert first == f"redqueue_server.py: {path}:1: port wants at most 65535, not 99999"
    assert second.startswith(f"redqueue_server.py: {path}:2: wait wants a duration")


def test_what_options_name_is_checked_too(tmp_path: Path) -> None:
    path, nowhere = tmp_path / "redqueue.toml", tmp_path / "nowhere"
    (tmp_path / "file").write_text("")
    path.write_text(f'unix_socket = "{nowhere}/s"\nlogdir = "{tmp_path}/file"\nlog_file = "{tmp_path}"\n')
    done = run_server(f"--config={path}", "--check-config")
    assert done.stderr.splitlines() == [
        f"redqueue_server.py: {path}:1: unix_socket wants to be in a directory that exists, which {nowhere} does not",
        f"redqueue_server.py: {path}:2: logdir wants a directory, which {tmp_path}/file is not",
        f"redqueue_server.py: {path}:3: log_file wants a file, and {tmp_path} is a directory",
    ]
    done = run_server(f"--unix_socket={tmp_path}/{'x' * 108}", "--check-config")
    assert "--unix_socket wants a path of up to 107 bytes" in done.stderr


# -- the sample ------------------------------------------------------------------------


def test_the_sample_is_up_to_date() -> None:
    command = "python -m redqueue.config.written > contrib/redqueue.toml"
    assert SAMPLE.read_text(encoding="utf-8") == written.sample(), f"make it anew: {command}"


def test_the_sample_has_every_option_and_can_be_used() -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    for option in OPTIONS:
        assert option.name == "config" or f"\n#{option.name} = " in text, option.name
    done = run_server(f"--config={SAMPLE}", "--check-config")
    assert (done.returncode, done.stdout) == (0, "OK\n")


def test_the_sample_without_its_hashes_sets_every_option_to_its_default(tmp_path: Path) -> None:
    lines = [line.removeprefix("#") for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    kept = [line for line in lines if not line.startswith(" ")]
    path = tmp_path / "redqueue.toml"
    path.write_text("\n".join(kept))
    found = load([f"--config={path}"], {})
    assert {name for name, setting in found.settings.items() if setting.source == "default"} == set()
    same(load([], {}), found)
    assert any("[queue." in line for line in lines)
