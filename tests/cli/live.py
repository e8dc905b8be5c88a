"""The command ``redqueue`` and a running server."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.cli.tool import COMMAND, environment
from tests.server_process import ServerProcess, Wire, wait_until


class Live(ServerProcess):
    """A server, and the command with this server as its default."""

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of the command."""
        return {**environment(), "REDQUEUE_SERVER": f"{self.host}:{self.port}", **more}

    def redqueue(
        self, *arguments: object, data: bytes = b"", status: int | None = 0, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``redqueue``; it must end with ``status``."""
        done = subprocess.run(
            [*COMMAND, *map(os.fsdecode, (a if isinstance(a, (bytes, str)) else str(a) for a in arguments))],
            input=data,
            capture_output=True,
            env=self.environment(**more),
            timeout=60,
            check=False,
        )
        text = subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode("utf-8", "surrogateescape"), done.stderr.decode()
        )
        assert status is None or text.returncode == status, (text.returncode, text.stdout, text.stderr)
        return text

    def json(self, *arguments: object, status: int | None = 0) -> Any:
        """What ``redqueue ... --json`` prints: an object."""
        (fields,) = self.json_lines(*arguments, status=status)
        return fields

    def json_lines(self, *arguments: object, status: int | None = 0) -> list[Any]:
        """What ``redqueue ... --json`` prints: objects, one a line."""
        done = self.redqueue(*arguments, "--json", status=status)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def start_command(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start ``redqueue`` and leave it running."""
        options.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen([*COMMAND, *arguments], env=self.environment(), **options)

    def fill(self, queue: bytes, *items: bytes) -> None:
        """Put items."""
        with self.connect() as wire:
            for item in items:
                assert wire.put(queue, item) == b"STORED"

    def contents(self, queue: bytes) -> list[bytes]:
        """The ready items, in order; they stay."""
        with self.connect() as wire:
            items = []
            while found := wire.get(b"%b/peek=%d" % (queue, len(items))):
                items.append(found[0][2])
            return items

    def empty(self) -> None:
        """Drop everything."""
        with self.connect() as wire:
            assert wire.ask(b"flush_all") == b"OK"

    def figure(self, queue: bytes, name: str) -> int:
        """A figure of a queue; 0 where there is no such queue."""
        with self.connect() as wire:
            return int(wire.stats(b"queue " + queue).get(name, 0))


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, command: list[str], env: dict[str, str], size: tuple[int, int] = (24, 110)) -> None:
        import fcntl
        import struct
        import termios

        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        env = {**env, "TERM": "xterm"}
        for name in ("NO_COLOR", "COLUMNS", "LINES"):
            env.pop(name, None)
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
        )
        self.written = ""

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self.ours, keys)

    def read(self) -> str:
        """Everything that was written up to now, without colours and movements of the cursor."""
        while select.select([self.ours], [], [], 0)[0]:
            with contextlib.suppress(OSError):
                self.written += os.read(self.ours, 65536).decode("utf-8", "replace")
                continue
            break
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.written)

    def wait_for(self, pattern: str) -> str:
        """Wait until what was written matches; returns it, and forgets it."""
        deadline = time.monotonic() + 30
        while not re.search(pattern, text := self.read(), re.DOTALL):
            assert time.monotonic() < deadline, f"no {pattern!r} on the terminal, but {text!r}"
            time.sleep(0.01)
        self.written = ""
        return text

    def end(self, seconds: float = 20.0) -> int:
        """Wait for the end of the command; returns its exit status."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            self.read()  # lest it wait for room
            assert time.monotonic() < deadline, self.written
            time.sleep(0.01)
        self.read()
        return self.process.returncode

    def attributes(self) -> list[Any]:
        """The terminal's settings."""
        import termios

        return termios.tcgetattr(self._theirs)

    def close(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)
        os.close(self._theirs)


@contextlib.contextmanager
def terminal(live: Live, *arguments: str, **more: Any) -> Iterator[Terminal]:
    """``redqueue`` on a terminal."""
    shown = Terminal([*COMMAND, *arguments], live.environment(), **more)
    try:
        yield shown
    finally:
        shown.close()


def without_rich(arguments: tuple[str, ...]) -> list[str]:
    """The command in a world without the library rich."""
    hide = "import sys; sys.modules['rich'] = None; sys.modules['rich.console'] = None; "
    return [sys.executable, "-c", f"{hide}from redqueue.cli.main import main; sys.exit(main())", *arguments]


def wait_for_file(path: Path, text: str = "") -> str:
    """Wait until a file is there, with this text in it; returns what is in it."""
    wait_until(lambda: path.exists() and text in path.read_text(), what=f"{text!r} in {path}")
    return path.read_text()


__all__ = ["Live", "Terminal", "Wire", "terminal", "wait_for_file", "without_rich"]
