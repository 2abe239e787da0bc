"""Rows to values and back: the one place that knows which columns make up a value, and in which order.

No SQL and no driver here: rows are plain tuples, the same for every database. NULL stands for the default of a field, which keeps rows
small. `_value_` is what `value` of an enumeration's member returns, at half the price: a row has three of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from hub.core.errors import ErrorInfo
from hub.core.labels import encode_labels, labels_of
from hub.core.lifecycle import Head
from hub.core.model import (
    FOR_EVER,
    Attempt,
    Entry,
    InboxEvent,
    Instance,
    Kind,
    NewInstance,
    Parent,
    Retention,
    Schedule,
    Snapshot,
    Source,
    State,
    Status,
    Version,
    Wish,
    WorkflowRecord,
)
from hub.core.retry import dump_config, load_config
from hub.store.columns import (
    error_of,
    error_text,
    length_or_none,
    length_or_null,
    micros,
    micros_or_null,
    moment,
    moment_or_none,
    rollback_of,
    rollback_text,
    termination_of,
    termination_text,
)
from hub.store.flow_rows import is_limited
from hub.store.program import Row

_PLAIN = [None] * 7 + [False]  # the rare columns of most heads

_STATUS = {status.value: status for status in Status}  # a look-up is several times faster than calling the enumeration
_WISH: dict[str | None, Wish] = {None: Wish.NONE, **{wish.value: wish for wish in Wish}}


# ---- instances


def instance_row(new: NewInstance, *, key: int, workflow: int, head: Head, queued: int, started: int | None) -> Row:
    """Return the row of a new instance; `head` is its state at birth, `queued` and `started` are revisions."""
    schedule, parent, keep = new.schedule, new.parent, new.retention
    kept = (None, None) if keep is FOR_EVER else (length_or_null(keep.success), length_or_null(keep.error))
    return (
        key,
        workflow,
        new.id,
        head.status._value_,
        micros(new.created_at),
        micros(head.modified_at),
        micros_or_null(head.wake_at),
        head.node,
        head.token,
        new.version,
        new.source._value_,
        new.trigger,
        new.dedupe_key,
        None if schedule is None else schedule.cron,
        None if schedule is None else micros(schedule.scheduled_at),
        None if parent is None else parent.key,
        None if parent is None else parent.inbox_type,
        *kept,
        queued,
        started,
        encode_labels(new.labels),
        new.params,
        new.provenance,
    )


def born(new: NewInstance, *, key: int, node: int | None) -> Head:
    """Return the head of an instance at its birth: claimed by `node`, or due at its start time."""
    return Head(
        key=key,
        id=new.id,
        status=Status.QUEUED,
        node=node,
        token=0 if node is None else 1,
        wish=Wish.NONE,
        inbox_seq=0,
        wake_at=(new.start_at or new.created_at) if node is None else None,
        paused_at=None,
        started_at=None,
        ended_at=None,
        modified_at=new.created_at,
        parent=new.parent,
        retention=new.retention,
    )


def head_of(row: Row) -> Head:
    """Return a stored head; columns as in `statements.HEADS`."""
    (
        key, id, status, node, token, wish, inbox_seq, wake_at, paused_at, started_at, ended_at, modified_at, recoveries,
        version_ran, *rare,
    ) = row  # fmt: skip
    head = Head(
        key=key,
        id=id,
        status=_STATUS[status],
        node=node,
        token=token,
        wish=_WISH[wish],
        inbox_seq=inbox_seq,
        wake_at=moment_or_none(wake_at),
        paused_at=moment_or_none(paused_at),
        started_at=moment_or_none(started_at),
        ended_at=moment_or_none(ended_at),
        modified_at=moment(modified_at),
        recoveries=recoveries,
        version_ran=version_ran,
    )
    if rare != _PLAIN:
        expires_at, ends_as, terminated_by, parent, inbox_type, success, error, flow = rare
        head.expires_at = moment_or_none(expires_at)
        head.ends_as = None if ends_as is None else _STATUS[ends_as]
        head.terminated_by = termination_of(terminated_by)
        head.parent, head.retention = _parent(parent, inbox_type), _retention(success, error)
        head.flow = bool(flow)
    return head


def _parent(key: int | None, inbox_type: str) -> Parent | None:
    return None if key is None else Parent(key=key, inbox_type=inbox_type)


def _retention(success: int | None, error: int | None) -> Retention:
    return FOR_EVER if success is None and error is None else Retention(success=length_or_none(success), error=length_or_none(error))


def head_row(head: Head) -> Row:
    """Return the changing columns of a head and, last, its key; as in `statements.UPDATE_HEAD`."""
    return (
        head.status._value_,
        head.node,
        None if head.wish is Wish.NONE else head.wish._value_,
        head.inbox_seq,
        micros_or_null(head.wake_at),
        micros_or_null(head.paused_at),
        micros_or_null(head.started_at),
        micros_or_null(head.ended_at),
        micros(head.modified_at),
        head.recoveries,
        head.version_ran,
        head.key,
    )


def result_row(head: Head, ended: int | None) -> Row:
    """Return the result of an instance without rollback and retention, before the columns of `head_row`; as in `statements.UPDATE_RESULT`.

    `ended` is the revision of the end, if the instance has ended.
    """
    return (head.output, error_text(head.error), ended, *head_row(head))


def all_row(head: Head, ended: int | None) -> Row:
    """Return all that can change of an instance; as in `statements.UPDATE_ALL`."""
    return (head.output, error_text(head.error), rollback_text(head.rollback), *end_row(head, ended))


def end_row(head: Head, ended: int | None) -> Row:
    """Return what a termination changes, before the columns of `head_row`; as in `statements.UPDATE_END`."""
    ends_as = None if head.ends_as is None else head.ends_as.value
    return (micros_or_null(head.expires_at), ends_as, termination_text(head.terminated_by), ended, *head_row(head))


def instance_of(row: Row) -> Instance:
    """Return a stored instance; columns as in `statements.INSTANCE`, the large ones, from `params` on, may be absent."""
    (
        key, workflow, id, status, created_at, modified_at, started_at, ended_at, paused_at, wake_at, node, token, wish,
        inbox_seq, recoveries, version, source, trigger, cron, scheduled_at, version_ran, parent, inbox_type, success, error_keep,
        ends_as, flow, terminated_by, labels, *large,
    ) = row  # fmt: skip
    params, output, error, rollback, provenance = large or (b"null", None, None, None, None)
    return Instance(
        key=key,
        workflow=workflow,
        id=id,
        status=_STATUS[status],
        created_at=moment(created_at),
        modified_at=moment(modified_at),
        started_at=moment_or_none(started_at),
        ended_at=moment_or_none(ended_at),
        paused_at=moment_or_none(paused_at),
        wake_at=moment_or_none(wake_at),
        node=node,
        token=token,
        wish=_WISH[wish],
        inbox_seq=inbox_seq,
        recoveries=recoveries,
        version=version,
        source=Source(source),
        trigger=trigger,
        schedule=None if cron is None else Schedule(cron=cron, scheduled_at=moment(scheduled_at)),
        params=params,
        output=output,
        error=error_of(error),
        version_ran=version_ran,
        parent=_parent(parent, inbox_type),
        retention=_retention(success, error_keep),
        ends_as=None if ends_as is None else _STATUS[ends_as],
        terminated_by=termination_of(terminated_by),
        labels=labels_of(labels),
        limited=is_limited(flow),
        rollback=rollback_of(rollback),
        provenance=provenance,
    )


# ---- what hangs on an instance


def entry_row(instance: int, entry: Entry, rev: int) -> Row:
    """Return the row of a journal entry, and its revision."""
    return (
        instance,
        entry.kind._value_,
        entry.name,
        entry.count,
        entry.ordinal,
        entry.state._value_,
        micros(entry.started_at),
        micros_or_null(entry.ended_at),
        None if entry.attempt == 1 else entry.attempt,
        micros_or_null(entry.attempt_started_at),
        micros_or_null(entry.wake_at),
        None if entry.config is None else dump_config(entry.config),
        entry.event_type,
        entry.child,
        entry.output,
        error_text(entry.error),
        rev,
    )


def entry_of(row: Row) -> Entry:
    """Return a stored journal entry; columns as in `entry_row`, without the revision."""
    (
        _, kind, name, count, ordinal, state, started_at, ended_at, attempt, attempt_started_at, wake_at, config,
        event_type, child, output, error,
    ) = row  # fmt: skip
    return Entry(
        kind=Kind(kind),
        name=name,
        count=count,
        ordinal=ordinal,
        state=State(state),
        started_at=moment(started_at),
        ended_at=moment_or_none(ended_at),
        attempt=1 if attempt is None else attempt,
        attempt_started_at=moment_or_none(attempt_started_at),
        wake_at=moment_or_none(wake_at),
        config=None if config is None else load_config(config),
        event_type=event_type,
        child=child,
        output=output,
        error=error_of(error),
    )


def attempt_row(instance: int, attempt: Attempt, rev: int) -> Row:
    """Return the row of a failed attempt, and its revision."""
    times = (micros(attempt.started_at), micros(attempt.ended_at), micros_or_null(attempt.retry_at))
    return (instance, attempt.kind._value_, attempt.name, attempt.count, attempt.number, *times, error_text(attempt.error), rev)


def begun_row(instance: int, entry: Entry, rev: int) -> Row:
    """Return the row of an attempt that was seen to begin, which `entry` is in; as in `statements.BEGIN_ATTEMPT`."""
    return (instance, entry.kind._value_, entry.name, entry.count, entry.attempt, micros(entry.attempt_started_at or entry.started_at), rev)


def attempt_of(row: Row) -> Attempt:
    """Return a stored failed attempt; columns as in `attempt_row`, without the revision."""
    _, kind, name, count, number, started_at, ended_at, retry_at, error = row
    return Attempt(
        kind=Kind(kind),
        name=name,
        count=count,
        number=number,
        started_at=moment(started_at),
        ended_at=moment(ended_at),
        error=ErrorInfo(**json.loads(error)),
        retry_at=moment_or_none(retry_at),
    )


def event_of(row: Row) -> InboxEvent:
    """Return a stored event of an inbox; columns: instance, seq, type, payload, time."""
    _, seq, type, payload, at = row
    return InboxEvent(seq=seq, type=type, payload=payload, sent_at=moment(at))


def snapshots_of(instances: Iterable[Row], entries: Iterable[Row], attempts: Iterable[Row], inbox: Iterable[Row]) -> list[Snapshot]:
    """Put the rows of some instances together, in the order of `instances`; child rows start with the instance's key."""
    journal, failed, events = _grouped(entries, entry_of), _grouped(attempts, attempt_of), _grouped(inbox, event_of)
    return [
        Snapshot(
            instance=instance_of(row),
            entries=tuple(journal.get(row[0], ())),
            attempts=tuple(failed.get(row[0], ())),
            inbox=tuple(events.get(row[0], ())),
        )
        for row in instances
    ]


def _grouped(rows: Iterable[Row], value_of: Any) -> dict[int, list[Any]]:
    grouped: dict[int, list[Any]] = {}
    for row in rows:
        grouped.setdefault(row[0], []).append(value_of(row))
    return grouped


# ---- workflows


def workflow_of(row: Row, counts: Sequence[tuple[str, int]]) -> WorkflowRecord:
    """Return a stored workflow (id, name, class, script, created, modified, triggered) with its counts by status."""
    id, name, class_name, script_name, created_at, modified_at, triggered_at = row
    return WorkflowRecord(
        id=id,
        name=name,
        class_name=class_name,
        script_name=script_name,
        created_at=moment(created_at),
        modified_at=moment(modified_at),
        triggered_at=moment_or_none(triggered_at),
        counts={Status(status): count for status, count in counts},
    )


def version_of(row: Row) -> Version:
    """Return a stored version; columns: id, workflow name, class, digest, created."""
    id, workflow, class_name, digest, created_at = row
    return Version(id=id, workflow=workflow, class_name=class_name, digest=digest, created_at=moment(created_at))
