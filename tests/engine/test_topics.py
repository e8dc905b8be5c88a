"""Names of children, patterns, and the trie that finds who gets a copy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueue.engine.topics import Topics, is_child, is_pattern, parts, rank, words

WORD = st.sampled_from([b"a", b"b", b"", b"a*"])
NAME = st.lists(st.one_of(WORD, st.sampled_from([b"*", b"#"])), min_size=1, max_size=6)
PATTERN = st.lists(st.one_of(WORD, st.sampled_from([b"*", b"#", b"#"])), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"orders+audit", (b"orders", b"audit")),
        (b"logs.*.error+pager", (b"logs.*.error", b"pager")),
        (b"a+b+c", (b"a", b"b+c")),
        (b"orders", (b"orders", b"")),
        (b"+audit", (b"+audit", b"")),
        (b"orders+", (b"orders+", b"")),
        (b"c++", (b"c++", b"")),
    ],
)
def test_parent_and_child(name: bytes, expected: tuple[bytes, bytes]) -> None:
    assert parts(name) == expected
    assert is_child(name) == bool(expected[1])


def test_only_whole_words_make_a_pattern() -> None:
    assert [is_pattern(text) for text in (b"a.*", b"#", b"a.#.b", b"a*", b"a.b#", b"a")] == [True] * 3 + [False] * 3


def agrees(pattern: list[bytes], name: list[bytes]) -> bool:
    """The same rule once more, said as a recursion."""
    if not pattern:
        return not name
    if pattern[0] == b"#":
        return agrees(pattern[1:], name) or (bool(name) and agrees(pattern, name[1:]))
    return bool(name) and pattern[0] in (b"*", name[0]) and agrees(pattern[1:], name[1:])


@given(st.lists(PATTERN, max_size=8), NAME, st.data())
def test_matching_against_a_recursion(patterns: list[list[bytes]], name: list[bytes], data: st.DataObject) -> None:
    topics = Topics()
    for number, pattern in enumerate(patterns):
        topics.add(pattern, b"%d" % number)
    expected = {b"%d" % number for number, pattern in enumerate(patterns) if agrees(pattern, name)}
    found = list(topics.match(name))
    assert sorted(found) == sorted(expected)
    for number in data.draw(st.permutations(range(len(patterns)))):
        topics.remove(patterns[number], b"%d" % number)
        expected.discard(b"%d" % number)
        assert set(topics.match(name)) == expected
    assert not topics._root.next


def test_many_any_words_do_not_explode() -> None:
    topics = Topics()
    topics.add([b"#"] * 30 + [b"end"], b"x")
    assert list(topics.match([b"a"] * 100)) == []
    assert list(topics.match([b"a"] * 100 + [b"end"])) == [b"x"]


def test_ranks_put_the_specific_first() -> None:
    patterns = [b"a.b", b"a.*.c", b"a.*", b"a.#.c", b"a.#", b"*.b", b"*", b"#"]
    assert sorted(patterns, key=rank) == patterns


def test_ten_thousand_patterns_are_not_looked_at_one_by_one() -> None:
    """Counted in look-ups of words, since time says little on a busy machine."""

    class Counted(dict):  # type: ignore[type-arg]
        lookups = 0

        def get(self, *arguments: object) -> object:
            Counted.lookups += 1
            return super().get(*arguments)

    topics = Topics()
    for number in range(10_000):
        topics.add(words(b"logs.host%d.*.error.#" % number), b"%d" % number)
    nodes = [topics._root]
    while nodes:
        node = nodes.pop()
        nodes += node.next.values()
        node.next = Counted(node.next)
    assert list(topics.match(words(b"logs.host77.web.error.disk"))) == [b"77"]
    assert Counted.lookups < 100
