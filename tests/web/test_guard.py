"""Who gets at the web application: hosts, pages of other sites, methods, ports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from redqueue.access.authenticator import Authenticator
from redqueue.access.passwords import hash_password
from redqueue.access.users import parse_users
from redqueue.config.kinds import BadOption
from redqueue.config.load import load
from redqueue.server.health import Health
from redqueue.server.web import application
from redqueue.server.web.access import AllowedHosts
from redqueue.server.web.application import WebServer
from redqueue.server.web.handler import Handler, Refusal
from redqueue.server.web.site import Site
from tests.server_process import ServerProcess, run_server, wait_until
from tests.web.api import CHANGE, Api


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost.:99", 200),
        ("127.0.0.1:80", 200),
        ("10.1.2.3", 200),
        ("[::1]:80", 200),
        (socket.gethostname(), 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example:80", 421),
    ],
)
def test_only_this_servers_names_are_answered(api: Api, host: str, status: int) -> None:
    assert api.send("GET", "/api/server", headers={"Host": host})[0] == status
    assert api.send("GET", "/livez", headers={"Host": host})[0] == 200


def test_more_names_can_be_allowed() -> None:
    hosts = AllowedHosts("queue.internal", "a.example, B.example")
    assert all(map(hosts.has, ("queue.internal:1", "a.example", "b.example:80", "b.EXAMPLE")))
    assert not any(map(hosts.has, ("c.example", "", "example", ":80")))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {**CHANGE, "Origin": "http://evil.example"},
        {**CHANGE, "Origin": "null"},
        {**CHANGE, "Sec-Fetch-Site": "cross-site"},
        {**CHANGE, "Sec-Fetch-Site": "same-site"},
    ],
    ids=["no header", "origin", "null", "cross-site", "same-site"],
)
def test_a_page_of_another_site_changes_nothing(api: Api, queue: str, headers: dict[str, str]) -> None:
    path = f"/api/queues/{queue}/items"
    status, found = api.try_to("POST", path, {"payload": "x"}, headers)
    assert status == 403
    assert found["error"]
    assert api.try_to("DELETE", f"/api/queues/{queue}", None, headers)[0] == 403
    assert api.try_to("GET", f"/api/queues/{queue}")[0] == 404


def test_a_page_of_this_server_may(api: Api, web_server: ServerProcess, queue: str) -> None:
    headers = {**CHANGE, "Origin": web_server.url.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert api.try_to("POST", f"/api/queues/{queue}/items", {"payload": "x"}, headers)[0] == 201


@pytest.mark.parametrize("path", ["/api/server", "/api/nothing", "/livez"])
def test_every_answer_has_the_headers_that_keep_browsers_safe(api: Api, path: str) -> None:
    _, headers, body = api.send("GET", path)
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-type"].startswith("application/json")
    assert json.loads(body)


def test_a_method_that_is_not_there_is_refused_with_those_that_are(api: Api, queue: str) -> None:
    for method, path, allowed in (
        ("PUT", f"/api/queues/{queue}", "GET, HEAD, DELETE"),
        ("GET", f"/api/queues/{queue}/pause", "POST"),
        ("HEAD", f"/api/queues/{queue}/pause", "POST"),
        ("POST", "/api/server", "GET, HEAD"),
        ("OPTIONS", "/api/queues", "GET, HEAD"),
    ):
        status, headers, _ = api.send(method, path, headers=CHANGE)
        assert (status, headers["allow"]) == (405, allowed)


def test_head_is_get_without_the_body(api: Api) -> None:
    status, headers, body = api.send("HEAD", "/api/queues")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


def test_a_body_that_is_refused_is_not_read(api: Api, web_server: ServerProcess) -> None:
    host, _, port = web_server.url.removeprefix("http://").rstrip("/").rpartition(":")
    with socket.create_connection((host, int(port)), 20) as sock:
        head = b"POST /api/queues/q/items HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"
        sock.sendall(head)
        assert sock.recv(1000).startswith(b"HTTP/1.1 403 ")


def test_the_port_may_be_taken(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", http_port="any") as server:
        port = server.url.rstrip("/").rpartition(":")[2]
        done = run_server("--port=0", f"--http_port={port}", f"--logdir={tmp_path / 'other'}")
        assert done.returncode == 1
        assert f"cannot start: 127.0.0.1:{port}: " in done.stderr
        assert "--http_port" in done.stderr
        assert "Traceback" not in done.stderr


def test_another_server_on_the_same_journal_is_told_of_that_first(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", http_port="any") as server:
        port = server.url.rstrip("/").rpartition(":")[2]
        done = run_server("--port=0", f"--http_port={port}", f"--logdir={tmp_path / 'log'}")
        assert done.returncode == 1
        assert "--http_port" not in done.stderr


def test_without_a_port_there_is_no_web_page(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", http_port=0) as server:
        assert "web page" not in server.log
        process = Path(f"/proc/{server.process.pid}")
        sockets = {os.readlink(file) for file in (process / "fd").iterdir()}
        rows = [line.split() for line in (process / "net/tcp").read_text().splitlines()[1:]]
        listening = [row for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]
        assert len(listening) == 1  # the one for memcache clients


Visit = Callable[[Site, Callable[..., Awaitable[HTTPResponse]]], Awaitable[None]]


def visit(scenario: Visit) -> None:
    """Run a scenario with a web server, in this process, that has no engine behind it yet, and a client of it."""

    async def run() -> None:
        site = Site(load(["--http_port=any"], {}).options, Health())
        web = WebServer(site)
        web.listen()
        client = AsyncHTTPClient()

        async def fetch(path: str, **arguments: object) -> HTTPResponse:
            return await client.fetch(web.address + path, raise_error=False, **arguments)

        try:
            await scenario(site, fetch)
        finally:
            web.close()
            client.close()

    asyncio.run(run())


def test_while_the_journal_is_replayed_only_the_probes_answer() -> None:
    async def scenario(site: Site, fetch: Callable[..., Awaitable[HTTPResponse]]) -> None:
        site.health.replaying(37, 100)
        for path, status, words in (
            ("livez", 200, '"ok": true'),
            ("readyz", 503, '["replaying the journal: 37 %"]'),
            ("api/queues", 503, '"error": "replaying the journal: 37 %"'),
            ("api/nothing", 404, "nothing is here"),
        ):
            answer = await fetch(path)
            assert answer.code == status
            assert words in answer.body.decode()

    visit(scenario)


def test_where_there_are_users_they_have_to_say_who_they_are() -> None:
    secret = hash_password(b"secret", ln=4, r=8, p=1)
    lines = f"root {secret} admin=#\nreader {secret} reader=a.*\nwriter {secret} writer=a.b\nall {secret} reader=#\n"
    change = {**CHANGE, "Content-Type": "application/json"}

    async def scenario(site: Site, fetch: Callable[..., Awaitable[HTTPResponse]]) -> None:
        users = parse_users(lines, "users")
        site.authenticator = Authenticator(users, asyncio.get_running_loop().call_soon_threadsafe)

        async def code(path: str, name: str = "", password: str = "secret", method: str = "GET") -> int:
            who = {"auth_username": name, "auth_password": password} if name else {}
            more = {} if method == "GET" else {"method": method, "headers": change}
            body = {"body": "{}"} if method == "POST" else {}
            return (await fetch(path, **who, **more, **body)).code

        up = 503  # who is let in is told that the server is still starting
        refused = await fetch("api/queues")
        assert (refused.code, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="RedQueue", charset="UTF-8"')
        assert await code("api/queues", "root", "wrong") == 401
        assert await code("api/queues", "nobody") == 401
        for header in ("Basic", "Basic x", "Basic cm9vdA==", "Bearer cm9vdDpzZWNyZXQ=", "Basic /zrv"):
            assert (await fetch("api/queues", headers={"Authorization": header})).code == 401
        assert (await fetch("livez")).code == 200
        assert await code("api/queues", "root") == await code("api/queues", "reader") == up
        assert await code("api/queues/a.b", "reader") == await code("api/queues/b", "root") == up
        assert await code("api/queues/b", "reader") == await code("api/queues/a.b", "writer") == 403
        assert await code("api/queues/a.b/items", "reader") == up
        assert await code("api/queues/a.b/items", "reader", method="POST") == 403
        assert await code("api/queues/a.b/items", "writer", method="POST") == up
        for path in ("api/queues/a.b/pause", "api/queues/a.b/redrive", "api/server/readonly"):
            assert await code(path, "writer", method="POST") == await code(path, "all", method="POST") == 403
            assert await code(path, "root", method="POST") == up
        assert await code("api/queues/a.b", "reader", method="DELETE") == 403
        assert await code("api/connections", "reader") == await code("api/journal", "reader") == 403
        assert await code("api/connections", "all") == await code("api/journal", "root") == up
        site.authenticator.close()

    visit(scenario)


def test_a_defect_in_a_handler_is_answered_and_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Handler):
        needs_engine = False

        async def get(self) -> None:
            raise RuntimeError("made for this test")

    class Refusing(Handler):
        needs_engine = False

        async def get(self) -> None:
            raise Refusal(418, "100 % tea")

    async def scenario(site: Site, fetch: Callable[..., Awaitable[HTTPResponse]]) -> None:
        answer = await fetch("broken")
        assert (answer.code, json.loads(answer.body)) == (500, {"error": "a defect in the server; its log says more"})
        answer = await fetch("refusing")
        assert (answer.code, json.loads(answer.body)) == (418, {"error": "100 % tea"})

    monkeypatch.setattr(application, "API", (("/broken", Broken), ("/refusing", Refusing)))
    visit(scenario)
    assert "made for this test" in caplog.text


@pytest.mark.parametrize("text", ["http", "-1", "65536", "1.5", ""])
def test_a_bad_port_is_refused(text: str) -> None:
    with pytest.raises(BadOption, match=r"--http_port wants a port from 1 to 65535, any for any free one, or 0"):
        load([f"--http_port={text}"], {})


def test_where_descriptors_run_out_visitors_wait_and_the_server_goes_on(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", http_port="any") as server, server.connect() as wire:
        assert wire.put(b"q", b"x") == b"STORED"  # it is taken in
        before = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        files = len(os.listdir(f"/proc/{server.process.pid}/fd"))
        place = ("127.0.0.1", server.http_port)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (files, before[1]))
        with socket.create_connection(place, 20) as visitor:
            visitor.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_until(lambda: "no new clients can be taken in" in server.log)
            assert wire.put(b"q", b"x") == b"STORED"
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, before)
            assert visitor.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert Api(server.url).get("/livez") == {"ok": True}


def test_visitors_take_no_room_from_clients_of_queues(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", http_port="any") as server, contextlib.ExitStack() as stack:
        place = ("127.0.0.1", server.http_port)
        visitors = [
            stack.enter_context(socket.create_connection(place, 20)) for _ in range(application.MOST_CLIENTS + 5)
        ]
        refused = [visitor for visitor in visitors[application.MOST_CLIENTS :] if visitor.recv(1) == b""]
        assert len(refused) == 5
        with server.connect() as wire:
            assert wire.put(b"q", b"x") == b"STORED"
        visitors[0].close()
        wait_until(lambda: is_answered(server))


def is_answered(server: ServerProcess) -> bool:
    """Whether a new visitor is."""
    try:
        return Api(server.url).send("GET", "/livez")[0] == 200
    except OSError:
        return False
