"""The description of the JSON API for programs: ``/api/openapi.json``, in OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from redqueue import __version__
from redqueue.server.figures import COUNTED
from redqueue.server.web.handler import CHANGE_HEADER, Handler
from redqueue.server.web.items import DEEPEST
from redqueue.server.web.past import LATEST
from redqueue.server.web.queue_rows import SORTS
from redqueue.server.web.reads import MOST_ITEMS, MOST_OFFSET, MOST_ROWS, SHOWN_PAYLOAD
from redqueue.server.web.samples import RANGES, RATED, Samples

Schema = dict[str, Any]

ERRORS = {
    "400": "Something in the request is not as described; the message names it.",
    "401": "The server has users, and wants name and password (HTTP Basic).",
    "403": "You may not do this, or it came from a page of another site.",
    "404": "There is no such queue, or nothing in it that this can be done to.",
    "405": "This path has no such method; the header Allow names those it has.",
    "409": "The queue is full, or the server takes no new items.",
    "413": "The item is longer than max_item_size.",
    "415": "A body wants to be application/json.",
    "421": "The server is not known by the name in the header Host.",
    "503": "Not now: the journal is being replayed or cannot be written; the message says which.",
}
_EVERYWHERE = ("400", "401", "403", "405", "421", "503")


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _whole(text: str = "", least: int = 0, **more: Any) -> Schema:
    return _described({"type": "integer", "minimum": least, **more}, text)


def _number(text: str = "", **more: Any) -> Schema:
    return _described({"type": "number", **more}, text)


def _text(text: str = "", **more: Any) -> Schema:
    return _described({"type": "string", **more}, text)


def _flag(text: str = "") -> Schema:
    return _described({"type": "boolean"}, text)


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _described(schema: Schema, text: str) -> Schema:
    return {**schema, "description": text} if text else schema


def _ref(kind: str, name: str) -> Schema:
    return {"$ref": f"#/components/{kind}/{name}"}


_NAME = _text("A queue's name, to be read; bytes that are no UTF-8 are written as \\xff.")
_NAME_URL = _text("The same, exactly: percent-encoded, as paths take it.", pattern="^[A-Za-z0-9_.~%-]+$")
_BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_COUNTS = {
    "put": "Items put.",
    "delivered": "Items handed to a consumer.",
    "acknowledged": "Deliveries that were acknowledged.",
    "released": "Deliveries that the consumer gave back.",
    "disconnected": "Deliveries that came back because the connection closed.",
    "timed_out": "Deliveries that came back because their deadline passed.",
    "expired": "Items dropped because their time to live had passed.",
    "discarded": "Items dropped to make room for newer ones.",
    "dead_lettered": "Items moved to the dead letters.",
    "flushes": "Times that it was flushed.",
}
_ROW: dict[str, Schema] = {
    "name": _NAME,
    "name_url": _NAME_URL,
    "items": _whole("All items: ready, reserved and delayed."),
    "ready": _whole("Items that wait for a consumer."),
    "reserved": _whole("Items that a consumer has."),
    "delayed": _whole("Items that are not ready before a moment."),
    "dead": _whole("Items in the queue that takes this one's dead letters."),
    "bytes": _whole("Bytes of the payloads of all items."),
    "memory_items": _whole("Items that are in memory; the others are read from the journal in time."),
    "oldest_age": _or_null(_number("Seconds since the next item arrived; null while nothing is ready.", minimum=0)),
    "consumers": _whole("Consumers that hold an item or wait for one."),
    "waiters": _whole("Consumers that wait for an item."),
    "paused": _flag("Whether no items are handed out."),
    "takes_dead_letters": _flag("Whether it is a queue of dead letters, by its name."),
    "created": _number("When it came to be, Unix time in seconds."),
    **{f"{name}_total": _whole(_COUNTS[name]) for name in COUNTED},
    **{f"{name}_rate": _number(f"{_COUNTS[name][:-1]} a second.", minimum=0) for name in RATED},
}
_SETTINGS = _object(
    reserve_timeout=_number("Seconds."),
    prefetch=_whole(),
    wait=_number("Seconds."),
    ttl=_number("Seconds; 0 for no limit."),
    max_deliveries=_whole(),
    dead_letter=_text(),
    retry_delay=_number("Seconds."),
    requeue=_text(enum=["head", "tail"]),
    max_items=_whole(),
    max_bytes=_whole(),
    overflow=_text(enum=["refuse", "drop-oldest"]),
    fanout_only=_flag(),
)
_ITEM = {
    **_object(
        id=_whole(),
        size=_whole("Bytes of its payload."),
        flags=_whole("The client's own."),
        time=_number("When it arrived, Unix time in seconds."),
        age=_number("Seconds since then.", minimum=0),
        ttl=_or_null(_number("Seconds that it still lives; null for ever.")),
        deliveries=_whole("How often it was delivered, as far as that is known."),
        losses=_whole("How often its worker was lost, where the queue's settings count that."),
        payload_base64=_text("The beginning of its payload.", contentEncoding="base64"),
        truncated=_flag("Whether there is more of it."),
    )
}
_ITEM["properties"] = {
    **_ITEM["properties"],
    "consumer": _or_null(_text("Reserved items: who has it.")),
    "ends_in": _number("Reserved items: seconds until the reservation's deadline.", minimum=0),
    "due_in": _number("Delayed items: seconds until it is ready.", minimum=0),
    "origin": _text("Dead letters: the queue that it came from."),
    "origin_url": _NAME_URL,
}
_HISTORY: dict[str, Schema] = {
    "range": _text("How far back it reaches.", enum=[*RANGES]),
    "seconds": _whole("The same, in seconds."),
    "step": _whole("Seconds between two samples, about."),
    "is_continued": _flag("Whether these are only the samples after since."),
    "time": _array(_number("When each sample was taken, Unix time in seconds.")),
    **{name: _array(_whole()) for name in Samples.DEPTHS},
    **{name: _array(_number(minimum=0)) for name in Samples.RATES},
}
SCHEMAS: dict[str, Schema] = {
    "Error": _object(error=_text("What is wrong, in words.")),
    "Done": _object(ok={"const": True}),
    "Health": _object(ok=_flag(), reasons=_array(_text("What is wrong, in words."))),
    "Queue": _object(**_ROW),
    "QueueDetails": _object(
        **_ROW,
        resumes_in=_or_null(_number("Seconds until a pause ends by itself; null where it does not.", minimum=0)),
        settings=_SETTINGS,
        dead_letter=_NAME,
        dead_letter_url=_NAME_URL,
        children=_array(_object(name=_NAME, name_url=_NAME_URL)),
        may=_object(put=_flag("Whether who asks may put items."), change=_flag("And do the rest.")),
    ),
    "Queues": _object(total=_whole("Queues that match."), offset=_whole(), queues=_array(_ref("schemas", "Queue"))),
    "History": _object(**_HISTORY),
    "TotalHistory": _object(
        **_HISTORY,
        totals=_object(
            queues=_whole(),
            **{name: _whole() for name in Samples.DEPTHS},
            **{name: _number(minimum=0) for name in Samples.RATES},
        ),
    ),
    "Item": _ITEM,
    "Items": _object(total=_whole("Items in that state."), offset=_whole(), items=_array(_ref("schemas", "Item"))),
    "NewItem": {
        "type": "object",
        "properties": {
            "payload": _text("A text; it is stored as UTF-8."),
            "payload_base64": _text("Or any bytes.", contentEncoding="base64", pattern=_BASE64),
            "flags": _whole("The client's own.", maximum=2**32 - 1, default=0),
            "ttl": _number("Seconds that it lives; 0 for ever.", minimum=0, maximum=2**31 - 1, default=0),
            "delay": _number("Seconds before it is ready.", minimum=0, maximum=2**31 - 1, default=0),
        },
        "additionalProperties": False,
        "oneOf": [{"required": ["payload"]}, {"required": ["payload_base64"]}],
    },
    "Put": _object(id=_whole("The item's id; 0 for one that has expired already or has gone to children only.")),
    "Server": _object(
        version=_text(),
        pid=_whole(),
        started=_number("Unix time in seconds."),
        uptime=_whole("Seconds."),
        reliable=_text(enum=["no", "yes", "sync"]),
        readonly=_flag(),
        draining=_flag(),
        connections=_whole(),
        memory_bytes=_whole("Bytes of items in memory, with what they cost there."),
        rss_bytes=_whole("Bytes of memory that the process has."),
        cpu_seconds=_number(),
        health=_ref("schemas", "Health"),
        totals=_object(
            **{name: _whole() for name in ("queues", "ready", "reserved", "delayed", "dead", "bytes", "waiters")},
            **{f"{name}_total": _whole() for name in COUNTED},
        ),
        stats={
            "type": "object",
            "additionalProperties": {"type": ["string", "number"]},
            "description": "What the command stats says, by memcached's names.",
        },
        user={
            "oneOf": [{"type": "null"}, _object(name=_text(), grants=_array(_text()))],
            "description": "Who asks; null where nobody is asked.",
        },
        may_change=_flag("Whether who asks may change everything."),
    ),
    "Connections": _object(
        total=_whole(),
        offset=_whole(),
        connections=_array(
            _object(
                number=_whole(),
                address=_text(),
                user=_or_null(_text("Who that is; null where nobody is asked.")),
                reserved=_whole("Items that it has."),
                waiting=_flag("Whether it waits for an item."),
            )
        ),
    ),
    "Journal": {
        "type": "object",
        "properties": {
            "journal": _flag("Whether there is one; only total, offset and segments are there where not."),
            "directory": _text(),
            "bytes": _whole("On the disk."),
            "live_bytes": _whole("Of records that still count."),
            "live_items": _whole(),
            "frames": _whole(),
            "syncs": _whole(),
            "compacted_segments": _whole(),
            "copied_items": _whole(),
            "total": _whole("Segments."),
            "offset": _whole(),
            "segments": _array(
                _object(
                    number=_whole(),
                    file=_text(),
                    bytes=_whole(),
                    live_items=_whole(),
                    live_bytes=_whole("By the average of all items."),
                    state=_text("dead: it will be deleted.", enum=["current", "closed", "dead"]),
                )
            ),
        },
        "required": ["journal", "total", "offset", "segments"],
        "additionalProperties": False,
    },
}

_QUEUE: Schema = {
    "name": "queue",
    "in": "path",
    "required": True,
    "description": "The queue's name, percent-encoded (name_url): any bytes, a slash as %2F.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 250},
    "example": "jobs",
}
_QUEUE_OF_COMMAND = {
    **_QUEUE,
    "description": "The queue's name, percent-encoded (name_url), without spaces and control characters.",
    "schema": {**_QUEUE["schema"], "pattern": r"^[^\x00-\x20\x7f]+$"},
}
_CHANGE = {
    "name": CHANGE_HEADER,
    "in": "header",
    "required": True,
    "description": "Anything; it shows that no page of another site sends this.",
    "schema": {"type": "string", "const": "1"},
}


def _argument(name: str, text: str, **schema: Any) -> Schema:
    return {"name": name, "in": "query", "description": text, "schema": schema}


def _page(most: int, default: int, deepest: int = MOST_OFFSET) -> list[Schema]:
    return [
        _argument("offset", "How many to leave out.", type="integer", minimum=0, maximum=deepest, default=0),
        _argument("limit", "How many to tell, at most.", type="integer", minimum=1, maximum=most, default=default),
    ]


_PAST = [
    _argument("range", "How far back.", type="string", enum=[*RANGES], default="5m"),
    _argument("since", "Only samples after this Unix time.", type="number", minimum=0, maximum=LATEST, default=0),
]


def _operation(
    name: str,
    summary: str,
    answer: str,
    *errors: str,
    status: str = "200",
    parameters: list[Schema] | None = None,
    body: Schema | None = None,
    is_change: bool = False,
) -> Schema:
    """An operation of the API.

    :param answer: the schema of what it answers
    :param errors: statuses it may have besides those that all may have
    """
    if body is not None:
        errors = (*errors, "413", "415")
    operation: Schema = {
        "operationId": name,
        "summary": summary,
        "parameters": [*(parameters or []), *([_CHANGE] if is_change else [])],
        "responses": {
            status: {
                "description": "Done." if is_change else "As asked.",
                "content": {"application/json": {"schema": _ref("schemas", answer)}},
            },
            **{code: _ref("responses", f"E{code}") for code in sorted({*_EVERYWHERE, *errors})},
        },
    }
    if body is not None:
        operation["requestBody"] = {
            "required": name in ("putItem", "setReadonly", "setDrain"),
            "content": {"application/json": {"schema": body}},
        }
    return operation


def _change(name: str, summary: str, *errors: str, body: Schema | None = None, **more: Any) -> Schema:
    return _operation(name, summary, more.pop("answer", "Done"), *errors, body=body, is_change=True, **more)


_NOTHING: Schema = {"type": "object", "additionalProperties": False}
_SWITCH = _object(on=_flag())


def _probe(name: str, summary: str, *statuses: str) -> Schema:
    content = {"application/json": {"schema": {"type": "object", "properties": {"ok": {"type": "boolean"}}}}}
    return {
        "operationId": name,
        "summary": summary,
        "security": [],
        "responses": {status: {"description": "Health.", "content": content} for status in statuses},
    }


PATHS: dict[str, Schema] = {
    "/livez": {"get": _probe("isLive", "Whether the server's loop turns.", "200")},
    "/readyz": {"get": _probe("isReady", "Whether clients should be sent here, and why not.", "200", "503")},
    "/metrics": {
        "get": {
            "operationId": "getMetrics",
            "summary": "Metrics for Prometheus, as text or in OpenMetrics.",
            "responses": {
                "200": {
                    "description": "All metrics.",
                    "content": {
                        "text/plain": {"schema": {"type": "string"}},
                        "application/openmetrics-text": {"schema": {"type": "string"}},
                    },
                },
                **{code: _ref("responses", f"E{code}") for code in _EVERYWHERE},
            },
        }
    },
    "/api/openapi.json": {
        "get": {
            "operationId": "getDescription",
            "summary": "This description.",
            "security": [],
            "responses": {
                "200": {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}},
                **{code: _ref("responses", f"E{code}") for code in ("400", "421")},
            },
        }
    },
    "/api/server": {"get": _operation("getServer", "The server: figures, sums of all queues, health.", "Server")},
    "/api/server/readonly": {"post": _change("setReadonly", "Take no new items, or take them again.", body=_SWITCH)},
    "/api/server/drain": {
        "post": _change("setDrain", "The same before the server is ended: /readyz says so.", body=_SWITCH)
    },
    "/api/queues": {
        "get": _operation(
            "listQueues",
            "Queues, page by page.",
            "Queues",
            parameters=[
                _argument("search", "Only queues whose names have this in them; capitals do not count.", type="string"),
                _argument("sort", "By what; then by name.", type="string", enum=[*SORTS], default="name"),
                _argument("order", "asc or desc.", type="string", enum=["asc", "desc"], default="asc"),
                *_page(MOST_ROWS, 50),
            ],
        )
    },
    "/api/queues/{queue}": {
        "get": _operation(
            "getQueue", "A queue, with its settings in force.", "QueueDetails", "404", parameters=[_QUEUE]
        ),
        "delete": _change(
            "dropQueue", "Drop a queue: items, subscription, pause and figures.", "404", parameters=[_QUEUE_OF_COMMAND]
        ),
    },
    "/api/queues/{queue}/items": {
        "get": _operation(
            "listItems",
            "Items of a queue in one state, the next one first; nothing is reserved.",
            "Items",
            "404",
            parameters=[
                _QUEUE,
                _argument(
                    "state",
                    "dead: those in the queue that takes this one's dead letters.",
                    type="string",
                    enum=["ready", "reserved", "delayed", "dead"],
                    default="ready",
                ),
                *_page(MOST_ITEMS, 20, DEEPEST),
                _argument(
                    "payload_limit",
                    "Bytes of each payload.",
                    type="integer",
                    minimum=0,
                    maximum=1 << 20,
                    default=SHOWN_PAYLOAD,
                ),
            ],
        ),
        "post": _change(
            "putItem",
            "Put an item.",
            "409",
            parameters=[_QUEUE_OF_COMMAND],
            body=_ref("schemas", "NewItem"),
            answer="Put",
            status="201",
        ),
    },
    "/api/queues/{queue}/pause": {
        "parameters": [_QUEUE_OF_COMMAND],
        "post": _change(
            "pauseQueue",
            "Hand out no items, for so many seconds or until it is resumed.",
            "404",
            body={
                "type": "object",
                "properties": {"seconds": _whole(least=1, maximum=2**31 - 1)},
                "additionalProperties": False,
            },
        ),
    },
    "/api/queues/{queue}/resume": {
        "parameters": [_QUEUE_OF_COMMAND],
        "post": _change("resumeQueue", "Hand out items again.", "404", body=_NOTHING),
    },
    "/api/queues/{queue}/flush": {
        "parameters": [_QUEUE_OF_COMMAND],
        "post": _change(
            "flushQueue", "Drop the items that are there now, reserved ones included.", "404", body=_NOTHING
        ),
    },
    "/api/queues/{queue}/redrive": {
        "parameters": [_QUEUE_OF_COMMAND],
        "post": _change(
            "redriveQueue",
            "Put the dead letters of this queue of dead letters back to where they came from: all, or the oldest ones, "
            "or one.",
            "404",
            body={
                "type": "object",
                "properties": {
                    "count": _whole("So many.", least=1, maximum=2**31 - 1),
                    "id": _whole("The one with that id.", least=1, maximum=2**64 - 1),
                },
                "maxProperties": 1,
                "additionalProperties": False,
            },
        ),
    },
    "/api/queues/{queue}/history": {
        "get": _operation(
            "getQueueHistory",
            "Depth and rates of a queue over time, in columns; it is sampled each second from the first time on.",
            "History",
            "404",
            parameters=[_QUEUE, *_PAST],
        )
    },
    "/api/history": {
        "get": _operation(
            "getHistory", "Depth and rates of all queues together over time.", "TotalHistory", parameters=_PAST
        )
    },
    "/api/connections": {
        "get": _operation(
            "listConnections", "Connections of memcache clients.", "Connections", parameters=_page(MOST_ROWS, 50)
        )
    },
    "/api/journal": {
        "get": _operation("getJournal", "The journal and its segments.", "Journal", parameters=_page(MOST_ROWS, 50))
    },
}
"""The paths by OpenAPI's names."""


def document() -> Schema:
    """The whole description."""
    error = {"application/json": {"schema": _ref("schemas", "Error")}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "RedQueue",
            "version": __version__,
            "description": 'Queues of a RedQueue server, over HTTP. Errors are {"error": "why"}.',
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"basic": []}],
        "paths": PATHS,
        "components": {
            "schemas": SCHEMAS,
            "responses": {f"E{code}": {"description": text, "content": error} for code, text in ERRORS.items()},
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
    }


class DescriptionHandler(Handler):
    """``/api/openapi.json``"""

    asks_who = False
    needs_engine = False

    async def get(self) -> None:
        """The description."""
        self.check_arguments()
        self.write(document())
