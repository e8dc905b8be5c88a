"""The daemon's script, what is compiled, and manual pages; the rest is in pyproject.toml and build_backend/."""

import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).parent / "build_backend"))
from man_pages import write_pages
from redqueue_build import extensions

PAGES = write_pages(Path("build/man"))

setup(
    scripts=["bin/redqueue_server.py"],
    ext_modules=extensions(),
    data_files=[(f"share/man/man{page.suffix[1:]}", [str(page)]) for page in PAGES],
)
