"""The shapes of requests and results about the hub's own queues, field by field as Cloudflare's Queues API has them."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from hub.api.shapes import PageQuery
from hub.core.queue import LONGEST_DELAY
from hub.core.queues import BATCH, LONGEST_HOLD, ContentType

_LEASE = r"^[0-9]{1,19}-[0-9]{1,19}$"
_DAY_S = LONGEST_DELAY.total_seconds()


# ---- requests


class QueueListQuery(PageQuery):
    """Which queues."""

    name: str | None = Field(default=None, max_length=64, description="the exact name")


class QueueBody(BaseModel):
    """A new queue."""

    queue_name: str


class MessageBody(BaseModel):
    """A message. Without `content_type` the body is any JSON value; `text` is a text, `bytes` a text in base64."""

    body: Any
    content_type: ContentType | None = None
    delay_seconds: float | None = Field(default=None, ge=0, le=_DAY_S)


class MessagesBody(BaseModel):
    """Up to 100 messages; `delay_seconds` is for those that have none of their own."""

    messages: list[MessageBody] = Field(min_length=1, max_length=BATCH)
    delay_seconds: float | None = Field(default=None, ge=0, le=_DAY_S)


class PullBody(BaseModel):
    """How many messages to take, and how long they are nobody else's."""

    batch_size: int = Field(default=5, ge=1, le=BATCH)
    visibility_timeout_ms: int = Field(default=30_000, ge=1, le=int(LONGEST_HOLD.total_seconds() * 1000))


class AckItem(BaseModel):
    """A pulled message that is done."""

    lease_id: str = Field(pattern=_LEASE)


class RetryItem(AckItem):
    """A pulled message that shall come again."""

    delay_seconds: float = Field(default=0, ge=0, le=_DAY_S)


class AckBody(BaseModel):
    """What becomes of pulled messages."""

    acks: list[AckItem] = Field(default=[], max_length=BATCH)
    retries: list[RetryItem] = Field(default=[], max_length=BATCH)


class PurgeBody(BaseModel):
    """The confirmation that all messages are deleted for good."""

    delete_messages_permanently: Literal[True] = True


# ---- results


class ProducerItem(TypedDict):
    """Who sends into a queue."""

    type: Literal["worker"]
    script: str
    binding: str


class ConsumerSettingsItem(TypedDict):
    """How a trigger consumes."""

    batch_size: int
    max_concurrency: int
    max_retries: int
    max_wait_time_ms: int
    retry_delay: float


class ConsumerItem(TypedDict):
    """A trigger that consumes a queue; `workflow_name` None = it calls the handler."""

    consumer_id: str
    type: Literal["worker"]
    queue_name: str
    script_name: str
    workflow_name: str | None
    dead_letter_queue: str
    created_on: str
    settings: ConsumerSettingsItem


class QueueItem(TypedDict):
    """A queue. `messages_waiting` are those that nobody holds, delayed ones too; `oldest_due_on` is since when the first of them is due."""

    queue_id: str
    queue_name: str
    created_on: str
    modified_on: str
    producers: list[ProducerItem]
    producers_total_count: int
    consumers: list[ConsumerItem]
    consumers_total_count: int
    messages_waiting: int
    messages_held: int
    oldest_due_on: str | None


class Pushed(TypedDict):
    """The ids of the messages, in the order of the request; they are on disk."""

    ids: list[str]


class PulledItem(TypedDict):
    """A pulled message. `body` is base64, but of a text that text; `metadata` has its content type under CF-Content-Type."""

    id: str
    body: str
    attempts: int
    timestamp_ms: int
    lease_id: str
    metadata: dict[str, str]


class Pulled(TypedDict):
    """Pulled messages, and how many more wait."""

    messages: list[PulledItem]
    message_backlog_count: int


class Acked(TypedDict):
    """How many messages were still held by their leases; a warning for each other lease."""

    ackCount: int
    retryCount: int
    warnings: NotRequired[dict[str, str]]


class Purged(TypedDict):
    """How many messages were deleted."""

    started_on: str
    completed: Literal["true"]
    deleted: int
