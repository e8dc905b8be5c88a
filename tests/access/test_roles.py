"""Patterns of queues, roles and who has them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueue.access.roles import BadGrant, Grant, Role, User, parse_grant
from redqueue.engine.topics import Topics, parts, words


@pytest.mark.parametrize(
    ("pattern", "queue", "covered"),
    [
        ("orders", b"orders", True),
        ("orders", b"orders.new", False),
        ("orders.*", b"orders.new", True),
        ("orders.*", b"orders", False),
        ("orders.*", b"orders.new.paid", False),
        ("orders.#", b"orders", True),
        ("orders.#", b"orders.new.paid", True),
        ("#", b"a.b.c", True),
        ("#", b"", True),
        ("*", b"a.b", False),
        ("#.dead", b"orders.dead", True),
        ("#.dead", b"orders.dead.x", False),
        ("a.#.z", b"a.z", True),
        ("a.#.z", b"a.b.c.z", True),
        ("orders", b"orders+audit", True),  # who may read a queue may read any copy of it
        ("orders+audit", b"orders+audit", True),
        ("orders+audit", b"orders", False),
        ("orders+audit", b"orders+billing", False),
        ("orders.*+audit", b"orders.new+audit", True),
        ("orders+*", b"orders+billing", True),
        ("orders", b"c++", False),
        ("c++", b"c++", True),
        ("orders", b"\xff\xfe", False),
        ("*", b"\xff\xfe", True),
    ],
)
def test_a_pattern_covers(pattern: str, queue: bytes, covered: bool) -> None:
    assert Grant(Role.READER, pattern).covers(queue) is covered


@pytest.mark.parametrize(
    ("pattern", "queue", "covered"),
    [
        ("logs.*", b"logs.*+spy", True),
        ("logs.#", b"logs.*+spy", True),
        ("logs.#", b"logs.#+spy", True),
        ("logs.*", b"logs.#+spy", False),
        ("logs.*", b"#+spy", False),
        ("*", b"#+spy", False),
        ("#", b"#+spy", True),
        ("logs.web", b"logs.*+spy", False),
        ("*.*", b"*.web+spy", True),
    ],
)
def test_who_subscribes_to_a_topic_must_have_the_role_for_all_that_matches(
    pattern: str, queue: bytes, covered: bool
) -> None:
    assert Grant(Role.READER, pattern).covers(queue) is covered


WORDS = st.lists(st.sampled_from(["a", "b", "*", "#"]), min_size=1, max_size=4)


@settings(max_examples=400)
@given(WORDS, WORDS, st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=5))
def test_a_grant_for_a_topic_holds_for_every_queue_of_the_topic(
    granted: list[str], topic: list[str], name: list[bytes]
) -> None:
    grant = Grant(Role.READER, ".".join(granted))
    topics = Topics()
    topics.add(words(".".join(topic).encode()), b"t")
    queue = b".".join(name)
    if grant.covers(".".join(topic).encode() + b"+spy") and list(topics.match(words(queue))):
        assert grant.covers(queue)


@settings(max_examples=400)
@given(WORDS, st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=6))
def test_a_pattern_is_one_of_topics(granted: list[str], name: list[bytes]) -> None:
    topics = Topics()
    topics.add(words(".".join(granted).encode()), b"t")
    assert Grant(Role.READER, ".".join(granted)).covers(b".".join(name)) is bool(list(topics.match(name)))


def test_a_long_name_against_many_wildcards_takes_no_time() -> None:
    grant = Grant(Role.READER, ".".join(["#", "a"] * 60))
    assert not grant.covers(b".".join([b"a"] * 124 + [b"b"]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("reader", "wants the name of a queue or a pattern"),
        ("reader=", "wants the name of a queue or a pattern"),
        ("owner=x", "reader=PATTERN, writer=PATTERN, admin=PATTERN"),
        ("reader=mail*", "whole words between dots"),
        ("reader=mail.x#", "whole words between dots"),
        ("reader=a\x00b", "no spaces or control characters"),
        ("reader=" + "x" * 251, "up to 250 bytes"),
    ],
)
def test_a_bad_grant_says_what_to_write(text: str, reason: str) -> None:
    with pytest.raises(BadGrant, match="^.*" + reason.replace("*", r"\*")):
        parse_grant(text)


def test_roles_are_apart_and_an_admin_has_them_all() -> None:
    user = User("u", [parse_grant("reader=in.*"), parse_grant("writer=out"), parse_grant("admin=own.#")])
    assert user.may(Role.READER, b"in.a")
    assert not user.may(Role.WRITER, b"in.a")
    assert not user.may(Role.READER, b"out")
    assert user.may(Role.WRITER, b"out")
    assert all(user.may(role, b"own.x") for role in Role)
    assert not user.may(Role.ADMIN, b"in.a")
    assert not user.rules_all
    assert User("root", [parse_grant("admin=#")]).rules_all


def test_decisions_are_remembered_within_bounds() -> None:
    user = User("u", [parse_grant("reader=a.*")])
    for number in range(10_000):
        assert user.may(Role.READER, b"a.%d" % number)
        assert not user.may(Role.READER, b"b.%d" % number)
    assert len(user._decisions) <= 4096


def test_names_that_speak_of_children_are_taken_apart_as_the_engine_does() -> None:
    assert parts(b"a+b") == (b"a", b"b")
    assert not Grant(Role.READER, "a+b").covers(b"a+b+c")
    assert Grant(Role.READER, "a").covers(b"a+b+c")
