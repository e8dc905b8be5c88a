"""kombu over RedQueue: what its connections, producers, consumers and simple queues do."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from amqp.exceptions import AccessRefused, PreconditionFailed, ResourceError
from kombu import Connection, Consumer, Exchange, Queue

from redqueue.contrib.kombu import channel as channels
from redqueue.contrib.kombu import messages
from redqueue.contrib.kombu.names import Names
from tests.certificates import Certificates
from tests.contrib.figures import figures, queues_with_items
from tests.server_process import ROOT, ServerProcess, wait_until
from tests.users_file import write_users

TRANSPORT = "redqueue.contrib.kombu:Transport"
JOBS = Queue("jobs", Exchange("jobs", "direct"), routing_key="jobs")


def connect(server: ServerProcess, **options: Any) -> Connection:
    return Connection(f"redqueue://127.0.0.1:{server.port}//", transport=TRANSPORT, **options)


@pytest.fixture
def connection(server: ServerProcess) -> Iterator[Connection]:
    with connect(server) as connection:
        yield connection


class Inbox:
    """A consumer, and what it has been given."""

    def __init__(self, connection: Connection, *queues: Queue, prefetch: int = 0, no_ack: bool = False) -> None:
        self.connection = connection
        self.channel = connection.channel()
        self.messages: list[Any] = []
        self.consumer = Consumer(self.channel, queues, on_message=self.messages.append, no_ack=no_ack)
        if prefetch:
            self.consumer.qos(prefetch_count=prefetch)
        self.consumer.consume()

    def drain(self, count: int) -> list[Any]:
        """The next ``count`` messages."""
        while len(self.messages) < count:
            self.connection.drain_events(timeout=20)
        taken = self.messages[:count]
        del self.messages[:count]
        return taken

    def expect_nothing(self) -> None:
        with pytest.raises(TimeoutError):
            self.connection.drain_events(timeout=0.1)
        assert not self.messages


def publish(connection: Connection, *bodies: Any, queue: Queue = JOBS, **options: Any) -> None:
    producer = connection.Producer()
    for body in bodies:
        producer.publish(body, exchange=queue.exchange, routing_key=queue.routing_key, declare=[queue], **options)


class TestSimpleQueue:
    def test_put_get_acknowledge(self, server: ServerProcess, connection: Connection) -> None:
        simple = connection.SimpleQueue("simple")
        simple.put({"number": 1})
        assert len(simple) == 1
        message = simple.get(timeout=20)
        assert message.payload == {"number": 1}
        message.ack()
        simple.close()
        assert figures(server, "simple")["items"] == 0

    def test_empty(self, connection: Connection) -> None:
        simple = connection.SimpleQueue("simple")
        with pytest.raises(queue.Empty):
            simple.get(block=False)
        with pytest.raises(queue.Empty):
            simple.get(timeout=0.05)
        simple.close()

    def test_get_at_once(self, connection: Connection) -> None:
        simple = connection.SimpleQueue("simple")
        simple.put("a")
        simple.get(block=False).ack()
        simple.close()

    def test_clear(self, connection: Connection) -> None:
        simple = connection.SimpleQueue("simple")
        simple.put("a", priority=9)
        simple.put("b")
        assert simple.clear() == 2
        assert len(simple) == 0
        simple.close()

    def test_what_was_not_acknowledged_is_given_back(self, server: ServerProcess, connection: Connection) -> None:
        simple = connection.SimpleQueue("simple")
        simple.put("a")
        simple.get(timeout=20)
        simple.close()
        connection.close()
        found = figures(server, "simple")
        assert (found["items"], found["reserved"]) == (1, 0)


class TestConsumer:
    def test_requeue_is_at_the_old_place_and_redelivered(self, connection: Connection) -> None:
        inbox = Inbox(connection, JOBS, prefetch=1)
        publish(connection, "a", "b")
        (first,) = inbox.drain(1)
        assert not first.delivery_info.get("redelivered")
        first.requeue()
        (again,) = inbox.drain(1)
        assert (again.payload, again.delivery_info["redelivered"]) == ("a", True)
        again.ack()
        (second,) = inbox.drain(1)
        assert (second.payload, second.delivery_info.get("redelivered")) == ("b", None)

    def test_reject_is_a_dead_letter(self, server: ServerProcess, connection: Connection) -> None:
        inbox = Inbox(connection, JOBS)
        publish(connection, "poison")
        inbox.drain(1)[0].reject()
        inbox.expect_nothing()
        assert figures(server, "jobs")["items"] == 0
        assert figures(server, "jobs.dead")["items"] == 1

    def test_reject_drops_where_that_is_wanted(self, server: ServerProcess) -> None:
        with connect(server, transport_options={"dead_letters": False}) as connection:
            inbox = Inbox(connection, JOBS)
            publish(connection, "poison")
            inbox.drain(1)[0].reject()
            inbox.expect_nothing()
        assert not queues_with_items(server) & {"jobs", "jobs.dead"}

    def test_requeue_counts_as_a_loss(self, tmp_path: Any) -> None:
        with ServerProcess(tmp_path, max_deliveries=2) as server, connect(server) as connection:
            inbox = Inbox(connection, JOBS)
            publish(connection, "poison")
            inbox.drain(1)[0].requeue()
            inbox.drain(1)[0].requeue()
            inbox.expect_nothing()
            assert figures(server, "jobs.dead")["items"] == 1

    def test_prefetch(self, server: ServerProcess, connection: Connection) -> None:
        inbox = Inbox(connection, JOBS, prefetch=3)
        publish(connection, *range(5))
        held = inbox.drain(3)
        inbox.expect_nothing()
        assert figures(server, "jobs")["reserved"] == 3
        held[1].ack()
        assert inbox.drain(1)[0].payload == 3
        assert [message.payload for message in held] == [0, 1, 2]

    def test_acknowledge_several(self, server: ServerProcess, connection: Connection) -> None:
        inbox = Inbox(connection, JOBS)
        publish(connection, *range(4))
        held = inbox.drain(4)
        held[2].ack(multiple=True)
        inbox.channel.connection.command.settle()
        assert figures(server, "jobs")["items"] == 1
        held[3].ack()

    def test_recover(self, connection: Connection) -> None:
        inbox = Inbox(connection, JOBS, prefetch=2)
        publish(connection, "a", "b")
        inbox.drain(2)
        inbox.consumer.recover(requeue=True)
        assert [message.payload for message in inbox.drain(2)] == ["a", "b"]

    def test_no_ack(self, server: ServerProcess, connection: Connection) -> None:
        inbox = Inbox(connection, JOBS, no_ack=True)
        publish(connection, "a", "b")
        assert [message.payload for message in inbox.drain(2)] == ["a", "b"]
        assert figures(server, "jobs")["items"] == 0

    def test_cancel_gives_back_what_was_not_delivered(self, server: ServerProcess, connection: Connection) -> None:
        inbox = Inbox(connection, JOBS, prefetch=4)
        publish(connection, *range(4))
        inbox.drain(1)
        inbox.consumer.cancel()
        wait_until(lambda: figures(server, "jobs")["reserved"] == len(inbox.messages) + 1)

    def test_cancel_while_it_waits_swallows_nothing(self, server: ServerProcess, connection: Connection) -> None:
        inbox = Inbox(connection, JOBS)
        inbox.channel.ask(30)
        wait_until(lambda: figures(server, "jobs")["consumers"] == 1)
        inbox.consumer.cancel()
        publish(connection, "a")
        found = figures(server, "jobs")
        assert (found["items"], found["reserved"], found["consumers"]) == (1, 0, 0)

    def test_a_queue_that_is_added_while_it_waits(self, connection: Connection) -> None:
        inbox = Inbox(connection, JOBS)
        inbox.channel.ask(30)
        other = Queue("other", Exchange("other"), routing_key="other")
        inbox.consumer.add_queue(other)
        inbox.consumer.consume()
        publish(connection, "a", queue=other)
        assert inbox.drain(1)[0].payload == "a"

    def test_queues_take_turns(self, connection: Connection) -> None:
        queues = [Queue(name, Exchange(name), routing_key=name) for name in ("one", "two")]
        for each in queues:
            publish(connection, each.name, each.name, queue=each)
        inbox = Inbox(connection, *queues, prefetch=1)
        order = []
        for _ in range(4):
            (message,) = inbox.drain(1)
            order.append(message.payload)
            message.ack()
        assert order in (["one", "two", "one", "two"], ["two", "one", "two", "one"])

    def test_higher_priorities_come_first(self, connection: Connection) -> None:
        for priority in (0, 3, 5, 9, None, 6):
            publish(connection, priority, priority=priority)
        inbox = Inbox(connection, JOBS, prefetch=1)
        order = []
        for _ in range(6):
            (message,) = inbox.drain(1)
            order.append(message.payload)
            message.ack()
        assert order == [9, 6, 3, 5, 0, None]

    def test_a_killed_process_gives_back_at_once(self, server: ServerProcess, connection: Connection) -> None:
        publish(connection, "a")
        program = f"""
import time
from kombu import Connection
with Connection({connection.as_uri()!r}, transport={TRANSPORT!r}) as connection:
    connection.SimpleQueue("jobs").get(timeout=20)
    print("got", flush=True)
    time.sleep(60)
"""
        with subprocess.Popen(
            [sys.executable, "-c", program.replace(TRANSPORT + "://", "redqueue://")],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"got\n"
            assert figures(server, "jobs")["reserved"] == 1
            other.send_signal(signal.SIGKILL)
        inbox = Inbox(connection, JOBS)
        (message,) = inbox.drain(1)
        assert message.delivery_info["redelivered"]

    def test_a_forked_child_does_not_keep_what_its_parent_held(self, server: ServerProcess) -> None:
        with connect(server) as connection:
            inbox = Inbox(connection, JOBS)
            publish(connection, "a")
            inbox.drain(1)
            child = os.fork()
            if not child:
                time.sleep(60)
                os._exit(0)
            try:
                for each in (inbox.channel.line, inbox.channel.connection.command):
                    each.close()  # what the kernel does for a process that is killed
                wait_until(lambda: figures(server, "jobs")["reserved"] == 0)
            finally:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)

    def test_what_is_held_is_touched(self, server: ServerProcess) -> None:
        with connect(server, transport_options={"reserve_timeout": 3}) as connection:
            inbox = Inbox(connection, JOBS)
            publish(connection, "a")
            (message,) = inbox.drain(1)
            ends = time.monotonic() + 4.5
            wait_until(lambda: figures(server, "jobs")["reserved"] == 0 or time.monotonic() > ends)
            assert figures(server, "jobs")["reserved"] == 1
            message.ack()

    def test_what_was_lost_before_it_was_read_is_not_delivered(self, server: ServerProcess) -> None:
        with connect(server, transport_options={"reserve_timeout": 3}) as connection, connect(server) as other:
            inbox = Inbox(connection, JOBS)
            inbox.channel.ask(30)
            publish(other, "a")
            wait_until(lambda: figures(server, "jobs")["reserved"] == 1)
            wait_until(lambda: figures(server, "jobs")["reserved"] == 0)
            assert Inbox(other, JOBS).drain(1)[0].payload == "a"
            inbox.expect_nothing()

    def test_an_item_that_is_no_message_is_set_aside(self, server: ServerProcess, connection: Connection) -> None:
        with server.connect() as wire:
            for text in (b"x", b"[]", b'{"properties": 1}', b"\xff"):
                assert wire.put(b"jobs", text) == b"STORED"
        inbox = Inbox(connection, JOBS)
        inbox.expect_nothing()
        assert figures(server, "jobs.dead")["items"] == 4

    def test_too_many_queues(self, connection: Connection) -> None:
        queues = [Queue(f"{number}-{'x' * 100}", Exchange("many"), routing_key=str(number)) for number in range(30)]
        inbox = Inbox(connection, *queues)
        with pytest.raises(connection.channel_errors, match="consume from fewer queues"):
            connection.drain_events(timeout=1)
        assert not inbox.messages


class TestExchanges:
    def test_fanout_from_another_connection(self, server: ServerProcess, connection: Connection) -> None:
        news = Exchange("news", "fanout")
        inboxes = [Inbox(connection, Queue(name, news, auto_delete=True)) for name in ("a", "b")]
        with connect(server) as other:
            other.Producer().publish("x", exchange=news, declare=[news])
        for inbox in inboxes:
            assert inbox.drain(1)[0].payload == "x"

    def test_topics(self, server: ServerProcess, connection: Connection) -> None:
        logs = Exchange("logs", "topic")
        errors = Inbox(connection, Queue("errors", logs, routing_key="*.error"))
        everything = Inbox(connection, Queue("all", logs, routing_key="#"))
        with connect(server) as other:
            for key in ("web.error", "web.info", "error.web"):
                other.Producer().publish(key, exchange=logs, routing_key=key, declare=[logs])
        assert [message.payload for message in everything.drain(3)] == ["web.error", "web.info", "error.web"]
        assert [message.payload for message in errors.drain(1)] == ["web.error"]
        errors.expect_nothing()

    def test_direct_with_two_queues_bound_elsewhere(self, server: ServerProcess, connection: Connection) -> None:
        media = Exchange("media", "direct")
        inboxes = [Inbox(connection, Queue(name, media, routing_key="video")) for name in ("a", "b")]
        with connect(server) as other:
            other.Producer().publish("x", exchange=media, routing_key="video", declare=[media])
            other.Producer().publish("y", exchange=media, routing_key="nobody", declare=[media])
        assert [inbox.drain(1)[0].payload for inbox in inboxes] == ["x", "x"]
        inboxes[0].expect_nothing()
        assert not inboxes[1].messages

    def test_a_durable_binding_outlives_its_makers(self, server: ServerProcess) -> None:
        media = Exchange("media", "topic")
        with connect(server) as connection:
            Queue("video", media, routing_key="v.#")(connection.default_channel).declare()
        with connect(server) as other:
            other.Producer().publish("x", exchange=media, routing_key="v.1", declare=[media])
        assert figures(server, "video")["items"] == 1

    def test_it_is_there_once_however_often_it_is_declared(self, server: ServerProcess) -> None:
        for _ in range(3):
            with connect(server) as connection:
                JOBS(connection.default_channel).declare()
        assert figures(server, "~bindings.jobs")["items"] == 1

    def test_unbind(self, server: ServerProcess, connection: Connection) -> None:
        media = Exchange("media", "topic")
        bound = Queue("video", media, routing_key="v.#")(connection.default_channel)
        bound.declare()
        Queue("image", media, routing_key="i.#")(connection.default_channel).declare()
        bound.unbind_from(media, routing_key="v.#")
        publisher = connection.Producer()
        publisher.publish("x", exchange=media, routing_key="v.1")
        publisher.publish("x", exchange=media, routing_key="i.1")
        assert figures(server, "video")["items"] == 0
        assert figures(server, "image")["items"] == 1

    def test_deleted_queues_leave_nothing(self, server: ServerProcess, connection: Connection) -> None:
        bound = JOBS(connection.default_channel)
        bound.declare()
        publish(connection, "a")
        bound.delete()
        assert not queues_with_items(server)

    def test_queues_that_go_with_their_consumer(self, server: ServerProcess) -> None:
        news = Exchange("news", "fanout")
        with connect(server) as connection:
            inbox = Inbox(connection, Queue("mine", news, auto_delete=True))
            connection.Producer().publish("x", exchange=news)
            assert queues_with_items(server) == {"~bindings.news", "mine"}
            inbox.channel.close()
            assert not queues_with_items(server)

    def test_the_lease_of_one_is_renewed(self, server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("redqueue.contrib.kombu.bindings.RENEWAL", 0)
        news = Exchange("news", "fanout")
        with connect(server) as connection:
            inbox = Inbox(connection, Queue("mine", news, auto_delete=True))
            inbox.expect_nothing()
            assert figures(server, "~bindings.news")["items"] > 1
            connection.Producer().publish("x", exchange=news)
            inbox.drain(1)
            inbox.expect_nothing()


class TestPublishing:
    def test_eta_is_a_delay_on_the_server(self, server: ServerProcess, connection: Connection) -> None:
        eta = datetime.now(timezone.utc) + timedelta(seconds=0.5)
        publish(connection, "a", headers={"eta": eta.isoformat()})
        assert figures(server, "jobs")["delayed"] == 1
        (message,) = Inbox(connection, JOBS).drain(1)
        assert message.payload == "a"
        assert datetime.now(timezone.utc) >= eta

    @pytest.mark.parametrize(
        ("eta", "delay"),
        [
            (None, 0),
            ("2001-01-01T00:00:00+00:00", 0),
            ("nonsense", 0),
            ("2999-01-01T00:00:00", 0),
            ("9999-01-01T00:00:00Z", messages.LONGEST_DELAY),
        ],
    )
    def test_the_delay_of_an_eta(self, eta: str | None, delay: float) -> None:
        assert messages.delay({"headers": {"eta": eta}}) == delay

    def test_expiration(self, server: ServerProcess, connection: Connection) -> None:
        publish(connection, "a", expiration=1)
        wait_until(lambda: figures(server, "jobs")["items"] == 0)

    def test_exptime_is_a_date_beyond_30_days(self) -> None:
        month = 30 * 24 * 3600
        assert messages.exptime(0.2) == 1
        assert messages.exptime(month) == month
        assert messages.exptime(month + 1) > time.time()

    def test_a_full_queue(self, tmp_path: Any) -> None:
        with ServerProcess(tmp_path, max_items=1) as server, connect(server) as connection:
            publish(connection, "a")
            with pytest.raises(ResourceError, match="full"):
                publish(connection, "b")

    def test_a_message_that_is_too_big(self, tmp_path: Any) -> None:
        with ServerProcess(tmp_path, max_item_size=1000) as server, connect(server) as connection:
            with pytest.raises(ResourceError, match="--max_item_size"):
                publish(connection, "x" * 2000)
            publish(connection, "a")

    def test_a_big_message(self, connection: Connection) -> None:
        publish(connection, "x" * 700_000)
        assert Inbox(connection, JOBS).drain(1)[0].payload == "x" * 700_000

    def test_a_transient_message_to_a_queue_of_others_lives_a_day(self, server: ServerProcess) -> None:
        with connect(server) as connection:
            connection.Producer().publish("a", routing_key="reply", delivery_mode=1)
            connection.Producer().publish("a", routing_key="task", delivery_mode=2)
        with server.connect() as wire:
            assert int(wire.ask(b"mg reply t").removeprefix(b"HD t")) in range(86300, 86401)
            assert wire.ask(b"mg task t") == b"HD t-1"


class TestNames:
    @pytest.mark.parametrize(
        ("name", "key"),
        [
            ("celery", b"celery"),
            ("celery@host.pidbox", b"celery@host.pidbox"),
            ("mail/or", b"mail%2For"),
            ("a+b c%", b"a%2Bb%20c%25"),
            ("a.~3", b"a.%7E3"),
            ("käse", b"k%C3%A4se"),
        ],
    )
    def test_what_a_key_cannot_hold_is_quoted(self, name: str, key: bytes) -> None:
        assert Names("/").queue(name) == key
        assert Names("shop").queue(name, 6) == b"shop." + key + b".~6"

    def test_any_name_works(self, connection: Connection) -> None:
        for name in ("a/or", "b/t=5", "c+d", "e f", "ü", "#"):
            simple = connection.SimpleQueue(name)
            simple.put(name)
            message = simple.get(timeout=20)
            assert message.payload == name
            message.ack()
            simple.close()

    def test_a_name_that_is_too_long(self, connection: Connection) -> None:
        with pytest.raises(PreconditionFailed, match="at most 200"):
            connection.SimpleQueue("x" * 201)

    def test_virtual_hosts_are_apart(self, server: ServerProcess) -> None:
        url = f"redqueue://127.0.0.1:{server.port}/shop"
        with Connection(url, transport=TRANSPORT) as shop, connect(server) as other:
            publish(shop, "a")
            assert figures(server, "shop.jobs")["items"] == 1
            Inbox(other, JOBS).expect_nothing()
            assert Inbox(shop, JOBS).drain(1)[0].payload == "a"


class TestConnections:
    def test_the_alias(self, server: ServerProcess) -> None:
        with Connection(f"redqueue://127.0.0.1:{server.port}//") as connection:
            connection.connect()
            assert connection.transport.driver_type == "redqueue"

    def test_no_server(self, own_server: ServerProcess) -> None:
        own_server.kill()
        with connect(own_server) as connection, pytest.raises(connection.connection_errors):
            connection.connect()

    def test_the_next_server_of_several(self, own_server: ServerProcess, tmp_path: Any) -> None:
        with ServerProcess(tmp_path / "second") as second:
            urls = ";".join(f"redqueue://127.0.0.1:{each.port}//" for each in (own_server, second))
            with Connection(urls, transport=TRANSPORT) as connection:
                connection.ensure_connection()
                own_server.kill()
                producer = connection.Producer()
                for name in ("a", "b"):
                    producer.publish(
                        name,
                        exchange=JOBS.exchange,
                        routing_key="jobs",
                        declare=[JOBS],
                        retry=True,
                        retry_policy={"max_retries": 5},
                    )
                assert figures(second, "jobs")["items"] == 2

    def test_a_server_that_goes_away_is_noticed(self, own_server: ServerProcess) -> None:
        with connect(own_server) as connection:
            Inbox(connection, JOBS)
            own_server.kill()
            with pytest.raises(connection.connection_errors):
                connection.drain_events(timeout=20)

    def test_a_server_that_comes_back(self, own_server: ServerProcess) -> None:
        with connect(own_server) as connection:
            inbox = Inbox(connection, JOBS)
            publish(connection, "a")
            inbox.drain(1)
            own_server.kill()
            with pytest.raises(connection.connection_errors):
                connection.drain_events(timeout=20)
            own_server.start()
            connection.ensure_connection()
            inbox = Inbox(connection, JOBS)
            assert inbox.drain(1)[0].payload == "a"

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"priority_steps": [0, 10]}, "numbers from 0 to 9"),
            ({"reserve_timeout": 1}, "3 to 86400 seconds"),
            ({"queue_order_strategy": "none"}, "'round_robin', 'sorted' or 'priority'"),
        ],
    )
    def test_transport_options_that_make_no_sense(
        self, server: ServerProcess, options: dict[str, Any], reason: str
    ) -> None:
        with connect(server, transport_options=options) as connection, pytest.raises(ValueError, match=reason):
            connection.connect()

    def test_a_tls_option_that_makes_no_sense(self, server: ServerProcess) -> None:
        with connect(server, ssl={"cafile": "x"}) as connection, pytest.raises(ValueError, match="ca_certs"):
            connection.connect()

    def test_only_one_wait_while_idle(self, server: ServerProcess, connection: Connection) -> None:
        """No polling: a get waits, and is not sent again before it is answered."""
        inbox = Inbox(connection, JOBS)
        inbox.channel.ask(channels.WAIT)
        before = _gets(server)
        inbox.channel.ask(channels.WAIT)
        inbox.expect_nothing()
        assert _gets(server) == before


class TestAccess:
    @pytest.fixture
    def guarded(self, tmp_path: Path) -> Iterator[ServerProcess]:
        users = write_users(tmp_path / "users", shop="se:cret/ reader=shop.# writer=shop.#")
        with ServerProcess(tmp_path / "journal", users=users) as server:
            yield server

    def test_a_user_with_nothing_but_its_own_queues(self, guarded: ServerProcess) -> None:
        url = f"redqueue://shop:se%3Acret%2F@127.0.0.1:{guarded.port}/shop"
        news = Exchange("news", "fanout")
        with Connection(url, transport=TRANSPORT) as connection:
            inbox = Inbox(connection, JOBS, Queue("mine", news, auto_delete=True))
            publish(connection, "a")
            connection.Producer().publish("b", exchange=news)
            assert sorted(message.payload for message in inbox.drain(2)) == ["a", "b"]
            inbox.consumer.cancel()
            publish(connection, "c", "d")
            assert JOBS(connection.default_channel).purge() == 2
            assert JOBS(connection.default_channel).queue_declare().message_count == 0

    @pytest.mark.parametrize("user", ["shop:wrong@", "nobody:se%3Acret%2F@"])
    def test_a_wrong_password(self, user: str, guarded: ServerProcess) -> None:
        url = f"redqueue://{user}127.0.0.1:{guarded.port}/shop"
        with Connection(url, transport=TRANSPORT) as connection, pytest.raises(AccessRefused):
            connection.connect()

    def test_no_password(self, guarded: ServerProcess) -> None:
        url = f"redqueue://127.0.0.1:{guarded.port}/shop"
        with (
            Connection(url, transport=TRANSPORT) as connection,
            pytest.raises(connection.connection_errors, match="after it said: CLIENT_ERROR"),
        ):
            publish(connection, "a")

    def test_tls(self, tmp_path: Path) -> None:
        made = Certificates(tmp_path)
        with ServerProcess(tmp_path / "journal", tls_cert=made.cert, tls_key=made.key) as server:
            query = f"ssl_ca_certs={made.ca}&ssl_cert_reqs=CERT_REQUIRED"
            with Connection(f"redqueue://127.0.0.1:{server.port}//?{query}", transport=TRANSPORT) as connection:
                inbox = Inbox(connection, JOBS, prefetch=20)
                publish(connection, *(str(number) * 50_000 for number in range(10)))
                assert [message.payload[0] for message in inbox.drain(10)] == list("0123456789")
                inbox.expect_nothing()
            for trusting_nobody in (True, {"cert_reqs": "CERT_REQUIRED"}):
                with connect(server, ssl=trusting_nobody) as connection, pytest.raises(connection.connection_errors):
                    connection.connect()
            with connect(server, ssl={"cert_reqs": "CERT_NONE"}) as connection:
                connection.connect()


def _gets(server: ServerProcess) -> str:
    with server.connect() as wire:
        return wire.stats()["get_misses"]
