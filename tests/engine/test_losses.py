"""Lost deliveries: counted, delayed, sent to the end, and in the end to the dead letters."""

from __future__ import annotations

import pytest

from redqueue.engine import dead_letters
from redqueue.engine.consumer import Consumer
from redqueue.engine.losses import retry_delay
from redqueue.engine.queue import Queue
from redqueue.engine.settings import QueueSettings, SettingsBook
from redqueue.journal import record as rec
from tests.engine.list_journal import Engine, payloads

Q = b"jobs"
DEAD = b"jobs.dead"


def filled(settings: QueueSettings | SettingsBook, *items: bytes) -> Engine:
    engine = Engine(settings)
    for item in items:
        assert engine.put(Q, item)
    engine.commit()
    return engine


def lose(engine: Engine, queue: bytes = Q) -> bytes:
    """A worker takes the next item and its connection closes; returns the item's payload."""
    worker = Consumer()
    engine.warm(queue)
    reservation = engine.broker.queues[queue].reserve(worker)
    assert reservation is not None
    worker.close()
    engine.commit()
    return rec.payload(reservation.record)


def head(engine: Engine, queue: bytes) -> bytes:
    record = engine.broker.queues[queue].head()
    assert record is not None
    return record


class TestCount:
    def test_after_so_many_losses_the_item_is_a_dead_letter(self) -> None:
        engine = filled(QueueSettings(max_deliveries=5), b"poison", b"next")
        assert [lose(engine) for _ in range(5)] == [b"poison"] * 5
        assert payloads(engine, Q) == [b"next"]
        assert payloads(engine, DEAD) == [b"poison"]
        assert engine.broker.queues[Q].dead_letters == 1

    def test_a_passed_deadline_counts_and_giving_back_does_not(self) -> None:
        engine = filled(QueueSettings(max_deliveries=2, reserve_timeout=30), b"a")
        queue = engine.broker.queues[Q]
        for _ in range(5):
            reservation = queue.reserve(Consumer())
            assert reservation is not None
            queue.cancel(reservation)
            engine.commit()
        for timeout in (None, 3):
            assert payloads(engine, Q) == [b"a"]
            assert queue.reserve(Consumer(), timeout) is not None
            engine.advance(31)
            engine.commit()
        assert (payloads(engine, Q), payloads(engine, DEAD)) == ([], [b"a"])

    def test_the_end_of_the_server_does_not_count(self) -> None:
        engine = filled(QueueSettings(max_deliveries=1), b"a")
        engine.broker.ending = True
        lose(engine)
        assert payloads(engine, Q) == [b"a"]

    def test_it_outlives_restarts(self) -> None:
        engine = filled(QueueSettings(max_deliveries=3), b"poison", b"next")
        for _ in range(2):
            assert lose(engine) == b"poison"
            engine = engine.restart()
        reservation = engine.broker.queues[Q].reserve(Consumer())
        assert reservation is not None
        assert reservation.deliveries == 3
        engine = engine.restart()  # a reservation that ends so is no loss
        assert lose(engine) == b"poison"
        assert payloads(engine, DEAD) == [b"poison"]

    def test_it_outlives_a_change_of_the_item(self) -> None:
        engine = filled(QueueSettings(max_deliveries=2), b"1")
        lose(engine)
        engine.broker.queues[Q].rewrite_head(b"2", 0, 0, None)
        engine.commit()
        lose(engine)
        assert payloads(engine, DEAD) == [b"2"]

    def test_without_the_setting_nothing_is_journaled(self) -> None:
        engine = filled(QueueSettings(), b"a")
        written = len(engine.journal.written)
        lose(engine)
        assert len(engine.journal.written) == written

    def test_a_loss_behind_a_flush_does_not_bring_the_item_back_with_a_restart(self) -> None:
        for most in (1, 5):
            engine = filled(QueueSettings(max_deliveries=most), b"a")
            worker = Consumer()
            engine.broker.queues[Q].reserve(worker)
            engine.broker.flush(engine.broker.queues[Q], None)
            worker.close()
            engine.commit()
            assert (engine.broker.sum_items(), engine.restart().broker.sum_items()) == (0, 0)

    def test_a_loss_while_the_journal_has_failed_is_not_written(self) -> None:
        engine = filled(QueueSettings(max_deliveries=1), b"a")
        engine.broker.fail("no disk")
        worker = Consumer()
        engine.broker.queues[Q].reserve(worker)
        worker.close()
        assert (payloads(engine, Q), engine.journal.open) == ([b"a"], [])


class TestLetters:
    def test_it_keeps_what_it_was(self) -> None:
        engine = Engine(QueueSettings(max_deliveries=1))
        engine.broker.open(Q).put(b"a", 77, engine.clock.wall + 10**12, None)
        engine.commit()
        before = head(engine, Q)
        engine.advance(5)
        lose(engine)
        for each in (engine, engine.restart()):
            letter = head(each, DEAD)
            for field in (rec.item_id, rec.time, rec.flags, rec.expires, rec.payload):
                assert field(letter) == field(before)
            assert rec.deliveries(letter) == 1
            assert each.broker.origins.name_of(letter) == Q

    def test_it_is_in_exactly_one_queue_whatever_becomes_of_the_frame(self) -> None:
        engine = filled(QueueSettings(max_deliveries=1), b"a", b"b")
        worker = Consumer()
        engine.broker.queues[Q].reserve(worker)
        worker.close()
        assert payloads(engine, Q) == [b"b"]
        assert payloads(engine, DEAD) == []
        assert engine.broker.sum_items() == 2
        assert len([kind for kind, _ in engine.journal.open]) == 1
        assert (payloads(engine.restart(), Q), payloads(engine.restart(), DEAD)) == ([b"a", b"b"], [])
        engine.fail()
        assert (payloads(engine, Q), payloads(engine, DEAD)) == ([b"a", b"b"], [])
        lose(engine)
        for each in (engine, engine.restart()):
            assert (payloads(each, Q), payloads(each, DEAD)) == ([b"b"], [b"a"])
            assert (each.broker.queues[Q].items, each.broker.queues[DEAD].items) == (1, 1)
            assert (each.broker.queues[Q].bytes, each.broker.queues[DEAD].bytes) == (1, 1)

    def test_it_does_not_die_again(self) -> None:
        engine = filled(QueueSettings(max_deliveries=1, retry_delay=60), b"a")
        lose(engine)
        for _ in range(3):
            assert lose(engine, DEAD) == b"a"
        assert b"jobs.dead.dead" not in engine.broker.queues

    def test_where_the_setting_says(self) -> None:
        engine = filled(QueueSettings(max_deliveries=1, dead_letter="graves"), b"a")
        lose(engine)
        assert payloads(engine, b"graves") == [b"a"]

    def test_an_item_of_the_very_queue_stays(self) -> None:
        engine = filled(QueueSettings(max_deliveries=1, dead_letter="jobs"), b"a")
        lose(engine)
        lose(engine)
        assert payloads(engine, Q) == [b"a"]
        assert (rec.origin(head(engine, Q)), engine.broker.queues[Q].dead_letters) == (0, 0)

    def test_no_limit_stops_it(self) -> None:
        engine = filled(QueueSettings(max_deliveries=1, max_items=1), b"a")
        lose(engine)
        engine.put(Q, b"b")
        engine.commit()
        lose(engine)
        assert payloads(engine, DEAD) == [b"a", b"b"]

    def test_who_waits_for_letters_gets_it(self) -> None:
        engine = filled(QueueSettings(max_deliveries=1), b"a")
        got: list[bytes] = []
        engine.broker.open(DEAD).wait(Consumer(), 60, None, lambda r: got.append(rec.payload(r.record)))
        lose(engine)
        assert got == [b"a"]


class TestRetryDelay:
    def test_doubles_with_each_loss(self) -> None:
        engine = filled(QueueSettings(retry_delay=10), b"a", b"b")
        for delay in (10, 20, 40):
            assert lose(engine) == b"a"
            assert payloads(engine, Q) == [b"b"]
            engine.advance(delay - 0.1)
            assert payloads(engine, Q) == [b"b"]
            engine.advance(0.1)
            assert payloads(engine, Q) == [b"a", b"b"]

    def test_up_to_an_hour(self) -> None:
        assert [retry_delay(10, losses) for losses in (1, 2, 3, 9, 10, 5000)] == [10, 20, 40, 2560, 3600, 3600]

    def test_it_outlives_a_restart_with_its_doubling(self) -> None:
        engine = filled(QueueSettings(retry_delay=10), b"a")
        lose(engine)
        engine = engine.restart()
        assert payloads(engine, Q) == []
        engine.advance(10)
        lose(engine)
        engine = engine.restart()
        engine.advance(19)
        assert payloads(engine, Q) == []
        engine.advance(1)
        assert payloads(engine, Q) == [b"a"]

    def test_giving_back_is_not_delayed(self) -> None:
        engine = filled(QueueSettings(retry_delay=10), b"a")
        queue = engine.broker.queues[Q]
        reservation = queue.reserve(Consumer())
        assert reservation is not None
        queue.cancel(reservation)
        assert payloads(engine, Q) == [b"a"]

    def test_a_poison_item_does_not_hold_up_those_behind_it(self) -> None:
        """Five workers die of it, and one works through all the others meanwhile, in no longer than they take."""
        engine = filled(QueueSettings(max_deliveries=5, retry_delay=1), b"poison", *(b"%d" % n for n in range(100)))
        done: list[bytes] = []
        deaths = 0
        for _ in range(200):
            worker = Consumer()
            reservation = engine.broker.queues[Q].reserve(worker)
            if reservation is not None and rec.payload(reservation.record) == b"poison":
                deaths += 1
                worker.close()
                reservation = engine.broker.queues[Q].reserve(Consumer())
            if reservation is not None:
                done.append(rec.payload(reservation.record))
                reservation.queue.acknowledge(reservation, None)
            engine.commit()
            engine.advance(0.1)
        assert deaths == 5
        assert done == [b"%d" % n for n in range(100)]
        assert payloads(engine, DEAD) == [b"poison"]


class TestTail:
    def test_lost_and_given_back_ones_go_to_the_end(self) -> None:
        engine = filled(QueueSettings(requeue="tail"), b"a", b"b", b"c")
        assert lose(engine) == b"a"
        assert payloads(engine, Q) == [b"b", b"c", b"a"]
        queue = engine.broker.queues[Q]
        reservation = queue.reserve(Consumer())
        assert reservation is not None
        queue.cancel(reservation)
        engine.put(Q, b"d")
        engine.commit()
        assert payloads(engine, Q) == [b"c", b"a", b"b", b"d"]

    def test_it_outlives_a_restart_and_new_items_come_behind(self) -> None:
        engine = filled(QueueSettings(requeue="tail"), b"a", b"b")
        lose(engine)
        lose(engine)
        engine = engine.restart()
        engine.put(Q, b"c")
        engine.commit()
        assert payloads(engine, Q) == payloads(engine.restart(), Q) == [b"a", b"b", b"c"]

    def test_with_a_delay_at_the_end_of_what_was_there_at_the_loss(self) -> None:
        engine = filled(QueueSettings(requeue="tail", retry_delay=5), b"a", b"b")
        lose(engine)
        engine.put(Q, b"c")
        engine.commit()
        engine.advance(5)
        assert payloads(engine, Q) == [b"b", b"a", b"c"]


class TestRedrive:
    def dead(self, *items: bytes, **settings: int) -> Engine:
        engine = filled(QueueSettings(max_deliveries=1, **settings), *items)
        for _ in items:
            lose(engine)
        assert payloads(engine, DEAD) == list(items)
        return engine

    def redrive(self, engine: Engine, most: int = 1 << 60) -> bool:
        done = engine.broker.redrive(engine.broker.queues[DEAD], most, None)
        engine.commit()
        return done

    def test_the_oldest_first_to_the_end_of_where_they_came_from(self) -> None:
        engine = self.dead(b"a", b"b", b"c")
        engine.put(Q, b"new")
        engine.commit()
        assert self.redrive(engine, 2)
        for each in (engine, engine.restart()):
            assert (payloads(each, Q), payloads(each, DEAD)) == ([b"new", b"a", b"b"], [b"c"])
            assert each.broker.sum_items() == each.broker.sum_bytes() - 2 == 4

    def test_with_their_losses_forgotten(self) -> None:
        engine = self.dead(b"a")
        letter = head(engine, DEAD)
        self.redrive(engine)
        record = head(engine, Q)
        assert (rec.deliveries(record), rec.origin(record)) == (0, 0)
        assert rec.item_id(record) == rec.item_id(letter)
        assert rec.time(record) == rec.time(letter)
        lose(engine)
        assert payloads(engine, DEAD) == [b"a"]

    def test_after_a_restart(self) -> None:
        engine = self.dead(b"a").restart().restart()
        assert self.redrive(engine)
        assert payloads(engine.restart(), Q) == [b"a"]

    def test_each_to_its_own_queue(self) -> None:
        engine = Engine(QueueSettings(max_deliveries=1, dead_letter="graves"))
        for name in (b"x", b"y"):
            engine.put(name, name)
            engine.commit()
            lose(engine, name)
        assert engine.broker.redrive(engine.broker.queues[b"graves"], 10, None)
        engine.commit()
        assert (payloads(engine, b"x"), payloads(engine, b"y")) == ([b"x"], [b"y"])

    def test_what_is_no_letter_stays(self) -> None:
        engine = self.dead(b"a")
        engine.put(DEAD, b"put by hand")
        engine.commit()
        assert self.redrive(engine)
        assert not self.redrive(engine)
        assert payloads(engine, DEAD) == [b"put by hand"]

    def test_ends_at_a_full_queue(self) -> None:
        engine = Engine(QueueSettings(max_deliveries=1, max_items=2))
        for number in range(3):
            engine.put(Q, b"%d" % number)
            engine.commit()
            lose(engine)
        assert self.redrive(engine)
        assert (payloads(engine, Q), payloads(engine, DEAD)) == ([b"0", b"1"], [b"2"])
        assert not self.redrive(engine)

    def test_both_or_neither_when_the_journal_fails(self) -> None:
        engine = self.dead(b"a")
        assert engine.broker.redrive(engine.broker.queues[DEAD], 1, "receipt")
        assert engine.fail() == ["receipt"]
        assert (payloads(engine, Q), payloads(engine, DEAD)) == ([], [b"a"])
        assert engine.broker.sum_items() == 1
        assert engine.broker.origins.name_of(head(engine, DEAD)) == Q

    def test_more_than_a_turn_takes_go_in_the_next_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dead_letters, "REDRIVE_MOST", 2)
        engine = self.dead(b"a", b"b", b"c", b"d", b"e", b"f")
        self.redrive(engine, 5)
        assert payloads(engine, Q) == [b"a", b"b"]
        for _ in range(5):
            engine.advance(0.001)
            engine.commit()
        assert (payloads(engine, Q), payloads(engine, DEAD)) == ([b"a", b"b", b"c", b"d", b"e"], [b"f"])


def test_a_letter_that_is_changed_keeps_its_origin() -> None:
    engine = filled(QueueSettings(max_deliveries=1), b"a")
    lose(engine)
    engine = engine.restart()
    queue: Queue = engine.broker.queues[DEAD]
    queue.rewrite_head(b"b", 0, 0, None)
    engine.commit()
    engine = engine.restart()
    assert payloads(engine, DEAD) == [b"b"]
    assert engine.broker.origins.name_of(head(engine, DEAD)) == Q
