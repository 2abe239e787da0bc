"""Leases of nodes, claims and pruning in the embedded store.

Each public function is one transaction, on disk when it returns; a failure is raised as the driver raises it, with all undone.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime, timedelta
from typing import Any

from hub.core.history import HistoryKind
from hub.core.model import Snapshot
from hub.core.retention import DELIVERY_KEPT
from hub.store import columns, deliveries
from hub.store import statements as sql
from hub.store.revisions import Revisions
from hub.store.sqlite_group import forget
from hub.store.sqlite_read import snapshots
from hub.store.sqlite_transaction import numbered, transaction


def register_node(db: sqlite3.Connection, lease_until: int, now: datetime, info: dict[str, Any], *, alone: bool) -> int:
    """Add a node and return its number. `alone` = every other node is known to be dead: their leases end."""
    with transaction(db):
        (node,) = db.execute(sql.INSERT_NODE, (lease_until, columns.micros(now), json.dumps(info))).fetchone()
        if alone:
            db.execute(sql.END_OTHER_LEASES, (node,))
            db.execute(sql.FORGET_NODES)
    return int(node)


def renew_node(db: sqlite3.Connection, node: int, lease_until: int) -> bool:
    """Set the end of a node's lease; return whether there is such a node."""
    with transaction(db):
        return db.execute(sql.RENEW_NODE, (lease_until, node)).rowcount == 1


def lease_end(ttl: timedelta, now: datetime) -> int:
    """Return the stored end of a lease; 0, which is always past, for one that is given back."""
    return columns.micros(now + ttl) if ttl else 0


def claim(db: sqlite3.Connection, node: int, limit: int, now: datetime, revs: Revisions) -> list[Snapshot]:
    """Claim orphans of dead nodes, then due instances by urgency, and read them whole."""
    at, limit = columns.micros(now), max(limit, 0)  # to SQLite a negative limit is none
    with numbered(db, revs):
        keys: list[int] = []
        dead = json.dumps([key for (key,) in db.execute(sql.DEAD_NODES, (at, node))])
        if dead != "[]":
            for key in [key for (key,) in db.execute(sql.ORPHANS_TO_PAUSE, (dead,))]:
                db.execute(sql.PAUSE_ORPHAN, (at, key))
                db.execute(sql.INSERT_HISTORY, (key, next(revs.numbers), HistoryKind.PAUSED.value, at, None))
            keys += [key for (key,) in db.execute(sql.ORPHANS, (dead, limit))]
        keys += [key for (key,) in db.execute(sql.DUE, (at, limit - len(keys)))]
        if not keys:
            return []
        listed = json.dumps([[key, next(revs.numbers), next(revs.numbers)] for key in keys])
        db.execute(sql.CLAIMED_HISTORY, (at, listed))
        db.execute(sql.CLAIM, (node, at, listed))
        claimed = {snapshot.instance.key: snapshot for snapshot in snapshots(db, keys)}
    return [claimed[key] for key in keys]


def prune(db: sqlite3.Connection, now: datetime, limit: int, deliveries_kept: timedelta | None) -> int:
    """Delete instances whose retention has ended, stored deliveries that are old, and keys of events that no source repeats any more."""
    limit = max(limit, 0)  # to SQLite a negative limit is none
    with transaction(db):
        keys = [key for (key,) in db.execute(sql.EXPIRED, (columns.micros(now), limit))]
        forget(db, keys)
        db.execute(sql.PRUNE_ORPHANS, (columns.micros(now - DELIVERY_KEPT), limit))
        old = 0 if deliveries_kept is None else deliveries.prune(db, now - deliveries_kept, limit)
    return max(len(keys), old)
