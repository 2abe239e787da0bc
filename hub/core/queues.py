"""The hub's own queues: their messages as values, how a body is written and read, and the ports of those who fill and empty them.

Pure. A queue is known by its name. Invariant: whoever holds a message holds it by a `lease`, a number that is never given twice; without
the right one nothing becomes of a message, so that two who believe to hold it cannot both decide.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from hub.core import codec
from hub.core.errors import PayloadTooLarge, Rejected
from hub.core.model import Page
from hub.core.outside import parse_json
from hub.core.queue import LONGEST_DELAY

# The limits are those of Cloudflare Queues.
MESSAGE_BYTES = 131_072
BATCH = 100
BATCH_BYTES = 262_144
KEPT = timedelta(days=4)
LONGEST_HOLD = timedelta(hours=12)  # by a client that pulls
_MAX_ID_CHARS = 256


class ContentType(StrEnum):
    """How a body is written: a JSON value, a text, or bytes as they are."""

    JSON = "json"
    TEXT = "text"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message to be put into a queue; it is seen from `visible_at` on."""

    id: str
    body: bytes
    content_type: ContentType
    visible_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedMessage:
    """A message that somebody holds. `attempts` counts this delivery too."""

    key: int
    lease: int
    id: str
    body: bytes
    content_type: ContentType
    attempts: int
    sent_at: datetime


class Fate(StrEnum):
    """What becomes of a message that was held."""

    DONE = "done"  # it is deleted
    AGAIN = "again"  # it is delivered again at a time
    BACK = "back"  # nobody has looked at it: it is as before, and the delivery does not count
    BURY = "bury"  # it goes to another queue, as a new message with the same id


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRecord:
    """A queue as it is stored. `waiting` messages are those that nobody holds, also the delayed ones; `due_since` is that of the first."""

    name: str
    created_at: datetime
    waiting: int = 0
    held: int = 0
    due_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueQuery:
    """Which queues, by name; `counts` = with their messages counted."""

    name: str | None = None
    limit: int = 50
    offset: int = 0
    counts: bool = True


# ---- bodies


def read_content_type(name: object) -> ContentType:
    """Read a content type by its own name or as a media type. Raises: Rejected."""
    text = str(name).partition(";")[0].strip().lower()
    known = {"application/json": ContentType.JSON, "text/plain": ContentType.TEXT, "application/octet-stream": ContentType.BYTES}
    if text in known:
        return known[text]
    if text not in [*ContentType]:
        raise Rejected(f"content_type {text[:40]!r} is not known; there are {', '.join(ContentType)}", code="queue.content_type")
    return ContentType(text)


def write_body(body: Any, content_type: ContentType | None = None) -> tuple[bytes, ContentType]:
    """Return a body as it is kept; without a content type bytes stay bytes, and all else is JSON.

    Raises: Rejected (it is not of that type, or cannot be JSON), PayloadTooLarge.
    """
    is_bytes = isinstance(body, bytes | bytearray | memoryview)
    kind = content_type or (ContentType.BYTES if is_bytes else ContentType.JSON)
    if kind is ContentType.TEXT and not isinstance(body, str):
        raise Rejected(f'a body of content_type "text" is a text, not {type(body).__name__}', code="queue.body")
    if kind is ContentType.BYTES and not is_bytes:
        raise Rejected(f'a body of content_type "bytes" is bytes, not {type(body).__name__}', code="queue.body")
    try:
        if is_bytes and kind is ContentType.BYTES:
            raw = bytes(body)
        else:
            raw = body.encode() if kind is ContentType.TEXT else codec.dump_plain(codec.plain(codec.encode(body, what="body")))
    except (TypeError, ValueError) as error:
        raise Rejected(f"the body cannot be written: {error}", code="queue.body") from error
    if len(raw) > MESSAGE_BYTES:
        raise PayloadTooLarge(
            f"the message has {len(raw):,} bytes; {MESSAGE_BYTES:,} are accepted. Store large data elsewhere and send a reference to it"
        )
    return raw, kind


def read_body(message: LeasedMessage) -> Any:
    """Return the body of a message: a JSON value, a text, or bytes. Raises: Rejected when it is not what it says."""
    if message.content_type is ContentType.JSON:
        return parse_json(message.body)
    if message.content_type is ContentType.TEXT:
        try:
            return message.body.decode()
        except UnicodeDecodeError:
            raise Rejected("the text is not UTF-8", code="payload.malformed") from None
    return message.body


def as_json(body: Any) -> Any:
    """Return a body as a JSON value: bytes as base64, in the form that messages of a broker have, too."""
    if not isinstance(body, bytes):
        return body
    return {"content_type": "application/octet-stream", "base64": binascii.b2a_base64(body, newline=False).decode()}


def check_delay(seconds: object, what: str = "delay_seconds") -> timedelta:
    """Read a number of seconds up to a day. Raises: Rejected."""
    longest = LONGEST_DELAY.total_seconds()
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= longest:
        raise Rejected(f"{what} is a number of seconds from 0 to {longest:.0f}, not {seconds!r}", code="queue.delay")
    return timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message that somebody wants to send. `id` None = a new one; `delay` None = as the sender's settings say."""

    body: bytes
    content_type: ContentType
    id: str | None = None
    delay: timedelta | None = None


def outgoing(body: Any, *, content_type: object = None, delay_seconds: object = None, message_id: object = None) -> Outgoing:
    """Return a message with its body written. Raises: Rejected, PayloadTooLarge."""
    if message_id is not None and (not isinstance(message_id, str) or not 0 < len(message_id) <= _MAX_ID_CHARS):
        raise Rejected(f"message_id is a text of 1 to {_MAX_ID_CHARS} characters", code="queue.message_id")
    raw, kind = write_body(body, None if content_type is None else read_content_type(content_type))
    return Outgoing(body=raw, content_type=kind, id=message_id, delay=None if delay_seconds is None else check_delay(delay_seconds))


def check_batch(messages: Sequence[Outgoing]) -> None:
    """Check the size of what is sent at once. Raises: Rejected, PayloadTooLarge."""
    if not 1 <= len(messages) <= BATCH:
        raise Rejected(f"a batch has 1 to {BATCH} messages, this one has {len(messages)}", code="batch.size")
    size = sum(len(message.body) for message in messages)
    if size > BATCH_BYTES:
        raise PayloadTooLarge(f"the batch has {size:,} bytes; {BATCH_BYTES:,} are accepted at once: send it in parts")


# ---- ports


class Feed(Protocol):
    """One queue as its consumer on this node has it. Every method may raise Unavailable: nothing was written."""

    async def lease(self, limit: int, body_bytes: int) -> Sequence[LeasedMessage]:
        """Take messages that are due, oldest first, up to a number and a size; they are this node's until it settles them or dies."""
        ...

    async def settle(self, message: LeasedMessage, fate: Fate, *, delay: timedelta = timedelta(0), to: str | None = None) -> bool:
        """Say what becomes of a message; on disk when it returns. False = it was another's already. `to` names the queue of BURY."""
        ...

    async def news(self) -> None:
        """Return when a message may be due that `lease` has not seen; for one loop, which misses none."""
        ...

    async def waiting(self) -> int:
        """Return how many messages nobody holds."""
        ...


@runtime_checkable
class Consumer(Protocol):
    """What a trigger that consumes a queue of the hub offers beside `Trigger`. Its queues exist from the start of the hub."""

    @property
    def queue(self) -> str: ...

    @property
    def dead_letter_queue(self) -> str | None: ...

    def consumption(self) -> Mapping[str, Any]:
        """Return how it consumes, in the words of Cloudflare's API."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerView:
    """A trigger that consumes a queue."""

    trigger: str
    workflow: str | None
    dead_letter_queue: str | None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """A queue as REST, CLI and dashboard show it. `producers` are the names of bindings."""

    record: QueueRecord
    consumers: tuple[ConsumerView, ...] = ()
    producers: tuple[str, ...] = ()


class QueueDesk(Protocol):
    """The hub's queues for senders and operators. Every method may raise NotFound (the queue) and Unavailable."""

    async def queues(self, query: QueueQuery) -> Page[QueueView]: ...
    async def queue(self, name: str) -> QueueView: ...

    async def create(self, name: str) -> QueueView:
        """Make a queue. Raises: Rejected (bad name), Conflict (there is one)."""
        ...

    async def delete(self, name: str) -> None:
        """Forget a queue with its messages. Raises: Conflict (the project uses it)."""
        ...

    async def push(self, name: str, messages: Sequence[Outgoing]) -> Sequence[str]:
        """Put up to 100 messages into a queue in one commit; return their ids. Raises: Rejected, PayloadTooLarge."""
        ...

    async def pull(self, name: str, limit: int, hold: timedelta) -> Sequence[LeasedMessage]:
        """Take messages for a client, which holds them for that time."""
        ...

    async def settle(self, name: str, done: Sequence[tuple[int, int]], again: Sequence[tuple[int, int, timedelta]]) -> tuple[int, int]:
        """Settle messages by key and lease; return how many were still held, of each kind."""
        ...

    async def purge(self, name: str) -> int:
        """Delete all messages of a queue; return how many there were."""
        ...


# ---- writes


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterQueue:
    """Make a queue known; DUPLICATE = it is."""

    name: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteQueue:
    """Forget a queue with all its messages. MISSING = there is none."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PushMessages:
    """Put messages into a queue. One whose id is in the queue already is not put there again. MISSING = there is no such queue."""

    queue: str
    messages: tuple[NewMessage, ...]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseMessages:
    """Take messages that are due, those first that have been so for longest; the outcome is `Leased`.

    With `node` they are held until the node settles them or its lease ends, without it until `until`. At most `limit` messages, and no
    more than `body_bytes` in all, but one in any case.
    """

    queue: str
    limit: int
    body_bytes: int
    at: datetime
    node: int | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleMessage:
    """Say what becomes of a held message. FENCED = it is not held by this lease (any more).

    `visible_at` is for AGAIN, `to` for BURY, which is MISSING when there is no such queue.
    """

    key: int
    lease: int
    fate: Fate
    at: datetime
    visible_at: datetime | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeMessages:
    """Delete all messages of a queue, held ones too; the outcome's `count` says how many. MISSING = there is no such queue."""

    queue: str
