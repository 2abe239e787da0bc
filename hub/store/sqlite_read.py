"""What the readers of the embedded store do with their connections: snapshots, lists, counts.

Never writes. Each function runs inside a read transaction of its caller, so all its statements see one moment.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import datetime

from hub.core.history import HistoryEvent, HistoryKind, HistoryQuery
from hub.core.model import (
    InboxEvent,
    InboxQuery,
    Page,
    Snapshot,
    Status,
    Version,
    VersionQuery,
    WorkflowQuery,
    WorkflowRecord,
)
from hub.core.nodes import Workflows
from hub.store import columns, rows
from hub.store import statements as sql

_OF_BEGINNING, _OF_FAILURE, _OF_STATUS, _OF_ATTEMPT = 0, 2, 3, 4  # parts of `statements.HISTORY`


def snapshots(db: sqlite3.Connection, keys: Iterable[int]) -> list[Snapshot]:
    """Read instances with all that a replay needs, in four statements however many there are."""
    listed = (json.dumps(list(keys)),)
    return rows.snapshots_of(*(db.execute(text, listed) for text in (sql.INSTANCES, sql.STEPS, sql.ATTEMPTS, sql.INBOX)))


def next_due(db: sqlite3.Connection, workflows: Workflows) -> datetime | None:
    """Return the earliest time at which an unclaimed instance of some workflows is due."""
    named = None if workflows is None else json.dumps(list(workflows))
    (at,) = db.execute(sql.NEXT_DUE if named is None else sql.NEXT_DUE_OF, () if named is None else (named,)).fetchone()
    return columns.moment_or_none(at)


def counts(db: sqlite3.Connection) -> dict[Status, int]:
    """Count instances by status."""
    return {Status(status): number for status, number in db.execute(sql.COUNTS)}


def find_workflows(db: sqlite3.Connection, query: WorkflowQuery) -> Page[WorkflowRecord]:
    """Read one page of workflows with their counts."""
    found = db.execute(sql.WORKFLOWS, (query.name, query.search, query.limit, query.offset)).fetchall()
    counted: dict[int, list[tuple[str, int]]] = {row[0]: [] for row in found}
    if query.counts:
        for workflow, status, number in db.execute(sql.WORKFLOW_COUNTS, (json.dumps(list(counted)),)):
            counted[workflow].append((status, number))
    (total,) = db.execute(sql.WORKFLOWS_TOTAL, (query.name, query.search)).fetchone()
    return Page(items=tuple(rows.workflow_of(row[1:], counted[row[0]]) for row in found), total=total)


def find_versions(db: sqlite3.Connection, query: VersionQuery) -> Page[Version]:
    """Read one page of a workflow's versions."""
    found = db.execute(sql.VERSIONS, (query.workflow, query.id, query.limit, query.offset))
    items = tuple(rows.version_of(row) for row in found)
    return Page(items=items, total=db.execute(sql.VERSIONS_TOTAL, (query.workflow, query.id)).fetchone()[0])


def find_events(db: sqlite3.Connection, query: InboxQuery) -> Page[InboxEvent]:
    """Read unconsumed events of an instance."""
    found = db.execute(sql.INBOX_AFTER, (query.instance, query.after, query.limit))
    return Page(items=tuple(rows.event_of(row) for row in found))


def find_history(db: sqlite3.Connection, query: HistoryQuery) -> Page[HistoryEvent]:
    """Read what happened to an instance: first which things in which order, then the entries and attempts of this page only."""
    found = db.execute(sql.HISTORY, (query.instance, query.after, query.limit + 1)).fetchall()
    torn = len(found) > query.limit and found[-1][0] == found[-2][0]
    return Page(items=tuple(_told(db, query.instance, row) for row in (found if torn else found[: query.limit])))


def _told(db: sqlite3.Connection, instance: int, row: rows.Row) -> HistoryEvent:
    rev, part, kind, name, count, number, at, data = row
    if part == _OF_STATUS:
        return HistoryEvent(rev=rev, kind=HistoryKind(kind), at=columns.moment(at), data=None if data is None else json.loads(data))
    if part == _OF_FAILURE:
        attempt = rows.attempt_of(db.execute(sql.ATTEMPT, (instance, kind, name, count, number)).fetchone())
        return HistoryEvent(rev=rev, kind=HistoryKind.FAILED, at=attempt.ended_at, attempt=attempt)
    entry = rows.entry_of(db.execute(sql.STEP, (instance, kind, name, count)).fetchone())
    if part == _OF_BEGINNING:
        return HistoryEvent(rev=rev, kind=HistoryKind.BEGAN, at=entry.started_at, entry=entry)
    if part == _OF_ATTEMPT:
        return HistoryEvent(rev=rev, kind=HistoryKind.ATTEMPTED, at=columns.moment(at), entry=entry, data={"attempt": number})
    return HistoryEvent(rev=rev, kind=HistoryKind.SETTLED, at=entry.ended_at or entry.started_at, entry=entry)
