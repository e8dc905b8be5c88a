"""How the server was started: by whom, as whom, with which sockets, and who waits for it to be ready."""

from __future__ import annotations

import logging
import os
from collections.abc import MutableMapping
from pathlib import Path

from redqueue.config.kinds import BadOption
from redqueue.journal.lock import LOCK
from redqueue.options import Options
from redqueue.server import background
from redqueue.server.account import Account
from redqueue.server.activation import BadSocket, PassedSockets, take_sockets
from redqueue.server.background import Parent
from redqueue.server.notify import Notifier
from redqueue.server.pid_file import PidFile

log = logging.getLogger("redqueue")

START_SECONDS = 120.0
"""How long the start may go on from each sign of life, for the service manager."""


class Launch:
    """What the process and the server in it have of those who started them.

    :param options: those in force
    :param environment: the variables of a service manager are taken out of it

    :ivar notifier: the service manager
    :ivar sockets: what it has bound for us
    :ivar account: who to run as; None for the present user

    :raises BadOption: where a variable cannot be followed
    :raises NoAccount: as :func:`redqueue.server.checks.check` has said before
    """

    def __init__(self, options: Options, environment: MutableMapping[str, str] = os.environ) -> None:
        self._options = options
        self._parent: Parent | None = None
        self._pid_file: PidFile | None = None
        self.account = Account.find(options.user, options.group)
        try:
            self.notifier = Notifier.from_environment(environment)
            self.sockets: PassedSockets = take_sockets(environment)
        except (ValueError, BadSocket) as error:
            raise BadOption(str(error)) from None
        if self.sockets.encrypted and not options.tls_cert:
            raise BadOption("the socket named tls wants the options tls_cert and tls_key")

    def detach(self) -> None:
        """With ``--daemonize``: go on in the background. Call before there are files, threads or a loop."""
        if self._options.daemonize:
            keep = [sock.fileno() for sock in self.sockets.all()]
            if self.notifier:
                keep.append(self.notifier.fileno())
            self._parent = background.detach(keep)
            self._parent.watch(log)

    def claim(self) -> None:
        """Take the pid file.

        :raises BadPidFile: where it cannot be had
        """
        if self._options.pid_file:
            self._pid_file = PidFile(Path(self._options.pid_file))

    def make_journal_directory(self) -> Path:
        """The directory of the journal, made if missing, for the account to run as.

        :raises OSError: where it cannot be made
        """
        directory = Path(self._options.logdir)
        if not directory.exists():
            directory.mkdir(parents=True)
            if self.account is not None:
                self.account.give(directory)
        return directory

    def become_user(self) -> None:
        """Run as the account from here on: the ports are bound.

        :raises NotWritable: where it cannot write the journal
        """
        account, options = self.account, self._options
        if account is None:
            return
        directory = Path(options.logdir)
        # The log is opened again at SIGHUP, the lock and the socket at the next start, which need not be root's.
        for path in (options.log_file, options.unix_socket, directory / LOCK):
            if path and Path(path).exists():
                account.give(Path(path))
        account.become()
        log.info("running as the user %s, group %s", account.user, account.group)
        if options.reliable != "no":
            account.check_directory(directory)

    def starting(self, status: str) -> None:
        """The start goes on."""
        self.notifier.status(status)
        self.notifier.extend_timeout(START_SECONDS)

    def ready(self) -> None:
        """The server serves: tell those who wait for that."""
        self.notifier.ready()
        if self._parent is not None:
            self._parent.ready(log)
            self._parent = None

    def release(self) -> None:
        """The server has ended."""
        if self._pid_file is not None:
            self._pid_file.remove()
