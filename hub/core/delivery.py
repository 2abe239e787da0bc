"""What comes in from outside: the event that a trigger emits, the receipt it gets, and the deliveries that became no instance.

Values only. Everything received is accountable: what created an instance is found from that instance, which carries its `Provenance`; what
was filtered, refused, held or missed is a `Delivery`. The happy path has no row of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from hub.core.flow import Overlap
from hub.core.model import Schedule, Source
from hub.core.values import Value, value_field


class TriggerEvent(Value, frozen=True, kw_only=True):
    """What a trigger source hands to the bus."""

    payload: Any  # a JSON value
    key: str | None = None  # stable id at the source; None = never a duplicate
    subject: str | None = None
    headers: dict[str, str] = value_field(default_factory=dict)  # without secrets
    metadata: Mapping[str, Any] = value_field(default_factory=dict)  # JSON: what else the source says (method, queue, …)
    occurred_at: datetime | None = None
    workflow: str | None = None  # None = the workflow that the trigger is bound to
    instance_id: str | None = None
    schedule: Schedule | None = None
    source: Source = Source.EVENT
    cursor: datetime | None = None  # what the trigger's cursor becomes in the transaction that creates the instance
    overlap: Overlap | None = None  # while an earlier instance of the trigger runs; None = as the flow says
    overlap_default: Overlap = Overlap.SKIP  # of a schedule, where neither the event nor the flow says anything; of this emit only


class Provenance(Value, frozen=True, kw_only=True):
    """Where an instance comes from, as it is kept with it: `event.trigger` of a workflow, `trigger` in a description."""

    name: str  # of the trigger
    key: str | None = None
    subject: str | None = None
    headers: Mapping[str, str] = value_field(default_factory=dict)
    metadata: Mapping[str, Any] = value_field(default_factory=dict)
    occurred_at: datetime | None = None
    delivery: str | None = None  # the stored delivery that was released or replayed

    def shown(self) -> dict[str, Any]:
        """Return it as a mapping with camelCase names, without what it does not say."""
        form = {
            "name": self.name,
            "key": self.key,
            "subject": self.subject,
            "headers": dict(self.headers),
            "metadata": dict(self.metadata),
            "occurredAt": self.occurred_at,
            "delivery": self.delivery,
        }
        return {name: value for name, value in form.items() if value is not None and value != {}}


class ReceiptStatus(StrEnum):
    """What became of an emitted event."""

    CREATED = "created"
    DUPLICATE = "duplicate"  # an earlier event with the same key created `instance_id`
    DELIVERED = "delivered"  # joined an instance that is collecting events (batch, debounce), or cancelled instances
    FILTERED = "filtered"  # knowingly dropped: filter, rate limit, overlap; `reason` says which, `delivery` names the stored row
    HELD = "held"  # the trigger is paused: stored, and emitted when it is resumed


class Receipt(Value, frozen=True, kw_only=True):
    """The durable answer to an emitted event; what it names is on disk when the caller sees this."""

    status: ReceiptStatus
    workflow: str | None = None
    instance_id: str | None = None
    reason: str | None = None
    delivery: str | None = None  # id of the stored delivery, where there is one


class DeliveryStatus(StrEnum):
    """Why a delivery has a row, and what became of it."""

    FILTERED = "filtered"  # a filter, rate limit or overlap policy said no
    REJECTED = "rejected"  # can never be accepted as it is: schema, size, unknown workflow, unreadable
    DEAD = "dead"  # given up after too many attempts
    HELD = "held"  # waits for its trigger to be resumed
    SKIPPED = "skipped"  # a cron slot that the overlap policy left out
    MISSED = "missed"  # a cron slot that passed while nobody could run it
    REPLAYED = "replayed"  # was one of the above; has created `instance_id` since


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Something received that did not create an instance by itself. `event` is `deliveries.encode_event` of what the trigger emitted."""

    id: str  # sortable by time, made by ids.new_id
    trigger: str
    status: DeliveryStatus
    received_at: datetime
    code: str  # stable text: `filter`, `rate_limit`, `payload.schema`, `overlap.skip`, `catch_up.window`, `trigger.paused`, …
    message: str = ""  # for people: what was wrong, where, what to do
    key: str | None = None
    event: bytes = b"null"  # JSON: payload, headers, metadata, subject, occurred_at, schedule; secrets dropped
    occurred_at: datetime | None = None  # of a cron slot its nominal time
    workflow: str | None = None
    instance_id: str | None = None  # what a replay created; of a skipped slot the instance that was in its way
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryQuery:
    """Which deliveries, newest first; all conditions hold together."""

    trigger: str | None = None
    id: str | None = None
    statuses: frozenset[DeliveryStatus] = frozenset()
    received_from: datetime | None = None
    received_to: datetime | None = None
    ascending: bool = False
    limit: int = 50
    cursor: str | None = None
    total: bool = False
    heads: bool = True  # leave `event` out, which keeps lists fast


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerRecord:
    """A trigger that the store knows. `cursor` is the nominal time of the last occurrence that was decided on (cron)."""

    name: str
    kind: str
    workflow: str | None
    created_at: datetime
    modified_at: datetime
    digest: str = ""  # of its settings: a changed schedule starts from now
    cursor: datetime | None = None
    paused_at: datetime | None = None
    note: str | None = None  # of who paused it


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerQuery:
    """Which triggers, by name."""

    name: str | None = None
    limit: int = 1000


class Phase(StrEnum):
    """What a trigger is doing on this node."""

    STARTING = "starting"
    LISTENING = "listening"  # webhooks, schedules
    CONNECTING = "connecting"
    CONSUMING = "consuming"
    BLOCKED = "blocked"  # back-pressure: the hub cannot take more right now
    PAUSED = "paused"
    ERROR = "error"  # `message` says what to do
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerHealth:
    """The state of a trigger on this node, in memory. `facts` are JSON values such as consumers, unacked, last_message_at, next_at."""

    phase: Phase
    message: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerView:
    """A trigger as REST, CLI and dashboard show it: what is stored, how it is, and what became of events on this node since its start."""

    record: TriggerRecord
    health: TriggerHealth
    settings: Mapping[str, Any] = field(default_factory=dict)  # without secrets
    counts: Mapping[str, int] = field(default_factory=dict)  # by ReceiptStatus, and rejected, unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One time of a schedule: the nominal one, and the one at which it starts when the load is spread."""

    nominal: datetime
    starts_at: datetime
