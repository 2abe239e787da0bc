"""The hub's own queues: their SQL, their rows, and the programs of the writes on them.

Of nodes that lease at the same time each gets other messages: what one looks at, the others pass over. Invariants: a message is held by a
node that lives, by a client whose time has not ended, or by nobody; and only the lease that was given last settles it.
"""

from __future__ import annotations

from datetime import datetime

from hub.core.model import Page
from hub.core.queues import (
    ContentType,
    DeleteQueue,
    Fate,
    LeasedMessage,
    LeaseMessages,
    PurgeMessages,
    PushMessages,
    QueueQuery,
    QueueRecord,
    SettleMessage,
)
from hub.core.writes import Leased, Outcome, QueueWrite, Verdict
from hub.store.columns import micros, moment, moment_or_none
from hub.store.program import Program, Row, change, fetch, first, many, numbers

_REGISTER = "INSERT INTO queue (name, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING"
_DELETE = "DELETE FROM queue WHERE name = ?"
_EXISTS = "SELECT 1 FROM queue WHERE name = ?"
_PUSH = """
INSERT INTO message (queue, id, content_type, sent_at, visible_at, body) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (queue, id) DO NOTHING
"""
_KNOWN = "SELECT id FROM message WHERE queue = ? AND id = ANY(?)"
_FREE_ORPHANS = """
UPDATE message SET node = NULL WHERE key IN
(SELECT key FROM message WHERE queue = ? AND node IS NOT NULL AND node IS DISTINCT FROM ?
AND node NOT IN (SELECT n.key FROM node n WHERE n.lease_until > lease_clock(?)) FOR UPDATE SKIP LOCKED)
"""
_DUE = """
SELECT key, length(body) FROM message WHERE queue = ? AND node IS NULL AND visible_at <= ?
ORDER BY node, visible_at, key LIMIT ? FOR UPDATE SKIP LOCKED
"""  # by node, which is NULL for all: not every database sees that the index has them in order without it
_TAKEN = "SELECT key, id, content_type, attempts, sent_at, body FROM message WHERE key = ANY(?)"
_HOLD = """
UPDATE message SET node = ?, visible_at = coalesce(CAST(? AS BIGINT), visible_at), lease = ?, attempts = attempts + 1 WHERE key = ?
"""
_NEXT_AT = "SELECT visible_at FROM message WHERE queue = ? AND node IS NULL ORDER BY node, visible_at LIMIT 1"
_HELD = "key = ? AND lease = ?"
_STILL_HELD = f"SELECT 1 FROM message WHERE {_HELD} FOR UPDATE"
_DONE = f"DELETE FROM message WHERE {_HELD}"
_AGAIN = f"UPDATE message SET node = NULL, lease = NULL, visible_at = ? WHERE {_HELD}"
_BACK = f"UPDATE message SET node = NULL, lease = NULL, visible_at = least(visible_at, ?), attempts = attempts - 1 WHERE {_HELD}"
_BURY = """
INSERT INTO message (queue, id, content_type, sent_at, visible_at, body)
SELECT CAST(?1 AS TEXT), id, content_type, CAST(?2 AS BIGINT), CAST(?2 AS BIGINT), body FROM message WHERE key = ?3
ON CONFLICT (queue, id) DO NOTHING
"""
_PURGE = "DELETE FROM message WHERE queue = ?"
_PRUNE = """
DELETE FROM message WHERE key IN (SELECT key FROM message WHERE key IN (SELECT m.key FROM message m ORDER BY m.key LIMIT ?2)
AND sent_at < ?1 ORDER BY key FOR UPDATE SKIP LOCKED)
"""
_QUEUES = "SELECT name, created_at FROM queue WHERE name = coalesce(?1, name) ORDER BY name LIMIT ?2 OFFSET ?3"
_TOTAL = "SELECT count(*) FROM queue WHERE name = coalesce(?1, name)"
_COUNTS = """
SELECT count(*), count(node), (SELECT min(visible_at) FROM message WHERE queue = ?1 AND node IS NULL) FROM message WHERE queue = ?1
"""


# ---- writes


def apply(write: QueueWrite) -> Program[Outcome]:
    """Apply a write."""
    if isinstance(write, SettleMessage):
        return (yield from _settle(write))
    if isinstance(write, LeaseMessages):
        return (yield from _lease(write))
    if isinstance(write, PushMessages):
        return (yield from _push(write))
    if isinstance(write, PurgeMessages):
        missing = yield from _missing(write.queue)
        return missing or Outcome(verdict=Verdict.APPLIED, count=(yield from change(_PURGE, write.queue)))
    if isinstance(write, DeleteQueue):
        yield from change(_PURGE, write.name)
        deleted = yield from change(_DELETE, write.name)
        return Outcome(verdict=Verdict.APPLIED if deleted else Verdict.MISSING)
    added = yield from change(_REGISTER, write.name, micros(write.at))
    if added:
        yield from change(_PURGE, write.name)  # what another node has put in while the queue of that name was deleted
    return Outcome(verdict=Verdict.APPLIED if added else Verdict.DUPLICATE)


def _push(write: PushMessages) -> Program[Outcome]:
    missing = yield from _missing(write.queue)
    if missing is not None:
        return missing
    at = micros(write.at)
    rows: dict[str, Row] = {}
    for new in write.messages:
        rows.setdefault(new.id, (write.queue, new.id, new.content_type.value, at, micros(new.visible_at), new.body))
    for (id,) in (yield from fetch(_KNOWN, write.queue, list(rows))):
        del rows[id]
    yield from many(_PUSH, list(rows.values()))
    return Outcome(verdict=Verdict.APPLIED, count=len(rows))


def _lease(write: LeaseMessages) -> Program[Leased]:
    at = micros(write.at)
    yield from change(_FREE_ORPHANS, write.queue, write.node, at)  # who asks is not dead, however late its lease is renewed
    keys: list[int] = []
    room = write.body_bytes
    for key, size in (yield from fetch(_DUE, write.queue, at, max(write.limit, 0))):
        room -= size
        if room < 0 and keys:
            break
        keys.append(key)
    taken = (yield from _take(keys, write)) if keys else []
    found = yield from first(_NEXT_AT, write.queue)
    return Leased(verdict=Verdict.APPLIED, messages=tuple(taken), next_at=None if found is None else moment(found[0]))


def _take(keys: list[int], write: LeaseMessages) -> Program[list[LeasedMessage]]:
    """Give leases of messages that are locked, in their order."""
    _, leases = yield from numbers(0, len(keys))
    rows = {row[0]: row for row in (yield from fetch(_TAKEN, keys))}
    taken = [_leased(rows[key], next(leases)) for key in keys]
    until = None if write.until is None else micros(write.until)
    yield from many(_HOLD, [(write.node, until, message.lease, message.key) for message in taken])
    return taken


def _settle(write: SettleMessage) -> Program[Outcome]:
    held, at = (write.key, write.lease), micros(write.at)
    if write.fate is Fate.DONE:
        done = yield from change(_DONE, *held)
    elif write.fate is Fate.AGAIN:
        done = yield from change(_AGAIN, micros(write.visible_at or write.at), *held)
    elif write.fate is Fate.BACK:
        done = yield from change(_BACK, at, *held)
    else:
        missing = yield from _missing(write.to or "")
        if missing is not None:
            return missing
        done = 0
        if (yield from first(_STILL_HELD, *held)):  # from here on nobody else can lease it: it is not buried by one and taken by another
            yield from change(_BURY, write.to, at, write.key)
            done = yield from change(_DONE, *held)
    return Outcome(verdict=Verdict.APPLIED if done else Verdict.FENCED)


def _missing(queue: str) -> Program[Outcome | None]:
    return None if (yield from first(_EXISTS, queue)) else Outcome(verdict=Verdict.MISSING)


def prune(before: datetime, limit: int) -> Program[int]:
    """Delete messages that were sent before a moment, of the `limit` oldest; return how many."""
    return (yield from change(_PRUNE, micros(before), limit))


# ---- reading


def find_queues(query: QueueQuery) -> Program[Page[QueueRecord]]:
    """Read one page of queues, by name."""
    found = yield from fetch(_QUEUES, query.name, query.limit, query.offset)
    ((total,),) = yield from fetch(_TOTAL, query.name)
    items = []
    for name, created_at in found:
        items.append((yield from _record(name, created_at, counts=query.counts)))
    return Page(items=tuple(items), total=total)


def _record(name: str, created_at: int, *, counts: bool) -> Program[QueueRecord]:
    record = QueueRecord(name=name, created_at=moment(created_at))
    if not counts:
        return record
    ((number, held, due_since),) = yield from fetch(_COUNTS, name)
    return QueueRecord(
        name=name, created_at=record.created_at, waiting=number - held, held=held, due_since=moment_or_none(due_since)
    )


def _leased(row: Row, lease: int) -> LeasedMessage:
    key, id, content_type, attempts, sent_at, body = row
    return LeasedMessage(
        key=key,
        lease=lease,
        id=id,
        body=body,
        content_type=ContentType(content_type),
        attempts=attempts + 1,
        sent_at=moment(sent_at),
    )
