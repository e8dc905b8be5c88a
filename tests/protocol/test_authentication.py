"""Nothing but name and password goes through the gate, whatever is sent, and in however many pieces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueue.protocol.session import MAX_BACKLOG
from tests.protocol.binary_frames import OPCODES, Response, request, responses, storage
from tests.protocol.gated import Doorkeeper, GatedServer, user
from tests.protocol.test_fuzz import FRAMES, JUNK, cut

LOGIN = b"set auth 0 0 12\r\nalice secret\r\n"
UNAUTHENTICATED = b"CLIENT_ERROR unauthenticated\r\n"
FAILED = b"CLIENT_ERROR authentication failure\r\n"
AUTH_ERROR = 0x20
TEMPORARY_FAILURE = 0x86


def plain(name: bytes, password: bytes, identity: bytes = b"", **fields: int) -> bytes:
    return request("sasl_auth", b"PLAIN", identity + b"\0" + name + b"\0" + password, **fields)


# -- text ---------------------------------------------------------------------------


def test_a_set_with_name_and_password_lets_a_client_in() -> None:
    server = GatedServer()
    client = server.connect()
    assert client.say(LOGIN) == b"STORED\r\n"
    assert server.doorkeeper.attempts == [("alice", b"secret", "")]
    assert client.session.user is not None
    assert client.say(b"set q 0 0 1\r\na\r\nget q\r\n") == b"STORED\r\nVALUE q 0 1\r\na\r\nEND\r\n"
    assert list(server.service.broker.queues) == [b"q"]
    assert client.session.counters.auth_cmds == 1
    assert client.session.counters.auth_errors == 0


def test_meta_commands_go_on_behind_it() -> None:
    client = GatedServer().connect()
    assert client.say(LOGIN + b"ms q 1\r\na\r\nmg q v\r\nmn\r\n") == b"STORED\r\nHD\r\nVA 1\r\na\r\nMN\r\n"


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 100])
def test_what_is_sent_behind_waits_in_order_until_the_password_is_checked(piece: int) -> None:
    server = GatedServer()
    server.doorkeeper.hold = True
    client = server.connect()
    data = LOGIN + b"set q 0 0 1\r\na\r\nget q\r\ndelete q\r\nversion\r\n"
    for start in range(0, len(data), piece):
        assert client.say(data[start : start + piece]) == b""
    assert client.paused
    assert not server.service.broker.queues
    server.doorkeeper.release()
    assert client.say(b"") == b"STORED\r\nSTORED\r\nVALUE q 0 1\r\na\r\nEND\r\nDELETED\r\nVERSION 1.2.3\r\n"


def test_noreply_is_silent_but_lets_in() -> None:
    client = GatedServer().connect()
    assert client.say(b"set auth 0 0 12 noreply\r\nalice secret\r\nversion\r\n") == b"VERSION 1.2.3\r\n"


@pytest.mark.parametrize(
    "credentials", [b"alice wrong", b"bob secret", b"alice secret ", b"ALICE secret", b"\xff\xfe secret", b"alice \xff"]
)
def test_a_wrong_pair_is_told_so_and_closed(credentials: bytes) -> None:
    server = GatedServer()
    client = server.connect()
    line = b"set auth 0 0 %d\r\n%b\r\n" % (len(credentials), credentials)
    assert client.say(line + b"set q 0 0 1\r\na\r\n") == FAILED
    assert client.session.closing
    assert client.session.complaint == "authentication failure"
    assert client.say(LOGIN) == b""
    assert not server.service.broker.queues
    assert server.service.counters.auth_errors == 1
    assert client.session.backlog_size == 0


def test_a_wrong_pair_with_noreply_is_closed_in_silence() -> None:
    client = GatedServer().connect()
    assert client.say(b"set auth 0 0 11 noreply\r\nalice wrong\r\n") == b""
    assert client.session.closing


@pytest.mark.parametrize(
    "line",
    [
        b"get q",
        b"version",
        b"stats",
        b"stats reset",
        b"mn",
        b"mg q v",
        b"flush_all",
        b"shutdown",
        b"delete q",
        b"set q",
        b"set q 0 0 x",
        b"",
        b"\x00",
        b"nonsense",
        b"pause q",
        b"readonly on",
    ],
)
def test_every_other_line_is_refused(line: bytes) -> None:
    server = GatedServer()
    client = server.connect()
    client.session.is_local = True
    assert client.say(line + b"\r\n") == UNAUTHENTICATED
    assert server.service.counters.unauthenticated_requests == 1
    assert client.say(LOGIN) == b"STORED\r\n"
    assert not server.host.was_reset
    assert not server.service.broker.readonly


@pytest.mark.parametrize(
    "request_", [b"add q 0 0 10\r\n", b"cas q 0 0 10 5\r\n", b"ms q 10\r\n", b"append q 0 0 10\r\n"]
)
def test_the_body_of_a_refused_request_is_swallowed(request_: bytes) -> None:
    client = GatedServer().connect()
    assert client.say(request_ + b"get q\r\nabc\r\n" + LOGIN) == UNAUTHENTICATED + b"STORED\r\n"


def test_a_long_body_is_refused_and_swallowed_and_not_kept() -> None:
    server = GatedServer()
    client = server.connect()
    assert client.say(b"set auth 0 0 100000000\r\n") == b"CLIENT_ERROR bad authentication token format\r\n"
    for _ in range(1000):
        assert client.say(b"x" * 100_000) == b""
        assert kept(client.session) == 0
    assert client.say(b"\r\n" + LOGIN) == b"STORED\r\n"


@pytest.mark.parametrize("body", [b"", b"alice", b"alice ", b" secret", b" "])
def test_half_a_pair_is_refused(body: bytes) -> None:
    server = GatedServer()
    client = server.connect()
    line = b"set auth 0 0 %d\r\n%b\r\n" % (len(body), body)
    assert client.say(line + LOGIN) == b"CLIENT_ERROR bad authentication token format\r\nSTORED\r\n"


def test_a_password_may_have_spaces() -> None:
    server = GatedServer((user("admin=#", name="bob"), b"a long  pass phrase"))
    body = b"bob a long  pass phrase"
    assert server.connect().say(b"set auth 0 0 %d\r\n%b\r\n" % (len(body), body)) == b"STORED\r\n"


def test_a_long_line_closes() -> None:
    client = GatedServer().connect()
    assert client.say(b"set " + b"x" * 600) == b"CLIENT_ERROR line too long\r\n"
    assert client.session.closing


def test_a_body_without_its_end_closes() -> None:
    client = GatedServer().connect()
    assert client.say(b"set auth 0 0 5\r\nalice secret\r\n") == b"CLIENT_ERROR bad data chunk\r\n"
    assert client.session.closing


def test_patience_ends() -> None:
    client = GatedServer().connect()
    assert client.say(b"get q\r\n" * 20) == UNAUTHENTICATED * 8
    assert client.session.closing
    silent = GatedServer().connect()
    assert silent.say(b"delete q noreply\r\n" * 20) == b""
    assert silent.session.closing


def test_quit_closes() -> None:
    client = GatedServer().connect()
    assert client.say(b"quit\r\n" + LOGIN) == b""
    assert client.session.closing


def test_foreign_protocols_are_named() -> None:
    http, tls = GatedServer().connect(), GatedServer().connect()
    assert http.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    assert "HTTP" in http.session.complaint
    assert tls.say(b"\x16\x03\x01\x02\x00\x01") == b""
    assert "TLS" in tls.session.complaint


def test_where_too_many_wait_the_client_is_sent_away() -> None:
    server = GatedServer()
    server.doorkeeper.is_busy = True
    client = server.connect()
    assert client.say(LOGIN + b"version\r\n") == b"SERVER_ERROR too many attempts to authenticate, try again\r\n"
    assert client.session.closing
    binary = server.connect()
    assert responses(binary.say(plain(b"alice", b"secret")))[0].status == TEMPORARY_FAILURE
    assert binary.session.closing


def test_a_client_that_has_left_is_not_let_in() -> None:
    server = GatedServer()
    server.doorkeeper.hold = True
    client = server.connect()
    client.say(LOGIN + b"set q 0 0 1\r\na\r\n")
    client.session.close()
    server.doorkeeper.release()
    server.run()
    assert client.answers == b""
    assert client.session.user is None
    assert not server.service.broker.queues


def test_a_client_that_sends_no_more_gets_its_answers() -> None:
    server = GatedServer()
    server.doorkeeper.hold = True
    client = server.connect()
    client.say(LOGIN + b"set q 0 0 1\r\na\r\n")
    client.session.finish()
    server.doorkeeper.release()
    assert client.say(b"") == b"STORED\r\nSTORED\r\n"
    assert client.session.closing


def test_a_second_login_is_an_ordinary_set() -> None:
    server = GatedServer((user("reader=q", name="bob"), b"pw"))
    client = server.connect()
    login = b"set auth 0 0 6\r\nbob pw\r\n"
    assert client.say(login + login) == b"STORED\r\nCLIENT_ERROR not permitted, it needs writer=auth\r\n"


# -- binary -------------------------------------------------------------------------


def test_sasl_plain_lets_a_client_in() -> None:
    server = GatedServer()
    client = server.connect()
    assert responses(client.say(request("sasl_list", opaque=7))) == [
        Response(OPCODES["sasl_list"], 0, b"PLAIN", opaque=7)
    ]
    server.doorkeeper.hold = True
    assert client.say(plain(b"alice", b"secret", opaque=9) + storage("set", b"q", b"a") + request("get", b"q")) == b""
    server.doorkeeper.release()
    login, put, got = responses(client.say(b""))
    assert (login.status, login.value, login.opaque) == (0, b"Authenticated", 9)
    assert (put.status, got.value) == (0, b"a")


def test_sasl_names_the_identity_of_the_user_or_none() -> None:
    client = GatedServer().connect()
    assert responses(client.say(plain(b"alice", b"secret", identity=b"alice")))[0].status == 0
    other = GatedServer().connect()
    assert responses(other.say(plain(b"alice", b"secret", identity=b"root")))[0].status == AUTH_ERROR
    assert other.session.user is None


def test_a_wrong_pair_by_sasl_is_told_so_and_closed() -> None:
    server = GatedServer()
    client = server.connect()
    assert [each.status for each in responses(client.say(plain(b"alice", b"wrong") + request("get", b"q")))] == [
        AUTH_ERROR
    ]
    assert client.session.closing


@pytest.mark.parametrize("mechanism", [b"CRAM-MD5", b"", b"plain", b"x" * 200])
def test_other_mechanisms_are_refused(mechanism: bytes) -> None:
    client = GatedServer().connect()
    assert responses(client.say(request("sasl_auth", mechanism, b"\0alice\0secret")))[0].status == AUTH_ERROR
    assert responses(client.say(plain(b"alice", b"secret")))[0].status == 0


@pytest.mark.parametrize(
    "frame",
    [
        request("get", b"q"),
        request("getq", b"q"),
        storage("set", b"q", b"a"),
        storage("setq", b"q", b"a" * 5000),
        request("noop"),
        request("stat"),
        request("stat", b"reset"),
        request("flush"),
        request("sasl_step", b"PLAIN", b"\0alice\0secret"),
        request(0x99),
        request("sasl_auth", b"PLAIN", b"x" * 5000),
        request("sasl_auth", b"PLAIN", b"alice"),
    ],
)
def test_every_other_frame_is_refused(frame: bytes) -> None:
    server = GatedServer()
    client = server.connect()
    assert [each.status for each in responses(client.say(frame))] == [AUTH_ERROR]
    assert kept(client.session) == 0
    assert responses(client.say(plain(b"alice", b"secret")))[0].status == 0
    assert not server.service.broker.queues


@pytest.mark.parametrize("name", ["sasl_auth", "set", "get"])
def test_a_long_frame_is_refused_at_its_head_and_not_kept(name: str) -> None:
    client = GatedServer().connect()
    frame = request(name, b"PLAIN", b"\0alice\0" + b"x" * 1_000_000)
    assert [each.status for each in responses(client.say(frame[:500_000]))] == [AUTH_ERROR]
    assert kept(client.session) == 0
    assert client.say(frame[500_000:]) == b""
    assert responses(client.say(plain(b"alice", b"secret")))[0].status == 0


def test_the_version_is_told_as_memcached_does() -> None:
    client = GatedServer().connect()
    assert responses(client.say(request("version")))[0].value == b"1.2.3"


def test_a_binary_client_may_leave() -> None:
    loud, quiet = GatedServer().connect(), GatedServer().connect()
    assert responses(loud.say(request("quit")))[0].status == 0
    assert quiet.say(request("quitq")) == b""
    assert loud.session.closing
    assert quiet.session.closing


def test_patience_ends_for_binary_clients() -> None:
    client = GatedServer().connect()
    assert len(responses(client.say(request("get", b"q") * 20))) == 8
    assert client.session.closing


def test_without_users_sasl_is_unknown_and_clients_go_on_without() -> None:
    server = GatedServer()
    client = server.connect_as(None)
    assert responses(client.say(request("sasl_list")))[0].status == 0x81
    assert responses(client.say(storage("set", b"q", b"a")))[0].status == 0


# -- any bytes ------------------------------------------------------------------------


class Recorder:
    """A broker that tells what is asked of it."""

    def __init__(self, broker: Any) -> None:
        self.calls: list[str] = []
        self._broker = broker

    def __getattr__(self, name: str) -> Any:
        if name not in ("clock", "queues"):
            self.calls.append(name)
        return getattr(self._broker, name)


class NoQueues(dict[bytes, Any]):
    """Queues that nobody may look at."""

    def get(self, name: bytes, default: Any = None) -> Any:
        raise AssertionError(f"{name!r} was looked up")

    __getitem__ = __contains__ = __iter__ = get  # type: ignore[assignment]


def kept(session: Any) -> int:
    """Bytes that a session keeps."""
    return session.backlog_size + len(session._unfinished._before or b"")


LOGINS = st.sampled_from(
    [LOGIN, b"set auth 0 0 11\r\nalice wrong\r\n", plain(b"alice", b"wrong"), b"set a 0 0 512\r\n"]
)


@pytest.mark.plain
@settings(max_examples=500, deadline=None)
@given(
    st.lists(JUNK | FRAMES | LOGINS | st.binary(max_size=600), max_size=12),
    st.lists(st.integers(0, 10_000), max_size=6),
)
def test_whatever_is_sent_nothing_reaches_the_engine(pieces: list[bytes], cuts: list[int]) -> None:
    server = GatedServer()
    server.doorkeeper = Doorkeeper()  # who knows nobody
    broker = server.service.broker
    recorder = Recorder(broker)
    server.service.broker = recorder  # type: ignore[assignment]
    client = server.connect()
    client.session.queues = NoQueues()
    client.session.is_local = True
    whole = b"".join(pieces)
    for part in cut(whole, cuts):
        client.say(part)
        if not client.session.closing:
            assert kept(client.session) <= 1024 + 24
    assert client.session.user is None
    assert not client.session.is_admitted
    assert recorder.calls == []
    assert not broker.queues
    assert not server.host.was_reset
    assert server.host.verbosity == []
    assert not server.service.requests.known


@settings(max_examples=300, deadline=None)
@given(st.lists(JUNK | FRAMES | LOGINS, max_size=10), st.lists(st.integers(0, 10_000), max_size=6))
def test_how_it_is_cut_makes_no_difference(pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pieces)
    whole, split = GatedServer().connect(), GatedServer().connect()
    answers = whole.say(data)
    for part in cut(data, cuts):
        split.send(part)
    assert split.say(b"") == answers
    assert whole.session.closing == split.session.closing
    assert whole.session.is_admitted == split.session.is_admitted


def test_while_the_password_is_checked_little_is_kept() -> None:
    server = GatedServer()
    server.doorkeeper.hold = True
    client = server.connect()
    client.say(LOGIN)
    assert client.paused  # so that nothing more arrives than what was on its way
    client.send(b"x" * 1000)
    assert client.session.backlog_size <= MAX_BACKLOG
