"""The fenced blocks of the documents, and three ways to run them as they are written.

``pycon`` blocks are Python sessions (doctest). ``console`` blocks are shell
commands with their output. ``transcript`` blocks are conversations with the
server: ``>`` what is sent, ``<`` what comes back, a name before either for one
of several connections, ``{name}`` for a word that is not known before. In
expected output ``...`` stands for anything, and ``< ...`` for any lines.
"""

from __future__ import annotations

import contextlib
import doctest
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.server_process import ROOT, Wire, wait_until

WRITTEN_PORT = "12345"
WRITTEN_HTTP_PORT = "12346"
_FENCE = re.compile(r"^```(\w*) *([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CHECKER = doctest.OutputChecker()
_DOCTEST_OPTIONS = doctest.ELLIPSIS | doctest.REPORT_NDIFF


@dataclass(frozen=True)
class Block:
    """A fenced block.

    :ivar language: the first word behind the fence
    :ivar words: the rest of that line, split: options of the server for a transcript
    :ivar heading: the last heading before it
    :ivar line: number of its first line
    """

    document: str
    language: str
    words: tuple[str, ...]
    heading: str
    line: int
    text: str

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"{self.document}:{self.line}"

    def on_port(self, port: int, http_port: int = 0) -> str:
        """The text, with the ports that a test's server has in place of the default ones."""
        return self.text.replace(WRITTEN_PORT, str(port)).replace(WRITTEN_HTTP_PORT, str(http_port))


def blocks(document: str) -> list[Block]:
    """The fenced blocks of ``document``, a path from the root of the repository."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        before = text[: match.start(3)]
        headings = re.findall(r"^#+ (.*)$", before, re.MULTILINE)
        line = before.count("\n") + 1
        found.append(
            Block(document, match[1], tuple(shlex.split(match[2])), headings[-1] if headings else "", line, match[3])
        )
    return found


class PythonSession:
    """Runs ``pycon`` blocks one after another, as one session."""

    def __init__(self, port: int, http_port: int = 0) -> None:
        self._ports = port, http_port
        self._globals: dict[str, object] = {}

    def run(self, block: Block) -> None:
        """Run a block; a difference between its output and what is written fails."""
        test = doctest.DocTestParser().get_doctest(
            block.on_port(*self._ports), self._globals, block.place, block.document, block.line - 1
        )
        assert test.examples, f"{block.place}: no examples"
        test.globs = self._globals
        report: list[str] = []
        runner = doctest.DocTestRunner(optionflags=_DOCTEST_OPTIONS)
        failed, _ = runner.run(test, out=report.append, clear_globs=False)
        assert not failed, "".join(report)


class ConsoleSession:
    """Runs ``console`` blocks in ``directory``, where ``redqueue_server.py`` and ``redqueue`` are commands.

    Servers that the commands start listen on a free port, and are killed at the end.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, self.http_port = free_port(), free_port()
        self._commands = 0
        self._groups: list[int] = []
        commands = directory / "commands"
        commands.mkdir()
        server = shlex.quote(str(ROOT / "bin/redqueue_server.py"))
        for name, target in (("redqueue_server.py", server), ("redqueue", "-m redqueue.cli"), ("python3", "")):
            script = commands / name
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {target} "$@"\n')
            script.chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{commands}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "REDQUEUE_PORT": str(self.port),
            "REDQUEUE_SERVER": f"127.0.0.1:{self.port}",
            "REDQUEUE_HTTP_PORT": str(self.http_port),
        }

    def __enter__(self) -> ConsoleSession:
        return self

    def __exit__(self, *_: object) -> None:
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def run(self, block: Block) -> None:
        """Run a block's commands; each must put out what is written below it."""
        text = block.on_port(self.port, self.http_port)
        commands = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
        assert commands, f"{block.place}: no commands"
        for command, expected in commands:
            self._run(command, expected, block.place)

    def _run(self, command: str, expected: str, place: str) -> None:
        self._commands += 1
        output = self.directory / f"output-{self._commands}"
        with output.open("w") as file:
            process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=self.directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        in_background = command.endswith("&")
        if in_background:
            self._groups.append(process.pid)
        status = process.wait(60)
        assert status == 0, f"{place}: {command}\n{output.read_text()}"

        def is_as_written() -> bool:
            return _CHECKER.check_output(expected, output.read_text(), doctest.ELLIPSIS)

        if in_background:
            with contextlib.suppress(AssertionError):
                wait_until(is_as_written)
        elif command.startswith("kill -9"):
            wait_until(lambda: not self.is_served(), what=f"{place}: {command}")
        got = output.read_text()
        assert is_as_written(), f"{place}: {command}\nexpected:\n{expected}\ngot:\n{got}"

    def is_served(self) -> bool:
        """Whether a server answers."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


_LINE = re.compile(r"(\w*)([<>])(?: (.*))?")


class Conversation:
    """Holds the conversation of a ``transcript`` block with the server at ``port``."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._wires: dict[str, Wire] = {}
        self._words: dict[str, str] = {}

    def run(self, block: Block) -> None:
        """Send and expect as the block says; nothing more may come than it says."""
        lines = [line for line in block.text.splitlines() if line and not line.startswith("#")]
        pos = 0
        while pos < len(lines):
            match = _LINE.fullmatch(lines[pos])
            assert match, f"{block.place}: {lines[pos]!r} is neither sent nor expected"
            name, direction, text = match[1], match[2], match[3] or ""
            where = f"{block.place}: {lines[pos]}"
            pos += 1
            if direction == ">":
                self._send(name, text)
            elif text == "...":
                following = _LINE.fullmatch(lines[pos])
                assert following, where
                while not self._matches(following[3], got := self._wire(name).line().decode()):
                    assert got, where
                pos += 1
            elif text == "(closed)":
                assert self._wires.pop(name).rest() == b"", where
            else:
                got = self._wire(name).line().decode()
                assert self._matches(text, got), f"{where}\ngot: {got}"
        for name, wire in self._wires.items():
            assert wire.ask(b"version").startswith(b"VERSION "), f"{block.place}: {name} has got more than is written"
            wire.close()

    def _wire(self, name: str) -> Wire:
        if name not in self._wires:
            self._wires[name] = Wire("127.0.0.1", self._port)
        return self._wires[name]

    def _send(self, name: str, text: str) -> None:
        if text == "(closes)":
            self._wires.pop(name).close()
            return
        for word, value in self._words.items():
            text = text.replace("{" + word + "}", value)
        self._wire(name).send(text.encode() + b"\r\n")

    def _matches(self, written: str, got: str) -> bool:
        pattern, names = "", []
        for part in re.split(r"(\{\w+\}|\.\.\.)", written):
            if part == "...":
                pattern += ".*"
            elif part.startswith("{") and part[1:-1] in self._words:
                pattern += re.escape(self._words[part[1:-1]])
            elif part.startswith("{"):
                names.append(part[1:-1])
                pattern += r"(\S+)"
            else:
                pattern += re.escape(part)
        match = re.fullmatch(pattern, got)
        if match:
            self._words.update(zip(names, match.groups(), strict=True))
        return bool(match)


def run_console_blocks(document: str, directory: Path) -> int:
    """Run the console blocks of a document as they are written, in one session; returns how many there are."""
    found = [block for block in blocks(document) if block.language == "console"]
    with ConsoleSession(directory) as console:
        for block in found:
            console.run(block)
    return len(found)
