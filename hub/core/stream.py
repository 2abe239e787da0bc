"""The story of an instance as numbered events, told from its history. Pure: history in, events out; no clock, no store, no event loop.

A store keeps when an entry began, which of its attempts were seen to begin, and how it ended, so an item is never taken as a difference: an
attempt that must have begun and has not been told yet is told first. The invariant: an event's id grows with the `rev` of its item, and the
same history gives the same ids, so whoever comes back with the last id that it saw misses nothing and hears nothing twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hub.core.codec import plain
from hub.core.errors import ErrorInfo, Rejected
from hub.core.history import HistoryEvent, HistoryKind
from hub.core.model import Attempt, Entry, Instance, Kind, State, StepConfig
from hub.core.retry import describe_config

REDACTED = "[REDACTED]"  # stands for the output of a step that its author hides
IDS = 4  # event ids of one revision: a step that is written once tells that many events
_DEFAULTS = StepConfig()
_EPOCH = datetime.fromtimestamp(0, UTC)
_MS = timedelta(milliseconds=1)

TERMINAL = frozenset({"workflow_completed", "workflow_errored", "workflow_terminated"})
_STATUS_TYPES = {
    HistoryKind.QUEUED: "workflow_queued",
    HistoryKind.STARTED: "workflow_started",
    HistoryKind.RUNNING: "workflow_running",
    HistoryKind.PAUSED: "workflow_paused",
    HistoryKind.WAITING_FOR_PAUSE: "workflow_waiting_for_pause",
    HistoryKind.WAITING: "workflow_waiting",
    HistoryKind.ROLLING_BACK: "rollback_started",
    HistoryKind.COMPLETE: "workflow_completed",
    HistoryKind.ERRORED: "workflow_errored",
    HistoryKind.TERMINATED: "workflow_terminated",
}
_ATTEMPTED = tuple(f"{what}_{how}" for what in ("step", "attempt") for how in ("started", "completed", "errored"))
TYPES = frozenset(
    {
        *_STATUS_TYPES.values(),
        *_ATTEMPTED,
        *(f"rollback_{type}" for type in _ATTEMPTED),
        *("sleep_started", "sleep_completed"),
        *("wait_started", "wait_completed", "wait_timed_out"),
        *("rollback_completed", "rollback_errored"),
    }
)


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


_Line = tuple[str, datetime, dict[str, Any]]


class Stream:
    """Tells the story of one instance. Events up to `cursor` and those not in `filter` are left out; `ended` says that all is told."""

    def __init__(self, cursor: int = 0, filter: frozenset[str] | None = None) -> None:
        self.ended = False
        self._cursor = cursor
        self._filter = filter
        self._rev = 0
        self._number = 0  # of the next event of that revision
        self._started: dict[tuple[Kind, str, int], int] = {}  # the last attempt of an entry whose start has been told

    def tell(self, head: Instance, history: Iterable[HistoryEvent]) -> Iterator[InstanceEvent]:
        """Tell what follows. `history` goes on where the last call stopped, from the first item on; `head` is at least as new."""
        for item in history:
            if item.rev != self._rev:
                self._rev, self._number = item.rev, 0
            for type, at, fields in self._lines(head, item):
                event = InstanceEvent(id=item.rev * IDS + self._number, type=type, at=at, instance_id=head.id, fields=fields)
                self._number += 1
                self.ended = event.terminal
                if event.id > self._cursor and (self._filter is None or type in self._filter):
                    yield event

    def _lines(self, head: Instance, item: HistoryEvent) -> Iterator[_Line]:
        if item.kind in _STATUS_TYPES:
            yield from _status_lines(head, item)
        elif item.attempt is not None:
            yield from self._failed_lines(item.attempt)
        elif item.entry is not None:
            yield from self._entry_lines(item, item.entry)

    def _failed_lines(self, failed: Attempt) -> Iterator[_Line]:
        prefix, name = _prefix(failed.kind), f"{failed.name}-{failed.count}"
        yield from self._attempt_start((failed.kind, failed.name, failed.count), failed.number, failed.started_at)
        fields = {"stepName": name, "attempt": failed.number, **_failure(failed.error)}
        if failed.retry_at is not None:
            fields["retryDelayMs"] = (failed.retry_at - failed.ended_at) // _MS
        yield f"{prefix}attempt_errored", failed.ended_at, fields

    def _entry_lines(self, item: HistoryEvent, entry: Entry) -> Iterator[_Line]:
        key, prefix = (entry.kind, entry.name, entry.count), _prefix(entry.kind)
        if entry.kind in (Kind.SLEEP, Kind.EVENT):
            yield from _wait_lines(item.kind, entry)
        elif item.kind is HistoryKind.BEGAN:
            self._started[key] = 0  # after a restart an entry of the same name is another one
            yield f"{prefix}step_started", entry.started_at, {"stepName": entry.target, **_start_fields(entry)}
            yield from self._attempt_start(key, 1, entry.started_at)
        elif item.kind is HistoryKind.ATTEMPTED and item.data is not None:
            yield from self._attempt_start(key, item.data["attempt"], item.at)
        elif item.kind is HistoryKind.SETTLED:
            yield from self._attempt_start(key, entry.attempt, entry.attempt_started_at or entry.started_at)
            yield from _end_lines(entry)

    def _attempt_start(self, key: tuple[Kind, str, int], number: int, began: datetime) -> Iterator[_Line]:
        """Tell that an attempt has begun, unless it has been told."""
        if self._started.get(key, 0) < number:
            self._started[key] = number
            kind, name, count = key
            yield f"{_prefix(kind)}attempt_started", began, {"stepName": f"{name}-{count}", "attempt": number}


def _status_lines(head: Instance, item: HistoryEvent) -> Iterator[_Line]:
    fields: dict[str, Any] = {}
    if item.kind is HistoryKind.STARTED:
        fields = {"params": plain(head.params)}
    elif item.kind is HistoryKind.COMPLETE:
        fields = {"output": None if head.output is None else plain(head.output)}
    elif item.kind is HistoryKind.ERRORED or (item.kind is HistoryKind.PAUSED and head.error is not None):
        fields = _failure(head.error)
    if item.kind in (HistoryKind.ERRORED, HistoryKind.TERMINATED) and head.rollback is not None:
        rollback = head.rollback
        yield ("rollback_completed", item.at, {}) if rollback.complete else ("rollback_errored", item.at, _failure(rollback.error))
    yield _STATUS_TYPES[item.kind], item.at, fields


def _wait_lines(kind: HistoryKind, entry: Entry) -> Iterator[_Line]:
    name = {"stepName": entry.target}
    sleeps = entry.kind is Kind.SLEEP
    if kind is HistoryKind.BEGAN and sleeps:
        until = entry.wake_at or entry.started_at
        yield "sleep_started", entry.started_at, {**name, "durationMs": (until - entry.started_at) // _MS}
    elif kind is HistoryKind.BEGAN:
        yield "wait_started", entry.started_at, {**name, "eventType": entry.event_type}
    elif kind is HistoryKind.SETTLED:
        type = "sleep_completed" if sleeps else "wait_completed" if entry.state is State.DONE else "wait_timed_out"
        yield type, entry.ended_at or entry.started_at, name


def _end_lines(entry: Entry) -> Iterator[_Line]:
    """Tell of the end of a step, a rollback handler, or a workflow that was started."""
    prefix, name = _prefix(entry.kind), {"stepName": entry.target}
    attempt, failure = {**name, "attempt": entry.attempt}, _failure(entry.error)
    ended = entry.ended_at or entry.attempt_started_at or entry.started_at
    if entry.state is State.DONE:
        yield f"{prefix}attempt_completed", ended, attempt
        yield f"{prefix}step_completed", ended, {**name, **_output(entry)}
    else:
        yield f"{prefix}attempt_errored", ended, {**attempt, **failure}
        yield f"{prefix}step_errored", ended, {**name, **failure} if entry.kind is Kind.ROLLBACK else name


def _prefix(kind: Kind) -> str:
    return "rollback_" if kind is Kind.ROLLBACK else ""


def _start_fields(entry: Entry) -> dict[str, Any]:
    if entry.kind is Kind.STEP:
        return {"config": describe_config(entry.config or _DEFAULTS)}
    if entry.kind is Kind.CHILD:
        workflow, _, id = (entry.child or "").partition("/")  # names of workflows hold no slash, ids may
        return {"child": {"workflow_name": workflow, "instance_id": id}}
    return {}


def _output(entry: Entry) -> dict[str, Any]:
    if entry.kind is Kind.ROLLBACK:
        return {}
    hidden = entry.config is not None and entry.config.sensitive
    return {"output": REDACTED if hidden else None if entry.output is None else plain(entry.output)}


def _failure(error: ErrorInfo | None) -> dict[str, Any]:
    return {"error": None if error is None else {"name": error.name, "message": error.message}}
