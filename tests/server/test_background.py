"""In the background: --daemonize, the pid file, and the user to run as."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from redqueue.options import Options
from redqueue.server import account
from redqueue.server.account import Account, NoAccount
from redqueue.server.checks import check_daemonize
from redqueue.server.pid_file import BadPidFile, PidFile
from tests.documents import free_port
from tests.server.slow_start import SLOW_START
from tests.server_process import ROOT, ServerProcess, Wire, run_server, wait_until

NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user: run the tests as root")


class Daemon:
    """Servers in the background, in a directory that everybody may enter; they are killed at the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.pid_file = directory / "pid"
        self.log_file = directory / "server.log"
        self.logdir = directory / "journal"
        self.pids: set[int] = set()

    def options(self, **options: object) -> list[str]:
        """The command line; an option of None is left out."""
        given: dict[str, object] = {
            "port": self.port,
            "http_port": 0,
            "pid_file": self.pid_file,
            "log_file": self.log_file,
            "logdir": self.logdir,
            "daemonize": "yes",
            **options,
        }
        return [f"--{name}={value}" for name, value in given.items() if value is not None]

    def start(self, **options: object) -> subprocess.CompletedProcess[str]:
        """Start one and wait for the command to end."""
        done = run_server(*self.options(**options))
        if self.pid:
            self.pids.add(self.pid)
        return done

    @property
    def pid(self) -> int:
        """What the pid file says; 0 where it says nothing."""
        return int(self.pid_file.read_text() or 0) if self.pid_file.exists() else 0

    def connect(self) -> Wire:
        """A new connection."""
        return Wire("127.0.0.1", self.port)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send a signal and wait for the end."""
        pid = self.pid
        os.kill(pid, number)
        wait_until(lambda: not is_alive(pid), what="the end")


def is_alive(pid: int) -> bool:
    """Whether there is such a process, apart from one whose end nobody has asked for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def daemon(scratch: Path) -> Iterator[Daemon]:
    scratch.chmod(0o755)
    daemon = Daemon(scratch)
    yield daemon
    for pid in daemon.pids | {daemon.pid} - {0}:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: not is_alive(pid))


def status_of(pid: int) -> dict[str, str]:
    """/proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


# -- daemonize ------------------------------------------------------------------


def test_the_command_ends_when_the_server_is_ready(daemon: Daemon) -> None:
    done = daemon.start()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with daemon.connect() as wire:  # at once: this is what it waited for
        assert wire.put(b"q", b"x") == b"STORED"
        assert int(wire.stats()["pid"]) == daemon.pid
    assert os.getsid(daemon.pid) not in (os.getsid(0), daemon.pid)
    descriptors = [
        os.readlink(path) for path in Path(f"/proc/{daemon.pid}/fd").iterdir() if path.name in ("0", "1", "2")
    ]
    assert descriptors == ["/dev/null"] * 3
    assert "ready on" in daemon.log_file.read_text()
    daemon.stop()
    assert not daemon.pid_file.exists()
    assert "ended; 1 items are kept" in daemon.log_file.read_text()


def test_relative_paths_mean_what_they_say(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(daemon.directory)
    assert daemon.start(logdir="here", pid_file="pid", log_file="server.log").returncode == 0
    assert (daemon.directory / "here/lock").exists()
    daemon.stop()
    assert not daemon.pid_file.exists()


def test_a_port_that_is_taken(daemon: Daemon) -> None:
    assert daemon.start().returncode == 0
    done = daemon.start(pid_file=daemon.directory / "other", logdir=daemon.directory / "other journal")
    assert done.returncode == 1
    assert f"CRITICAL cannot start: 127.0.0.1:{daemon.port}: Address already in use" in done.stderr
    assert not (daemon.directory / "other").exists()


def test_a_damaged_journal(daemon: Daemon) -> None:
    daemon.logdir.mkdir()
    (daemon.logdir / "segment-0000000001.rqj").write_bytes(b"damage" * 100)
    (daemon.logdir / "segment-0000000002.rqj").write_bytes(b"damage" * 100)
    done = daemon.start()
    assert done.returncode == 1
    assert "--salvage" in done.stderr
    assert daemon.pid == 0


def test_a_server_that_is_killed_before_it_is_ready(daemon: Daemon) -> None:
    command = [sys.executable, "-c", SLOW_START, str(daemon.directory / "gate"), *daemon.options()]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
    wait_until(lambda: daemon.pid, what="the pid file")
    daemon.stop(signal.SIGKILL)
    process.communicate(timeout=20)
    assert process.returncode == 1


@pytest.mark.plain
def test_the_one_who_waits_can_call_it_off(daemon: Daemon) -> None:
    command = [sys.executable, "-c", SLOW_START, str(daemon.directory / "gate"), *daemon.options()]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
    wait_until(lambda: daemon.pid, what="the pid file")
    wait_until(lambda: "replaying" in daemon.log_file.read_text())
    pid = daemon.pid
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 1
    wait_until(lambda: not is_alive(pid), what="the end of the server")
    assert not daemon.pid_file.exists()


def test_a_log_file_is_needed(daemon: Daemon) -> None:
    done = daemon.start(log_file=None)
    assert done.returncode == 2
    assert "--daemonize" in done.stderr
    assert "log_file" in done.stderr


def test_without_the_library_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(daemonize=True, log_file="server.log")
    assert list(check_daemonize(options)) == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    ((name, what),) = check_daemonize(options)
    assert name == "daemonize"
    assert what == "needs python-daemon, which is not installed: pip install 'redqueue[daemon]'"


@pytest.mark.plain
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_replay_at_once(tmp_path: Path, number: int) -> None:
    server = ServerProcess(tmp_path / "log", pid_file=tmp_path / "pid")
    server.command = [sys.executable, "-c", SLOW_START, str(tmp_path / "gate")]
    server.launch()
    try:
        wait_until(lambda: "replaying the journal" in server.log)
        server.process.send_signal(signal.SIGHUP)
        server.process.send_signal(signal.SIGUSR1)
        server.process.send_signal(number)
        assert server.wait(10) == 0
        server.says(f"{signal.Signals(number).name}: ending before it was ready")
        assert "Traceback" not in server.log
        assert not (tmp_path / "pid").exists()
    finally:
        server.kill()


# -- the pid file ---------------------------------------------------------------


def test_a_pid_file_in_the_foreground(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with ServerProcess(tmp_path / "log", pid_file=path) as server:
        assert path.read_text() == f"{server.process.pid}\n"
        assert path.stat().st_mode & 0o777 == 0o644
        assert server.stop() == 0
    assert not path.exists()


def test_a_second_start_is_refused(daemon: Daemon) -> None:
    assert daemon.start().returncode == 0
    pid = daemon.pid
    done = daemon.start(port=0, logdir=daemon.directory / "other")
    assert done.returncode == 1
    assert f"{daemon.pid_file} belongs to a server that runs (pid {pid})" in done.stderr
    assert daemon.pid == pid
    with daemon.connect() as wire:
        assert wire.ask(b"version").startswith(b"VERSION")


def test_a_pid_file_that_a_killed_server_left_behind(daemon: Daemon) -> None:
    assert daemon.start().returncode == 0
    with daemon.connect() as wire:
        assert wire.put(b"q", b"x") == b"STORED"
    killed = daemon.pid
    daemon.stop(signal.SIGKILL)
    assert daemon.pid == killed
    done = daemon.start()
    assert done.returncode == 0
    assert f"left behind by a server that has died (pid {killed})" in done.stderr
    assert daemon.pid != killed
    with daemon.connect() as wire:
        assert wire.get(b"q") == [(b"q", 0, b"x")]


def test_the_pid_of_somebody_else_is_no_server(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text(f"{os.getpid()}\n")
    PidFile(path).remove()
    assert not path.exists()


@pytest.mark.parametrize("content", ["root:x:0:0:", "12 monkeys", "9" * 40])
def test_a_file_that_is_no_pid_file_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "passwd"
    path.write_text(content)
    with pytest.raises(BadPidFile, match="something else than a pid"):
        PidFile(path)
    assert path.read_text() == content


def test_a_pid_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(BadPidFile, match="cannot be written: No such file or directory"):
        PidFile(tmp_path / "none" / "pid")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadPidFile, match="cannot be written: Too many levels of symbolic links"):
        PidFile(tmp_path / "link")


# -- the user -------------------------------------------------------------------


@as_root
def test_a_server_that_root_starts_runs_as_somebody_else(daemon: Daemon) -> None:
    socket = daemon.directory / "s"
    port = next(port for port in range(700, 1024) if is_free(port))
    daemon.port = port
    done = daemon.start(user="nobody", unix_socket=socket)
    assert (done.returncode, done.stderr) == (0, "")
    status = status_of(daemon.pid)
    assert status["Uid"].split() == [str(NOBODY.pw_uid)] * 4
    assert status["Gid"].split() == [str(NOBODY.pw_gid)] * 4
    assert status["Groups"].split() in ([], [str(NOBODY.pw_gid)])
    assert int(status["CapEff"], 16) == 0
    for path in (daemon.logdir, daemon.logdir / "lock", daemon.log_file, socket):
        assert path.stat().st_uid == NOBODY.pw_uid, path
    with daemon.connect() as wire, Wire.unix(socket) as local:
        assert wire.put(b"q", b"x") == b"STORED"
        assert local.get(b"q") == [(b"q", 0, b"x")]
    os.kill(daemon.pid, signal.SIGHUP)
    wait_until(lambda: "reload: done" in daemon.log_file.read_text(), what="the reload")
    daemon.stop()
    assert daemon.pid == 0  # the directory is root's, so the file is left empty
    assert daemon.start(user="nobody", unix_socket=socket).returncode == 0


def is_free(port: int) -> bool:
    try:
        Wire("127.0.0.1", port).close()
    except ConnectionRefusedError:
        return True
    return False


@as_root
def test_a_group_of_its_own(daemon: Daemon) -> None:
    assert daemon.start(user=str(NOBODY.pw_uid), group="daemon").returncode == 0
    status = status_of(daemon.pid)
    assert status["Uid"].split()[0] == str(NOBODY.pw_uid)
    assert status["Gid"].split()[0] == str(account._group("daemon").gr_gid)


@as_root
@pytest.mark.parametrize("which", ["directory", "segment"])
def test_a_journal_that_the_user_cannot_write(daemon: Daemon, which: str) -> None:
    assert daemon.start(port=0).returncode == 0
    daemon.stop()
    if which == "segment":
        shutil.chown(daemon.logdir, "nobody")
        shutil.chown(daemon.logdir / "lock", "nobody")
    done = daemon.start(user="nobody")
    assert done.returncode == 1
    culprit = daemon.logdir if which == "directory" else daemon.logdir / "segment-0000000001.rqj"
    assert f"the user nobody cannot write {culprit}" in done.stderr
    assert f"chown -R nobody:nogroup {daemon.logdir}" in done.stderr
    assert daemon.pid == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--user=no-such-user"], "--user wants a user of this machine, not no-such-user; make one with: useradd"),
        (["--user=12345678901234567890"], "--user wants a user of this machine"),
        (["--user=root", "--group=no-such"], "--group wants a group of this machine, not no-such; make one"),
        (["--group=nogroup"], "--group wants the option user as well"),
        (["--daemonize"], "--daemonize wants the option log_file as well, because nobody sees standard error"),
        (["--pid_file=/no/such/directory/pid"], "--pid_file wants to be in a directory that exists"),
    ],
)
def test_options_that_cannot_be_followed(arguments: list[str], message: str) -> None:
    done = run_server("--check-config", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_only_root_can_become_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY.pw_uid)
    monkeypatch.setattr(os, "getegid", lambda: NOBODY.pw_gid)
    with pytest.raises(NoAccount) as caught:
        Account.find("root", "")
    assert caught.value.what.startswith("is for root, who alone can become another user")
    assert Account.find("nobody", "") is None
    assert Account.find("", "") is None


INTERRUPTED_WAIT = """
import asyncio, sys
from redqueue.server import daemon

async def wait(self):
    daemon.log.info("waiting")
    await asyncio.sleep(60)

daemon.Server._leave_damage_behind = wait
sys.exit(daemon.main(sys.argv[1:]))
"""


def test_a_signal_ends_a_start_that_waits_for_the_disk(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "log")
    server.command = [sys.executable, "-c", INTERRUPTED_WAIT]
    server.launch()
    try:
        wait_until(lambda: "waiting" in server.log)
        server.process.send_signal(signal.SIGUSR1)
        assert server.stop() == 0
        server.says("SIGTERM: ending before it was ready")
        assert "Traceback" not in server.log
    finally:
        server.kill()
