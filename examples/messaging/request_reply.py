"""Request and reply (RPC) over two queues: one of requests, and one of replies that only the caller reads."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable
from typing import Any

import memcache

REPLY_LIVES_SECONDS = 60


class NoReply(Exception):
    """Nobody has answered in time, or the request could not be put on its queue."""


class RemoteError(Exception):
    """The service has answered with an error."""


class Caller:
    """Asks the service that reads ``queue``. For one thread.

    :ivar replies: the private queue that the answers come to
    """

    def __init__(self, redqueue: str, queue: str) -> None:
        self._client = memcache.Client([redqueue], dead_retry=1)
        self._queue = queue
        self.replies = f"replies.{uuid.uuid4().hex}"

    def call(self, body: Any, timeout: float = 5.0) -> Any:
        """Send ``body``, wait up to ``timeout`` seconds, and return the result.

        :raises NoReply: where there is none in time
        :raises RemoteError: with what the service says
        """
        correlation_id = uuid.uuid4().hex
        request = json.dumps({"id": correlation_id, "reply_to": self.replies, "body": body})
        # a request that nobody waits for any more expires: no service works for nothing
        if not self._client.set(self._queue, request, time=math.ceil(timeout)):
            raise NoReply(f"{self._queue} takes no request")
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            message = self._client.get(f"{self.replies}/t={max(1, int(min(left, 2) * 1000))}")
            if message is None:
                time.sleep(min(left, 0.01))  # where the server is away, get does not wait
                continue
            self._client.delete(self.replies)
            reply = json.loads(message)
            if reply["id"] != correlation_id:  # comes too late, for an earlier call that has given up
                continue
            if "error" in reply:
                raise RemoteError(reply["error"])
            return reply["result"]
        raise NoReply(f"{self._queue} has not answered within {timeout} s")


def serve(redqueue: str, queue: str, answer: Callable[[Any], Any]) -> None:
    """Answer the requests on ``queue`` for ever; what ``answer`` raises goes to the caller as text."""
    client = memcache.Client([redqueue], dead_retry=1)
    while True:
        message = client.get(f"{queue}/t=2000")
        if message is None:
            time.sleep(0.01)
            continue
        try:
            request = json.loads(message)
            correlation_id, reply_to, body = request["id"], request["reply_to"], request["body"]
        except (ValueError, TypeError, KeyError) as error:
            print(f"not a request, dropped: {message!r}: {error!r}", flush=True)
            client.delete(queue)
            continue
        try:
            reply = {"id": correlation_id, "result": answer(body)}
        except Exception as error:  # the caller's mistake must not end the service
            reply = {"id": correlation_id, "error": f"{type(error).__name__}: {error}"}
        client.set(reply_to, json.dumps(reply), time=REPLY_LIVES_SECONDS)
        client.delete(queue)
