"""Every option of the daemon, declared once: type, default, unit, range and help.

An option is set on the command line (``--segment_size=64mb``; dashes and
underscores alike), in the environment (``REDQUEUE_SEGMENT_SIZE=64mb``) or in a
TOML file named by ``--config`` (``segment_size = "64mb"``). The command line
wins over the environment, and that over the file (:mod:`redqueue.config.load`).

A new option is a new field at the end of the class that is its group. The
docstring of a class is the heading of its group in ``--help`` and in files.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from redqueue.config.kinds import (
    BadOption,
    Option,
    one_of,
    option,
    parse_duration,
    parse_limit,
    parse_queue,
    parse_size,
    parse_switch,
    parse_whole,
)


def parse_store(text: str) -> str:
    """The address of a cluster, which this version cannot use."""
    if text:
        raise BadOption(f"wants to be left empty, not {text!r}: this version has no cluster, the journal is the store")
    return text


ANY_PORT = "any"
NO_PORT = "0"


def parse_http_port(text: str) -> str:
    """A port, :data:`NO_PORT` for none, or :data:`ANY_PORT` for any free one."""
    word = text.strip().lower()
    if word == ANY_PORT:
        return word
    if not (word.isascii() and word.isdigit() and int(word) <= 65535):
        raise BadOption(f"wants a port from 1 to 65535, any for any free one, or 0 for none, not {text!r}")
    return str(int(word))


@dataclass(frozen=True)
class Network:
    """Where clients connect"""

    host: str = option("127.0.0.1", str, "ADDRESS", "address or name to listen on; 0.0.0.0 for every IPv4 address")
    port: int = option(
        "12345", parse_whole, "PORT", "port to listen on; 0: any free one, named in the ready line", 0, 65535
    )
    unix_socket: str = option("", str, "PATH", "listen on this Unix socket as well; empty: none")
    http_host: str = option(
        "127.0.0.1", str, "ADDRESS", "address or name to listen on for the web page, the JSON API and the metrics"
    )
    http_port: str = option(
        "12346",
        parse_http_port,
        "PORT",
        "port for the web page, the JSON API and the metrics; any: any free one, named in the log; 0: none",
    )
    http_allowed_hosts: str = option(
        "",
        str,
        "NAMES",
        "names, with commas between them, under which the web page is reached, besides IP addresses, localhost, "
        "http_host and the name of the machine; others are refused, since a page elsewhere may have them point here",
    )
    metrics_queues: int = option(
        "200",
        parse_whole,
        "N",
        "queues that have metrics of their own in /metrics; the others are summed up in one named other",
        0,
        100_000,
    )


@dataclass(frozen=True)
class Storage:
    """What is kept, and where"""

    logdir: str = option("log", str, "DIR", "where the journal lives; made if missing")
    reliable: str = option(
        "yes",
        one_of("no", "yes", "sync"),
        "no|yes|sync",
        "what a confirmed request survives: no: nothing, memory only; yes: kill -9 of the server (handed to the "
        "kernel before the reply); sync: power loss (fdatasync before the reply)",
    )
    sync_interval: float = option(
        "1s",
        parse_duration,
        "DURATION",
        "with reliable=yes, how often the journal is synced in the background, which bounds what a power failure "
        "takes; 0: left to the kernel",
        0,
        3600,
    )
    segment_size: int = option(
        "64mb",
        parse_size,
        "SIZE",
        "size of a journal file; the journal takes up to two of them and twice what is in the queues",
        64 << 10,
        1 << 30,
    )
    memory: int = option(
        "256mb",
        parse_size,
        "SIZE",
        "bytes of items that all queues together hold in memory; what is more waits in the journal and is read "
        "back as its turn comes near; 0: no limit. Without a journal (reliable=no) everything is in memory",
        0,
    )
    store: str = option("", parse_store, "URL", "address of a cluster; this version has none, the journal is the store")
    salvage: bool = option(
        "no",
        parse_switch,
        "yes|no",
        "start with a damaged journal: skip the damage and log what it cost; copy the journal first",
    )


@dataclass(frozen=True)
class Limits:
    """What clients may ask for"""

    max_item_size: int = option("1mb", parse_size, "SIZE", "largest item taken", 1, 512 << 20)
    max_connections: int = option("0", parse_limit, "N", "most clients at a time; 0: as many as the system gives", 0)
    enable_shutdown: bool = option("no", parse_switch, "yes|no", "whether clients may end the server with `shutdown`")
    max_connections_per_address: int = option(
        "0",
        parse_limit,
        "N",
        "most clients at a time from one IPv4 address or one IPv6 network of 64 bits; 0: any number",
        0,
    )
    idle_timeout: float = option(
        "0",
        parse_duration,
        "DURATION",
        "a client that sends nothing for so long is disconnected, unless it waits for an item or holds one; 0: never",
        0,
        86400 * 365,
    )
    command_timeout: float = option(
        "60s",
        parse_duration,
        "DURATION",
        "how long a command may take to arrive, from the first byte of its line to the end of it, and again to the end "
        "of its body, for which there is a second more for each 4 KB; 0: any time",
        0,
        86400,
    )
    send_timeout: float = option(
        "120s",
        parse_duration,
        "DURATION",
        "a client, or its network, that takes nothing of what it is sent for so long is disconnected (TCP on Linux); "
        "0: when the kernel gives up",
        0,
        86400,
    )
    max_disk: int = option(
        "0",
        parse_size,
        "SIZE",
        "most bytes of the journal on disk; past it set gets NOT_STORED until room is made; 0: as much as there is",
        0,
    )
    max_queues: int = option(
        "0",
        parse_limit,
        "N",
        "most queues, children among them; where there are so many, what would make another gets NOT_STORED; "
        "0: any number",
        0,
    )


@dataclass(frozen=True)
class Security:
    """Who may do what, and encryption"""

    users: str = option(
        "",
        str,
        "FILE",
        "the users, with their passwords and roles, as `redqueue passwd` writes it: clients must authenticate; empty: "
        "anybody may do anything",
    )
    auth_timeout: float = option(
        "10s", parse_duration, "DURATION", "how long a client may take to authenticate, handshakes included", 0.1, 3600
    )
    trust_unix_socket: bool = option(
        "no",
        parse_switch,
        "yes|no",
        "whether clients on the Unix socket may do anything without authentication, where others need it: its file's "
        "permissions protect it",
    )
    tls_cert: str = option(
        "",
        str,
        "FILE",
        "the server's certificate in PEM, with those that vouch for it behind it: port speaks TLS, unless tls_port is "
        "set; empty: no TLS",
    )
    tls_key: str = option("", str, "FILE", "the private key of tls_cert, in PEM; empty: it is in the same file")
    tls_port: int = option(
        "0", parse_whole, "PORT", "speak TLS on this port, and plain text on port; 0: TLS on port", 0, 65535
    )
    tls_client_ca: str = option(
        "",
        str,
        "FILE",
        "certificates, in PEM, of those who vouch for clients: each client needs one from them; empty: none needs any",
    )
    tls_client_user: bool = option(
        "no",
        parse_switch,
        "yes|no",
        "whether the common name in a client's certificate is that of a user, who needs no password then",
    )
    tls_min_version: str = option("1.2", one_of("1.2", "1.3"), "1.2|1.3", "the oldest version of TLS that is spoken")


@dataclass(frozen=True)
class Queues:
    """The settings of queues that no table of their own says otherwise of"""

    reserve_timeout: float = option(
        "300s",
        parse_duration,
        "DURATION",
        "a reserved item that is not acknowledged goes to the next worker after this long",
        0.001,
        86400 * 365,
    )
    prefetch: int = option(
        "1", parse_whole, "N", "items of a queue that one client may hold unacknowledged", 1, 1 << 30
    )
    wait: float = option(
        "0", parse_duration, "DURATION", "how long a plain get waits on an empty queue; 0: not at all", 0, 86400
    )
    ttl: float = option(
        "0",
        parse_duration,
        "DURATION",
        "how long items live that name no time to live, and the most they may ask for; 0: no limit",
        0,
        86400 * 3650,
    )
    max_deliveries: int = option(
        "0",
        parse_whole,
        "N",
        "an item whose worker was lost so many times, by a closed connection or a passed deadline, goes to the dead "
        "letters; 0: never",
        0,
    )
    dead_letter: str = option(
        "",
        parse_queue,
        "QUEUE",
        "the queue that takes dead letters; empty: for each queue the one of its name with .dead behind it",
    )
    retry_delay: float = option(
        "0",
        parse_duration,
        "DURATION",
        "how long an item waits after its worker was lost; doubles with each loss, up to an hour",
        0,
        3600,
    )
    requeue: str = option(
        "head",
        one_of("head", "tail"),
        "head|tail",
        "where an item goes that was not acknowledged: head: to its old place; tail: to the end",
    )
    max_items: int = option("0", parse_whole, "N", "most items in a queue; 0: no limit", 0)
    max_bytes: int = option("0", parse_size, "SIZE", "most bytes of items in a queue; 0: no limit", 0)
    overflow: str = option(
        "refuse",
        one_of("refuse", "drop-oldest"),
        "refuse|drop-oldest",
        "what a full queue does: refuse: set gets NOT_STORED; drop-oldest: its oldest ready items go",
    )
    fanout_only: bool = option(
        "no", parse_switch, "yes|no", "whether a queue with children (queue+child) keeps no copy for itself"
    )


@dataclass(frozen=True)
class Process:
    """The process"""

    config: str = option("", str, "FILE", "a TOML file with options, named as here, and with tables for queues")
    daemonize: bool = option(
        "no",
        parse_switch,
        "yes|no",
        "go on in the background; the command ends with status 0 when the server is ready, or with 1 and the reason",
    )
    pid_file: str = option(
        "", str, "PATH", "write the pid into this file; a second server with the same file does not start; empty: none"
    )
    user: str = option(
        "", str, "NAME", "started as root: run as this user once the ports are bound; empty: whoever started it"
    )
    group: str = option("", str, "NAME", "with user: run as this group; empty: that of the user")


@dataclass(frozen=True)
class Logging:
    """What is logged, and where"""

    log_level: str = option(
        "info", one_of("debug", "info", "warning", "error"), "debug|info|warning|error", "log this and what is graver"
    )
    log_format: str = option(
        "text", one_of("text", "json"), "text|json", "lines for people, or one JSON object a line for programs"
    )
    log_file: str = option(
        "", str, "PATH", "the log is appended to this file, which SIGHUP reopens; empty: standard error"
    )
    verbose: bool = option("no", parse_switch, "yes|no", "the same as log_level=debug; `verbosity 1` does it too")


@dataclass(frozen=True)
class Options(Logging, Process, Queues, Security, Limits, Storage, Network):
    """The options in force. Durations are seconds, sizes bytes.

    Dataclasses take the fields of their bases from the last one on, so the groups stand here in reverse.

    :raises BadOption: where they do not go together
    """

    def __post_init__(self) -> None:
        if 0 < self.max_disk < LEAST_SEGMENTS * self.segment_size:
            raise BadOption(
                f"max_disk wants at least {LEAST_SEGMENTS} times segment_size={self.segment_size}, which is "
                f"{LEAST_SEGMENTS * self.segment_size}, not {self.max_disk}; or make segment_size smaller"
            )
        if self.max_disk and self.reliable == "no":
            raise BadOption("max_disk wants a journal: leave it out, or set reliable to yes or sync")


LEAST_SEGMENTS = 4
"""Segments that ``max_disk`` must have room for: two of the journal at work, and as many to move living items to."""
GROUPS = (Network, Storage, Limits, Security, Queues, Process, Logging)
OPTIONS = tuple(Option(each.name, str(group.__doc__), **each.metadata) for group in GROUPS for each in fields(group))
QUEUE_TABLES = "queue"
"""In a file, the table of the tables of single queues (:mod:`redqueue.config.queue_tables`)."""
