"""The web page with users and with TLS: the same users, roles and certificates as for memcache clients."""

from __future__ import annotations

import http.client
import json
import signal
import ssl
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.certificates import Certificates
from tests.server_process import ServerProcess, wait_until
from tests.users_file import write_users


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[ServerProcess]:
    """A server with users that speaks TLS on all ports."""
    directory = tmp_path_factory.mktemp("secured")
    users = write_users(
        directory / "users", alice="secret admin=#", worker="reads reader=jobs.#", boss="writes writer=jobs.#"
    )
    options = {"users": users, "tls_cert": certificates.cert, "tls_key": certificates.key, "http_port": "any"}
    with ServerProcess(directory / "log", **options) as process:
        yield process


def ask(
    server: ServerProcess, context: ssl.SSLContext, method: str, path: str, who: str = "", fields: object = None
) -> tuple[int, Any, http.client.HTTPResponse]:
    """Status, JSON and response of a request by ``name:password``."""
    connection = http.client.HTTPSConnection(urlsplit(server.url).netloc, timeout=20, context=context)
    headers = {"X-RedQueue-Request": "1", "Content-Type": "application/json"}
    if who:
        headers["Authorization"] = "Basic " + b64encode(who.encode()).decode()
    connection.request(method, path, None if fields is None else json.dumps(fields), headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, json.loads(body), response


def test_its_address_says_https(server: ServerProcess) -> None:
    assert server.url.startswith("https://127.0.0.1:")


def test_it_asks_who_one_is(server: ServerProcess, certificates: Certificates) -> None:
    context = certificates.client()
    for who in ("", "alice:wrong", "nobody:secret"):
        status, found, response = ask(server, context, "GET", "/api/queues", who)
        assert status == 401
        assert (response.getheader("WWW-Authenticate") or "").startswith("Basic")
        assert "queues" not in found
    assert ask(server, context, "GET", "/api/queues", "alice:secret")[0] == 200
    assert ask(server, context, "GET", "/livez")[0] == 200


def test_roles_are_those_of_the_file(server: ServerProcess, certificates: Certificates) -> None:
    context = certificates.client()
    item = {"payload": "hello"}
    assert ask(server, context, "POST", "/api/queues/jobs.a/items", "worker:reads", item)[0] == 403
    assert ask(server, context, "POST", "/api/queues/other/items", "boss:writes", item)[0] == 403
    assert ask(server, context, "POST", "/api/queues/jobs.a/items", "boss:writes", item)[0] in (200, 201)
    assert ask(server, context, "POST", "/api/queues/other/items", "alice:secret", item)[0] in (200, 201)
    assert ask(server, context, "GET", "/api/queues/jobs.a/items?state=ready", "boss:writes")[0] == 403
    status, found, _ = ask(server, context, "GET", "/api/queues/jobs.a/items?state=ready", "worker:reads")
    assert (status, found["total"]) == (200, 1)
    names = [row["name"] for row in ask(server, context, "GET", "/api/queues", "worker:reads")[1]["queues"]]
    assert names == ["jobs.a"]
    assert ask(server, context, "POST", "/api/queues/jobs.a/pause", "boss:writes", {})[0] == 403
    assert ask(server, context, "POST", "/api/queues/jobs.a/pause", "alice:secret", {})[0] == 200


def test_certificates_come_anew_with_a_reload(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    options = {"tls_cert": made.cert, "tls_key": made.key, "http_port": "any"}
    with ServerProcess(tmp_path / "log", **options) as server:
        host, _, port = urlsplit(server.url).netloc.partition(":")
        context = made.client()
        assert ssl.get_server_certificate((host, int(port))).strip() in made.cert.read_text()
        renewed = made.renew().decode().strip()
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reload: done" in server.log)
        assert ssl.get_server_certificate((host, int(port))).strip() == renewed
        assert ask(server, context, "GET", "/livez")[0] == 200


def test_a_web_page_that_others_can_reach_is_warned_of(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", http_port="any", http_host="0.0.0.0") as server:
        wait_until(lambda: "hot modules" in server.log)
        server.says("whoever can reach http://0.0.0.0:")
