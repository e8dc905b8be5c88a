"""Passwords are checked in a thread, few at a time, and what is known is not computed again."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from redqueue.access.authenticator import MOST_ATTEMPTS, MOST_OF_ONE_PEER, Authenticator, TooManyAttempts
from redqueue.access.passwords import hash_password
from redqueue.access.roles import User
from redqueue.access.users import Users, parse_users

HASH = hash_password(b"secret", ln=4, r=8, p=1)


class SlowUsers(Users):
    """Users whose check waits until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__(list(parse_users(f"alice {HASH}\nbob {HASH}\n", "users")))
        self.go = threading.Event()
        self.asked: list[tuple[str, bytes]] = []

    def verify(self, name: str, password: bytes) -> User | None:
        self.asked.append((name, password))
        assert self.go.wait(20)
        return super().verify(name, password)


class Bench:
    """An authenticator whose calls come when the test runs them."""

    def __init__(self) -> None:
        self.users = SlowUsers()
        self.calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.authenticator = Authenticator(self.users, self.calls.put)
        self.answers: list[tuple[object, User | None]] = []

    def submit(self, name: str, password: bytes, peer: str = "peer", tag: object = None) -> bool:
        return self.authenticator.submit(name, password, peer, lambda user: self.answers.append((tag, user)))

    def run(self, calls: int = 1) -> None:
        self.users.go.set()
        for _ in range(calls):
            self.calls.get(timeout=20)()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.users.go.set()
    made.authenticator.close()


def test_the_answer_comes_through_the_owners_loop(bench: Bench) -> None:
    assert bench.submit("alice", b"secret")
    assert bench.answers == []
    bench.run()
    assert bench.answers == [(None, bench.users.get("alice"))]


@pytest.mark.parametrize(("name", "password"), [("alice", b"wrong"), ("carol", b"secret"), ("", b"")])
def test_a_wrong_pair_is_nobody(bench: Bench, name: str, password: bytes) -> None:
    assert bench.submit(name, password)
    bench.run()
    assert bench.answers == [(None, None)]


def test_too_long_a_name_or_password_costs_nothing(bench: Bench) -> None:
    assert bench.submit("x" * 65, b"secret")
    assert bench.submit("alice", b"x" * 257)
    assert bench.answers == [(None, None)] * 2
    assert bench.users.asked == []


def test_what_was_right_is_remembered_and_what_was_wrong_is_not(bench: Bench) -> None:
    bench.submit("alice", b"secret")
    bench.submit("alice", b"wrong")
    bench.run(2)
    assert bench.authenticator.recall("alice", b"secret") is bench.users.get("alice")
    assert bench.authenticator.recall("alice", b"wrong") is None
    bench.submit("alice", b"secret", tag="again")
    assert bench.answers[-1] == ("again", bench.users.get("alice"))
    bench.submit("alice", b"wrong")
    bench.run()
    assert bench.users.asked == [("alice", b"secret"), ("alice", b"wrong"), ("alice", b"wrong")]


def test_name_and_password_are_kept_apart(bench: Bench) -> None:
    bench.submit("alice", b"secret")
    bench.run()
    assert bench.authenticator.recall("alices", b"ecret") is None
    assert bench.authenticator.recall("alic", b"esecret") is None


def test_a_fleet_with_one_password_costs_one_computation(bench: Bench) -> None:
    for number in range(500):
        assert bench.submit("alice", b"secret", tag=number)
    bench.run()
    assert bench.users.asked == [("alice", b"secret")]
    assert [tag for tag, _ in bench.answers] == list(range(500))
    assert all(user is bench.users.get("alice") for _, user in bench.answers)


def test_attempts_that_wait_are_bounded(bench: Bench) -> None:
    taken = [bench.submit("alice", b"%d" % number, peer=f"peer {number}") for number in range(MOST_ATTEMPTS + 5)]
    assert taken == [True] * MOST_ATTEMPTS + [False] * 5
    bench.run(MOST_ATTEMPTS)
    assert len(bench.answers) == MOST_ATTEMPTS
    assert bench.submit("alice", b"next")


def test_one_peer_can_not_fill_the_line(bench: Bench) -> None:
    taken = [bench.submit("alice", b"%d" % number, peer="loud") for number in range(MOST_OF_ONE_PEER + 1)]
    assert taken == [True] * MOST_OF_ONE_PEER + [False]
    assert bench.submit("bob", b"secret", peer="quiet")
    bench.run(MOST_OF_ONE_PEER + 1)
    assert bench.submit("alice", b"more", peer="loud")
    bench.run()
    assert not bench.authenticator._peers


def test_new_users_count_at_once(bench: Bench) -> None:
    bench.submit("alice", b"secret")
    bench.run()
    bench.submit("bob", b"secret", tag="under way")
    users = parse_users(f"bob {HASH} admin=#\n", "users")
    bench.authenticator.replace(users)
    assert bench.authenticator.recall("alice", b"secret") is None
    bench.run(2)
    assert bench.answers[-1] == ("under way", users.get("bob"))


def test_a_check_that_breaks_is_a_refusal(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def verify(name: str, password: bytes) -> User | None:
        raise MemoryError

    monkeypatch.setattr(bench.users, "verify", verify)
    bench.submit("alice", b"secret")
    bench.run()
    assert bench.answers == [(None, None)]


def test_a_coroutine_waits_for_the_answer() -> None:
    async def talk() -> None:
        users = SlowUsers()
        authenticator = Authenticator(users, asyncio.get_running_loop().call_soon_threadsafe)
        waiting = [
            asyncio.ensure_future(authenticator.authenticate("alice", b"%d" % n)) for n in range(MOST_OF_ONE_PEER)
        ]
        await asyncio.sleep(0)
        with pytest.raises(TooManyAttempts):
            await authenticator.authenticate("alice", b"secret")
        waiting.pop().cancel()
        users.go.set()
        assert await asyncio.gather(*waiting) == [None] * len(waiting)
        assert await authenticator.authenticate("alice", b"secret") is users.get("alice")
        authenticator.close()

    asyncio.run(talk())
