"""All mistakes at once, and where each setting comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from redqueue.config.kinds import BadOption
from redqueue.config.load import Sources, load


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "redqueue.toml"


def complaints(*arguments: str, **environment: str) -> list[str]:
    with pytest.raises(BadOption) as caught:
        load(arguments, environment)
    return str(caught.value).splitlines()


def test_all_mistakes_are_named_at_once(path: Path) -> None:
    path.write_text('prot = 1\nwait = "soon"\nconfig = "x"\n\n[queue.a]\nttl = -1\nprefetch = 0\n[queue."b*"]\n')
    found = complaints(f"--config={path}", "--port=x", REDQUEUE_PREFETCH="0", REDQUEUE_HOTS="h")
    assert found == [
        f"{path}:1: unknown option 'prot', did you mean port?",
        f"{path}:2: wait wants a duration such as 300s, 250ms, 5m or 2h, not 'soon'",
        f"{path}:3: unknown option 'config': a file names no other; give it on the command line",
        f"{path}:6: [queue.\"a\"]: ttl wants a duration such as 300s, 250ms, 5m or 2h, not '-1'",
        f'{path}:7: [queue."a"]: prefetch wants at least 1, not 0',
        f'{path}:8: [queue."b*"]: * and # stand for whole words between dots, as in mail.* for mail.in, and not for a '
        f"part of one, as in b*",
        "REDQUEUE_PREFETCH wants at least 1, not 0",
        "unknown option REDQUEUE_HOTS, did you mean REDQUEUE_HOST?",
        "--port wants a whole number, not 'x'",
    ]


def test_all_unknown_flags_are_named_at_once() -> None:
    assert complaints("--prot=1", "x", "--hots=2") == [
        "unknown option --prot, did you mean port?; see --help",
        "unexpected argument 'x'; options are written --name=value, see --help",
        "unknown option --hots, did you mean host?; see --help",
    ]


def test_one_option_in_two_spellings(path: Path) -> None:
    path.write_text("max_items = 1\n\nmax-items = 2\n[queue.a]\nmax_items = 1\nmax-items = 2\n")
    assert complaints(f"--config={path}") == [
        f"{path}:3: max-items is there twice, on line 1 as max_items",
        f'{path}:6: [queue."a"]: max-items is there twice, once with a dash and once with an underscore',
    ]


@pytest.mark.parametrize(
    "variable", ["REDQUEUE_SERVICE_HOST", "REDQUEUE_PORT_12345_TCP", "REDQUEUE_DELIVERIES", "PATH"]
)
def test_variables_that_are_none_of_ours_are_left_alone(variable: str) -> None:
    load([], {variable: "x"})


@pytest.mark.parametrize("variable", ["REDQUEUE_PROT", "REDQUEUE_MAX_ITEM", "REDQUEUE_LOG_LEVELS", "REDQUEUE_TTLS"])
def test_variables_that_are_nearly_ours_are_not(variable: str) -> None:
    (found,) = complaints(**{variable: "1"})
    assert found.startswith(f"unknown option {variable}, did you mean REDQUEUE_")


def test_what_kubernetes_sets_gets_its_remedy() -> None:
    (found,) = complaints(REDQUEUE_PORT="tcp://10.0.0.1:12345")
    assert "not 'tcp://10.0.0.1:12345'; Kubernetes sets it" in found
    assert "enableServiceLinks: false" in found


def test_each_setting_knows_where_it_comes_from(path: Path) -> None:
    path.write_text('\nport = 1\nwait = 1\nttl = "1h"\n[queue.a]\n\nmax-items = 3\n')
    found = load([f"--config={path}", "--port=3"], {"REDQUEUE_PORT": "2", "REDQUEUE_WAIT": "2"})
    sources = {name: found.settings[name].source for name in ("host", "port", "wait", "ttl")}
    assert sources == {"host": "default", "port": "--port", "wait": "REDQUEUE_WAIT", "ttl": f"{path}:4"}
    assert found.tables["a"]["max_items"].source == f"{path}:7"
    assert found.settings["ttl"].text == "1h"
    shown = {name: found.settings[name].shown(name) for name in ("host", "port", "wait", "ttl")}
    assert shown == {"host": "host", "port": "--port", "wait": "REDQUEUE_WAIT", "ttl": f"{path}:4: ttl"}


def test_the_file_is_read_anew_and_found_from_the_directory_of_the_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text("ttl = 1\n")
    monkeypatch.chdir(path.parent)
    sources = Sources([], {"REDQUEUE_CONFIG": "redqueue.toml"})
    assert sources.load().options.ttl == 1
    path.write_text("ttl = 2\nwait = 'x'\n")
    monkeypatch.chdir("/")
    with pytest.raises(BadOption, match=r"^redqueue\.toml:2: wait wants"):
        sources.load()
    path.write_text("ttl = 2\n")
    assert sources.load().options.ttl == 2
    path.unlink()
    with pytest.raises(BadOption, match=r"^REDQUEUE_CONFIG=redqueue\.toml cannot be read: No such file"):
        sources.load()


def test_options_that_do_not_go_together_are_complained_of_where_they_are_set(path: Path) -> None:
    path.write_text('\nmax_disk = "100mb"\n')
    (found,) = complaints(f"--config={path}")
    assert found.startswith(f"{path}:2: max_disk wants at least 4 times segment_size")
    assert complaints("--max_disk=100mb")[0].startswith("--max_disk wants at least 4 times segment_size")
