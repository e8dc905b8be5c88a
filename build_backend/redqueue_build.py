"""The build backend: setuptools, with the hot modules compiled by mypyc where that is possible.

The sources are the same, and plain Python stays the reference: a wheel is compiled
where there is a C compiler, and is a plain one where there is none or where
compiling fails. ``REDQUEUE_COMPILE=0`` never compiles, ``REDQUEUE_COMPILE=1``
fails where it cannot. An editable installation is never compiled, so that an
edit always counts.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

COMPILED = (
    "redqueue/engine/broker.py",
    "redqueue/engine/clock.py",
    "redqueue/engine/consumer.py",
    "redqueue/engine/contents.py",
    "redqueue/engine/deadlines.py",
    "redqueue/engine/ledger.py",
    "redqueue/engine/queue.py",
    "redqueue/engine/settings.py",
    "redqueue/engine/tokens.py",
    "redqueue/journal/accounts.py",
    "redqueue/journal/frame.py",
    "redqueue/journal/framing.py",
    "redqueue/journal/index.py",
    "redqueue/journal/log.py",
    "redqueue/journal/names.py",
    "redqueue/journal/record.py",
    "redqueue/protocol/binary.py",
    "redqueue/protocol/classic.py",
    "redqueue/protocol/counters.py",
    "redqueue/protocol/key.py",
    "redqueue/protocol/meta_reads.py",
    "redqueue/protocol/reads.py",
    "redqueue/protocol/replies.py",
    "redqueue/protocol/request.py",
    "redqueue/protocol/service.py",
    "redqueue/protocol/session.py",
    "redqueue/protocol/unfinished.py",
    "redqueue/server/connection.py",
    "redqueue/server/group_commit.py",
)
"""What pays: whatever a plain set, get and delete run through. A class that is not compiled cannot inherit from one
that is, and what mypyc does differently, ``make test-compiled`` finds."""

COMPILER = "mypy>=2"
OPTIMIZATION = "2"

_extensions: list[Any] = []


def extensions() -> list[Any]:
    """What setup.py is to compile: nothing, except while :func:`build_wheel` compiles."""
    return _extensions


def choice() -> bool | None:
    """``REDQUEUE_COMPILE``: True for 1, False for 0, None where it is not set.

    :raises SystemExit: for anything else
    """
    text = os.environ.get("REDQUEUE_COMPILE", "")
    if text not in ("", "0", "1"):
        raise SystemExit(f"REDQUEUE_COMPILE wants 0 or 1, not {text!r}")
    return None if text == "" else text == "1"


def obstacle() -> str:
    """Why nothing can be compiled here, in words; empty where it can."""
    if platform.python_implementation() != "CPython":
        return f"mypyc compiles for CPython, and this is {platform.python_implementation()}"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler})"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        return f"Python's headers are missing ({header}; Debian: apt install python3-dev)"
    return ""


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """mypy, where it will be used."""
    wanted = choice()
    required = build_meta.get_requires_for_build_wheel(config_settings)
    return [*required, COMPILER] if wanted or (wanted is None and not obstacle()) else required


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """A compiled wheel, or a plain one and a line that says why."""
    wanted = choice()
    reason = obstacle() if wanted is not False else "REDQUEUE_COMPILE=0"
    if wanted and reason:
        raise SystemExit(f"REDQUEUE_COMPILE=1, and {reason}")
    with _directory_of_its_own() as directory:
        if not reason:
            try:
                _extensions[:] = _compile(directory)
                return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
            except (Exception, SystemExit) as error:
                if wanted:
                    raise
                reason = f"compiling failed: {error}"
            finally:
                _extensions.clear()
        print(f"RedQueue is installed as plain Python, which does the same and is slower: {reason}", file=sys.stderr)
    with _directory_of_its_own():
        return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def _compile(directory: Path) -> list[Any]:
    """Have mypyc write C into ``directory``; returns what the C compiler makes of it."""
    from mypyc.build import mypycify

    # The settings for make lint are stricter than compiling needs, and the next mypy finds more.
    return mypycify(
        ["--config-file=", "--ignore-missing-imports", *COMPILED],
        opt_level=OPTIMIZATION,
        debug_level="0",
        target_dir=str(directory / "c"),
        group_name="redqueue",
    )


@contextmanager
def _directory_of_its_own() -> Iterator[Path]:
    """Build in a new directory, since in build/ there may be modules that have gone from the sources since."""
    with tempfile.TemporaryDirectory(prefix="redqueue-build-") as name:
        settings = Path(name, "distutils.cfg")
        settings.write_text(f"[build]\nbuild_base = {name}\n[bdist_wheel]\nbdist_dir = {name}/wheel\n")
        before = os.environ.get("DIST_EXTRA_CONFIG")
        os.environ["DIST_EXTRA_CONFIG"] = str(settings)
        try:
            yield Path(name)
        finally:
            if before is None:
                del os.environ["DIST_EXTRA_CONFIG"]
            else:
                os.environ["DIST_EXTRA_CONFIG"] = before
