"""Everything durable is one of these values. A store has one method that changes workflow state: `apply(writes) -> outcomes`.

Those of tokens, the audit log and queues stand with what they write.

Writes of an execution carry the fencing `token` of its claim. A write whose token is stale is `FENCED` and changes nothing. All writes of
one `apply` are one transaction; each gets one outcome, in the same order.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from hub.core.access import KeepToken, RevokeToken, UseToken
from hub.core.audit import KeepAudit, PruneAudit
from hub.core.delivery import Delivery, DeliveryStatus
from hub.core.errors import ErrorInfo
from hub.core.flow import NONE, Flow
from hub.core.logs import Logged
from hub.core.model import Attempt, Entry, Kind, NewInstance, Rollback, Status, Termination, Version, Wish
from hub.core.queues import DeleteQueue, LeasedMessage, LeaseMessages, PurgeMessages, PushMessages, RegisterQueue, SettleMessage
from hub.core.values import Value

REPLAYED, NO_DELIVERY = "replayed", "delivery"  # reasons why a stored delivery creates nothing
OTHER_INPUT = "input"  # the reason why an idempotent creation is a conflict


class CreateInstance(Value, frozen=True, kw_only=True):
    """Create an instance, if its flow allows. With `node` it is born claimed by that node, with token 1, unless the flow makes it wait.

    `cursor` becomes the cursor of the trigger, and the stored delivery `replays` becomes REPLAYED, in the same transaction: both only when
    the verdict is APPLIED, JOINED or DUPLICATE. With a `cursor` the write is of a slot. Where the trigger's cursor is there already, or
    later, the slot has been decided on: DUPLICATE, without an instance when it has none. So it is, and no CONFLICT, when its id is taken.
    A delivery that has been replayed already is answered with CONFLICT and the reason `REPLAYED`, `id` = what it created; one that is gone
    with MISSING and the reason `NO_DELIVERY`.

    With `idempotent` a taken id is DUPLICATE when its instance was created with the same params, otherwise CONFLICT with `OTHER_INPUT`.
    """

    new: NewInstance
    node: int | None = None
    flow: Flow = NONE
    cursor: datetime | None = None
    replays: str | None = None
    idempotent: bool = False


class Begin(Value, frozen=True, kw_only=True):
    """An execution has lived long enough to be worth telling: status `running`, first start time. Nobody waits for it."""

    instance: int
    token: int
    at: datetime
    started: tuple[Entry, ...] = ()  # attempts that are under way
    version: str | None = None  # of the code that runs


class SettleStep(Value, frozen=True, kw_only=True):
    """The final state of a journal entry. `consumes` is the inbox number of the event that ended a wait.

    `logged` is what the last attempt of a step has logged.
    """

    instance: int
    token: int
    entry: Entry
    consumes: int | None = None
    logged: Logged | None = None


class FailAttempt(Value, frozen=True, kw_only=True):
    """An attempt failed and another one will follow at `entry.wake_at`."""

    instance: int
    token: int
    entry: Entry
    attempt: Attempt
    logged: Logged | None = None


class StartWait(Value, frozen=True, kw_only=True):
    """A sleep or a wait that stays in memory for now: its deadline must survive a crash."""

    instance: int
    token: int
    entry: Entry


class StartChild(Value, frozen=True, kw_only=True):
    """Create another instance and the entry that waits for its end, both or none.

    CONFLICT = the child's id is taken; MISSING with a `reason` = there is no such workflow. The outcome names the parent. Of the child's
    flow only what can make it wait holds: a child is never refused, collected or dropped.
    """

    instance: int
    token: int
    entry: Entry
    new: NewInstance
    flow: Flow = NONE


class RollBack(Value, frozen=True, kw_only=True):
    """The program has failed: status ROLLING_BACK with its error, until `Finish`."""

    instance: int
    token: int
    at: datetime
    error: ErrorInfo


class Park(Value, frozen=True, kw_only=True):
    """Give the claim back until `wake_at` (None = only an event or a verb wakes it).

    `inbox_seen` is the last inbox number that the execution saw: when something newer has come, the instance stays due. `status` is
    WAITING, PAUSED, ROLLING_BACK (a handler backs off), or QUEUED (the node stops; due at once). With `error` it is paused until somebody
    has mended what the error says.
    """

    instance: int
    token: int
    at: datetime
    status: Status
    wake_at: datetime | None
    inbox_seen: int
    started_at: datetime
    entries: tuple[Entry, ...] = ()  # waits that are not on disk yet
    error: ErrorInfo | None = None
    version: str | None = None


class Finish(Value, frozen=True, kw_only=True):
    """The end of an instance: COMPLETE with `output`, ERRORED or TERMINATED with `error`. Its parent gets an event, if it has one.

    The event's payload is the codec's form of `{"status", "output": <the encoded output, as text>, "error": {"name", "message"} | None}`.
    """

    instance: int
    token: int
    at: datetime
    status: Status
    started_at: datetime
    output: bytes | None = None
    error: ErrorInfo | None = None
    rollback: Rollback | None = None
    version: str | None = None


class SendEvent(Value, frozen=True, kw_only=True):
    """Put an event into the inbox of an instance and make the instance due."""

    instance: int
    type: str
    payload: bytes
    at: datetime


class Verb(StrEnum):
    """What an operator can ask of an instance with `Steer`."""

    PAUSE = "pause"
    RESUME = "resume"
    TERMINATE = "terminate"


class Steer(Value, frozen=True, kw_only=True):
    """Pause, resume or terminate an instance; with `rollback` a termination runs the rollback handlers first.

    `error` tells why an instance was terminated that nobody has terminated by hand, `by` who wants a termination.
    """

    instance: int
    verb: Verb
    at: datetime
    rollback: bool = False
    error: ErrorInfo | None = None
    by: Termination | None = None


class RestartPoint(Value, frozen=True, kw_only=True):
    """The journal entry from which to run again: it and all that began after it are forgotten.

    A workflow that was started is shown as a step, so STEP means it too, unless a step has its name. A rollback handler cannot be meant.
    """

    name: str
    count: int = 1
    kind: Kind | None = None  # None = whatever of that name began first


class Restart(Value, frozen=True, kw_only=True):
    """Run an instance again, from the start or from a journal entry. Buffered events are forgotten."""

    instance: int
    at: datetime
    origin: RestartPoint | None = None


class DeleteInstance(Value, frozen=True, kw_only=True):
    """Forget an instance with its journal and events."""

    instance: int


class RegisterWorkflow(Value, frozen=True, kw_only=True):
    """Make a workflow and the version of its code known; a known digest changes nothing."""

    version: Version
    script_name: str


class KeepDelivery(Value, frozen=True, kw_only=True):
    """Store a delivery that became no instance. With `cursor` its trigger's cursor moves along.

    DUPLICATE = one of the same trigger, key and status is stored (or the same id), `id` names it; without a key it is never the same. So it
    is where the trigger's cursor is at the first slot already that the delivery tells of, or later: that one has been decided on otherwise,
    and no row has an id to name. FULL = the trigger has `most` deliveries of that status already.
    """

    delivery: Delivery
    cursor: datetime | None = None
    since: datetime | None = None  # the first slot that it tells of; None = it tells of one, at `cursor`
    most: int | None = None


class ChangeDelivery(Value, frozen=True, kw_only=True):
    """Give a stored delivery another status (a replay that failed again, a release that was refused).

    MISSING = there is none; CONFLICT = it has been replayed, which is final.
    """

    id: str
    status: DeliveryStatus
    code: str
    message: str
    at: datetime


class CancelInstances(Value, frozen=True, kw_only=True):
    """Terminate every instance that has not ended and carries this cancel key; the outcome's `count` says how many."""

    key: str
    at: datetime
    reason: str


class RegisterTrigger(Value, frozen=True, kw_only=True):
    """Make a trigger known. A new one, and one with another `digest` than before, gets the cursor `at`: its schedule starts from now."""

    name: str
    kind: str
    workflow: str | None
    digest: str
    at: datetime


class SteerTrigger(Value, frozen=True, kw_only=True):
    """Pause a trigger with a note, or resume it. A resumed schedule starts from now: `cursor` becomes `at`. MISSING = there is none.

    Pausing again changes the note only; resuming what is not paused changes nothing.
    """

    name: str
    paused: bool
    at: datetime
    note: str | None = None


class MoveCursor(Value, frozen=True, kw_only=True):
    """Move the cursor of a trigger from one time to another, which is earlier only where a clock was wrong.

    CONFLICT = it is not `expected` (any more): another node has moved it.
    """

    name: str
    expected: datetime | None
    cursor: datetime
    at: datetime


class DeleteWorkflow(Value, frozen=True, kw_only=True):
    """Forget a workflow with all its versions and instances."""

    name: str


QueueWrite = RegisterQueue | DeleteQueue | PushMessages | LeaseMessages | SettleMessage | PurgeMessages
AccessWrite = KeepToken | RevokeToken | UseToken | KeepAudit | PruneAudit
Write = (
    CreateInstance
    | Begin
    | SettleStep
    | FailAttempt
    | StartWait
    | StartChild
    | RollBack
    | Park
    | Finish
    | SendEvent
    | Steer
    | Restart
    | DeleteInstance
    | RegisterWorkflow
    | DeleteWorkflow
    | KeepDelivery
    | ChangeDelivery
    | CancelInstances
    | RegisterTrigger
    | SteerTrigger
    | MoveCursor
    | QueueWrite
    | AccessWrite
)


class Verdict(StrEnum):
    """What became of a write."""

    APPLIED = "applied"
    JOINED = "joined"  # the event became part of an instance that collects (batch, debounce); `instance` and `id` name it
    SKIPPED = "skipped"  # the flow says no for good: `reason` is of `flow.Refusal`; `instance` and `id` = who is in the way
    FULL = "full"  # the backlog is full: try again at `retry_at`
    DUPLICATE = "duplicate"  # the event's key was seen before; `instance` and `id` name what it created then
    FENCED = "fenced"  # the claim is lost: drop the execution
    MISSING = "missing"  # no such instance, or no such entry to restart from: then `id` names the instance
    CONFLICT = "conflict"  # the status does not allow it, or the id is taken
    POISON = "poison"  # the database can never keep this write; `reason` says why, the other writes of its group are not affected


class Outcome(Value, frozen=True, kw_only=True):
    """The answer to one write."""

    verdict: Verdict
    instance: int | None = None
    id: str | None = None  # of the instance, also of the one that a duplicate names; of the stored version for RegisterWorkflow
    status: Status | None = None  # of the instance after the write
    wish: Wish = Wish.NONE
    waits: bool = False  # of a new instance: its flow kept it from being born claimed
    retry_at: datetime | None = None  # for FULL, and SKIPPED by a rate limit
    count: int = 0  # of CancelInstances and PurgeMessages
    reason: str | None = None  # for people: why POISON, why no child was started


class Leased(Outcome, frozen=True, kw_only=True):
    """The answer to LeaseMessages. `next_at` is when the next message is due that nobody holds; None = there is none."""

    messages: tuple[LeasedMessage, ...] = ()
    next_at: datetime | None = None
