"""SIGHUP: the configuration is read again and put in force, all of it or nothing, while clients go on."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from redqueue.config.configuration import Configuration
from redqueue.config.kinds import BadOption
from redqueue.config.load import Sources
from redqueue.options import Options
from redqueue.server.reload import Apply, Prepare, Reload
from tests.server_process import ServerProcess, wait_until


class Reloaded:
    """A server with a file, which is written and read again."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "redqueue.toml"
        self.path.write_text("")
        self.server = ServerProcess(directory / "log", config=self.path)

    def write(self, text: str) -> str:
        """Write the file and send SIGHUP; returns what the log says of it, without times, levels and the path."""
        self.path.write_text(text)
        return self.signal()

    def signal(self) -> str:
        """Send SIGHUP; returns what the log says of it."""
        before = len(self.server.log)
        self.server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self._is_over(before), what="the last line about the reload")
        lines = self.server.log[before:].replace(str(self.path), "FILE").splitlines()
        return "\n".join(re.sub(r"^\S+ \S+ (\w+) reload: ", r"\1 ", line) for line in lines if " reload: " in line)

    def _is_over(self, before: int) -> bool:
        found = self.server.log[before:]
        return found.endswith("\n") and ("reload: done" in found or "reload: nothing has changed" in found)


@pytest.fixture
def reloaded(tmp_path: Path) -> Iterator[Reloaded]:
    reloaded = Reloaded(tmp_path)
    with reloaded.server:
        yield reloaded


def test_every_difference_is_logged(reloaded: Reloaded) -> None:
    assert reloaded.write('ttl = "1h"\nmax_connections = 9\n[queue.a]\nprefetch = 2\nwait = 1\n') == (
        "WARNING max_connections: 0 -> 9 (FILE:2); this needs a restart\n"
        "INFO ttl: 0 -> 1h (FILE:1)\n"
        'INFO queue."a".prefetch: nothing -> 2 (FILE:4)\n'
        'INFO queue."a".wait: nothing -> 1 (FILE:5)\n'
        "INFO done: 4 differences"
    )
    assert reloaded.write('ttl = 3600\n[queue.a]\nprefetch = 3\n[queue."#"]\nttl = 1') == (
        'INFO queue."a".prefetch: 2 -> 3 (FILE:3)\n'
        'INFO queue."a".wait: 1 -> nothing (no longer set)\n'
        'INFO queue."#".ttl: nothing -> 1 (FILE:5)\n'
        "INFO done: 3 differences"
    )
    assert reloaded.signal() == "INFO done: nothing is set otherwise than before"
    with reloaded.server.connect() as wire:
        settings = wire.stats(b"settings")
        assert (settings["ttl"], settings["max_connections"], settings["queue.a.prefetch"]) == ("3600", "0", "3")
        assert "queue.a.wait" not in settings


def test_a_bad_file_changes_nothing_and_says_which_lines_and_why(reloaded: Reloaded) -> None:
    with reloaded.server.connect() as wire:
        reloaded.write("prefetch = 2\n")
        assert reloaded.write('prefetch = 3\nlog_level = "error"\n\n[queue.a]\nttls = 5\nwait = "x"\n') == (
            "ERROR FILE:5: [queue.\"a\"]: unknown setting 'ttls', did you mean ttl?\n"
            "ERROR FILE:6: [queue.\"a\"]: wait wants a duration such as 300s, 250ms, 5m or 2h, not 'x'\n"
            "ERROR nothing has changed; correct that and reload again"
        )
        for bad, line in (
            ("prefetch = 3\n[queue", "FILE:2: is not TOML"),
            ("unix_socket = '/nowhere/x'", "FILE:1: unix_socket wants"),
        ):
            assert f"ERROR {line}" in reloaded.write(bad)
        assert "ERROR log_file" in reloaded.write("prefetch = 3\nlog_file = '/proc/nothing'").replace("FILE:2: ", "")
        reloaded.path.unlink()
        assert "ERROR --config=FILE cannot be read: No such file" in reloaded.signal()
        os.mkfifo(reloaded.path)
        assert "it is no regular file" in reloaded.signal()
        assert wire.stats(b"settings")["prefetch"] == "2"
        reloaded.path.unlink()
        assert "INFO prefetch: 2 -> 1 (default)" in reloaded.write("")


def test_flags_and_environment_still_win(tmp_path: Path) -> None:
    reloaded = Reloaded(tmp_path)
    reloaded.server._options["prefetch"] = 7
    with reloaded.server:
        assert reloaded.write("prefetch = 3\n") == "INFO done: nothing is set otherwise than before"
        with reloaded.server.connect() as wire:
            assert wire.stats(b"settings")["prefetch"] == "7"


def test_new_settings_are_in_force_for_queues_and_connections_that_are_there(reloaded: Reloaded) -> None:
    with reloaded.server.connect() as wire:
        for item in (b"a", b"b", b"c"):
            assert wire.put(b"q", item) == b"STORED"
        assert wire.get(b"q") == [(b"q", 0, b"a")]
        assert wire.get(b"q") == []
        reloaded.write("prefetch = 2\nmax_items = 3\n[queue.other]\nmax_items = 1\n")
        assert wire.get(b"q") == [(b"q", 0, b"b")]
        assert wire.put(b"q", b"d") == b"NOT_STORED"
        assert wire.put(b"other", b"x") == b"STORED"
        assert wire.put(b"other", b"x") == b"NOT_STORED"
        reloaded.write('max_items = 3\noverflow = "drop-oldest"\nreserve_timeout = "10ms"\nprefetch = 9\n')
        assert wire.put(b"q", b"d") == b"STORED"
        assert wire.get(b"q") == [(b"q", 0, b"d")]  # c was dropped; d is now taken back after 10 ms
        with reloaded.server.connect() as other:
            assert other.get(b"q/t=10000") == [(b"q/t=10000", 0, b"d")]
        reloaded.write("ttl = '5ms'\n")
        assert wire.put(b"short", b"x") == b"STORED"
        wait_until(lambda: wire.get(b"short/peek") == [], what="the end of the item")
        assert (wire.ask(b"delete q"), wire.ask(b"delete q")) == (b"DELETED", b"DELETED")  # of 300 s each, as given


def test_waiters_keep_their_place(reloaded: Reloaded) -> None:
    with reloaded.server.connect() as waiter, reloaded.server.connect() as other:
        waiter.send(b"get q/t=60000\r\n")
        wait_until(lambda: other.stats(b"queue q").get("waiters") == "1", what="the waiter")
        reloaded.write("wait = 60\nmax_items = 5\n")
        assert other.put(b"q", b"x") == b"STORED"
        assert waiter.line() == b"VALUE q/t=60000 0 1"
        waiter.read(8)
        other.send(b"get q\r\n")  # which waits now
        wait_until(lambda: waiter.stats(b"queue q").get("waiters") == "1", what="the other waiter")
        assert waiter.put(b"q", b"y") == b"STORED"
        assert other.line() == b"VALUE q 0 1"


def test_under_load_nobody_is_disturbed(reloaded: Reloaded) -> None:
    over = threading.Event()
    errors: list[object] = []
    counts: list[int] = []

    def work(number: int) -> None:
        done = 0
        try:
            with reloaded.server.connect() as wire:
                while not over.is_set():
                    queue = b"q%d.%d" % (number, done % 50)
                    assert wire.put(queue, b"%d" % done) == b"STORED"
                    assert wire.get(queue) == [(queue, 0, b"%d" % done)]
                    assert wire.ask(b"delete " + queue) == b"DELETED"
                    done += 1
        except BaseException as error:
            errors.append(error)
        counts.append(done)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 11):
        tables = "".join(f'[queue."q{i % 4}.{i}"]\nprefetch = {number}\n' for i in range(300))
        assert "INFO done: 30" in reloaded.write(f"reserve_timeout = {100 - number}\n" + tables)
        assert "ERROR FILE:1: " in reloaded.write("reserve_timeout = 'x'")
    over.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert min(counts) > 0
    with reloaded.server.connect() as wire:
        assert wire.stats(b"settings")["reserve_timeout"] == "90"
        assert wire.stats()["curr_items"] == "0"


def test_signals_that_come_together_are_one_or_two_reloads(reloaded: Reloaded) -> None:
    for number in range(1, 51):
        reloaded.path.write_text(f"max_items = {number}\n")
        reloaded.server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "-> 50 (" in reloaded.server.log, what="the last change")
    with reloaded.server.connect() as wire:
        assert wire.stats(b"settings")["max_items"] == "50"


def test_logrotate(tmp_path: Path) -> None:
    """The file is moved away, and after the signal there is a new one; where the configuration is bad there is not."""
    log, path = tmp_path / "redqueue.log", tmp_path / "redqueue.toml"
    path.write_text(f'log_file = "{log}"\n')
    server = ServerProcess(tmp_path / "journal", config=path)
    server.launch()
    try:
        wait_until(lambda: log.exists() and "hot modules" in log.read_text(), what="the start")
        log.rename(tmp_path / "redqueue.log.1")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: log.exists() and "reload: done" in log.read_text(), what="the new file")
        assert "ready on" in (tmp_path / "redqueue.log.1").read_text()
        path.write_text(f'log_file = "{log}"\nlog_format = "json"\nlog_level = "debug"\n')
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: '"reload: log_level: info -> debug' in log.read_text(), what="a line of JSON")
    finally:
        server.process.terminate()
        assert server.wait() == 0
    assert server.log == ""


def test_a_signal_before_the_server_is_ready_does_not_end_it(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server:
        with server.connect() as wire:
            wire.send(b"".join(b"set q 0 0 5\r\n%05d\r\n" % i for i in range(20_000)))
            for _ in range(20_000):
                assert wire.line() == b"STORED"
        server.kill()
        server.launch()
        wait_until(lambda: (tmp_path / "log" / "lock").exists() and _ignores_or_catches_hangup(server))
        while not server.is_ready():
            server.process.send_signal(signal.SIGHUP)
            assert server.process.poll() is None, server.log
        wait_until(lambda: "reload: done" in server.log, what="the reload that was asked for")
        assert server.stop() == 0, server.log


def _ignores_or_catches_hangup(server: ServerProcess) -> bool:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    masks = re.findall(r"^Sig(?:Ign|Cgt):\s+(\w+)$", status, re.MULTILINE)
    return any(int(mask, 16) & 1 for mask in masks)


class TestParts:
    """What takes part in a reload, without a server."""

    @staticmethod
    def reload(path: Path) -> tuple[Reload, list[str]]:
        sources, done = Sources([f"--config={path}"], {}), list[str]()

        def put_in_force(configuration: Configuration) -> Iterator[None]:
            done.append(f"prefetch {configuration.options.prefetch}, port {configuration.options.port}")
            yield

        reload = Reload(sources, sources.load(), put_in_force)
        reload.on_begin, reload.on_end = lambda: done.append("begin"), lambda: done.append("end")
        return reload, done

    def test_all_are_prepared_in_a_thread_before_any_is_put_in_force(self, tmp_path: Path) -> None:
        path = tmp_path / "redqueue.toml"
        path.write_text("")
        reload, done = self.reload(path)
        main = threading.get_ident()

        def part(name: str) -> Prepare:
            def prepare(options: Options) -> Apply:
                assert threading.get_ident() != main
                done.append(f"prepare {name} {options.port}")
                return lambda: done.append(f"apply {name} {threading.get_ident() == main}")

            return prepare

        reload.add(part("a"), ("port",))
        reload.add(part("b"), ())
        path.write_text("port = 5\nhost = 'x'\nprefetch = 2")
        found = asyncio.run(reload.run())
        assert [(each.name, each.needs_restart) for each in found] == [
            ("host", True),
            ("port", False),
            ("prefetch", False),
        ]
        assert done == [
            "begin",
            "prepare a 5",
            "prepare b 5",
            "apply a True",
            "apply b True",
            "prefetch 2, port 5",
            "end",
        ]
        assert (reload.configuration.options.host, reload.configuration.options.port) == ("127.0.0.1", 5)

    def test_where_one_cannot_nobody_does(self, tmp_path: Path) -> None:
        path = tmp_path / "redqueue.toml"
        path.write_text("")
        reload, done = self.reload(path)

        def good(options: Options) -> Apply:
            return lambda: done.append("must not be")

        def bad(options: Options) -> Apply:
            raise BadOption("tls_cert: the file is bad")

        for part in (good, bad, bad):
            reload.add(part, ())
        path.write_text("prefetch = 2")
        with pytest.raises(BadOption) as caught:
            asyncio.run(reload.run())
        assert str(caught.value).splitlines() == ["tls_cert: the file is bad"] * 2
        assert done == ["begin", "end"]
        assert reload.configuration.options.prefetch == 1

    def test_what_is_asked_before_the_start_is_done_behind_it_and_once(self, tmp_path: Path) -> None:
        path = tmp_path / "redqueue.toml"
        path.write_text("")
        reload, done = self.reload(path)

        async def live() -> None:
            over = asyncio.Event()
            reload.on_end = over.set
            reload.begin()
            reload.begin()
            await asyncio.sleep(0.01)
            assert done == []
            reload.start()
            reload.begin()
            await over.wait()

        asyncio.run(live())
        assert done == ["begin", "prefetch 1, port 12345"]
