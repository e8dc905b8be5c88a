"""One pass over a whole journal from outside: what lives in it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from redqueue.journal.contents import Contents, Live
from redqueue.journal.framing import FRAME_SIZE
from redqueue.journal.parse import ITEM_HEAD_MOST, Item, SenselessRecord, item_at, item_record_length
from redqueue.journal.reader import MISSING, NAME_LOST, SENSELESS, Finding, Found, JournalFiles, SegmentFile


class Replay:
    """The whole of a journal, read once.

    :param past_torn: read the good frames of a torn tail too, which the server would cut off
    :param progress: called with (bytes read, bytes in all) after every frame

    :ivar contents: what lives, once all has been read
    :ivar findings: everything that is not as it should be, so far
    :ivar lost_names: how many items live of each queue number without a name, once all has been read
    """

    def __init__(
        self, files: JournalFiles, *, past_torn: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> None:
        header = files.segments[0].header() if files.segments else None
        self.files = files
        self.contents = Contents(header.first_id if header else 0)
        self.findings: list[Finding] = []
        self.lost_names: dict[int, int] = {}
        self._past_torn = past_torn
        self._progress = progress

    @property
    def is_damaged(self) -> bool:
        """Whether there is damage among the findings: the server would not start."""
        return any(finding.is_damage for finding in self.findings)

    def run(self) -> None:
        """Read all of it."""
        for _ in self.steps():
            pass

    def steps(self) -> Iterator[tuple[SegmentFile | None, Found]]:
        """Read it step by step: every frame, before it is applied to the contents, and every finding.

        Names that are lost come last, and belong to no segment.
        """
        contents = self.contents
        for segment, found in self.files.scan(past_torn=self._past_torn, progress=self._progress):
            header = segment.header()
            if header is not None and not (isinstance(found, Finding) and found.kind == MISSING):
                contents.last_id = max(contents.last_id, header.first_id - 1)
            if isinstance(found, Finding):
                self.findings.append(found)
                yield segment, found
                continue
            yield segment, found
            try:
                contents.apply(segment.number, found)
            except SenselessRecord as error:
                at = found.offset + FRAME_SIZE + error.at
                text = (
                    f"the frame at offset {found.offset} of {segment.path.name} has a good checksum and makes no "
                    f"sense from offset {at} on: {error}"
                )
                finding = Finding(SENSELESS, segment.number, at, found.end, text, segment.number)
                self.findings.append(finding)
                yield segment, finding
        for finding in self._lost_names():
            self.findings.append(finding)
            yield None, finding

    def item(self, live: Live) -> Item:
        """An item that lives, read again."""
        head = self.files.record(live.position, ITEM_HEAD_MOST)
        return item_at(self.files.record(live.position, item_record_length(head)), live.item_id)

    def _lost_names(self) -> Iterator[Finding]:
        lost = self.lost_names
        for live in self.contents.live():
            if live.queue not in self.contents.names:
                lost[live.queue] = lost.get(live.queue, 0) + 1
        for number, count in lost.items():
            text = f"{count} items belong to queue number {number}, whose name is lost"
            yield Finding(NAME_LOST, 0, 0, 0, text, 0)
