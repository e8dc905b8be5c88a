"""The options of every command that talks to a running server, and the connection that they describe."""

from __future__ import annotations

import argparse
import getpass
import math
import os
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

from redqueue.cli.command import CommandFailed
from redqueue.cli.connection import Address, Connection, ConnectionLost, Refused
from redqueue.config.kinds import BadOption, parse_duration

DEFAULT_SERVER = "127.0.0.1:12345"
ENVIRONMENT = """
environment:
  REDQUEUE_SERVER    the server where --server is not given
  REDQUEUE_LOGIN      the user where --user is not given
  REDQUEUE_PASSWORD  the password where --password-file is not given
"""
STATUSES = """
exit status:
  0  done
  1  nothing to do, or done in part; standard error says which
  2  not done, for the reason on standard error: a bad option, no server, an answer that is an error
"""


def duration(text: str) -> float:
    """A duration on the command line, in seconds."""
    try:
        return parse_duration(text)
    except BadOption as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def duration_or_forever(text: str) -> float:
    """A duration on the command line, or the word ``forever``, which is infinite."""
    return math.inf if text == "forever" else duration(text)


def whole(least: int) -> Callable[[str], int]:
    """A whole number of at least ``least`` on the command line."""

    def parse(text: str) -> int:
        if not text.isdecimal() or len(text) > 15 or int(text) < least:
            raise argparse.ArgumentTypeError(f"wants a whole number from {least} up, not {text!r}")
        return int(text)

    return parse


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Where the server is, and who asks."""
    group = parser.add_argument_group("the server")
    group.add_argument(
        "--server",
        metavar="HOST:PORT|unix:PATH",
        help=f"where it listens (default: REDQUEUE_SERVER, else {DEFAULT_SERVER})",
    )
    group.add_argument(
        "--timeout",
        metavar="DURATION",
        type=duration,
        default=10.0,
        help="how long to wait for an answer (default: 10s)",
    )
    group.add_argument(
        "--user",
        metavar="NAME",
        help="log in as this user; the password is that of --password-file, or of "
        "REDQUEUE_PASSWORD, or is asked for (default: REDQUEUE_LOGIN, else do not log in)",
    )
    group.add_argument("--password-file", metavar="FILE", type=Path, help="the password is the first line of FILE")
    group.add_argument("--tls", action="store_true", help="connect by TLS; --ca-file and --cert imply it")
    group.add_argument("--ca-file", metavar="FILE", type=Path, help="who may have signed the server's certificate")
    group.add_argument("--cert", metavar="FILE", type=Path, help="a certificate that shows the server who asks")
    group.add_argument("--key", metavar="FILE", type=Path, help="its private key, where that is not in the same file")


def add_json(parser: argparse._ActionsContainer, what: str = "an object of JSON instead of text") -> None:
    """The option ``--json``."""
    parser.add_argument("--json", action="store_true", help=what)


class Server:
    """The server that the options describe; gives connections to it, logged in.

    :ivar may_ask: whether the password may be asked for at the terminal
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.address = Address.parse(options.server or os.environ.get("REDQUEUE_SERVER") or DEFAULT_SERVER)
        self.tls = _tls(options, self.address)
        self.timeout: float = options.timeout
        if self.timeout <= 0:
            raise CommandFailed("--timeout wants more than 0")
        self._user = options.user or os.environ.get("REDQUEUE_LOGIN") or ""
        self._password_file: Path | None = options.password_file
        self._password: bytes | None = None
        self.may_ask = sys.stdin is not None and sys.stdin.isatty()
        if " " in self._user:
            raise CommandFailed(f"--user={self._user} is no name: there is a space in it")
        if self._password_file is not None and not self._user:
            raise CommandFailed("--password-file wants --user as well")

    def connect(self) -> Connection:
        """A new connection.

        :raises ConnectionLost: where there is none to be had
        :raises Refused: where the server does not know the user
        """
        connection = Connection(self.address, timeout=self.timeout, tls=self.tls)
        if not self._user:
            return connection
        try:
            if self._lets_anybody_in(connection):
                return connection
        except ConnectionLost:
            connection.close()
            connection = Connection(self.address, timeout=self.timeout, tls=self.tls)
        try:
            credentials = os.fsencode(self._user) + b" " + self.password()
            connection.send(b"set auth 0 0 %d\r\n%b\r\n" % (len(credentials), credentials))
            reply = connection.line()
            if reply != b"STORED":
                raise Refused(reply)
        except BaseException:
            connection.close()
            raise
        return connection

    def _lets_anybody_in(self, connection: Connection) -> bool:
        """Whether it works without a password: it would be an item, for everybody to read, if it were sent there."""
        try:
            return connection.ask(b"mn") == b"MN"
        except Refused:
            return False

    def password(self) -> bytes:
        """The user's password; asked for once at most."""
        if self._password is None:
            self._password = self._find_password()
        return self._password

    def _find_password(self) -> bytes:
        if self._password_file is not None:
            return self._password_file.read_bytes().partition(b"\n")[0].rstrip(b"\r")
        if (given := os.environb.get(b"REDQUEUE_PASSWORD")) is not None:
            return given
        if not self.may_ask:
            raise CommandFailed("a password is needed: --password-file, or REDQUEUE_PASSWORD in the environment")
        return os.fsencode(getpass.getpass(f"password of {self._user}: "))


def _tls(options: argparse.Namespace, address: Address) -> ssl.SSLContext | None:
    if options.key is not None and options.cert is None:
        raise CommandFailed("--key wants --cert as well")
    if not (options.tls or options.ca_file or options.cert):
        return None
    if address.path:
        raise CommandFailed("there is no TLS over a Unix socket")
    context = ssl.create_default_context(cafile=options.ca_file)
    if options.cert is not None:
        try:
            context.load_cert_chain(options.cert, options.key)
        except ssl.SSLError as error:
            raise CommandFailed(f"--cert={options.cert} is no certificate with its key: {error.reason}") from None
    return context
