"""Leases of nodes, claims and pruning in the embedded store.

Each public function is one transaction, on disk when it returns; a failure is raised as the driver raises it, with all undone.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime, timedelta
from typing import NamedTuple

from hub.core.history import HistoryKind
from hub.core.model import Snapshot
from hub.core.nodes import Workflows
from hub.core.retention import DELIVERY_KEPT
from hub.store import columns, deliveries, messages
from hub.store import statements as sql
from hub.store.flow_rows import flow_of
from hub.store.flow_sql import Ask
from hub.store.gates import Due
from hub.store.revisions import Revisions
from hub.store.sqlite_flow import Flows
from hub.store.sqlite_group import forget
from hub.store.sqlite_read import snapshots
from hub.store.sqlite_transaction import numbered, transaction

LOOKED_AT = 1000  # instances at gates that one claim asks; more stay due for the next one, and other writes go in between


def register_node(db: sqlite3.Connection, lease_until: int, now: datetime, info: str, revs: Revisions, *, alone: bool) -> int:
    """Add a node and return its number. `alone` = every other node is known to be dead: their leases end."""
    with numbered(db, revs):
        (node,) = db.execute(sql.INSERT_NODE, (lease_until, columns.micros(now), info)).fetchone()
        if alone:
            db.execute(sql.END_OTHER_LEASES, (node,))
            db.execute(sql.FORGET_NODES)
            flows = Flows(db, revs, now)
            flows.run(flows.gates.mend())
    return int(node)


def renew_node(db: sqlite3.Connection, node: int, lease_until: int) -> bool:
    """Set the end of a node's lease; return whether there is such a node."""
    with transaction(db):
        return db.execute(sql.RENEW_NODE, (lease_until, node)).rowcount == 1


def lease_end(ttl: timedelta, now: datetime) -> int:
    """Return the stored end of a lease; 0, which is always past, for one that is given back."""
    return columns.micros(now + ttl) if ttl else 0


def claim(
    db: sqlite3.Connection, node: int, limit: int, now: datetime, workflows: Workflows, revs: Revisions
) -> tuple[list[Snapshot], set[int]]:
    """Claim orphans of dead nodes, then due instances by urgency; return them whole, and the keys to signal.

    An instance with rules of flow control is claimed only if they let it through now; else it waits at a gate, and is due no more.
    """
    at, limit = columns.micros(now), max(limit, 0)  # to SQLite a negative limit is none
    named = () if workflows is None else (json.dumps(list(workflows)),)
    with numbered(db, revs):
        flows = Flows(db, revs, now)
        keys = _take_over(db, node, limit, named, flows, revs)
        flows.run(flows.gates.end_late())
        looked_at = 0
        while len(keys) < limit and looked_at < LOOKED_AT:
            found = _due(db, at, limit - len(keys), named)
            at_gates = {key: due for key, *due in db.execute(sql.AT_GATES, (json.dumps(found),))}
            ready = [key for key in found if key not in at_gates or _is_let_in(flows, key, *at_gates[key])]
            _claim(db, node, at, ready, revs)
            keys += ready
            looked_at += len(found)
            if not at_gates:  # otherwise somebody else may have become due by that
                break
        whole = {snapshot.instance.key: snapshot for snapshot in snapshots(db, keys)} if keys else {}
    return [whole[key] for key in keys], flows.touched


def _take_over(db: sqlite3.Connection, node: int, limit: int, named: tuple[str, ...], flows: Flows, revs: Revisions) -> list[int]:
    """Claim instances of dead nodes; their places at gates are theirs already."""
    at = columns.micros(flows.gates.at)
    dead = json.dumps([key for (key,) in db.execute(sql.DEAD_NODES, (at, node))])
    if dead == "[]":
        return []
    paused = db.execute(sql.ORPHANS_TO_PAUSE, (dead,)).fetchall()
    for key, gated in paused:
        db.execute(sql.PAUSE_ORPHAN, (at, key))
        db.execute(sql.INSERT_HISTORY, (key, next(revs.numbers), HistoryKind.PAUSED.value, at, None))
        if gated:
            flows.run(flows.gates.rest(key, paused=True))
    keys = [key for (key,) in db.execute(sql.ORPHANS_OF if named else sql.ORPHANS, (dead, *named, limit))]
    _claim(db, node, at, keys, revs)
    if 0 < len(keys) < limit:  # the last ones of a death
        flows.run(flows.gates.mend())
    return keys


def _due(db: sqlite3.Connection, at: int, limit: int, named: tuple[str, ...]) -> list[int]:
    """Return the most urgent of what is due, in order: by the time since when it is, and a head start counts like such a time.

    Whoever is among the first has a place either among the first by time, or among the first of those with a head start.
    """
    asked = (at, *named, limit)
    found = db.execute(sql.DUE_OF if named else sql.DUE, asked).fetchall()
    ahead = db.execute(sql.DUE_AHEAD_OF if named else sql.DUE_AHEAD, asked).fetchall()
    if not ahead:
        return [key for key, _ in found]
    since = dict((*found, *ahead))
    return sorted(since, key=lambda key: (since[key], key))[:limit]


def _is_let_in(flows: Flows, key: int, wake_at: int, flow: str, ahead: int | None, token: int) -> bool:
    return flows.run(flows.gates.enter(Due(key, wake_at, flow_of(flow), ahead or 0, fresh=token == 0)))


def _claim(db: sqlite3.Connection, node: int, at: int, keys: list[int], revs: Revisions) -> None:
    if keys:
        listed = json.dumps([[key, next(revs.numbers), next(revs.numbers)] for key in keys])
        db.execute(sql.CLAIMED_HISTORY, (at, listed))
        db.execute(sql.CLAIM, (node, at, listed))


class Kept(NamedTuple):
    """How long stored deliveries and messages of queues are kept; None = for ever."""

    deliveries: timedelta | None
    messages: timedelta | None


def prune(db: sqlite3.Connection, now: datetime, limit: int, kept: Kept, revs: Revisions) -> tuple[int, set[int]]:
    """Delete instances whose retention has ended, stored deliveries and messages that are old, and what nobody will ask for any more.

    Returns the largest of the first three numbers, and the keys to signal: instances that wait beyond their start deadline end here too,
    also when every slot is taken and nobody claims.
    """
    limit = max(limit, 0)  # to SQLite a negative limit is none
    with numbered(db, revs):
        flows = Flows(db, revs, now)
        late = flows.run(flows.gates.end_late())
        keys = [key for (key,) in db.execute(sql.EXPIRED, (columns.micros(now), limit))]
        forget(db, keys)
        db.execute(sql.PRUNE_ORPHANS, (columns.micros(now - DELIVERY_KEPT), limit))
        db.execute(Ask.PRUNE_BUCKETS.value, (columns.micros(now), limit))
        old = 0 if kept.deliveries is None else deliveries.prune(db, now - kept.deliveries, limit)
        unread = 0 if kept.messages is None else messages.prune(db, now - kept.messages, limit)
    return max(len(keys), old, unread, late), flows.touched
