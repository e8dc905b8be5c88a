"""TLS: with whom it is spoken, with which certificate, and what is said where it comes to nothing."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.certificates import Certificates
from tests.documents import free_port
from tests.server_process import ServerProcess, Wire, run_server, wait_until
from tests.users_file import write_users


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates that no test changes."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


class Secured(Wire):
    """A connection that speaks TLS."""

    def __init__(self, port: int, context: ssl.SSLContext, timeout: float = 10.0) -> None:
        super().__init__("127.0.0.1", port, timeout)
        self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")

    @property
    def certificate(self) -> bytes:
        """The server's, in PEM."""
        der = self.socket.getpeercert(binary_form=True)  # type: ignore[attr-defined]
        return ssl.DER_cert_to_PEM_cert(der).encode()


def server_with(tmp_path: Path, made: Certificates, **options: object) -> ServerProcess:
    return ServerProcess(tmp_path / "log", **{"tls_cert": made.cert, "tls_key": made.key, **options})


def is_refused(port: int, context: ssl.SSLContext) -> bool:
    """Whether a client is not let in: with TLS 1.3 it learns so only when it reads."""
    try:
        with Secured(port, context) as wire:
            wire.send(b"version\r\n")
            return not wire.line().startswith(b"VERSION")
    except (ssl.SSLError, ConnectionError):
        return True


def test_the_port_speaks_tls(tmp_path: Path, certificates: Certificates) -> None:
    with server_with(tmp_path, certificates) as server, Secured(server.port, certificates.client()) as wire:
        server.says(f"TLS is spoken on 127.0.0.1:{server.port}")
        assert wire.put(b"q", b"x" * 100_000) == b"STORED"
        assert wire.get(b"q") == [(b"q", 0, b"x" * 100_000)]
        assert wire.ask(b"delete q") == b"DELETED"
        assert wire.ask(b"pause q") == b"OK"  # it is on this machine
        assert wire.ask(b"quit") == b""


def test_many_replies_at_once_and_waiting_gets(tmp_path: Path, certificates: Certificates) -> None:
    with server_with(tmp_path, certificates) as server:
        context = certificates.client()
        with Secured(server.port, context) as worker, Secured(server.port, context) as boss:
            boss.send(b"".join(b"set q 0 0 5\r\n%05d\r\n" % n for n in range(2000)))
            assert {boss.line() for _ in range(2000)} == {b"STORED"}
            worker.send(b"get q/close/open\r\n" * 2000)
            for number in range(2000):
                assert worker.line() == b"VALUE q/close/open 0 5"
                assert worker.line() == b"%05d" % number
                assert worker.line() == b"END"
            worker.ask(b"delete q")
            worker.send(b"get q/t=10000\r\n")
            boss.put(b"q", b"late")
            assert worker.line() == b"VALUE q/t=10000 0 4"


def test_certificate_and_key_may_be_one_file_and_there_may_be_a_plain_port(
    tmp_path: Path, certificates: Certificates
) -> None:
    port = free_port()
    with (
        ServerProcess(tmp_path / "log", tls_cert=certificates.both, tls_port=port) as server,
        server.connect() as plain,
        Secured(port, certificates.client()) as secured,
    ):
        assert plain.put(b"q", b"a") == b"STORED"
        assert secured.get(b"q") == [(b"q", 0, b"a")]


def test_a_client_of_the_openssl_command_is_served(tmp_path: Path, certificates: Certificates) -> None:
    with server_with(tmp_path, certificates) as server:
        command = ["openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile"]
        done = subprocess.run(
            [*command, certificates.ca, "-connect", f"127.0.0.1:{server.port}"],
            input=b"version\r\nquit\r\n",
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert done.stdout.startswith(b"VERSION ")
        with Secured(server.port, certificates.client()) as wire:
            wire.socket.unwrap()  # type: ignore[attr-defined]
        with Secured(server.port, certificates.client()) as wire:
            wait_until(lambda: wire.stats()["curr_connections"] == "1")
        assert "WARNING" not in server.log


def test_who_speaks_plain_text_is_told_off_in_the_log(tmp_path: Path, certificates: Certificates) -> None:
    with server_with(tmp_path, certificates) as server:
        with server.connect() as wire:
            wire.send(b"get q\r\n")
            assert not wire.rest().startswith(b"END")
        wait_until(lambda: "TLS handshake failed: it does not speak TLS, and this port does" in server.log)
        server.says("127.0.0.1")
        with server.connect() as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            wire.rest()
        for _ in range(30):
            with server.connect() as wire:
                wire.send(b"version\r\n")
                wire.rest()
        assert server.log.count("TLS handshake failed") <= 2


def test_a_handshake_that_does_not_end_is_ended(tmp_path: Path, certificates: Certificates) -> None:
    with server_with(tmp_path, certificates, auth_timeout="300ms") as server:
        silent, half = server.connect(), server.connect()
        half.send(b"\x16\x03\x01\x02\x00\x01\x00")
        assert silent.rest() == b""
        half.rest()
        wait_until(lambda: "TLS handshake failed: it took too long" in server.log)
        with Secured(server.port, certificates.client()) as wire:
            assert wire.stats()["curr_connections"] == "1"


def test_only_versions_that_are_allowed(tmp_path: Path, certificates: Certificates) -> None:
    old, newer = certificates.client(), certificates.client()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with server_with(tmp_path, certificates, tls_min_version="1.3") as server:
        assert is_refused(server.port, old)
        assert not is_refused(server.port, newer)


def test_clients_see_that_another_authority_vouches(tmp_path: Path, certificates: Certificates) -> None:
    with server_with(tmp_path, certificates) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            Secured(server.port, certificates.client(trusts=certificates.stranger))
        wait_until(lambda: "TLS handshake failed: tlsv1 alert unknown ca" in server.log)


def test_clients_need_a_certificate_where_that_is_asked_for(tmp_path: Path, certificates: Certificates) -> None:
    with server_with(tmp_path, certificates, tls_client_ca=certificates.ca) as server:
        assert is_refused(server.port, certificates.client())
        wait_until(lambda: "peer did not return a certificate" in server.log)
        assert not is_refused(server.port, certificates.client("somebody"))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("stranger", "its certificate was refused: "),
        ("expired", "its certificate was refused: certificate has expired"),
    ],
)
def test_certificates_of_clients_must_be_good(
    tmp_path: Path, certificates: Certificates, kind: str, reason: str
) -> None:
    authority = certificates.stranger if kind == "stranger" else None
    context = certificates.client("somebody", authority=authority, expired=kind == "expired")
    with server_with(tmp_path, certificates, tls_client_ca=certificates.ca) as server:
        assert is_refused(server.port, context)
        wait_until(lambda: reason in server.log)


def test_a_certificate_may_name_a_user(tmp_path: Path, certificates: Certificates) -> None:
    users = write_users(tmp_path / "users", worker="unused reader=jobs", alice="secret admin=#")
    options = {"users": users, "tls_client_ca": certificates.ca, "tls_client_user": "yes"}
    with server_with(tmp_path, certificates, **options) as server:
        with Secured(server.port, certificates.client("worker")) as worker:
            assert worker.ask(b"get jobs") == b"END"
            assert worker.ask(b"get other") == b"CLIENT_ERROR not permitted, it needs reader=other"
        with Secured(server.port, certificates.client("nobody")) as stranger:
            assert stranger.ask(b"get jobs") == b"CLIENT_ERROR unauthenticated"
            assert stranger.put(b"auth", b"alice secret") == b"STORED"
            assert stranger.ask(b"get jobs") == b"END"
        users.write_text("".join(line for line in users.read_text().splitlines(True) if "worker" not in line))
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reload: done" in server.log)
        with Secured(server.port, certificates.client("worker")) as worker:
            assert worker.ask(b"get jobs") == b"CLIENT_ERROR unauthenticated"


def test_passwords_over_tls(tmp_path: Path, certificates: Certificates) -> None:
    users = write_users(tmp_path / "users", alice="secret admin=#")
    with server_with(tmp_path, certificates, users=users) as server:
        with Secured(server.port, certificates.client()) as wire:
            assert wire.put(b"auth", b"alice secret") == b"STORED"
            assert wire.put(b"q", b"a") == b"STORED"
        with Secured(server.port, certificates.client()) as wire:
            assert wire.put(b"auth", b"alice wrong") == b"CLIENT_ERROR authentication failure"


def test_new_certificates_come_with_a_reload_and_old_connections_go_on(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    with server_with(tmp_path, made) as server:
        before = made.cert.read_bytes()
        old = Secured(server.port, made.client())
        assert old.certificate.strip() in before
        renewed = made.renew()
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reload: done" in server.log)
        assert old.ask(b"version").startswith(b"VERSION")
        with Secured(server.port, made.client()) as wire:
            assert wire.certificate.strip() == renewed.strip()
        made.key.write_bytes(Certificates(_sub(tmp_path)).key.read_bytes())
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reload: nothing has changed" in server.log)
        server.says("the private key of the certificate in")
        with Secured(server.port, made.client()) as wire:
            assert wire.certificate.strip() == renewed.strip()


def _sub(tmp_path: Path) -> Path:
    directory = tmp_path / "other"
    directory.mkdir()
    return directory


def test_bad_files_stop_the_start_and_say_what_is_wanted(tmp_path: Path, certificates: Certificates) -> None:
    other = Certificates(_sub(tmp_path))
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "pkey", "-in", certificates.key, "-aes128", "-passout", "pass:x", "-out", locked], check=True
    )
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    cert, key, missing = certificates.cert, certificates.key, tmp_path / "missing"
    for options, reason in (
        ([f"--tls_cert={missing}"], "--tls_cert wants a file that can be read"),
        ([f"--tls_cert={cert}"], "--tls_cert wants a file in PEM with the private key, or tls_key=FILE with it"),
        ([f"--tls_cert={key}", f"--tls_key={key}"], "--tls_cert wants a file in PEM with the certificate"),
        ([f"--tls_cert={cert}", f"--tls_key={other.key}"], "--tls_key wants the private key of the certificate in"),
        ([f"--tls_cert={cert}", f"--tls_key={locked}"], "--tls_key wants a private key without a passphrase"),
        ([f"--tls_cert={nonsense}", f"--tls_key={key}"], "wants a certificate and its key that can be used"),
        ([f"--tls_key={key}"], "--tls_key wants tls_cert to be set, too"),
        (["--tls_port=12399"], "--tls_port wants tls_cert to be set, too"),
        (
            [f"--tls_cert={cert}", f"--tls_key={key}", f"--tls_client_ca={nonsense}"],
            "--tls_client_ca wants certificates that can be used",
        ),
        (
            [f"--tls_cert={cert}", f"--tls_key={key}", f"--tls_client_ca={missing}"],
            "--tls_client_ca wants a file that can be read",
        ),
        (
            [f"--tls_cert={cert}", f"--tls_key={key}", "--tls_client_user=yes"],
            "wants tls_client_ca and users to be set",
        ),
        ([f"--tls_cert={cert}", f"--tls_key={key}", "--port=1234", "--tls_port=1234"], "wants another port than port"),
    ):
        done = run_server("--check-config", *options)
        assert done.returncode == 2, (options, done.stderr)
        assert reason in done.stderr
    assert run_server("--check-config", f"--tls_cert={cert}", f"--tls_key={key}").returncode == 0
    assert run_server(f"--tls_cert={missing}", f"--logdir={tmp_path / 'log'}", "--port=0").returncode == 2


def test_the_end_does_not_wait_for_handshakes(tmp_path: Path, certificates: Certificates) -> None:
    with server_with(tmp_path, certificates) as server:
        half = server.connect()
        half.send(b"\x16\x03\x01\x02\x00\x01\x00")
        with Secured(server.port, certificates.client()) as wire:
            assert wire.put(b"q", b"a") == b"STORED"
            assert server.stop() == 0


def test_a_client_that_leaves_in_the_middle_harms_nobody(tmp_path: Path, certificates: Certificates) -> None:
    with server_with(tmp_path, certificates) as server:
        for size in (0, 1, 5, 100):
            sock = socket.create_connection(("127.0.0.1", server.port))
            sock.sendall((b"\x16\x03\x01\x02\x00\x01\x00" + bytes(100))[:size])
            sock.close()
        with Secured(server.port, certificates.client()) as wire:
            wait_until(lambda: wire.stats()["curr_connections"] == "1")
        assert "Traceback" not in server.log
