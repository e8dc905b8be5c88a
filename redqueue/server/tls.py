"""TLS: certificates, for all ports that speak it, and handshakes that fail."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from redqueue.config.kinds import BadOption
from redqueue.options import Options

log = logging.getLogger(__name__)

TLS_OPTIONS = ("tls_cert", "tls_key", "tls_client_ca", "tls_min_version")
"""The options that can be put in force without a restart."""
MOST_HANDSHAKES = 1024
"""Handshakes under way; one more takes the place of the oldest."""
SHUTDOWN_SECONDS = 2.0
"""How long a client may take to confirm the end of a connection."""

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_PLAIN = {"HTTP_REQUEST", "WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTPS_PROXY_REQUEST"}
"""What OpenSSL calls it when a client does not speak TLS."""


class BadCertificates(ValueError):
    """Files that TLS cannot be spoken with.

    :ivar option: the name of the option that names them
    """

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


def check_tls(options: Options) -> Iterator[tuple[str, str]]:
    """The certificates can be used, and what they are for goes together."""
    try:
        make_context(options)
    except BadCertificates as error:
        yield error.option, str(error)
    for name in ("tls_key", "tls_port", "tls_client_ca"):
        if getattr(options, name) and not options.tls_cert:
            yield name, f"wants tls_cert to be set, too: {getattr(options, name)} alone makes no TLS"
    if options.tls_port and options.tls_port == options.port:
        yield "tls_port", "wants another port than port; leave it out, and port itself speaks TLS"
    if options.tls_client_user and not (options.tls_client_ca and options.users):
        yield "tls_client_user", "wants tls_client_ca and users to be set, too: who vouches for whom?"


def make_context(options: Options) -> ssl.SSLContext | None:
    """What new connections speak TLS with; None where they do not.

    :raises BadCertificates: with what to write instead
    """
    if not options.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[options.tls_min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION
    _load_certificate(context, options.tls_cert, options.tls_key)
    if options.tls_client_ca:
        _load_authorities(context, options.tls_client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load_certificate(context: ssl.SSLContext, cert: str, key: str) -> None:
    _look_at("tls_cert", cert, "CERTIFICATE", "certificate, and those that vouch for it behind it")
    _look_at("tls_key" if key else "tls_cert", key or cert, "PRIVATE KEY", "private key, or tls_key=FILE with it")
    asked = False

    def password() -> bytes:
        nonlocal asked
        asked = True
        return b""

    try:
        context.load_cert_chain(cert, key or None, password)
    except (ssl.SSLError, OSError, ValueError) as error:
        name = "tls_key" if key else "tls_cert"
        if asked:
            raise BadCertificates(name, f"wants a private key without a passphrase, not {key or cert}") from None
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            raise BadCertificates(name, f"wants the private key of the certificate in {cert}, not another") from None
        raise BadCertificates(name, f"wants a certificate and its key that can be used: {reason_of(error)}") from None


def _load_authorities(context: ssl.SSLContext, path: str) -> None:
    _look_at("tls_client_ca", path, "CERTIFICATE", "certificates of those who vouch for clients")
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        raise BadCertificates("tls_client_ca", f"wants certificates that can be used: {reason_of(error)}") from None
    if not context.get_ca_certs():
        raise BadCertificates("tls_client_ca", f"wants a certificate of an authority, which {path} has not")


def _look_at(option: str, path: str, label: str, what: str) -> None:
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise BadCertificates(option, f"wants a file that can be read: {path}: {error.strerror}") from None
    if f"{label}-----".encode() not in text:
        raise BadCertificates(option, f"wants a file in PEM with the {what}, which {path} has not")


class Certificates:
    """What new connections speak TLS with.

    :param options: those in force
    :raises BadOption: where the files cannot be used

    :ivar context: for each new connection; None where no port speaks TLS
    :ivar on_change: called with another context
    """

    def __init__(self, options: Options) -> None:
        self.context = _context(options)
        self.on_change: list[Callable[[ssl.SSLContext | None], None]] = []

    def prepare(self, options: Options) -> Callable[[], None]:
        """Read the files again (:meth:`redqueue.server.reload.Reload.add`).

        Connections that are there go on with what they began with.

        :raises BadOption: where the files cannot be used, or TLS would begin or end
        """
        context = _context(options)
        if (context is None) != (self.context is None):
            raise BadOption("tls_cert: TLS begins, or ends, with a restart only")

        def put_in_force() -> None:
            self.context = context
            for tell in self.on_change:
                tell(context)

        return put_in_force


def _context(options: Options) -> ssl.SSLContext | None:
    try:
        return make_context(options)
    except BadCertificates as error:
        raise BadOption(f"{error.option} {error}") from None


def reason_of(error: BaseException) -> str:
    """Why TLS failed, in words."""
    reason = getattr(error, "reason", None)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was refused: {error.verify_message}"
    if isinstance(reason, str):
        if reason in _PLAIN:
            return "it does not speak TLS, and this port does"
        return reason.replace("_", " ").lower()
    if isinstance(error, ConnectionAbortedError):
        return "it took too long"
    if isinstance(error, ConnectionResetError):
        return "it has gone"
    return getattr(error, "strerror", None) or type(error).__name__


def common_name(certificate: Any) -> str:
    """The common name of the subject of a client's certificate, as :meth:`ssl.SSLSocket.getpeercert` gives it."""
    names = [value for part in (certificate or {}).get("subject", ()) for name, value in part if name == "commonName"]
    return names[0] if len(names) == 1 else ""
