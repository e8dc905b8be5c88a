"""The files of the page, over HTTP."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from redqueue.server.web import pages
from redqueue.server.web.samples import RANGES
from tests.server_process import ROOT
from tests.web.api import Api

NAMES = sorted(path.relative_to(pages.STATIC).as_posix() for path in pages.STATIC.rglob("*") if path.is_file())


def test_the_page_allows_itself_nothing_but_its_own_files(api: Api) -> None:
    status, headers, body = api.send("GET", "/")
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(each.strip().partition(" ")[::2] for each in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[each] for each in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    text = body.decode()
    assert "<script>" not in text
    assert "<style" not in text
    assert not re.findall(r"\s(?:on\w+|style)=", text)
    assert not re.findall(r"(?:href|src)=\"(?:https?:)?//", text)


@pytest.mark.parametrize("name", NAMES)
def test_each_file(api: Api, name: str) -> None:
    content = (pages.STATIC / name).read_bytes()
    status, headers, body = api.send("GET", f"/static/{name}")
    assert (status, body) == (200, content)
    assert headers["content-type"] == pages.TYPES[Path(name).suffix]
    status, packed_headers, body = api.send("GET", f"/static/{name}", headers={"Accept-Encoding": "gzip"})
    assert packed_headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == content
    again = {"If-None-Match": headers["etag"]}
    status, headers, body = api.send("GET", f"/static/{name}", headers=again)
    assert (status, body) == (304, b"")
    assert headers["cache-control"] == "no-cache"


def test_a_head(api: Api) -> None:
    status, headers, body = api.send("HEAD", "/static/main.js")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) == (pages.STATIC / "main.js").stat().st_size


@pytest.mark.parametrize(
    "path", ["/static/", "/static/nothing.js", "/static/../pages.py", "/static/%2e%2e/pages.py", "/static//etc/passwd"]
)
def test_there_is_nothing_else(api: Api, path: str) -> None:
    status, headers, _ = api.send("GET", path)
    assert status == 404
    assert headers["content-type"].startswith("application/json")


def test_the_page_cannot_be_changed(api: Api) -> None:
    status, headers, _ = api.send("POST", "/", b"", {"X-RedQueue-Request": "1"})
    assert status == 405
    assert headers["allow"] == "GET, HEAD"


def test_the_page_is_there_for_the_names_of_the_server_only(api: Api) -> None:
    status, _, _ = api.send("GET", "/", headers={"Host": "rebound.example"})
    assert status == 421


def test_every_module_that_is_imported_is_there() -> None:
    for name in NAMES:
        if name.endswith(".js") and not name.startswith("vendor/"):
            path = pages.STATIC / name
            for imported in re.findall(r'from "(\.[^"]+)"', path.read_text()):
                assert (path.parent / imported).resolve().is_file(), (name, imported)


def test_a_file_of_an_unknown_type_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "notes.odt").write_bytes(b"")
    with pytest.raises(KeyError, match=r"\.odt"):
        pages.read_files(tmp_path)


def test_the_licences_of_what_others_have_written() -> None:
    text = (pages.STATIC / "vendor" / "LICENSES.txt").read_text()
    for name in NAMES:
        if name.startswith("vendor/") and not name.endswith(".txt"):
            assert name.removeprefix("vendor/") in text
    version = re.search(r"uPlot \(v([\d.]+)\)", (pages.STATIC / "vendor" / "uplot.js").read_text())
    assert version
    assert re.search(rf"^uplot +{re.escape(version[1])} ", text, re.MULTILINE)


def test_the_document_of_the_page_is_true() -> None:
    """Its table has the keys of the help, its pictures are there and small, its ranges are those of the samples."""
    text = (ROOT / "docs" / "web.md").read_text(encoding="utf-8")
    help_text = (pages.STATIC / "main.js").read_text(encoding="utf-8")
    (table,) = re.findall(r"SHORTCUTS = \[(.+?)\n\];", help_text, re.DOTALL)
    keys = {key for entry in re.findall(r'\["([^"]+)",', table) for key in re.split(r"  +", entry)} - {"Esc"}
    (rows,) = re.findall(r"\| key \|.+?\n\n", text, re.DOTALL)
    assert set(re.findall(r"`([^`]+)`", rows)) == keys
    for picture in re.findall(r"\]\((\S+\.png)\)", text):
        assert 0 < (ROOT / "docs" / picture).stat().st_size < 150_000
    assert [tuple(span) for span in RANGES.values()] == [(5 * 60, 1), (3 * 3600, 30), (24 * 3600, 300)]
    assert "five minutes to the second, three hours by half\nminutes, a day by five minutes" in text
