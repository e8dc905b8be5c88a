"""The application that the tests' workers run. What its tasks do, they write down as lines of a file."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

from celery import Celery
from celery.exceptions import Reject

app = Celery("tests.contrib.celery_app", broker=os.environ.get("TEST_BROKER"), backend=os.environ.get("TEST_BACKEND"))
app.conf.update(
    broker_transport="redqueue.contrib.kombu:Transport",
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=4,
    result_expires=600,
)
app.conf.update(json.loads(os.environ.get("TEST_SETTINGS", "{}")))


def note(*words: object) -> None:
    """Append a line to the tests' file, at once and whole."""
    line = " ".join(map(str, words)) + "\n"
    descriptor = os.open(os.environ["TEST_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def record(*words: Any) -> None:
    note("ran", *words)


@app.task
def record_time(name: str) -> None:
    note("at", name, time.time())


@app.task(bind=True)
def work(self: Any, name: Any, seconds: float) -> None:
    """Say when it begins and ends, and take a while in between."""
    note("began", name, bool(self.request.delivery_info.get("redelivered")))
    time.sleep(seconds)
    note("ended", name)


@app.task(bind=True, max_retries=5)
def retried(self: Any, name: Any, times: int) -> None:
    """Succeed after so many retries."""
    if self.request.retries < times:
        raise self.retry(countdown=0.05)
    note("ran", name)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def deadly(self: Any, name: str) -> None:
    """End the child process it runs in, the first time."""
    again = bool(self.request.delivery_info.get("redelivered"))
    note("began", name, again)
    if not again:
        os.kill(os.getpid(), signal.SIGKILL)
    note("ended", name)


@app.task(acks_late=True)
def rejected() -> None:
    """Say that nobody can do this."""
    raise Reject("not like this", requeue=False)
