"""A Flask application that answers at once and leaves slow work to others, by way of RedQueue.

usage: python app.py [--port=5000] [--redqueue=127.0.0.1:12345]
"""

from __future__ import annotations

import argparse
import json
import uuid

import memcache
import waitress
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue

SUBSCRIBERS = ("mail", "stock")


def make_app(redqueue: str) -> Flask:
    """The application; each of its threads has a connection of its own, since ``memcache.Client`` is thread-local."""
    app = Flask(__name__)
    queues = memcache.Client([redqueue], socket_timeout=30, dead_retry=1)
    for subscriber in SUBSCRIBERS:
        queues.get(f"orders+{subscriber}/peek")  # a child gets copies from its first read on, so read before any put

    def hand_over(queue: str, **task: object) -> ResponseReturnValue:
        """Put a task on ``queue``: 202 once it is in the journal, 503 where RedQueue is away or its queue is full."""
        task["id"] = str(uuid.uuid4())
        if not queues.set(queue, json.dumps(task)):
            return jsonify(error="no task can be taken now, try again"), 503
        return jsonify(id=task["id"]), 202

    def field(name: str) -> object:
        """What the request's JSON object has by this name; None where there is no such thing."""
        body = request.get_json(silent=True)
        return body.get(name) if isinstance(body, dict) else None

    @app.post("/primes")
    def count_primes() -> ResponseReturnValue:
        """Work queue: one of the workers does it."""
        below = field("below")
        if not isinstance(below, int) or not 0 <= below <= 1_000_000:
            return jsonify(error='send {"below": N} with N up to 1000000'), 400
        return hand_over("primes", below=below)

    @app.post("/orders")
    def order() -> ResponseReturnValue:
        """Publish-subscribe: every subscriber gets its own copy, from one put."""
        item = field("item")
        if not isinstance(item, str):
            return jsonify(error='send {"item": "…"}'), 400
        return hand_over("orders", item=item)

    @app.get("/results/<uuid:task>")
    def results(task: uuid.UUID) -> ResponseReturnValue:
        """What the workers have reported of a task, by the queue they read."""
        names = ("primes", *(f"orders+{subscriber}" for subscriber in SUBSCRIBERS))
        keys = {f"result.{task}.{name.replace('+', '.')}/peek": name for name in names}
        return jsonify({keys[key]: json.loads(value) for key, value in queues.get_multi(list(keys)).items()})

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--redqueue", default="127.0.0.1:12345")
    options = parser.parse_args()
    server = waitress.create_server(make_app(options.redqueue), host="127.0.0.1", port=options.port, threads=16)
    print(f"web application on http://127.0.0.1:{server.effective_port}/", flush=True)
    server.run()
