"""All verbs of all protocols."""

from __future__ import annotations

from redqueue.protocol import classic, meta
from redqueue.protocol.frames import REQUEST, Frames
from redqueue.protocol.request import Parse, Run
from redqueue.protocol.service import Codec

COMMANDS: dict[bytes, tuple[Parse, Run]] = {**classic.COMMANDS, **meta.COMMANDS}
"""By verb, how its line is parsed and what it runs."""

CODECS: dict[int, Codec] = {REQUEST: Frames}
"""By the first byte of a connection, protocols that are not text."""
