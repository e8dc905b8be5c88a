"""Children and topics: a copy for each, all or none, for as long as the child exists."""

from __future__ import annotations

from redqueue.engine.broker import Swap
from redqueue.engine.consumer import Consumer
from redqueue.engine.ledger import StorageFailed
from redqueue.engine.settings import QueueSettings, SettingsBook
from redqueue.journal import record as rec
from tests.engine.list_journal import Engine, payloads

P = b"orders"
AUDIT = b"orders+audit"
MAIL = b"orders+mail"


def subscribed(*children: bytes, settings: QueueSettings | SettingsBook | None = None) -> Engine:
    engine = Engine(settings)
    for child in children:
        engine.broker.subscribe(child)
    engine.commit()
    return engine


def put(engine: Engine, queue: bytes, payload: bytes) -> bool:
    done = engine.put(queue, payload)
    engine.commit()
    return done


class TestChildren:
    def test_each_gets_a_copy_and_so_does_the_parent(self) -> None:
        engine = subscribed(AUDIT, MAIL)
        assert put(engine, P, b"a")
        for each in (engine, engine.restart()):
            assert [payloads(each, name) for name in (P, AUDIT, MAIL)] == [[b"a"]] * 3

    def test_only_from_its_first_reading_on(self) -> None:
        engine = Engine()
        put(engine, P, b"before")
        engine.broker.subscribe(AUDIT)
        put(engine, P, b"after")
        assert (payloads(engine, P), payloads(engine, AUDIT)) == ([b"before", b"after"], [b"after"])

    def test_the_copies_live_and_die_alone(self) -> None:
        engine = subscribed(AUDIT)
        put(engine, P, b"a")
        reservation = engine.broker.queues[AUDIT].reserve(Consumer())
        assert reservation is not None
        reservation.queue.acknowledge(reservation, None)
        engine.commit()
        assert (payloads(engine, P), payloads(engine, AUDIT)) == ([b"a"], [])

    def test_it_outlives_restarts_a_flush_and_its_own_emptiness(self) -> None:
        engine = subscribed(AUDIT, b"#+all")
        engine.advance(100)
        assert engine.broker.queues == {}
        engine = engine.restart()
        engine.broker.flush_all(None)
        engine.commit()
        engine = engine.restart().restart()
        put(engine, P, b"a")
        assert (payloads(engine, AUDIT), payloads(engine, b"#+all")) == ([b"a"], [b"a"])

    def test_subscribing_again_changes_nothing(self) -> None:
        engine = subscribed(AUDIT, AUDIT)
        engine.broker.subscribe(AUDIT)
        engine.broker.subscribe(P)
        assert not engine.broker.has_changes()
        put(engine, P, b"a")
        assert payloads(engine, AUDIT) == [b"a"]

    def test_it_is_no_queue_that_anybody_sees(self) -> None:
        engine = subscribed(AUDIT).restart()
        assert engine.broker.queues == {}
        assert (engine.broker.sum_items(), engine.broker.sum_bytes()) == (0, 0)

    def test_a_failed_subscription_is_none(self) -> None:
        engine = Engine()
        engine.put(P, b"x")
        engine.commit()
        engine.broker.subscribe(AUDIT)
        engine.fail()
        put(engine, P, b"a")
        assert payloads(engine, AUDIT) == []
        assert not engine.broker.queues[P].children
        engine.broker.subscribe(AUDIT)
        put(engine, P, b"b")
        assert payloads(engine, AUDIT) == [b"b"]

    def test_none_without_a_journal(self) -> None:
        engine = Engine()
        engine.broker.fail("no disk")
        try:
            engine.broker.subscribe(AUDIT)
        except StorageFailed:
            engine.broker.fail("")
        put(engine, P, b"a")
        assert payloads(engine, AUDIT) == []

    def test_what_is_put_on_a_child_stays_there(self) -> None:
        engine = subscribed(AUDIT)
        engine.broker.open(AUDIT)
        engine.broker.subscribe(b"#+all")
        put(engine, AUDIT, b"a")
        assert [payloads(engine, name) for name in (P, AUDIT, b"#+all")] == [[], [b"a"], []]

    def test_who_waits_on_a_child_gets_it(self) -> None:
        engine = subscribed(AUDIT)
        got: list[bytes] = []
        engine.broker.open(AUDIT).wait(Consumer(), 60, None, lambda r: got.append(rec.payload(r.record)))
        put(engine, P, b"a")
        assert got == [b"a"]

    def test_fanout_only_keeps_none_for_the_parent_that_has_children(self) -> None:
        engine = Engine(QueueSettings(fanout_only=True))
        put(engine, P, b"alone")
        engine.broker.subscribe(AUDIT)
        put(engine, P, b"a")
        assert (payloads(engine, P), payloads(engine, AUDIT)) == ([b"alone"], [b"a"])

    def test_a_dropped_child_gets_nothing_more(self) -> None:
        engine = subscribed(AUDIT)
        put(engine, P, b"a")
        assert engine.broker.drop(AUDIT, None)
        engine.commit()
        assert AUDIT not in engine.broker.queues
        put(engine, P, b"b")
        for each in (engine, engine.restart()):
            assert payloads(each, AUDIT) == []
        put(engine.restart(), P, b"c")
        assert payloads(engine, AUDIT) == []

    def test_a_failed_drop_has_not_happened(self) -> None:
        engine = subscribed(AUDIT)
        put(engine, P, b"a")
        engine.broker.drop(AUDIT, "receipt")
        assert "receipt" in engine.fail()
        put(engine, P, b"b")
        assert payloads(engine, AUDIT) == payloads(engine.restart(), AUDIT) == [b"a", b"b"]


class TestAllOrNone:
    def test_a_full_child_refuses_for_all(self) -> None:
        book = SettingsBook(QueueSettings(), {MAIL: {"max_items": 1}})
        engine = subscribed(AUDIT, MAIL, settings=book)
        assert put(engine, P, b"a")
        assert not put(engine, P, b"b")
        assert [payloads(engine, name) for name in (P, AUDIT, MAIL)] == [[b"a"]] * 3
        assert engine.broker.sum_items() == 3

    def test_one_frame_for_all(self) -> None:
        engine = subscribed(AUDIT, MAIL)
        engine.put(P, b"a")
        assert [payloads(engine, name) for name in (P, AUDIT, MAIL)] == [[]] * 3
        assert [kind for kind, _ in engine.journal.open] == ["put"] * 3
        assert [receipt for receipt in engine.fail() if receipt is not None] == [b"a"]
        assert engine.broker.sum_items() == 0

    def test_a_child_that_drops_its_oldest_does_not_refuse(self) -> None:
        book = SettingsBook(QueueSettings(), {MAIL: {"max_items": 1, "overflow": "drop-oldest"}})
        engine = subscribed(MAIL, settings=book)
        for item in (b"a", b"b"):
            assert put(engine, P, item)
        assert (payloads(engine, P), payloads(engine, MAIL)) == ([b"a", b"b"], [b"b"])

    def test_nothing_is_dropped_for_a_put_that_is_refused(self) -> None:
        tables = {MAIL: {"max_items": 1, "overflow": "drop-oldest"}, AUDIT: {"max_items": 1}}
        engine = subscribed(MAIL, AUDIT, settings=SettingsBook(QueueSettings(), tables))
        assert put(engine, P, b"a")
        assert not put(engine, P, b"b")
        assert payloads(engine, MAIL) == [b"a"]

    def test_each_copy_has_the_ttl_of_its_own_queue(self) -> None:
        engine = subscribed(MAIL, settings=SettingsBook(QueueSettings(), {MAIL: {"ttl": 5.0}}))
        put(engine, P, b"a")
        engine.advance(6)
        assert (payloads(engine, P), payloads(engine, MAIL)) == ([b"a"], [])

    def test_delayed_and_at_the_head(self) -> None:
        engine = subscribed(AUDIT)
        put(engine, P, b"a")
        engine.put(P, b"later", delay=5)
        engine.broker.open(P).put_first(b"first", 0, 0, None)
        engine.commit()
        for name in (P, AUDIT):
            assert payloads(engine, name) == [b"first", b"a"]
        engine.advance(5)
        for name in (P, AUDIT):
            assert payloads(engine, name) == [b"first", b"a", b"later"]

    def test_swapped_into(self) -> None:
        engine = subscribed(AUDIT)
        put(engine, b"stage", b"x")
        reservation = engine.broker.queues[b"stage"].reserve(Consumer())
        assert reservation is not None
        token = engine.broker.token_of(reservation)
        assert engine.broker.swap(token, P, b"a", 0, 0, None) is Swap.STORED
        engine.commit()
        assert (payloads(engine, P), payloads(engine, AUDIT), payloads(engine, b"stage")) == ([b"a"], [b"a"], [])


class TestTopics:
    def test_a_pattern_gets_what_is_put_on_names_that_match(self) -> None:
        engine = subscribed(b"logs.*.error+pager", b"logs.#+archive")
        for name in (b"logs.web.error", b"logs.mail.error", b"logs.web.info", b"logs.a.b.error", b"logs", b"other"):
            put(engine, name, name)
        assert payloads(engine, b"logs.*.error+pager") == [b"logs.web.error", b"logs.mail.error"]
        assert payloads(engine, b"logs.#+archive") == [
            b"logs.web.error",
            b"logs.mail.error",
            b"logs.web.info",
            b"logs.a.b.error",
            b"logs",
        ]

    def test_queues_that_are_there_already_and_such_as_come_later(self) -> None:
        engine = Engine()
        put(engine, b"logs.web", b"before")
        engine.broker.subscribe(b"logs.*+all")
        put(engine, b"logs.web", b"a")
        put(engine, b"logs.mail", b"b")
        engine = engine.restart()
        put(engine, b"logs.web", b"c")
        put(engine, b"logs.new", b"d")
        assert payloads(engine, b"logs.*+all") == [b"a", b"b", b"c", b"d"]

    def test_dead_letters_are_copied_to_nobody(self) -> None:
        engine = subscribed(b"#+all", settings=QueueSettings(max_deliveries=1))
        put(engine, P, b"a")
        worker = Consumer()
        assert engine.broker.queues[P].reserve(worker) is not None
        worker.close()
        engine.commit()
        assert (payloads(engine, b"orders.dead"), payloads(engine, b"#+all")) == ([b"a"], [b"a"])

    def test_the_dead_letters_of_a_child_are_no_child(self) -> None:
        engine = subscribed(AUDIT, settings=QueueSettings(max_deliveries=1))
        put(engine, P, b"a")
        worker = Consumer()
        assert engine.broker.queues[AUDIT].reserve(worker) is not None
        worker.close()
        engine.commit()
        assert payloads(engine, b"orders.audit.dead") == [b"a"]
        engine.broker.redrive(engine.broker.queues[b"orders.audit.dead"], 1, None)
        engine.commit()
        assert payloads(engine, AUDIT) == [b"a"]

    def test_a_queue_that_nobody_reads_by_a_topic_goes_the_plain_way(self) -> None:
        engine = subscribed(AUDIT, b"logs.*+all")
        for name, special in ((b"plain", False), (P, True), (b"logs.web", True), (AUDIT, False)):
            assert engine.broker.open(name).special is special
