"""Stored deliveries and trigger records: their SQL, their rows, and the programs of the writes that run alone.

Rows are in the order in which they were stored, whatever the clocks of nodes say. The row of a trigger is locked before anything is decided
about its deliveries that only one node may decide. Invariants: a row that is replayed never changes again, and one that is held is never
pruned.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from hub.core.delivery import Delivery, DeliveryQuery, DeliveryStatus, TriggerQuery, TriggerRecord
from hub.core.model import Page
from hub.core.writes import ChangeDelivery, KeepDelivery, MoveCursor, Outcome, RegisterTrigger, SteerTrigger, Verdict
from hub.store.columns import micros, micros_or_null, moment, moment_or_none, shown
from hub.store.cursors import cursor_of, key_of
from hub.store.program import Program, Row, change, fetch, first

Kept = KeepDelivery | ChangeDelivery | RegisterTrigger | SteerTrigger | MoveCursor

# ---- SQL

STATUS = "SELECT status, instance_id FROM delivery WHERE id = ? FOR UPDATE"
SETTLE = "UPDATE delivery SET status = 'replayed', instance_id = ?, workflow = ?, changed_at = ? WHERE id = ?"
_NO_CURSOR = -(1 << 62)  # before every time; the row of a trigger without a cursor is locked, too
CURSOR = f"SELECT coalesce(cursor, {_NO_CURSOR}) FROM trigger WHERE name = ? FOR UPDATE"
ADVANCE = "UPDATE trigger SET cursor = ?1 WHERE name = ?2 AND (cursor IS NULL OR cursor < ?1)"

_SAME = """
SELECT id FROM delivery WHERE id = ?1
UNION ALL SELECT id FROM delivery WHERE trigger = ?2 AND event_key = CAST(?3 AS TEXT) AND status = ?4 LIMIT 1
"""
_NUMBER = "SELECT count(*) FROM (SELECT 1 FROM delivery WHERE trigger = ? AND status = ? LIMIT ?) AS counted"
_COLUMNS = "id, trigger, status, received_at, changed_at, code, event_key, occurred_at, workflow, instance_id, message"
_INSERT = f"INSERT INTO delivery ({_COLUMNS}, event) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_CHANGE = "UPDATE delivery SET status = ?, code = ?, message = ?, changed_at = ? WHERE id = ?"
_PRUNE = """
DELETE FROM delivery WHERE key IN
(SELECT key FROM delivery WHERE status <> 'held' AND received_at < ? ORDER BY received_at LIMIT ? FOR UPDATE SKIP LOCKED)
"""
_TRIGGER = "SELECT name, kind, workflow, created_at, modified_at, digest, cursor, paused_at, note FROM trigger"
_OF_NAME = f"{_TRIGGER} WHERE name = ?"
_TO_CHANGE = f"{_OF_NAME} FOR UPDATE"
_REGISTER = "INSERT INTO trigger (name, kind, workflow, digest, created_at, modified_at, cursor) VALUES (?, ?, ?, ?, ?, ?, ?)"
_REGISTER_AGAIN = "UPDATE trigger SET kind = ?, workflow = ?, digest = ?, modified_at = ?, cursor = ? WHERE name = ?"
_PAUSE = "UPDATE trigger SET paused_at = coalesce(paused_at, ?1), note = ?2, modified_at = ?1 WHERE name = ?3"
_RESUME = "UPDATE trigger SET paused_at = NULL, note = NULL, modified_at = ?1, cursor = ?1 WHERE name = ?2 AND paused_at IS NOT NULL"
_MOVE = "UPDATE trigger SET cursor = ?, modified_at = ? WHERE name = ? AND cursor IS NOT DISTINCT FROM ?"


# ---- writes


def apply(write: Kept) -> Program[Outcome]:
    """Apply one of the writes that touch no instance."""
    if isinstance(write, KeepDelivery):
        return (yield from _keep(write))
    if isinstance(write, ChangeDelivery):
        return (yield from _change(write))
    if isinstance(write, RegisterTrigger):
        return (yield from _register(write))
    if isinstance(write, SteerTrigger):
        return (yield from _steer(write))
    moved = yield from change(_MOVE, micros(write.cursor), micros(write.at), write.name, micros_or_null(write.expected))
    return Outcome(verdict=Verdict.APPLIED if moved else (yield from _exists(write.name, Verdict.CONFLICT)))


def _keep(write: KeepDelivery) -> Program[Outcome]:
    kept = write.delivery
    cursor: Row | None = None
    if write.cursor is not None or write.most is not None or kept.key is not None:  # else nothing here depends on other rows
        cursor = yield from first(CURSOR, kept.trigger)
    same = yield from first(_SAME, kept.id, kept.trigger, kept.key, kept.status.value)
    if same is None and write.most is not None and (yield from _number(kept, write.most)) >= write.most:
        return Outcome(verdict=Verdict.FULL)
    if write.cursor is not None:
        if same is None and cursor is not None and cursor[0] >= micros(write.since or write.cursor):
            return Outcome(verdict=Verdict.DUPLICATE)  # another node has decided otherwise, on that slot or one of several
        yield from change(ADVANCE, micros(write.cursor), kept.trigger)
    if same is not None:
        return Outcome(verdict=Verdict.DUPLICATE, id=same[0])
    yield from change(_INSERT, *_row_of(kept))
    return Outcome(verdict=Verdict.APPLIED, id=kept.id)


def _number(like: Delivery, most: int) -> Program[int]:
    """Return how many deliveries of the same trigger and status are stored, counting no further than is asked."""
    ((number,),) = yield from fetch(_NUMBER, like.trigger, like.status.value, most)
    return int(number)


def _change(write: ChangeDelivery) -> Program[Outcome]:
    found = yield from first(STATUS, write.id)
    if found is None:
        return Outcome(verdict=Verdict.MISSING, id=write.id)
    if found[0] == DeliveryStatus.REPLAYED:
        return Outcome(verdict=Verdict.CONFLICT, id=write.id)
    yield from change(_CHANGE, write.status.value, write.code, shown(write.message), micros(write.at), write.id)
    return Outcome(verdict=Verdict.APPLIED, id=write.id)


def _register(write: RegisterTrigger) -> Program[Outcome]:
    at = micros(write.at)
    found = yield from first(_TO_CHANGE, write.name)
    if found is None:
        yield from change(_REGISTER, write.name, write.kind, write.workflow, write.digest, at, at, at)
        return Outcome(verdict=Verdict.APPLIED)
    known = record_of(found)
    if (known.kind, known.workflow, known.digest) != (write.kind, write.workflow, write.digest):
        cursor = micros_or_null(known.cursor)
        if known.digest != write.digest:
            cursor = at if cursor is None else max(cursor, at)  # another node's clock may be ahead: what it has decided stays so
        yield from change(_REGISTER_AGAIN, write.kind, write.workflow, write.digest, at, cursor, write.name)
    return Outcome(verdict=Verdict.APPLIED)


def _steer(write: SteerTrigger) -> Program[Outcome]:
    if write.paused:
        found = yield from change(_PAUSE, micros(write.at), write.note, write.name)
    else:
        found = yield from change(_RESUME, micros(write.at), write.name)
    return Outcome(verdict=Verdict.APPLIED if found else (yield from _exists(write.name, Verdict.APPLIED)))


def _exists(name: str, verdict: Verdict) -> Program[Verdict]:
    return Verdict.MISSING if (yield from first(_OF_NAME, name)) is None else verdict


def prune(before: datetime, limit: int) -> Program[int]:
    """Delete up to `limit` deliveries that were received before a moment, but no held ones; return how many."""
    return (yield from change(_PRUNE, micros(before), limit))


# ---- reading


def find_deliveries(query: DeliveryQuery) -> Program[Page[Delivery]]:
    """Read one page of deliveries."""
    conditions, values = _conditions(query)
    total = None
    if query.total:
        ((total,),) = yield from fetch(f"SELECT count(*) FROM delivery{_where(conditions)}", *values)
    if query.cursor is not None:
        conditions.append("key > ?" if query.ascending else "key < ?")
        values.append(key_of(query.cursor))
    columns = f"SELECT key, {_COLUMNS}{'' if query.heads else ', event'} FROM delivery"
    order = "ASC" if query.ascending else "DESC"
    found = yield from fetch(f"{columns}{_where(conditions)} ORDER BY key {order} LIMIT ?", *values, query.limit + 1)
    page = found[: query.limit]
    more = len(found) > query.limit and page
    return Page(items=tuple(_delivery_of(row[1:]) for row in page), cursor=cursor_of(page[-1][0]) if more else None, total=total)


def find_triggers(query: TriggerQuery) -> Program[Page[TriggerRecord]]:
    """Read the records of triggers, by name."""
    condition = "" if query.name is None else " WHERE name = ?"
    values = () if query.name is None else (query.name,)
    found = yield from fetch(f"{_TRIGGER}{condition} ORDER BY name LIMIT ?", *values, query.limit)
    return Page(items=tuple(record_of(row) for row in found))


def _conditions(query: DeliveryQuery) -> tuple[list[str], list[object]]:
    found: list[tuple[str, list[object]]] = []
    if query.trigger is not None:
        found.append(("trigger = ?", [query.trigger]))
    if query.id is not None:
        found.append(("id = ?", [query.id]))
    if query.statuses:
        statuses = sorted(status.value for status in query.statuses)
        found.append((f"status IN ({', '.join('?' * len(statuses))})", [*statuses]))
    if query.received_from is not None:
        found.append(("received_at >= ?", [micros(query.received_from)]))
    if query.received_to is not None:
        found.append(("received_at <= ?", [micros(query.received_to)]))
    return [text for text, _ in found], [value for _, values in found for value in values]


def _where(conditions: Iterable[str]) -> str:
    text = " AND ".join(conditions)
    return f" WHERE {text}" if text else ""


# ---- rows


def _row_of(kept: Delivery) -> Row:
    return (
        kept.id,
        kept.trigger,
        kept.status.value,
        micros(kept.received_at),
        micros_or_null(kept.changed_at),
        kept.code,
        kept.key,
        micros_or_null(kept.occurred_at),
        kept.workflow,
        kept.instance_id,
        shown(kept.message),
        kept.event,
    )


def _delivery_of(row: Row) -> Delivery:
    id, trigger, status, received_at, changed_at, code, key, occurred_at, workflow, instance_id, message, *event = row
    return Delivery(
        id=id,
        trigger=trigger,
        status=DeliveryStatus(status),
        received_at=moment(received_at),
        changed_at=moment_or_none(changed_at),
        code=code,
        key=key,
        occurred_at=moment_or_none(occurred_at),
        workflow=workflow,
        instance_id=instance_id,
        message=message,
        event=event[0] if event else b"null",
    )


def record_of(row: Row) -> TriggerRecord:
    """Return a stored trigger record."""
    name, kind, workflow, created_at, modified_at, digest, cursor, paused_at, note = row
    return TriggerRecord(
        name=name,
        kind=kind,
        workflow=workflow,
        created_at=moment(created_at),
        modified_at=moment(modified_at),
        digest=digest,
        cursor=moment_or_none(cursor),
        paused_at=moment_or_none(paused_at),
        note=note,
    )
