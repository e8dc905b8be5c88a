"""What an operator should know about who can reach the server."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from redqueue.options import Options


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a listening address, written as ``127.0.0.1:12345`` or ``[::1]:12345``.

    That of a Unix socket is its path, that of the web page its URL.
    """
    address = re.sub("^https?://([^/]+)/$", r"\1", address)
    if address.startswith(("/", ".")) or ":" not in address:
        return True
    try:
        return ipaddress.ip_address(address.rpartition(":")[0].strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def warnings(options: Options, addresses: Iterable[str], encrypted: Iterable[str] = ()) -> list[str]:
    """What to say at start, a sentence or two each; nothing where only this machine can reach the server.

    :param addresses: where the server listens
    :param encrypted: those of them that speak TLS
    """
    exposed = [address for address in addresses if not is_loopback(address)]
    plain = [address for address in exposed if address not in set(encrypted)]
    open_to_all = plain if options.tls_client_ca else exposed
    found = []
    if open_to_all and not options.users:
        found.append(
            f"whoever can reach {' or '.join(open_to_all)} can read, change and delete every item: there is no "
            "authentication. Set users=FILE (redqueue passwd add FILE NAME makes it), or listen on host=127.0.0.1"
        )
    if plain and options.users:
        found.append(
            f"passwords and items travel unencrypted to and from {' or '.join(plain)}: whoever is on the way can read "
            "them. Set tls_cert and tls_key, unless the network does that"
        )
    return found
