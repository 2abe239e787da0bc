"""What is read: snapshots, lists, counts. Programs that never write; all statements of one see one moment."""

from __future__ import annotations

import json
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
from hub.store.program import Program, Row, fetch
from hub.store.totals import Totals

_OF_BEGINNING, _OF_FAILURE, _OF_STATUS, _OF_ATTEMPT = 0, 2, 3, 4  # parts of `statements.HISTORY`


def snapshots(keys: Iterable[int]) -> Program[list[Snapshot]]:
    """Read instances with all that a replay needs, in four statements however many there are."""
    listed, found = list(keys), []
    for text in (sql.INSTANCES, sql.STEPS, sql.ATTEMPTS, sql.INBOX):
        found.append((yield from fetch(text, listed)))  # noqa: PERF401  # no comprehension can yield
    return rows.snapshots_of(*found)


def next_due(workflows: Workflows) -> Program[datetime | None]:
    """Return the earliest time at which an unclaimed instance of some workflows is due."""
    if workflows is None:
        ((at,),) = yield from fetch(sql.NEXT_DUE)
    else:
        ((at,),) = yield from fetch(sql.NEXT_DUE_OF, list(workflows))
    return columns.moment_or_none(at)


def counts(totals: Totals) -> Program[dict[Status, int]]:
    """Count instances by status."""
    counted = yield from totals.of("counts", lambda: fetch(sql.COUNTS))
    return {Status(status): number for status, number in counted}


def find_workflows(query: WorkflowQuery, totals: Totals) -> Program[Page[WorkflowRecord]]:
    """Read one page of workflows with their counts."""
    found = yield from fetch(sql.WORKFLOWS, query.name, query.search, query.limit, query.offset)
    counted: dict[int, list[tuple[str, int]]] = {row[0]: [] for row in found}
    if query.counts:
        numbers = yield from totals.of(("workflows", *counted), lambda: fetch(sql.WORKFLOW_COUNTS, list(counted)))
        for workflow, status, number in numbers:
            counted[workflow].append((status, number))
    ((total,),) = yield from fetch(sql.WORKFLOWS_TOTAL, query.name, query.search)
    return Page(items=tuple(rows.workflow_of(row[1:], counted[row[0]]) for row in found), total=total)


def find_versions(query: VersionQuery) -> Program[Page[Version]]:
    """Read one page of a workflow's versions."""
    found = yield from fetch(sql.VERSIONS, query.workflow, query.id, query.limit, query.offset)
    ((total,),) = yield from fetch(sql.VERSIONS_TOTAL, query.workflow, query.id)
    return Page(items=tuple(rows.version_of(row) for row in found), total=total)


def find_events(query: InboxQuery) -> Program[Page[InboxEvent]]:
    """Read unconsumed events of an instance."""
    found = yield from fetch(sql.INBOX_AFTER, query.instance, query.after, query.limit)
    return Page(items=tuple(rows.event_of(row) for row in found))


def find_history(query: HistoryQuery) -> Program[Page[HistoryEvent]]:
    """Read what happened to an instance: first which things in which order, then the entries and attempts of this page only."""
    found = yield from fetch(sql.HISTORY, query.instance, query.after, query.limit + 1)
    torn = len(found) > query.limit and found[-1][0] == found[-2][0]
    told = []
    for row in found if torn else found[: query.limit]:
        told.append((yield from _told(query.instance, row)))  # noqa: PERF401  # no comprehension can yield
    return Page(items=tuple(told))


def _told(instance: int, row: Row) -> Program[HistoryEvent]:
    rev, part, kind, name, count, number, at, data = row
    if part == _OF_STATUS:
        return HistoryEvent(rev=rev, kind=HistoryKind(kind), at=columns.moment(at), data=None if data is None else json.loads(data))
    if part == _OF_FAILURE:
        (failed,) = yield from fetch(sql.ATTEMPT, instance, kind, name, count, number)
        attempt = rows.attempt_of(failed)
        return HistoryEvent(rev=rev, kind=HistoryKind.FAILED, at=attempt.ended_at, attempt=attempt)
    (journalled,) = yield from fetch(sql.STEP, instance, kind, name, count)
    entry = rows.entry_of(journalled)
    if part == _OF_BEGINNING:
        return HistoryEvent(rev=rev, kind=HistoryKind.BEGAN, at=entry.started_at, entry=entry)
    if part == _OF_ATTEMPT:
        return HistoryEvent(rev=rev, kind=HistoryKind.ATTEMPTED, at=columns.moment(at), entry=entry, data={"attempt": number})
    return HistoryEvent(rev=rev, kind=HistoryKind.SETTLED, at=entry.ended_at or entry.started_at, entry=entry)
