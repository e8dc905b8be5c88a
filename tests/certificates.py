"""Certificates made for a test: two authorities, a server, and clients of all kinds."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import trustme

DAY = datetime.timedelta(days=1)


class Certificates:
    """Files in a directory.

    :ivar cert: the server's certificate, for 127.0.0.1 and localhost
    :ivar key: its private key
    :ivar both: certificate and key in one file
    :ivar ca: who vouches for the server and for clients
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.authority = trustme.CA()
        self.stranger = trustme.CA()
        self.ca = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))
        self.cert, self.key, self.both = directory / "cert.pem", directory / "key.pem", directory / "both.pem"
        self.renew()

    def renew(self, authority: trustme.CA | None = None) -> bytes:
        """Another certificate for the server; returns it in PEM."""
        issued = (authority or self.authority).issue_cert("127.0.0.1", "localhost")
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.key.chmod(0o600)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        self.cert.write_bytes(chain)
        issued.private_key_and_cert_chain_pem.write_to_path(str(self.both))
        return issued.cert_chain_pems[0].bytes()

    def client(
        self,
        name: str | None = None,
        *,
        authority: trustme.CA | None = None,
        trusts: trustme.CA | None = None,
        expired: bool = False,
    ) -> ssl.SSLContext:
        """A context for a client.

        :param name: the common name in its certificate; None for no certificate
        :param authority: who vouches for the client
        :param trusts: who must vouch for the server
        """
        context = ssl.create_default_context()
        (trusts or self.authority).configure_trust(context)
        if name is not None:
            end = datetime.datetime.now(datetime.timezone.utc) - DAY if expired else None
            issued = (authority or self.authority).issue_cert("client@example.org", common_name=name, not_after=end)
            issued.configure_cert(context)
        return context
