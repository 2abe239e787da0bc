"""The shapes of requests and results about triggers and deliveries: resources that Cloudflare lacks, in the manner of its others."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, Self

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator
from typing_extensions import TypedDict

from hub.api.shapes import Moment, SpanQuery, words_of
from hub.api.strict import StrictBody
from hub.core.delivery import DeliveryStatus
from hub.core.flow import Overlap

MAX_BACKFILL = 1000

DeliveryFilter = Annotated[
    frozenset[DeliveryStatus],
    BeforeValidator(words_of(DeliveryStatus)),
    WithJsonSchema({"type": "string", "examples": list(DeliveryStatus)}),
]


# ---- requests


class DeliveryListQuery(SpanQuery):
    """Which stored deliveries, newest first unless asked otherwise."""

    direction: Literal["asc", "desc"] = "desc"
    trigger: str | None = Field(default=None, max_length=64)
    status: DeliveryFilter = frozenset()


class PreviewQuery(BaseModel):
    """How many occurrences, after which moment."""

    count: int = Field(default=10, ge=1, le=100)
    after: Moment | None = Field(default=None, description="default now")


class TriggerStatusBody(StrictBody):
    """What a trigger shall do. A note says why it was paused."""

    status: Literal["pause", "resume"]
    note: str | None = Field(default=None, max_length=500)


class FireBody(StrictBody):
    """An event in the trigger's name; a schedule runs now."""

    payload: Any = None
    key: str | None = Field(default=None, min_length=1, max_length=512, description="idempotency key; default none")


class BackfillBody(StrictBody):
    """The occurrences from `start` up to, and without, `end`, oldest first; `end` does not lie in the future."""

    start: Moment
    end: Moment
    overlap: Overlap | None = Field(default=None, description="default one after another, or all at once where the schedule allows it")
    limit: int = Field(default=100, ge=1, le=MAX_BACKFILL)
    dry_run: bool = Field(default=False, description="only say which occurrences these are")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.start >= self.end:
            raise ValueError("start must be earlier than end")
        return self


# ---- results


class TriggerState(TypedDict):
    """A trigger: what it is, how it is doing on this node, and what became of its events since the node's start."""

    name: str
    kind: str
    workflow_name: str | None
    status: str
    message: str
    paused_on: str | None
    note: str | None
    created_on: str
    modified_on: str
    cursor: str | None
    facts: dict[str, Any]
    counts: dict[str, int]
    settings: dict[str, Any]


class ReceiptItem(TypedDict):
    """What became of an event."""

    status: Literal["created", "duplicate", "delivered", "filtered", "held"]
    workflow_name: str | None
    instance_id: str | None
    delivery_id: str | None
    reason: str | None


class OccurrenceItem(TypedDict):
    """One time of a schedule. `starts_on` is later where the load is spread."""

    nominal: str
    starts_on: str


class PreviewItem(TypedDict):
    """A schedule in words, and its next occurrences."""

    description: str
    occurrences: list[OccurrenceItem]


class BackfillItem(OccurrenceItem):
    """An occurrence and what became of it; no receipt in a dry run."""

    receipt: ReceiptItem | None


class DeliveryItem(TypedDict):
    """Something received that created no instance by itself, in a list."""

    id: str
    trigger: str
    status: str
    code: str
    message: str
    key: str | None
    received_on: str
    occurred_on: str | None
    workflow_name: str | None
    instance_id: str | None
    changed_on: str | None


class DeliveryDetail(DeliveryItem):
    """A stored delivery with the event as it was received; secrets are not in it."""

    event: NotRequired[Any]
