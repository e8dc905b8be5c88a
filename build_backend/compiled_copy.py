"""Runs this tree compiled, as its daemon or a module of its tests and benchmarks.

``python build_backend/compiled_copy.py serve --port=0``,
``python build_backend/compiled_copy.py run benchmarks.hot_path``.

The environment has RedQueue as an editable installation, which is plain Python.
The compiled copy of it is kept beside that, in a directory named after a hash of
all that it is made of, so that an edited source never runs as it was before.
``REDQUEUE_COMPILE`` is as in redqueue_build.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from redqueue_build import choice, obstacle

ROOT = Path(__file__).resolve().parent.parent
MADE_OF = ("redqueue/**/*.py", "bin/*.py", "build_backend/*.py", "pyproject.toml", "setup.py")
TREE = (
    "tests",
    "contrib",
    "docs",
    "benchmarks",
    "bin",
    "README.md",
    "Makefile",
    "pyproject.toml",
    "setup.py",
    "build_backend",
)
KEPT = 3
"""Copies that stay: a server may still be running from an older one."""


def find_or_make() -> Path:
    """The directory that holds the compiled copy of the sources as they are now.

    :raises SystemExit: where it cannot be made, with the reason
    """
    directory = Path(sys.prefix) / "compiled" / hash_of_sources()
    if not directory.exists():
        print("compiling RedQueue, which takes about half a minute, once for each change", file=sys.stderr)
        directory.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent) as name:
            pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
            done = subprocess.run(
                [*pip, "--target", f"{name}/copy", str(ROOT)],
                env={**os.environ, "REDQUEUE_COMPILE": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise SystemExit(f"compiling failed:\n{done.stdout}{done.stderr}")
            if not directory.exists():
                os.rename(f"{name}/copy", directory)
        for old in sorted(directory.parent.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old)
    return directory


def hash_of_sources() -> str:
    """A hash of the sources, of how they are compiled, and of the Python they are compiled for."""
    found = hashlib.sha256(f"{sys.version} {sysconfig.get_config_var('SOABI')} {os.environ.get('CC')}".encode())
    for path in sorted(path for pattern in MADE_OF for path in ROOT.glob(pattern)):
        content = path.read_bytes()
        found.update(f"{path.relative_to(ROOT)} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()[:16]


def find_make_or_excuse() -> Path | None:
    """The compiled copy; None, and a line that says why, where there is to be none.

    :raises SystemExit: where it must be made and cannot be
    """
    wanted = choice()
    reason = "REDQUEUE_COMPILE=0" if wanted is False else obstacle()
    if wanted or not reason:
        try:
            return find_or_make()
        except SystemExit as error:
            if wanted:
                raise
            reason = str(error)
    print(f"running plain Python, which does the same and is slower: {reason}", file=sys.stderr)
    return None


def serve(arguments: list[str]) -> None:
    """Become the daemon, with these arguments."""
    environment = dict(os.environ)
    package = find_make_or_excuse()
    if package is not None:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(package), environment.get("PYTHONPATH"))))
    server = str(Path(sys.prefix) / "bin" / "redqueue_server.py")
    os.execve(sys.executable, [sys.executable, server, *arguments], environment)


def run(arguments: list[str]) -> None:
    """Run a module, the first of the arguments, in a copy of the tree whose package is the compiled one."""
    command = [sys.executable, "-m", *arguments]
    package = find_make_or_excuse()
    if package is None:
        raise SystemExit(subprocess.run(command, cwd=ROOT, check=False).returncode)
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        for entry in TREE:
            if (ROOT / entry).is_dir():
                shutil.copytree(ROOT / entry, tree / entry, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / entry, tree / entry)
        shutil.copytree(package, tree, dirs_exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": name}
        status = subprocess.run(command, cwd=tree, env=environment, check=False).returncode
    raise SystemExit(status)


def main() -> None:
    """Do what the command line says."""
    commands = {"serve": serve, "run": run}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        raise SystemExit(__doc__)
    commands[sys.argv[1]](sys.argv[2:])


if __name__ == "__main__":
    main()
