"""The command and a server that wants to know who asks: passwords, roles, TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Certificates
from tests.cli.live import Live, terminal
from tests.users_file import write_users


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with an admin, and with users for the queue jobs only."""
    directory = tmp_path_factory.mktemp("gated")
    users = write_users(
        directory / "users", root="secret admin=#", boss="pässword writer=jobs", worker="hush reader=jobs"
    )
    with Live(directory / "journal", users=users) as server:
        yield server


def test_nobody(gated: Live) -> None:
    done = gated.redqueue("stats", status=2)
    assert done.stderr == "redqueue: the server says: CLIENT_ERROR unauthenticated; --user says who asks\n"


def test_a_password_from_the_environment_and_from_a_file(gated: Live, tmp_path: Path) -> None:
    assert "curr_items" in gated.redqueue("stats", "--user=root", REDQUEUE_PASSWORD="secret").stdout
    assert "curr_items" in gated.redqueue("stats", REDQUEUE_LOGIN="root", REDQUEUE_PASSWORD="secret").stdout
    path = tmp_path / "password"
    path.write_text("secret\nand more\n")
    gated.redqueue("stats", "--user=root", f"--password-file={path}", REDQUEUE_PASSWORD="wrong")
    assert "a password is needed" in gated.redqueue("stats", "--user=root", status=2).stderr


def test_a_wrong_password(gated: Live) -> None:
    done = gated.redqueue("stats", "--user=root", REDQUEUE_PASSWORD="wrong", status=2)
    assert done.stderr == "redqueue: the server says: CLIENT_ERROR authentication failure\n"


def test_a_password_that_is_asked_for(gated: Live) -> None:
    with terminal(gated, "readonly", "off", "--user=root") as shown:
        shown.wait_for("password of root: ")
        shown.press(b"secret\n")
        assert shown.end() == 0
        text = shown.read()
    assert "the server takes items" in text
    assert "secret" not in text


def test_each_does_what_is_theirs(gated: Live) -> None:
    boss = {"REDQUEUE_LOGIN": "boss", "REDQUEUE_PASSWORD": "pässword"}
    worker = {"REDQUEUE_LOGIN": "worker", "REDQUEUE_PASSWORD": "hush"}
    root = {"REDQUEUE_LOGIN": "root", "REDQUEUE_PASSWORD": "secret"}
    assert gated.redqueue("put", "jobs", "a", "b", **boss).stdout == "2 items stored in jobs\n"
    done = gated.redqueue("put", "other", "a", status=1, **boss)
    assert "the server says: CLIENT_ERROR" in done.stderr
    gated.redqueue("put", "other", "x", **root)
    assert gated.redqueue("queues", "--names", **worker).stdout == "jobs\n"
    assert gated.redqueue("queues", "--names", **root).stdout == "jobs\nother\n"
    assert gated.redqueue("take", "jobs", **worker).stdout == "a\n"
    assert gated.redqueue("take", "jobs", "--all", "--exec=cat", **worker).stdout == "b"
    done = gated.redqueue("take", "other", "--exec=cat", status=2, **worker)
    assert "the server says: CLIENT_ERROR" in done.stderr
    assert "the server says: CLIENT_ERROR" in gated.redqueue("drop", "other", "--yes", status=2, **worker).stderr
    gated.redqueue("drop", "other", "--yes", **root)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def encrypted(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server that is reached by TLS."""
    directory = tmp_path_factory.mktemp("encrypted")
    with Live(
        directory / "journal", tls_cert=certificates.cert, tls_key=certificates.key, tls_client_ca=certificates.ca
    ) as server:
        yield server


def test_tls_with_a_certificate_of_the_client(encrypted: Live, certificates: Certificates, tmp_path: Path) -> None:
    issued = certificates.authority.issue_cert("client@example.org", common_name="ann")
    both = tmp_path / "client.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(both))
    options = (f"--ca-file={certificates.ca}", f"--cert={both}")
    encrypted.redqueue("put", "jobs", "a", *options)
    assert encrypted.redqueue("take", "jobs", *options).stdout == "a\n"
    data = b"".join(b"%d\n" % i for i in range(3000))
    assert "3000 items stored" in encrypted.redqueue("put", "jobs", *options, data=data).stdout
    assert encrypted.redqueue("bench", "-n", "100", *options).returncode == 0
    assert encrypted.redqueue("move", "jobs", "other", *options).returncode == 0


def test_tls_with_a_stranger(encrypted: Live, certificates: Certificates, tmp_path: Path) -> None:
    path = tmp_path / "stranger.pem"
    certificates.stranger.cert_pem.write_to_path(str(path))
    done = encrypted.redqueue("stats", f"--ca-file={path}", status=2)
    assert "its certificate is not trusted" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = encrypted.redqueue("stats", "--tls", f"--cert={certificates.ca}", status=2)
    assert "is no certificate with its key" in done.stderr


def test_no_tls_where_it_is_wanted(encrypted: Live) -> None:
    done = encrypted.redqueue("stats", status=2)
    assert len(done.stderr.splitlines()) == 1
