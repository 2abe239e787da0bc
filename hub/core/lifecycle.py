"""The lifecycle of an instance: which write is legal in which status, and what it makes of the instance's head.

One pure function, `decide`, is the whole rule; both databases run it inside their transaction, so they cannot differ. The invariant:
a final status never changes except by `Restart`, and a write with a stale token changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hub.core import writes as w
from hub.core.errors import ErrorInfo
from hub.core.model import FINAL, FOR_EVER, Kind, Parent, Retention, Rollback, Status, Termination, Wish
from hub.core.writes import Verb, Verdict

TERMINATED = ErrorInfo(name="Terminated", message="the instance was terminated")


@dataclass(slots=True, kw_only=True)
class Head:
    """The changing part of an instance's row, as one transaction sees it. Mutable: a later write of the group sees the earlier one."""

    key: int
    id: str
    status: Status
    node: int | None
    token: int
    wish: Wish
    inbox_seq: int
    wake_at: datetime | None
    paused_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    modified_at: datetime
    recoveries: int = 0
    output: bytes | None = None
    error: ErrorInfo | None = None
    ends_as: Status | None = None
    terminated_by: Termination | None = None
    rollback: Rollback | None = None
    version_ran: str | None = None
    parent: Parent | None = None
    retention: Retention = FOR_EVER
    expires_at: datetime | None = None
    flow: bool = False  # rules of flow control hold for it after its creation
    result_changed: bool = False  # `output` and `error` are loaded only to be written
    changed: bool = False
    deleted: bool = False

    @property
    def final(self) -> bool:
        """Whether nothing but a restart or a delete can follow."""
        return self.status in FINAL


def decide(head: Head | None, write: Any) -> Verdict:
    """Apply a write to the head of its instance and return the verdict; a verdict other than APPLIED leaves the head untouched.

    The rows beside the head (journal, attempts, inbox) are the store's part.
    """
    if head is None or head.deleted:
        return Verdict.MISSING
    rule = _RULES[type(write)]
    return rule(head, write)


def holds(head: Head, token: int) -> bool:
    """Whether that token is of the live claim."""
    return head.node is not None and head.token == token


def begins_at(origin: w.RestartPoint, begun: Mapping[Kind, int]) -> int | None:
    """Return the ordinal of the entry that a restart begins at; None = there is none.

    `begun` has the ordinals of the entries with the name and number that it asks for.
    """
    named: dict[Kind, int] = {kind: ordinal for kind, ordinal in begun.items() if kind is not Kind.ROLLBACK}
    if origin.kind is None:
        return min(named.values(), default=None)
    if origin.kind is Kind.STEP and Kind.STEP not in named:
        return named.get(Kind.CHILD)
    return named.get(origin.kind)


def _settle(head: Head, write: w.SettleStep | w.FailAttempt | w.StartWait | w.StartChild) -> Verdict:
    return Verdict.APPLIED if holds(head, write.token) else Verdict.FENCED


def _begin(head: Head, write: w.Begin) -> Verdict:
    if not holds(head, write.token):
        return Verdict.FENCED
    if head.status not in (Status.WAITING_FOR_PAUSE, Status.ROLLING_BACK):
        head.status = Status.RUNNING
    head.started_at = head.started_at or write.at
    head.version_ran = write.version or head.version_ran
    return _touch(head, write.at)


def _park(head: Head, write: w.Park) -> Verdict:
    if not holds(head, write.token):
        return Verdict.FENCED
    head.started_at = head.started_at or write.started_at
    head.version_ran = write.version or head.version_ran
    if head.ends_as is not None:  # rolling back: nothing but the end of the handlers follows
        backs_off = write.status is Status.ROLLING_BACK  # otherwise it has not heard of the rollback yet
        head.status, head.wish = Status.ROLLING_BACK, Wish.NONE
        head.wake_at = (backs_off and write.wake_at) or write.at
    elif write.error is not None:
        head.error, head.result_changed = write.error, True
        _pause(head, write.at)
    elif head.wish is Wish.PAUSE:
        _pause(head, write.at)
    elif write.status is Status.PAUSED:  # resumed while it was on its way to the pause
        head.status, head.wake_at = Status.QUEUED, write.at
    else:
        head.status, head.wake_at = write.status, write.wake_at
        if head.inbox_seq > write.inbox_seen:
            head.wake_at = write.at
    head.node = None
    return _touch(head, write.at)


def _finish(head: Head, write: w.Finish) -> Verdict:
    if not holds(head, write.token):
        return Verdict.FENCED
    head.started_at = head.started_at or write.started_at
    head.version_ran = write.version or head.version_ran
    head.output, head.error, head.rollback, head.result_changed = write.output, write.error, write.rollback, True
    if write.status is not Status.TERMINATED:  # it has ended before the termination that was wanted
        head.terminated_by = None
    return _end(head, write.status, write.at)


def _send(head: Head, write: w.SendEvent) -> Verdict:
    if head.final:
        return Verdict.CONFLICT
    head.inbox_seq += 1
    if head.status is Status.WAITING and head.node is None:
        head.wake_at = write.at if head.wake_at is None else min(head.wake_at, write.at)
    head.changed = True
    return Verdict.APPLIED


def _steer(head: Head, write: w.Steer) -> Verdict:
    if head.final:
        return Verdict.CONFLICT
    if write.verb is Verb.TERMINATE and write.rollback:
        return _terminate_with_rollback(head, write)
    if write.verb is Verb.TERMINATE:
        if write.error is not None or head.status is Status.ROLLING_BACK:  # which has the error that it rolls back for
            head.error, head.result_changed = write.error, True
        head.terminated_by = write.by
        return _end(head, Status.TERMINATED, write.at)
    if head.status is Status.ROLLING_BACK:
        return Verdict.CONFLICT
    if write.verb is Verb.PAUSE:
        if head.status in (Status.PAUSED, Status.WAITING_FOR_PAUSE):
            return Verdict.APPLIED
        if head.node is None:
            _pause(head, write.at)
        else:
            head.status, head.wish = Status.WAITING_FOR_PAUSE, Wish.PAUSE
        return _touch(head, write.at)
    if head.status is Status.WAITING_FOR_PAUSE:
        head.status, head.wish = Status.RUNNING, Wish.NONE
        return _touch(head, write.at)
    if head.status is Status.PAUSED:
        head.status, head.wake_at, head.paused_at = Status.QUEUED, write.at, None
        head.error, head.result_changed = None, True  # what had stopped it, if anything, is mended
        return _touch(head, write.at)
    return Verdict.APPLIED  # there is nothing to resume


def _terminate_with_rollback(head: Head, write: w.Steer) -> Verdict:
    if head.status is Status.ROLLING_BACK:
        return Verdict.APPLIED
    head.ends_as, head.error, head.result_changed = Status.TERMINATED, TERMINATED, True
    head.terminated_by = write.by
    head.status, head.paused_at = Status.ROLLING_BACK, None
    if head.node is None:
        head.wake_at, head.wish = write.at, Wish.NONE
    else:
        head.wish = Wish.ROLL_BACK
    return _touch(head, write.at)


def _roll_back(head: Head, write: w.RollBack) -> Verdict:
    if not holds(head, write.token):
        return Verdict.FENCED
    if head.ends_as is None:
        head.ends_as, head.error, head.result_changed = Status.ERRORED, write.error, True
    head.status, head.wish = Status.ROLLING_BACK, Wish.NONE
    return _touch(head, write.at)


def _restart(head: Head, write: w.Restart) -> Verdict:
    head.status, head.node, head.wish, head.wake_at = Status.QUEUED, None, Wish.NONE, write.at
    head.started_at = head.ended_at = head.paused_at = head.output = head.error = None
    head.ends_as = head.terminated_by = head.rollback = head.expires_at = None
    head.recoveries, head.result_changed = 0, True
    return _touch(head, write.at)


def _delete(head: Head, _write: w.DeleteInstance) -> Verdict:
    head.deleted = True
    return Verdict.APPLIED


def _pause(head: Head, at: datetime) -> None:
    head.status, head.paused_at, head.wake_at, head.wish = Status.PAUSED, at, None, Wish.NONE


def _end(head: Head, status: Status, at: datetime) -> Verdict:
    head.status, head.ended_at, head.node, head.wake_at, head.paused_at = status, at, None, None, None
    head.wish, head.ends_as = Wish.NONE, None
    keep = head.retention.success if status is Status.COMPLETE else head.retention.error
    head.expires_at = None if keep is None else at + keep
    return _touch(head, at)


def _touch(head: Head, at: datetime) -> Verdict:
    head.modified_at, head.changed = at, True
    return Verdict.APPLIED


_RULES: dict[type, Callable[[Head, Any], Verdict]] = {
    w.Begin: _begin,
    w.SettleStep: _settle,
    w.FailAttempt: _settle,
    w.StartWait: _settle,
    w.StartChild: _settle,
    w.RollBack: _roll_back,
    w.Park: _park,
    w.Finish: _finish,
    w.SendEvent: _send,
    w.Steer: _steer,
    w.Restart: _restart,
    w.DeleteInstance: _delete,
}
