"""The ports: what a floor above may ask of the floor below. Protocols only.

Rules that hold for all of them: `now` is an argument or comes from the `Clock`; what a coroutine returns about durable state is on disk
when it returns; `start` returns when ready, `stop` waits and is safe twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Protocol, overload, runtime_checkable

from hub.core.access import Token, TokenQuery
from hub.core.audit import AuditEntry, AuditQuery
from hub.core.clock import Clock
from hub.core.delivery import (
    Delivery,
    DeliveryQuery,
    DeliveryStatus,
    Occurrence,
    Phase,
    Provenance,
    Receipt,
    TriggerEvent,
    TriggerQuery,
    TriggerRecord,
)
from hub.core.flow import Overlap
from hub.core.history import HistoryEvent, HistoryQuery
from hub.core.labels import NO_LABELS, Labels
from hub.core.logs import LogQuery, StoredLine
from hub.core.model import (
    HttpReply,
    HttpRequest,
    InboxEvent,
    InboxQuery,
    Instance,
    InstanceQuery,
    Page,
    Schedule,
    Snapshot,
    Source,
    Status,
    Version,
    VersionQuery,
    WorkflowQuery,
    WorkflowRecord,
)
from hub.core.nodes import NodeAbout, NodeQuery, NodeRecord, Workflows
from hub.core.queues import Feed, QueueQuery, QueueRecord
from hub.core.retention import AS_THE_WORKFLOW, RetentionWish
from hub.core.routing import Routes
from hub.core.stream import InstanceEvent
from hub.core.values import Value, value_field
from hub.core.writes import Outcome, RestartPoint, Verb, Write

# ---- triggers


class Log(Protocol):
    """A structured logger: an event name and key-value pairs."""

    def debug(self, event: str, **pairs: Any) -> Any: ...
    def info(self, event: str, **pairs: Any) -> Any: ...
    def warning(self, event: str, **pairs: Any) -> Any: ...
    def error(self, event: str, **pairs: Any) -> Any: ...


Handler = Callable[[Any], Awaitable[Any]]
Backfilled = Sequence[tuple[Occurrence, Receipt]]
HttpHandler = Callable[[HttpRequest], Awaitable[HttpReply]]


class TriggerContext(Protocol):
    """What the hub gives to one started trigger."""

    @property
    def name(self) -> str: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def log(self) -> Log: ...
    @property
    def routes(self) -> Routes: ...

    @property
    def paused(self) -> bool:
        """Whether an operator has paused this trigger. What is emitted meanwhile is held; a queue consumer stops consuming instead."""
        ...

    @property
    def handler(self) -> Handler | None:
        """The project's `queue` or `scheduled` handler, where the trigger is bound to no workflow. It is called with one argument."""
        ...

    def feed(self, queue: str) -> Feed:
        """Return one of the hub's own queues, for a trigger that consumes it."""
        ...

    async def emit(self, event: TriggerEvent) -> Receipt:
        """Do what the event asks for: filter, map, validate, admit, create the instance; durable when it returns.

        What is dropped or refused on the way is stored, a schedule's slot as SKIPPED; `event.cursor` moves with it, as with an instance.

        Raises: Rejected (dead-letter it or answer 4xx: it can never succeed; it is kept as a delivery already) or Unavailable (leave it
        with the sender, answer 503; `retry_after` where it is known; Overloaded = the backlog is full).
        """
        ...

    async def keep(
        self, event: TriggerEvent, status: DeliveryStatus, *, code: str, message: str,
        since: datetime | None = None, instance_id: str | None = None,
    ) -> str | None:  # fmt: skip
        """Store something received that cannot be emitted (unreadable, refused, skipped, missed, dead); return the id of the delivery.

        `since` is the first of the occurrences that it tells of, up to `event.cursor`, which the trigger's cursor becomes in the same
        transaction; None is returned if another node was faster and has decided on one of them. Raises: Unavailable.
        """
        ...

    async def instance(self, workflow: str, id: str, wait: timedelta = timedelta(0)) -> Instance:
        """Return an instance as soon as it has ended, or else as it is after that time. Raises: NotFound, Unavailable."""
        ...

    async def record(self) -> TriggerRecord:
        """Return what is stored of this trigger: its cursor above all. Raises: Unavailable."""
        ...

    async def move_cursor(self, expected: datetime | None, cursor: datetime) -> bool:
        """Move the cursor; False = another node was faster. Raises: Unavailable."""
        ...

    async def changed(self) -> None:
        """Return when `paused` has changed, or when somebody asks the trigger to look at its clock again."""
        ...

    def report(self, phase: Phase, message: str = "", **facts: Any) -> None:
        """Tell how the trigger is doing; shown by REST, CLI and dashboard until the next report."""
        ...

    def supervise(self, loop: Callable[[], Awaitable[None]], /, *, label: str) -> None:
        """Run a loop until the trigger stops, again with back-off whenever it ends or fails."""
        ...


@runtime_checkable
class Trigger(Protocol):
    """A source of events. A new kind is one file with one such class and one entry-point line in the group `hub.triggers`.

    A kind that can do without a workflow has `calls: ClassVar[str]`, the name of the handler in the project's WorkerEntrypoint that it
    calls then; it gets that as `ctx.handler`.
    """

    Config: ClassVar[type]

    def __init__(self, config: Any) -> None:
        """Keep the config; no I/O."""
        ...

    async def start(self, ctx: TriggerContext) -> None:
        """Return when listening. Raises: ConfigError when the config can never work."""
        ...

    async def stop(self) -> None:
        """Stop listening; nothing is emitted after it returns. Safe twice, and without start."""
        ...


@runtime_checkable
class Scheduled(Protocol):
    """What a trigger with a calendar offers beside `Trigger`; REST and CLI use it where it is there."""

    def preview(self, after: datetime, count: int) -> Sequence[Occurrence]:
        """Return the next occurrences after a moment."""

    def sentence(self) -> str:
        """Say the schedule in words."""

    async def fire(self, payload: Any, *, overlap: Overlap | None = Overlap.ALLOW) -> Receipt:
        """Run now, whatever the calendar says; `overlap` None = as the schedule says. Raises: Rejected, Unavailable."""

    async def backfill(self, start: datetime, end: datetime, *, overlap: Overlap | None, limit: int) -> Backfilled:
        """Emit the occurrences in [start, end), oldest first; one that exists is DUPLICATE. Raises: Rejected, Unavailable.

        `overlap` None = one after another, or all at once where the schedule allows it.
        """

    def event(self, trigger: str, nominal: datetime) -> TriggerEvent:
        """Return what a trigger of that name emits for the occurrence at a nominal time."""

    async def pass_over(self, until: datetime) -> None:
        """Record what fell into a pause as skipped, up to the moment at which the pause is going to end. Raises: Unavailable."""

    def occurrences(self, start: datetime, end: datetime, limit: int) -> Sequence[Occurrence]:
        """Return what a backfill of [start, end) would emit: its dry run. Raises: Rejected, Unavailable."""


@runtime_checkable
class Connector(Protocol):
    """A pooled client of an outside service, with typed verbs of its own. Entry-point group `hub.connectors`."""

    Config: ClassVar[type]

    def __init__(self, config: Any) -> None: ...
    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def ping(self) -> None: ...


# ---- the store


class Store(Protocol):
    """The only home of durable state. Every method may raise Unavailable, which means: nothing was written, try again."""

    async def open(self) -> None:
        """Connect, migrate to the newest schema. Raises: ConfigError (locked by another hub, unusable address)."""
        ...

    async def close(self) -> None: ...

    async def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Apply writes in one transaction: one outcome a write, in order; on disk when it returns."""
        ...

    async def renew(self, node: int | None, ttl: timedelta, now: datetime, about: NodeAbout | None = None) -> int:
        """Register this process as a node (None) or renew its lease; return its number. A ttl of zero gives the lease back.

        `about` is what it says of itself when it registers, also when it has to register anew because the store has forgotten it.
        """
        ...

    async def claim(self, node: int, limit: int, now: datetime, workflows: Workflows = None) -> list[Snapshot]:
        """Claim due instances for a node, most urgent first, including those of nodes whose lease has ended; of those workflows only."""
        ...

    async def load(self, instance: int) -> Snapshot | None:
        """Read an instance with its whole journal."""
        ...

    async def next_due(self, now: datetime, workflows: Workflows = None) -> datetime | None:
        """When the next unclaimed instance of those workflows is due; None = none is waiting for a time."""
        ...

    @overload
    async def find(self, query: InstanceQuery) -> Page[Instance]: ...
    @overload
    async def find(self, query: WorkflowQuery) -> Page[WorkflowRecord]: ...
    @overload
    async def find(self, query: VersionQuery) -> Page[Version]: ...
    @overload
    async def find(self, query: InboxQuery) -> Page[InboxEvent]: ...
    @overload
    async def find(self, query: HistoryQuery) -> Page[HistoryEvent]: ...
    @overload
    async def find(self, query: LogQuery) -> Page[StoredLine]: ...
    @overload
    async def find(self, query: DeliveryQuery) -> Page[Delivery]: ...
    @overload
    async def find(self, query: TriggerQuery) -> Page[TriggerRecord]: ...
    @overload
    async def find(self, query: QueueQuery) -> Page[QueueRecord]: ...
    @overload
    async def find(self, query: TokenQuery) -> Page[Token]: ...
    @overload
    async def find(self, query: AuditQuery) -> Page[AuditEntry]: ...
    @overload
    async def find(self, query: NodeQuery) -> Page[NodeRecord]: ...

    async def counts(self) -> Mapping[Status, int]:
        """How many instances there are in each status."""
        ...

    async def prune(
        self, now: datetime, limit: int, deliveries_kept: timedelta | None = None, messages_kept: timedelta | None = None
    ) -> int:
        """Delete up to `limit` instances whose retention has ended, as many stored deliveries, and messages that are older than is said.

        Returns the largest of the three numbers: 0 = there is no more to do now. Safe to repeat. A held delivery is never deleted, and the
        key of an event stays known for `retention.DELIVERY_KEPT`, also when its instance is gone.
        """
        ...

    def signals(self) -> AsyncIterator[int]:
        """Keys of instances that somebody other than their execution has changed, or one of the words in `hub.core.nodes`."""
        ...


# ---- the engine, as triggers, API, CLI and dashboard see it


class CreateRequest(Value, frozen=True, kw_only=True):
    """A wish for a new instance. `params` is any value that the codec keeps; without `id` the hub makes one.

    `idempotent` = an instance of that id which was created with the same params is the answer, and no conflict.
    """

    workflow: str
    params: Any = value_field(default_factory=dict)
    id: str | None = None
    source: Source = Source.API
    trigger: str | None = None
    dedupe_key: str | None = None
    schedule: Schedule | None = None
    retention: RetentionWish = AS_THE_WORKFLOW
    provenance: Provenance | None = None
    labels: Labels = NO_LABELS
    idempotent: bool = False


class Created(Value, frozen=True, kw_only=True):
    """An instance that is on disk. `duplicate` = an earlier event with the same key, or the same idempotent request, had created it."""

    workflow: str
    id: str
    status: Status
    version: str | None = None
    duplicate: bool = False
    key: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchError:
    """Why one item of a batch was not created. `index` is its place in the request, from 0."""

    index: int
    id: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCreated:
    """The result of a batch: created ones in the order of the request, and the others with their reason."""

    created: tuple[Created, ...]
    errors: tuple[BatchError, ...] = ()


class Engine(Protocol):
    """Durable execution behind one port. Nothing above it reaches into the store or the runner."""

    async def create(self, request: CreateRequest) -> Created:
        """Create one instance; on disk when it returns. Raises: Rejected, NotFound (workflow), Conflict (id taken), Unavailable."""
        ...

    async def create_batch(self, requests: Sequence[CreateRequest]) -> BatchCreated:
        """Create 1 to 100 instances in one commit; all are validated before any is created."""
        ...

    async def steer(
        self, workflow: str, id: str, verb: Verb, *, rollback: bool = False, cascade: bool = False, source: Source = Source.UNKNOWN
    ) -> Status:
        """Pause, resume or terminate; a termination may run the rollback handlers, and may take the children along.

        Through which door a termination was asked for is kept. Raises: NotFound, Conflict (`instance.cannot_pause` …).
        """
        ...

    async def restart(self, workflow: str, id: str, origin: RestartPoint | None = None) -> Status: ...
    async def send_event(self, workflow: str, id: str, type: str, payload: Any) -> datetime: ...
    async def delete(self, workflow: str, id: str) -> None: ...
    async def delete_workflow(self, name: str) -> None: ...

    async def describe(self, workflow: str, id: str) -> Snapshot:
        """Return an instance with its journal; `id` may be `latest`. Raises: NotFound."""
        ...

    async def instance(self, workflow: str, id: str) -> Instance:
        """Return the head of an instance with output and error; `id` may be `latest`. Raises: NotFound."""
        ...

    async def subscribe(
        self, workflow: str, id: str, cursor: int | None = None, filter: Collection[str] | None = None
    ) -> AsyncIterator[InstanceEvent]:
        """Return the events of an instance after event `cursor`, from its history and then live, of all types or those in `filter`.

        They end with the instance, when it is deleted, or when the hub stops. Raises: NotFound, Rejected.
        """
        ...

    @overload
    async def find(self, query: InstanceQuery) -> Page[Instance]: ...
    @overload
    async def find(self, query: WorkflowQuery) -> Page[WorkflowRecord]: ...
    @overload
    async def find(self, query: VersionQuery) -> Page[Version]: ...
    @overload
    async def find(self, query: LogQuery) -> Page[StoredLine]: ...
    @overload
    async def find(self, query: NodeQuery) -> Page[NodeRecord]: ...

    async def workflow(self, name: str) -> WorkflowRecord:
        """Return one workflow. Raises: NotFound with the nearest name."""
        ...

    async def ready(self) -> None:
        """Return when the store answers. Raises: Unavailable."""
        ...
