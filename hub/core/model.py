"""The hub's nouns: frozen values that cross floors. No behaviour beyond small derived properties; no I/O.

Times are aware UTC datetimes, durations timedeltas. Bytes called `params`, `output` or `payload` are JSON written by `codec.encode`.
`key` is the store's own number of an instance (never reused); `id` is the text that users see, unique within a workflow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from hub.core.errors import ErrorInfo
from hub.core.labels import NO_LABELS, Labels
from hub.core.values import Value, value_field

T = TypeVar("T")


class Status(StrEnum):
    """The durable status of an instance, in the API's words."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    ERRORED = "errored"
    TERMINATED = "terminated"
    COMPLETE = "complete"
    WAITING = "waiting"
    WAITING_FOR_PAUSE = "waitingForPause"
    ROLLING_BACK = "rollingBack"
    UNKNOWN = "unknown"


FINAL = frozenset({Status.COMPLETE, Status.ERRORED, Status.TERMINATED})


class Source(StrEnum):
    """Which door an instance came through, in the API's words."""

    API = "api"
    BINDING = "binding"
    EVENT = "event"  # webhooks and queue messages
    CRON = "cron"
    UNKNOWN = "unknown"


class Kind(StrEnum):
    """What a journal entry is, in the API's words."""

    STEP = "step"
    SLEEP = "sleep"
    EVENT = "waitForEvent"
    CHILD = "workflow"
    ROLLBACK = "rollback"


class State(StrEnum):
    """How far a journal entry has come."""

    RUNNING = "running"  # an attempt was seen to start
    WAITING = "waiting"  # asleep, awaiting an event, or between two attempts; `wake_at` says until when
    DONE = "done"
    FAILED = "failed"


class Wish(StrEnum):
    """What the operator wants of an instance that is executing; comes back with every outcome."""

    NONE = "none"
    PAUSE = "pause"
    ROLL_BACK = "rollback"  # cancel the bodies, run the rollback handlers, then end


class Backoff(StrEnum):
    """How the delay between attempts grows."""

    CONSTANT = "constant"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepConfig:
    """The retry policy of one step, fixed at its first execution. `limit` counts retries: 0 means one attempt.

    `jitter` is the largest part of a delay, from 0 to 1, that is added to it at random. `dynamic` = a function of the author gives the base
    delay. `sensitive` = the output is kept and passed on, and never shown.
    """

    limit: int = 5
    delay: timedelta = timedelta(seconds=10)
    backoff: Backoff = Backoff.EXPONENTIAL
    timeout: timedelta = timedelta(minutes=10)
    jitter: float = 0.0
    dynamic: bool = False
    sensitive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long an instance is kept after its end. None = for ever."""

    success: timedelta | None = None  # of complete ones
    error: timedelta | None = None  # of errored and terminated ones


FOR_EVER = Retention()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The instance that started another one, and the inbox type under which it waits for the other's end."""

    key: int
    inbox_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """How the rollback handlers of an instance ended: all of them well, or one with an error."""

    complete: bool
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Termination:
    """Who terminated an instance: through which door it was asked for, and whether for the instance that has started this one."""

    source: Source
    cascade: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The cron expression and the nominal time of the occurrence that created an instance."""

    cron: str
    scheduled_at: datetime


# ---- HTTP, as triggers see it


class HttpRequest(Value, frozen=True, kw_only=True):
    """An HTTP request as triggers see it: exact bytes, lower-case header names, no server types."""

    method: str
    url: str
    path: str
    query: dict[str, str] = value_field(default_factory=dict)
    headers: dict[str, str] = value_field(default_factory=dict)
    body: bytes = b""
    remote: str | None = None
    target: str = ""  # path and query exactly as they were sent
    params: dict[str, str] = value_field(default_factory=dict)  # of the path's pattern


class HttpReply(Value, frozen=True, kw_only=True):
    """The answer to an `HttpRequest`."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = value_field(default_factory=dict)


# ---- instances


class NewInstance(Value, frozen=True, kw_only=True):
    """An instance that is to be created, already validated."""

    workflow: str
    id: str
    params: bytes
    created_at: datetime
    source: Source = Source.API
    version: str | None = None
    trigger: str | None = None  # name of the trigger; with `dedupe_key` unique for ever
    dedupe_key: str | None = None
    start_at: datetime | None = None  # None = now
    schedule: Schedule | None = None
    generated_id: bool = False  # the hub made the id itself: it cannot exist yet
    retention: Retention = FOR_EVER
    parent: Parent | None = None
    provenance: bytes | None = None  # JSON of a `Provenance`
    labels: Labels = NO_LABELS


class Instance(Value, frozen=True, kw_only=True):
    """The stored head of an instance, without its journal."""

    key: int
    workflow: str
    id: str
    status: Status
    created_at: datetime
    modified_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    paused_at: datetime | None = None
    wake_at: datetime | None = None  # when it is due for a claim; None while claimed, paused or final
    node: int | None = None  # who executes it now
    token: int = 0  # fencing token of the last claim
    wish: Wish = Wish.NONE
    inbox_seq: int = 0  # number of the last event that was sent to it
    recoveries: int = 0  # how often its node died while it was claimed
    version: str | None = None
    source: Source = Source.UNKNOWN
    trigger: str | None = None
    schedule: Schedule | None = None
    params: bytes = b"null"
    output: bytes | None = None
    error: ErrorInfo | None = None
    version_ran: str | None = None  # the version of the code that last ran it; None = `version`
    parent: Parent | None = None
    retention: Retention = FOR_EVER
    ends_as: Status | None = None  # while rolling back: errored or terminated
    terminated_by: Termination | None = None  # None = nobody, or nobody knows
    rollback: Rollback | None = None
    provenance: bytes | None = None  # JSON of a `Provenance`
    labels: Labels = NO_LABELS
    limited: bool = False  # a concurrency limit counts it while it executes: it parks at once when it waits


class Entry(Value, frozen=True, kw_only=True):
    """One row of the journal: what is known of one step, sleep or wait.

    (`kind`, `name`, `count`) identifies it within its instance; `count` is 1 for the first call with that name. `ordinal` is the
    order in which entries began.
    """

    kind: Kind
    name: str
    count: int
    ordinal: int
    state: State
    started_at: datetime
    ended_at: datetime | None = None
    attempt: int = 1  # the current attempt, or the last one
    attempt_started_at: datetime | None = None  # of that attempt; None = `started_at`
    wake_at: datetime | None = None  # end of a sleep, deadline of a wait, time of the next attempt
    config: StepConfig | None = None  # None = the documented defaults
    event_type: str | None = None
    child: str | None = None  # "workflow/id" of the instance that the entry started
    output: bytes | None = None
    error: ErrorInfo | None = None

    @property
    def target(self) -> str:
        """The name with its counter, as clients show it."""
        return f"{self.name}-{self.count}"


class Attempt(Value, frozen=True, kw_only=True):
    """One failed attempt of a step. A successful one has no row of its own: the entry tells it."""

    name: str
    count: int
    number: int
    started_at: datetime
    ended_at: datetime
    error: ErrorInfo
    retry_at: datetime | None = None  # when the next one was to begin, as it was planned then; a pause may have moved it
    kind: Kind = Kind.STEP  # or ROLLBACK, of the step with that name


class InboxEvent(Value, frozen=True, kw_only=True):
    """An event that was sent to an instance. `seq` is its arrival number, from 1."""

    seq: int
    type: str
    payload: bytes
    sent_at: datetime


class Snapshot(Value, frozen=True, kw_only=True):
    """An instance with everything that a replay or a description of it needs."""

    instance: Instance
    entries: tuple[Entry, ...] = ()  # in order of `ordinal`
    attempts: tuple[Attempt, ...] = ()  # failed ones, in order of time
    inbox: tuple[InboxEvent, ...] = ()  # not yet consumed, in order of arrival


# ---- workflows and reading


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRecord:
    """A workflow that the store knows."""

    id: str
    name: str
    class_name: str
    script_name: str
    created_at: datetime
    modified_at: datetime
    triggered_at: datetime | None = None
    counts: dict[Status, int] = field(default_factory=dict)  # instances by status


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a workflow's code. `digest` is the hash that tells versions apart."""

    id: str
    workflow: str
    class_name: str
    digest: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """One page of a list. `cursor` continues it; None = nothing follows. `total` is the count over all pages, where it was asked for."""

    items: tuple[T, ...]
    cursor: str | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceQuery:
    """Which instances; all conditions hold together. Newest first unless `ascending`. `offset` and `cursor` exclude each other.

    The order is that of creation, by time and then by key. A time range holds its ends. `labels` are those that an instance must carry.
    `heads` leaves `params`, `output` and `error` out of the answer, which keeps lists fast.
    """

    workflow: str | None = None
    id: str | None = None
    key: int | None = None
    statuses: frozenset[Status] = frozenset()
    parent: int | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    modified_from: datetime | None = None
    modified_to: datetime | None = None
    ended_from: datetime | None = None
    ended_to: datetime | None = None
    trigger: str | None = None
    version: str | None = None  # with which it was created
    labels: Labels = NO_LABELS
    ascending: bool = False
    limit: int = 50
    offset: int = 0
    cursor: str | None = None
    total: bool = False
    heads: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowQuery:
    """Which workflows, newest first. Without `counts` nothing is counted, which keeps a look-up by name fast."""

    name: str | None = None
    search: str | None = None
    limit: int = 50
    offset: int = 0
    counts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionQuery:
    """Which versions of a workflow, newest first."""

    workflow: str
    id: str | None = None
    limit: int = 50
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxQuery:
    """Which events of an instance: unconsumed ones that arrived after number `after`."""

    instance: int
    after: int = 0
    limit: int = 1000
