"""The hub's own queues in the embedded store: their SQL, their rows, and the writes on them.

Runs inside a transaction of its caller. Invariants: a message is held by a node that lives, by a client whose time has not ended, or by
nobody; and only the lease that was given last settles it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
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
from hub.store.rows import Row

_REGISTER = "INSERT INTO queue (name, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING"
_DELETE = "DELETE FROM queue WHERE name = ?"
_EXISTS = "SELECT 1 FROM queue WHERE name = ?"
_PUSH = """
INSERT INTO message (queue, id, content_type, sent_at, visible_at, body) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (queue, id) DO NOTHING
"""
_FREE_ORPHANS = """
UPDATE message SET node = NULL WHERE queue = ?1 AND node IS NOT NULL AND node IS NOT ?3
AND node NOT IN (SELECT key FROM node WHERE lease_until > ?2)
"""
_DUE = """
SELECT key, id, content_type, attempts, sent_at, body FROM message WHERE queue = ? AND node IS NULL AND visible_at <= ?
ORDER BY visible_at, key LIMIT ?
"""
_HOLD = "UPDATE message SET node = ?, visible_at = coalesce(?, visible_at), lease = ?, attempts = attempts + 1 WHERE key = ?"
_NEXT_AT = "SELECT visible_at FROM message WHERE queue = ? AND node IS NULL ORDER BY visible_at LIMIT 1"
_HELD = "key = ? AND lease = ?"
_DONE = f"DELETE FROM message WHERE {_HELD}"
_AGAIN = f"UPDATE message SET node = NULL, lease = NULL, visible_at = ? WHERE {_HELD}"
_BACK = f"UPDATE message SET node = NULL, lease = NULL, visible_at = min(visible_at, ?), attempts = attempts - 1 WHERE {_HELD}"
_BURY = """
INSERT INTO message (queue, id, content_type, sent_at, visible_at, body)
SELECT ?1, id, content_type, ?2, ?2, body FROM message WHERE key = ?3 AND lease = ?4 ON CONFLICT (queue, id) DO NOTHING
"""
_PURGE = "DELETE FROM message WHERE queue = ?"
_PRUNE = """
DELETE FROM message WHERE key IN (SELECT key FROM message ORDER BY key LIMIT ?2) AND sent_at < ?1
"""
_QUEUES = "SELECT name, created_at FROM queue WHERE name = coalesce(?1, name) ORDER BY name LIMIT ?2 OFFSET ?3"
_TOTAL = "SELECT count(*) FROM queue WHERE name = coalesce(?1, name)"
_COUNTS = """
SELECT count(*), count(node), (SELECT min(visible_at) FROM message WHERE queue = ?1 AND node IS NULL) FROM message WHERE queue = ?1
"""


# ---- writes


def apply(db: sqlite3.Connection, write: QueueWrite, leases: Iterator[int]) -> Outcome:
    """Apply a write; `leases` gives numbers that were never given before."""
    if isinstance(write, SettleMessage):
        return _settle(db, write)
    if isinstance(write, LeaseMessages):
        return _lease(db, write, leases)
    if isinstance(write, PushMessages):
        return _push(db, write)
    if isinstance(write, PurgeMessages):
        missing = _missing(db, write.queue)
        return missing or Outcome(verdict=Verdict.APPLIED, count=db.execute(_PURGE, (write.queue,)).rowcount)
    if isinstance(write, DeleteQueue):
        db.execute(_PURGE, (write.name,))
        deleted = db.execute(_DELETE, (write.name,)).rowcount
        return Outcome(verdict=Verdict.APPLIED if deleted else Verdict.MISSING)
    added = db.execute(_REGISTER, (write.name, micros(write.at))).rowcount
    return Outcome(verdict=Verdict.APPLIED if added else Verdict.DUPLICATE)


def _push(db: sqlite3.Connection, write: PushMessages) -> Outcome:
    missing = _missing(db, write.queue)
    if missing is not None:
        return missing
    at = micros(write.at)
    rows = [(write.queue, new.id, new.content_type.value, at, micros(new.visible_at), new.body) for new in write.messages]
    return Outcome(verdict=Verdict.APPLIED, count=max(db.executemany(_PUSH, rows).rowcount, 0))


def _lease(db: sqlite3.Connection, write: LeaseMessages, leases: Iterator[int]) -> Leased:
    at = micros(write.at)
    db.execute(_FREE_ORPHANS, (write.queue, at, write.node))  # who asks is not dead, however late its lease is renewed
    taken: list[LeasedMessage] = []
    room = write.body_bytes
    for row in db.execute(_DUE, (write.queue, at, max(write.limit, 0))):  # to SQLite a negative limit is none
        room -= len(row[-1])
        if room < 0 and taken:
            break
        taken.append(_leased(row, next(leases)))
    until = None if write.until is None else micros(write.until)
    db.executemany(_HOLD, [(write.node, until, message.lease, message.key) for message in taken])
    first = db.execute(_NEXT_AT, (write.queue,)).fetchone()
    return Leased(verdict=Verdict.APPLIED, messages=tuple(taken), next_at=None if first is None else moment(first[0]))


def _settle(db: sqlite3.Connection, write: SettleMessage) -> Outcome:
    held, at = (write.key, write.lease), micros(write.at)
    if write.fate is Fate.DONE:
        done = db.execute(_DONE, held).rowcount
    elif write.fate is Fate.AGAIN:
        done = db.execute(_AGAIN, (micros(write.visible_at or write.at), *held)).rowcount
    elif write.fate is Fate.BACK:
        done = db.execute(_BACK, (at, *held)).rowcount
    else:
        missing = _missing(db, write.to or "")
        if missing is not None:
            return missing
        db.execute(_BURY, (write.to, at, *held))
        done = db.execute(_DONE, held).rowcount
    return Outcome(verdict=Verdict.APPLIED if done else Verdict.FENCED)


def _missing(db: sqlite3.Connection, queue: str) -> Outcome | None:
    return None if db.execute(_EXISTS, (queue,)).fetchone() else Outcome(verdict=Verdict.MISSING)


def prune(db: sqlite3.Connection, before: datetime, limit: int) -> int:
    """Delete messages that were sent before a moment, of the `limit` oldest; return how many."""
    return db.execute(_PRUNE, (micros(before), limit)).rowcount


# ---- reading


def find_queues(db: sqlite3.Connection, query: QueueQuery) -> Page[QueueRecord]:
    """Read one page of queues, by name."""
    found = db.execute(_QUEUES, (query.name, query.limit, query.offset)).fetchall()
    (total,) = db.execute(_TOTAL, (query.name,)).fetchone()
    return Page(items=tuple(_record(db, *row, counts=query.counts) for row in found), total=total)


def _record(db: sqlite3.Connection, name: str, created_at: int, *, counts: bool) -> QueueRecord:
    record = QueueRecord(name=name, created_at=moment(created_at))
    if not counts:
        return record
    number, held, first = db.execute(_COUNTS, (name,)).fetchone()
    return QueueRecord(
        name=name, created_at=record.created_at, waiting=number - held, held=held, due_since=moment_or_none(first)
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
