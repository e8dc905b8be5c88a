"""A client of the JSON API."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

CHANGE = {"X-RedQueue-Request": "1"}


class Api:
    """Requests to the web server at ``url``, one connection each."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url).netloc

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers with their names in small letters, and body of an answer."""
        connection = http.client.HTTPConnection(self._place, timeout=20)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def ask(self, method: str, path: str, fields: object = None, headers: Mapping[str, str] = CHANGE) -> Any:
        """The JSON that is answered, which must be a success."""
        status, found = self.try_to(method, path, fields, headers)
        assert status in (200, 201), (path, status, found)
        return found

    def try_to(self, method: str, path: str, fields: object = None, headers: Mapping[str, str] = CHANGE) -> Any:
        """Status and JSON of an answer."""
        body = None if fields is None else json.dumps(fields).encode()
        if body is not None:
            headers = {"Content-Type": "application/json", **headers}
        status, _, answer = self.send(method, path, body, headers)
        return status, json.loads(answer)

    def get(self, path: str) -> Any:
        """GET, which must be a success."""
        return self.ask("GET", path, headers={})

    def post(self, path: str, **fields: object) -> Any:
        """POST, which must be a success."""
        return self.ask("POST", path, fields)
