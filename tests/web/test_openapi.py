"""The description of the API is that of the API: paths, methods, answers, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from openapi_spec_validator import OpenAPIV31SpecValidator

from redqueue.server.web.application import API
from redqueue.server.web.handler import CHANGE_HEADER, Handler
from redqueue.server.web.openapi import document
from tests.server_process import ServerProcess
from tests.web.api import Api


def test_it_is_openapi() -> None:
    OpenAPIV31SpecValidator(document()).validate()


def test_every_route_is_described_and_no_other() -> None:
    routes = {}
    for path, handler in API:
        assert issubclass(handler, Handler)
        routes[path.replace("([^/]+)", "{queue}")] = {name.lower() for name in handler.methods()} - {"head"}
    described = {path: set(each) - {"parameters"} for path, each in document()["paths"].items()}
    assert routes == described


def test_it_is_served(api: Api) -> None:
    assert api.get("/api/openapi.json") == document()


def test_answers_are_as_described_whatever_is_asked(tmp_path: Path) -> None:
    """Schemathesis sends what the description allows, and what it does not, and looks at what comes back."""
    with ServerProcess(tmp_path / "log", http_port="any") as server, server.connect() as wire:
        for name in (b"jobs", b"jobs.dead"):
            wire.put(name, b"x")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--no-color"),
                *("run", f"{server.url}api/openapi.json", f"--header={CHANGE_HEADER}: 1"),
                *("--checks=all", "--max-examples=5", "--seed=1", "--generation-database=none"),
                "--exclude-path=/readyz",  # it says 503 while the server is drained, as it is in between
            ],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert server.process.poll() is None
        assert "Traceback" not in server.log
