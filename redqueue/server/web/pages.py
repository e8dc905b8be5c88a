"""The operators' page: its files, served from memory.

They are few and small, so they are read and packed once, when the server
starts; after that a request for them touches no disk.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from redqueue.access.roles import Role
from redqueue.server.web.handler import Handler, Refusal
from redqueue.server.web.site import Site

STATIC = Path(__file__).parent / "static"
INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page may load its own files and ask its own server, and do nothing else."""


class File(NamedTuple):
    """A file of the page.

    :ivar packed: its content, gzipped
    :ivar etag: changes with its content
    """

    content: bytes
    packed: bytes
    type: str
    etag: str


def read_files(directory: Path = STATIC) -> dict[str, File]:
    """All files below ``directory``, by their path in it.

    :raises KeyError: for one whose type is not known
    """
    files = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
            packed = gzip.compress(content, mtime=0)
            files[path.relative_to(directory).as_posix()] = File(content, packed, TYPES[path.suffix], etag)
    return files


FILES = read_files()


class PageHandler(Handler):
    """``/`` and ``/static/…``: the page, also while the journal is replayed."""

    needs_engine = False

    def required(self) -> tuple[Role, bytes | None]:
        """Whoever is known."""
        return Role.READER, None

    def policy(self) -> str:
        """The Content-Security-Policy."""
        return POLICY

    async def get(self, path: str = INDEX) -> None:
        """A file, or that the browser has it already."""
        file = FILES.get(path)
        if file is None:
            raise Refusal(404, "there is no such file")
        self._file = file
        self.set_header("Content-Type", file.type)
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Vary", "Accept-Encoding")
        if "gzip" in self.request.headers.get("Accept-Encoding", ""):
            self.set_header("Content-Encoding", "gzip")
            self.write(file.packed)
        else:
            self.write(file.content)

    def compute_etag(self) -> str | None:
        """Known beforehand."""
        return self._file.etag


def routes(site: Site) -> list[Any]:
    """Tornado's rules for the page."""
    return [(path, PageHandler, {"site": site}) for path in ("/", "/static/(.+)")]
