"""Names that speak of other names: children (``orders+audit``) and topics (``logs.*.error+pager``).

A name with a ``+`` is that of a child: what stands before the first ``+`` is
its parent, or the pattern of its parents. A pattern is words with dots between
them; ``*`` stands for one word of any text, ``#`` for any number of words, none
included. A word is one of these only as a whole: ``log*`` is a literal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

ONE = b"*"
ANY = b"#"


def parts(name: bytes) -> tuple[bytes, bytes]:
    """The parent, or the pattern of parents, of a child, and what it is called among its siblings.

    :returns: the name itself and nothing where it is not that of a child
    """
    parent, _, child = name.partition(b"+")
    if not parent or not child or child.startswith(b"+"):
        return name, b""  # "c++" is nobody's child
    return parent, child


def is_child(name: bytes) -> bool:
    """Whether a name is that of a child."""
    return b"+" in name and bool(parts(name)[1])


def words(text: bytes) -> tuple[bytes, ...]:
    """The words of a name or of a pattern."""
    return tuple(text.split(b"."))


def is_pattern(text: bytes) -> bool:
    """Whether ``text`` stands for more names than itself."""
    return (ONE in text or ANY in text) and any(word in (ONE, ANY) for word in words(text))


def rank(pattern: bytes) -> tuple[int, ...]:
    """Sorts patterns, the most specific first: word by word, a literal before ``*``, and that before ``#``."""
    return (*(2 if word == ANY else 1 if word == ONE else 0 for word in words(pattern)), 3)


class _Node:
    """What may come after some words of the patterns.

    :ivar ends: what was added under the pattern that ends here
    :ivar is_any: whether it stands behind a ``#``, which takes further words
    """

    __slots__ = ("ends", "is_any", "next")

    def __init__(self, is_any: bool = False) -> None:
        self.next: dict[bytes, _Node] = {}
        self.ends: list[bytes] = []
        self.is_any = is_any


class Topics:
    """Patterns and what was added under them: a trie of words.

    Finding what matches a name costs a few steps for each of its words and each
    branch with a ``*`` or ``#`` on the way, however many patterns there are.
    """

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, pattern: Sequence[bytes], value: bytes) -> None:
        """Put ``value`` under the pattern of these words."""
        node = self._root
        for word in pattern:
            following = node.next.get(word)
            if following is None:
                following = node.next[word] = _Node(word == ANY)
            node = following
        node.ends.append(value)

    def remove(self, pattern: Sequence[bytes], value: bytes) -> None:
        """Take away ``value``, which was put under the pattern of these words."""
        way = [self._root]
        for word in pattern:
            way.append(way[-1].next[word])
        way[-1].ends.remove(value)
        for node, before, word in zip(reversed(way), reversed(way[:-1]), reversed(pattern), strict=False):
            if node.ends or node.next:
                break
            del before.next[word]

    def match(self, name: Sequence[bytes]) -> Iterator[bytes]:
        """What was added under patterns that the words of a name match, in no order."""
        nodes = _with_any({self._root: None})
        for word in name:
            following: dict[_Node, None] = {}
            for node in nodes:
                if node.is_any:
                    following[node] = None
                for text in (word, ONE) if word != ONE else (ONE,):
                    found = node.next.get(text)
                    if found is not None and not found.is_any:
                        following[found] = None
            nodes = _with_any(following)
            if not nodes:
                return
        for node in nodes:
            yield from node.ends


def _with_any(nodes: dict[_Node, None]) -> dict[_Node, None]:
    """``nodes`` and those that a ``#`` for no word leads to."""
    waiting = list(nodes)
    while waiting:
        found = waiting.pop().next.get(ANY)
        if found is not None and found not in nodes:
            nodes[found] = None
            waiting.append(found)
    return nodes
