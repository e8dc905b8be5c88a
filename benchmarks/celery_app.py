"""The Celery application that is measured, on whichever broker BENCH_BROKER names."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("benchmarks.celery_app", broker=os.environ.get("BENCH_BROKER"))
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=4,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)
if app.conf.broker_url and app.conf.broker_url.startswith("redqueue:"):
    app.conf.broker_transport = "redqueue.contrib.kombu:Transport"
elif app.conf.broker_url and app.conf.broker_url.startswith("amqp:"):
    app.conf.broker_transport_options = {"confirm_publish": True}  # as the others answer each publish, too


@app.task
def mark() -> None:
    """Say that one more is done: one byte at the end of a file."""
    descriptor = os.open(os.environ["BENCH_MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, b".")
    os.close(descriptor)
