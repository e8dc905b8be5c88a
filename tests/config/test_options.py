"""Options: what may be written, in three places, and what is said to those who write something else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from redqueue import __version__
from redqueue.config.kinds import BadOption, Option, parse_duration, parse_size
from redqueue.config.load import load
from redqueue.engine.settings import QueueSettings
from redqueue.options import OPTIONS, Options
from tests.server_process import ROOT

BY_NAME = {option.name: option for option in OPTIONS}

DEFAULTS = {
    "host": "127.0.0.1",
    "port": 12345,
    "unix_socket": "",
    "logdir": "log",
    "reliable": "yes",
    "sync_interval": 1.0,
    "segment_size": 64 << 20,
    "memory": 256 << 20,
    "max_item_size": 1 << 20,
    "max_connections": 0,
    "reserve_timeout": 300.0,
    "prefetch": 1,
    "wait": 0.0,
    "max_items": 0,
    "max_bytes": 0,
    "config": "",
    "store": "",
}
"""The options that other programs rely on."""


def options(*arguments: str, **environment: str) -> Options:
    return load(arguments, environment).options


def complaint(*arguments: str, **environment: str) -> str:
    with pytest.raises(BadOption) as caught:
        load(arguments, environment)
    return str(caught.value)


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_the_default_of(name: str, value: object) -> None:
    default = getattr(options(), name)
    assert default == value
    assert type(default) is type(value)


def test_each_option_is_a_field_and_each_field_an_option() -> None:
    assert [option.name for option in OPTIONS] == [field.name for field in fields(Options)]


def test_the_defaults_of_a_queue_are_those_of_the_options() -> None:
    for field in fields(QueueSettings):
        if field.init:
            assert field.default == getattr(options(), field.name), field.name


@pytest.mark.parametrize(
    ("option", "within"),
    [
        pytest.param(option, number, id=f"{option.name}-{number:g}")
        for option in OPTIONS
        for number in (option.least, option.most)
        if number
    ],
)
def test_both_ends_of_a_range_are_in_it(option: Option, within: float) -> None:
    text = f"{within:.0f}" if within >= 1 else f"{within:f}"
    assert option.value(text) == within


# -- what may be written ----------------------------------------------------------


@pytest.mark.parametrize("argument", ["--segment_size=128kb", "--segment-size=128kb"])
def test_dashes_and_underscores_are_alike(argument: str) -> None:
    assert options(argument).segment_size == 128 << 10
    assert options(*argument.split("=")).segment_size == 128 << 10


def test_dashes_in_a_value_stay() -> None:
    assert options("--logdir=/var/lib/red-queue").logdir == "/var/lib/red-queue"
    assert options("--logdir", "red-queue").logdir == "red-queue"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("300", 300),
        ("2.5", 2.5),
        ("250ms", 0.25),
        ("300s", 300),
        ("5m", 300),
        ("1.5h", 5400),
        ("2d", 172800),
        ("5 M", 300),
    ],
)
def test_a_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1000", 1000),
        ("1b", 1),
        ("512kb", 512 << 10),
        ("64mb", 64 << 20),
        ("1.5gb", 3 << 29),
        ("2G", 2 << 30),
        ("1 MB", 1 << 20),
    ],
)
def test_a_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "5 weeks", "s", "1e3", "1,5", "inf", "nan", "0x10", "٣", "9" * 400])
@pytest.mark.parametrize("parse", [parse_duration, parse_size])
def test_what_is_neither_a_duration_nor_a_size(parse: Any, text: str) -> None:
    with pytest.raises(BadOption, match=r"wants a (duration|size) such as \d+"):
        parse(text)


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["--salvage"], True),
        (["--salvage=yes"], True),
        (["--salvage=on"], True),
        (["--salvage=no"], False),
        (["--salvage", "no"], False),
        ([], False),
    ],
)
def test_a_switch(arguments: list[str], value: bool) -> None:
    assert options(*arguments).salvage is value


def test_the_last_one_counts() -> None:
    assert options("--port=1", "--port=2").port == 2


def test_no_limit_may_be_written_as_nothing() -> None:
    assert options("--max_connections=").max_connections == 0
    assert options("--max_connections=100").max_connections == 100


# -- what may not -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--port=65536", "--port wants at most 65535, not 65536"),
        ("--port=http", "--port wants a whole number, not 'http'"),
        ("--port=", "--port wants a whole number, not ''"),
        ("--port=" + "9" * 5000, "--port wants a whole number, not '9999"),
        ("--prefetch=0", "--prefetch wants at least 1, not 0"),
        ("--prefetch=9999999999", "--prefetch wants at most 1073741824, not 9999999999"),
        ("--segment-size=1kb", "--segment_size wants at least 64kb, not 1kb"),
        ("--segment_size=2gb", "--segment_size wants at most 1gb, not 2gb"),
        ("--max_item_size=0", "--max_item_size wants at least 1, not 0"),
        ("--max_item_size=1tb", "--max_item_size wants a size such as 512kb, 64mb or 1gb, not '1tb'"),
        ("--reserve_timeout=0", "--reserve_timeout wants at least 1ms, not 0"),
        ("--reserve_timeout=366d", "--reserve_timeout wants at most 365d, not 366d"),
        ("--reserve_timeout=soon", "--reserve_timeout wants a duration such as 300s, 250ms, 5m or 2h, not 'soon'"),
        ("--sync_interval=2h", "--sync_interval wants at most 1h, not 2h"),
        ("--wait=2d", "--wait wants at most 1d, not 2d"),
        ("--reliable=always", "--reliable wants one of no, yes, sync, not 'always'"),
        ("--salvage=perhaps", "--salvage wants yes or no, not 'perhaps'"),
        ("--store=nats://other", "--store wants to be left empty, not 'nats://other'"),
    ],
)
def test_a_value_that_cannot_be_used_gets_what_to_write_instead(argument: str, message: str) -> None:
    assert complaint(argument).startswith(message)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--prot=1", "unknown option --prot, did you mean port?; see --help"),
        ("--reserve-timeouts=1", "unknown option --reserve_timeouts, did you mean reserve_timeout?; see --help"),
        ("--xyzzy", "unknown option --xyzzy; see --help"),
        ("12345", "unexpected argument '12345'; options are written --name=value, see --help"),
        ("-p", "unexpected argument '-p'; options are written --name=value, see --help"),
    ],
)
def test_an_unknown_option_is_told_what_it_may_have_meant(argument: str, message: str) -> None:
    assert complaint(argument) == message


def test_a_beginning_is_not_an_option() -> None:
    assert complaint("--seg=1mb").startswith("unknown option --seg")


def test_an_option_without_its_value() -> None:
    assert complaint("--port") == "argument --port: expected one argument; see --help"


# -- the environment and the file -----------------------------------------------------


def test_the_environment() -> None:
    found = options(REDQUEUE_PORT="22122", REDQUEUE_SALVAGE="yes", REDQUEUE_NOT_AN_OPTION="1", PORT="1")
    assert (found.port, found.salvage) == (22122, True)
    assert complaint(REDQUEUE_PORT="x") == "REDQUEUE_PORT wants a whole number, not 'x'"


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "redqueue.toml"
    lines = ("port = 22122", "reserve_timeout = 2.5", 'segment-size = "128kb"', "verbose = true", "reliable = false")
    path.write_text("\n".join((*lines, 'logdir = "data"')))
    found = options(f"--config={path}")
    assert (found.port, found.reserve_timeout, found.segment_size) == (22122, 2.5, 128 << 10)
    assert (found.verbose, found.reliable, found.logdir, found.host) == (True, "no", "data", "127.0.0.1")
    assert found.config == str(path)
    assert options(REDQUEUE_CONFIG=str(path)).port == 22122


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prot = 1", "unknown option 'prot', did you mean port?"),
        ("config = 'other.toml'", "unknown option 'config'"),
        ("[queues]\n", "unknown option 'queues'"),
        ("port = []", "port wants PORT, not a list"),
        ("port = 65536", "port wants at most 65535, not 65536"),
        ("port = -1", "port wants a whole number, not '-1'"),
        ("segment-size = '1kb'", "segment-size wants at least 64kb, not 1kb"),
        ("port", "is not TOML"),
        ("host = '\xff'", "is not TOML"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "redqueue.toml"
    path.write_bytes(content.encode("latin-1"))
    found = complaint(f"--config={path}")
    assert message in found
    assert str(path) in found


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    assert complaint(f"--config={path}") == f"--config={path} cannot be read: No such file or directory"


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "redqueue.toml"
    path.write_text("port = 1\nprefetch = 1000\nmax_items = 10\n")
    found = options(f"--config={path}", "--port=3", REDQUEUE_PORT="2", REDQUEUE_PREFETCH="2000")
    assert (found.port, found.prefetch, found.max_items) == (3, 2000, 10)


def test_what_is_overruled_is_not_looked_at_less_carefully(tmp_path: Path) -> None:
    path = tmp_path / "redqueue.toml"
    path.write_text("port = 99999\n")
    assert "port wants at most 65535" in complaint(f"--config={path}", "--port=3")


# -- the program ------------------------------------------------------------------------


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "bin/redqueue_server.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"},
    )


def test_help_has_every_option_with_its_default_and_unit() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    entries = {
        match[1]: " ".join(match[0].split())
        for match in re.finditer(r"^  --(\w+).*?(?=^  --|^\S)", done.stdout, re.MULTILINE | re.DOTALL)
    }
    for option in OPTIONS:
        assert option.form in entries[option.name]
        assert f"(default: {option.default or 'none'})" in entries[option.name], option.name
        assert len(entries[option.name]) > 50
    units = " ".join(done.stdout[done.stdout.index("Dashes and underscores") :].split())
    assert "Durations are in seconds or with ms, s, m, h, d; sizes in bytes or with kb, mb, gb" in units


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_a_quantity_says_in_what_unit(option: Option) -> None:
    if option.parse in (parse_duration, parse_size):
        assert option.form == {parse_duration: "DURATION", parse_size: "SIZE"}[option.parse]


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"RedQueue {__version__}\n")


def test_a_bad_option_ends_the_program_with_one_line_and_status_2() -> None:
    done = run("--prot=1")
    assert done.returncode == 2
    assert done.stderr == "redqueue_server.py: unknown option --prot, did you mean port?; see --help\n"
    assert done.stdout == ""
