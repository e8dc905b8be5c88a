"""The limit of memory that all queues share."""

from __future__ import annotations

import pytest

from tests.engine.list_journal import Engine, payloads

MEMORY = 64_000


@pytest.mark.parametrize("queues", [1, 20, 200])
def test_the_limit_holds_whatever_the_number_of_queues(queues: int) -> None:
    engine = Engine(memory=MEMORY)
    names = [b"q%d" % i for i in range(queues)]
    payload = b"x" * 64
    each = 2000 // queues
    for number, name in enumerate(names * each, 1):
        engine.put(name, payload)
        if number % 200 == 0:
            engine.commit()
    assert engine.broker.hot_cost() <= MEMORY
    assert engine.broker.sum_items() == each * queues
    assert payloads(engine, names[0]) == [payload] * each
