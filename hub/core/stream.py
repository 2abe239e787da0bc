"""The story of an instance as numbered events, told from its history. Pure: history in, events out; no clock, no store, no event loop.

A history item says what one commit left behind; a store may have forgotten earlier states of an entry, so an item is never taken as a
difference: whatever must have happened before it and has not been told yet is told first. The invariant: an event's id grows with the
`rev` of its item, so whoever comes back with the last id that it saw misses nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hub.core.codec import plain
from hub.core.errors import ErrorInfo, Rejected
from hub.core.model import Attempt, Entry, Instance, Kind, State, Status, StepConfig
from hub.core.retry import describe_config

REDACTED = "[REDACTED]"  # stands for the output of a step that its author hides
IDS = 16  # event ids of one history item: more than it can tell at once
_DEFAULTS = StepConfig()
_EPOCH = datetime.fromtimestamp(0, UTC)
_MS = timedelta(milliseconds=1)

TERMINAL = frozenset({"workflow_completed", "workflow_errored", "workflow_terminated"})
_STATUS_TYPES = {
    Status.QUEUED: "workflow_queued",
    Status.RUNNING: "workflow_running",
    Status.PAUSED: "workflow_paused",
    Status.WAITING_FOR_PAUSE: "workflow_waiting_for_pause",
    Status.WAITING: "workflow_waiting",
    Status.ROLLING_BACK: "rollback_started",
    Status.COMPLETE: "workflow_completed",
    Status.ERRORED: "workflow_errored",
    Status.TERMINATED: "workflow_terminated",
}
_ATTEMPTED = tuple(f"{what}_{how}" for what in ("step", "attempt") for how in ("started", "completed", "errored"))
TYPES = frozenset(
    {
        *_STATUS_TYPES.values(),
        "workflow_started",
        *_ATTEMPTED,
        *(f"rollback_{type}" for type in _ATTEMPTED),
        *("sleep_started", "sleep_completed"),
        *("wait_started", "wait_completed", "wait_timed_out"),
        *("rollback_completed", "rollback_errored"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEvent:
    """What one commit did to an instance: a new `status`, an `entry` as it was left, or a failed `attempt` of an entry.

    `rev` is the item's own number within the instance, in order of commit; it goes on growing over restarts. With `began` it is the first
    record of an entry, which may have come further since: only its beginning is told here.
    """

    rev: int
    at: datetime
    status: Status | None = None
    entry: Entry | None = None
    attempt: Attempt | None = None  # together with its entry
    began: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceEvent:
    """One event. `fields` are JSON values under the API's names; `id` is never given twice and grows."""

    id: int
    type: str
    at: datetime
    instance_id: str
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def terminal(self) -> bool:
        """Whether nothing follows unless the instance is restarted."""
        return self.type in TERMINAL

    def shown(self) -> dict[str, Any]:
        """Return the event in the API's shape; `timestamp` is in milliseconds."""
        return {
            "instanceId": self.instance_id,
            "eventId": self.id,
            "timestamp": (self.at - _EPOCH) // _MS,
            "type": self.type,
            **self.fields,
        }


def check_options(cursor: Any, filter: Any) -> tuple[int, frozenset[str] | None]:
    """Read what a subscriber asks for. Raises: Rejected (`subscription.invalid_options`)."""
    if cursor is not None and (isinstance(cursor, bool) or not isinstance(cursor, int) or cursor < 0):
        raise Rejected(f"cursor: expected the eventId of an event, 0 or more, got {cursor!r}", code="subscription.invalid_options")
    if filter is None:
        return cursor or 0, None
    if isinstance(filter, str) or not isinstance(filter, Collection):
        raise Rejected(f"filter: expected a list of event types, got {filter!r}", code="subscription.invalid_options")
    unknown = [type for type in filter if type not in TYPES]
    if unknown:
        told = f'filter: "{unknown[0]}" is not a type of event; there are {", ".join(sorted(TYPES))}'
        raise Rejected(told, code="subscription.invalid_options")
    return cursor or 0, frozenset(filter)


@dataclass(slots=True)
class _Told:
    """How far one entry has been told."""

    began: datetime
    started: int = 0  # the last attempt whose start has been told
    ended: int = 0
    settled: bool = False


_Line = tuple[str, datetime, dict[str, Any]]


class Stream:
    """Tells the story of one instance. Events up to `cursor` and those not in `filter` are left out; `ended` says that all is told."""

    def __init__(self, cursor: int = 0, filter: frozenset[str] | None = None) -> None:
        self.ended = False
        self._cursor = cursor
        self._filter = filter
        self._status: Status | None = None
        self._started = False
        self._told: dict[tuple[Kind, str, int], _Told] = {}

    def tell(self, head: Instance, history: Iterable[HistoryEvent]) -> Iterator[InstanceEvent]:
        """Tell what follows; `history` goes on where the last call stopped, from the first item. `head` is as new as the history."""
        for item in history:
            for number, (type, at, fields) in enumerate(self._lines(head, item), start=1):
                event = InstanceEvent(id=item.rev * IDS + number, type=type, at=at, instance_id=head.id, fields=fields)
                self.ended = event.terminal
                if event.id > self._cursor and (self._filter is None or type in self._filter):
                    yield event

    def _lines(self, head: Instance, item: HistoryEvent) -> Iterator[_Line]:
        if self._status is None and item.status is not Status.QUEUED:
            self._status = Status.QUEUED
            yield "workflow_queued", head.created_at, {}
        if item.status is not None:
            yield from self._status_lines(head, item.status, item.at)
        if item.entry is not None:
            yield from self._start(head, item.entry.started_at)
            yield from self._entry_lines(_beginning(item.entry) if item.began else item.entry, item.attempt)

    # ---- the instance

    def _status_lines(self, head: Instance, status: Status, at: datetime) -> Iterator[_Line]:
        if status is self._status or status not in _STATUS_TYPES:
            return
        was, self._status = self._status, status
        if status is Status.QUEUED and (head.started_at is None or head.started_at > at):
            self._started = False  # restarted; an instance that only waits for another node had begun before
        fresh = not self._started
        if status not in (Status.QUEUED, Status.TERMINATED):
            yield from self._start(head, at)
        if status is Status.RUNNING and fresh:
            return
        if head.rollback is not None and was is Status.ROLLING_BACK and status in (Status.ERRORED, Status.TERMINATED):
            error = head.rollback.error
            yield ("rollback_completed", at, {}) if head.rollback.complete else ("rollback_errored", at, _failure(error))
        yield _STATUS_TYPES[status], at, self._status_fields(head, status)

    def _start(self, head: Instance, at: datetime) -> Iterator[_Line]:
        """Tell that the instance began to run: what ran only shortly never had that status on disk."""
        if not self._started:
            self._started = True
            yield "workflow_started", head.started_at or at, {"params": plain(head.params)}

    def _status_fields(self, head: Instance, status: Status) -> dict[str, Any]:
        if status is Status.COMPLETE:
            return {"output": None if head.output is None else plain(head.output)}
        if status is Status.ERRORED or (status is Status.PAUSED and head.error is not None):
            return _failure(head.error)
        return {}

    # ---- its journal

    def _entry_lines(self, entry: Entry, failed: Attempt | None) -> Iterator[_Line]:
        key = (entry.kind, entry.name, entry.count)
        told = self._told.get(key)
        fresh = told is None or told.began != entry.started_at  # an entry of the same name after a restart is another one
        if told is None or fresh:
            told = self._told[key] = _Told(entry.started_at)
        if entry.kind in (Kind.SLEEP, Kind.EVENT):
            yield from _wait_lines(entry, told, fresh=fresh)
            return
        prefix = "rollback_" if entry.kind is Kind.ROLLBACK else ""
        for type, at, fields in _step_lines(entry, failed, told, fresh=fresh):
            yield prefix + type, at, {"stepName": entry.target, **fields}


def _beginning(entry: Entry) -> Entry:
    """Return an entry as it was when it was recorded first."""
    return replace(entry, state=State.RUNNING, attempt=1, attempt_started_at=None, ended_at=None, output=None, error=None)


def _wait_lines(entry: Entry, told: _Told, *, fresh: bool) -> Iterator[_Line]:
    name = {"stepName": entry.target}
    sleeps = entry.kind is Kind.SLEEP
    if fresh and sleeps:
        until = entry.wake_at or entry.started_at
        yield "sleep_started", entry.started_at, {**name, "durationMs": (until - entry.started_at) // _MS}
    elif fresh:
        yield "wait_started", entry.started_at, {**name, "eventType": entry.event_type}
    if entry.state in (State.DONE, State.FAILED) and not told.settled:
        told.settled = True
        type = "sleep_completed" if sleeps else "wait_completed" if entry.state is State.DONE else "wait_timed_out"
        yield type, entry.ended_at or entry.started_at, name


def _step_lines(entry: Entry, failed: Attempt | None, told: _Told, *, fresh: bool) -> Iterator[_Line]:
    """Tell of a step, a rollback handler, or a workflow that was started, which has one attempt."""
    if fresh:
        yield "step_started", entry.started_at, _start_fields(entry)
    if failed is not None:
        yield from _attempt_lines(told, failed.number, failed.started_at, failed.ended_at, _attempt_failure(entry, failed))
        return
    if told.settled or (entry.state is State.WAITING and entry.kind is not Kind.CHILD):
        return  # between two attempts: the item of the failed attempt tells of it
    began = entry.attempt_started_at or entry.started_at
    if entry.state not in (State.DONE, State.FAILED):
        yield from _attempt_lines(told, entry.attempt, began, None, None)
        return
    ended = entry.ended_at or began
    yield from _attempt_lines(told, entry.attempt, began, ended, _failure(entry.error) if entry.state is State.FAILED else None)
    told.settled = True
    if entry.state is State.DONE:
        yield "step_completed", ended, _output(entry)
    else:
        yield "step_errored", ended, _failure(entry.error) if entry.kind is Kind.ROLLBACK else {}


def _attempt_lines(
    told: _Told, number: int, began: datetime, ended: datetime | None, failure: dict[str, Any] | None
) -> Iterator[_Line]:
    if told.started < number:
        told.started = number
        yield "attempt_started", began, {"attempt": number}
    if ended is not None and told.ended < number:
        told.ended = number
        type = "attempt_completed" if failure is None else "attempt_errored"
        yield type, ended, {"attempt": number, **(failure or {})}


def _start_fields(entry: Entry) -> dict[str, Any]:
    if entry.kind is Kind.STEP:
        return {"config": describe_config(entry.config or _DEFAULTS)}
    if entry.kind is Kind.CHILD:
        workflow, _, id = (entry.child or "").partition("/")  # names of workflows hold no slash, ids may
        return {"child": {"workflow_name": workflow, "instance_id": id}}
    return {}


def _attempt_failure(entry: Entry, failed: Attempt) -> dict[str, Any]:
    fields = _failure(failed.error)
    if entry.state is State.WAITING and entry.attempt == failed.number and entry.wake_at is not None:
        fields["retryDelayMs"] = (entry.wake_at - failed.ended_at) // _MS
    return fields


def _output(entry: Entry) -> dict[str, Any]:
    if entry.kind is Kind.ROLLBACK:
        return {}
    hidden = entry.config is not None and entry.config.sensitive
    return {"output": REDACTED if hidden else None if entry.output is None else plain(entry.output)}


def _failure(error: ErrorInfo | None) -> dict[str, Any]:
    return {"error": None if error is None else {"name": error.name, "message": error.message}}
