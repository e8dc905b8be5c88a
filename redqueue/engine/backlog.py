"""The part of a queue that is not in memory: the ids of its items, in their order."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

_CHUNK = 4096


class Backlog:
    """A FIFO of ids, eight bytes each. Chunks are never empty."""

    __slots__ = ("_chunks", "_size", "_start")

    def __init__(self) -> None:
        self._chunks: deque[array[int]] = deque()
        self._start = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[int]:
        start = self._start
        for chunk in self._chunks:
            yield from chunk[start:] if start else chunk
            start = 0

    def __getitem__(self, index: int) -> int:
        """The id at ``index``, from 0, of which there must be one."""
        index += self._start
        for chunk in self._chunks:
            if index < len(chunk):
                return chunk[index]
            index -= len(chunk)
        raise IndexError(index)

    def append(self, item_id: int) -> None:
        """Add an item behind all others."""
        chunks = self._chunks
        if not chunks or len(chunks[-1]) >= _CHUNK:
            chunks.append(array("Q"))
        chunks[-1].append(item_id)
        self._size += 1

    def extend(self, ids: array[int]) -> None:
        """Add items behind all others."""
        for at in range(0, len(ids), _CHUNK):
            self._chunks.append(ids[at : at + _CHUNK])
        self._size += len(ids)

    def prepend(self, ids: Iterable[int]) -> None:
        """Add items before all others, the last of ``ids`` next to them."""
        added = array("Q", ids)
        if not added:
            return
        if self._start:
            del self._chunks[0][: self._start]
            self._start = 0
        if self._chunks and len(self._chunks[0]) + len(added) <= _CHUNK:
            self._chunks[0][:0] = added
        else:
            self._chunks.appendleft(added)
        self._size += len(added)

    def remove(self, item_id: int) -> bool:
        """Remove an item, wherever it stands; False where it is not there."""
        start = self._start
        for at, chunk in enumerate(self._chunks):
            try:
                i = chunk.index(item_id, start)
            except ValueError:
                start = 0
                continue
            del chunk[i]
            self._size -= 1
            if len(chunk) == start:
                del self._chunks[at]
                self._start = 0 if at == 0 else self._start
            return True
        return False

    def first(self, count: int) -> list[int]:
        """The first ``count`` ids, or as many as there are."""
        return [*islice(self, count)]

    def drop_first(self, count: int) -> None:
        """Remove the first ``count`` ids, of which there must be so many."""
        self._size -= count
        self._start += count
        while self._chunks and self._start >= len(self._chunks[0]):
            self._start -= len(self._chunks.popleft())
