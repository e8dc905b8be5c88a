"""The Debian package: built, looked into, run from a directory, installed and purged. Run by make test-deb, as root."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server_process import ROOT, ServerProcess

AS_REDQUEUE = ("setpriv", "--reuid=redqueue", "--regid=redqueue", "--clear-groups")
pytestmark = pytest.mark.timeout(900)


def run(*command: str, **more: object) -> str:
    """Run a command; returns what it has put out."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return str(done.stdout + done.stderr)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package that make deb builds."""
    target = tmp_path_factory.mktemp("dist")
    run(str(ROOT / "contrib/debian/build.sh"), str(target))
    (found,) = target.glob("redqueue_*.deb")
    return found


@pytest.fixture(scope="module")
def tree(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in it."""
    target = tmp_path_factory.mktemp("tree")
    run("dpkg-deb", "--raw-extract", str(package), str(target))
    return target


def test_what_is_in_it(tree: Path) -> None:
    for name in (
        "usr/bin/redqueue_server.py",
        "usr/bin/redqueue",
        "lib/systemd/system/redqueue.service",
        "usr/share/doc/redqueue/copyright",
    ):
        assert (tree / name).is_file(), name
    conffiles = (tree / "DEBIAN/conffiles").read_text().split()
    assert conffiles == ["/etc/default/redqueue", "/etc/redqueue/redqueue.toml"]
    assert not list(tree.rglob("__pycache__"))
    assert list(tree.glob("usr/lib/redqueue/redqueue/engine/queue.*.so")), "it is not compiled"
    control = (tree / "DEBIAN/control").read_text()
    assert "Depends: adduser, python3 (>= " in control
    for script in ("postinst", "prerm", "postrm"):
        run("sh", "-n", str(tree / "DEBIAN" / script))


def test_lintian_finds_no_error(package: Path) -> None:
    run("lintian", "--fail-on", "error", str(package))


def test_it_runs(tree: Path, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "log", http_port=0)
    start = f"import sys; sys.path.insert(0, {str(tree / 'usr/lib/redqueue')!r}); "
    server.command = ["/usr/bin/python3", "-I", "-c", start + "from redqueue.server.daemon import main; main()"]
    with server, server.connect() as wire:
        assert wire.stats()["compiled"] == "yes"
        assert wire.put(b"q", b"x") == b"STORED"
        server.kill()
        server.start()
        with server.connect() as again:
            assert again.get(b"q") == [(b"q", 0, b"x")]


@pytest.fixture
def installed(package: Path) -> Iterator[None]:
    """The package, installed."""
    assert os.geteuid() == 0, "this test installs the package: run it as root, best in a container"
    assert not Path("/usr/lib/redqueue").exists(), "RedQueue's package is installed here already"
    run("dpkg", "--install", str(package))
    yield
    run("dpkg", "--purge", "redqueue")


def test_installed_and_removed(installed: None) -> None:
    user = pwd.getpwnam("redqueue")
    home = Path("/var/lib/redqueue")
    assert (home.stat().st_uid, home.stat().st_mode & 0o777) == (user.pw_uid, 0o750)
    assert "option" in run("/usr/bin/redqueue", "--help")
    server = ServerProcess(home, http_port=0, config="/etc/redqueue/redqueue.toml")
    server.command = [*AS_REDQUEUE, "/usr/bin/redqueue_server.py"]
    with server, server.connect() as wire:
        assert wire.put(b"q", b"x") == b"STORED"
        assert server.stop() == 0
    run("dpkg", "--remove", "redqueue")
    assert list(home.glob("segment-*")), "removing the package keeps the queues"
    assert Path("/etc/redqueue/redqueue.toml").exists()
    assert not Path("/usr/lib/redqueue").exists()
    run("dpkg", "--purge", "redqueue")
    for path in (home, Path("/etc/redqueue"), Path("/etc/default/redqueue")):
        assert not path.exists(), path
