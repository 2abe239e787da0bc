"""Leases of nodes, claims and pruning: the program of one transaction each."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from hub.core.errors import ConfigError
from hub.core.history import HistoryKind
from hub.core.model import Snapshot
from hub.core.nodes import Workflows
from hub.core.retention import DELIVERY_KEPT
from hub.store import columns, deliveries, messages
from hub.store import statements as sql
from hub.store.flow_rows import flow_of
from hub.store.flow_run import Flows, flows
from hub.store.flow_sql import Ask
from hub.store.gates import Due
from hub.store.lookup import forget
from hub.store.program import Program, Turn, change, fetch, many, numbers
from hub.store.reading import snapshots

LOOKED_AT = 1000  # instances at gates that one claim asks; more stay due for the next one, and other writes go in between

FORGOTTEN = timedelta(hours=1)  # after which a node that is dead and holds nothing is shown no more


def register_node(ttl: timedelta, now: datetime, info: str, *, schema: str, alone: bool) -> Program[int]:
    """Add a node and return its number. `alone` = every other node is known to be dead: their leases end.

    Raises: ConfigError when the database was brought to a schema that is too new for the one which this node knows.
    """
    values = columns.micros(now), columns.length_or_null(ttl), columns.micros(now), info
    added = yield from fetch(sql.INSERT_NODE, *values, schema)
    if not added:
        ((oldest, version),) = yield from fetch(sql.OLDEST_HUB)
        newer = f"a newer version of the hub has upgraded the database for schema {oldest} and newer, and this one knows {schema}"
        raise ConfigError(f"{newer}; install version {version}", path="store.url")
    ((node,),) = added
    if alone:
        yield from fetch(sql.END_OTHER_LEASES, node)
        yield from fetch(sql.FORGET_NODES, columns.micros(now), 0)
        at_gates = yield from flows(now)
        yield from at_gates.run(at_gates.gates.mend())
    return int(node)


def renew_node(node: int, ttl: timedelta, now: datetime, schema: str) -> Program[bool]:
    """Set the end of a node's lease, a length of zero ends it; return whether there is such a node, and its schema is not too old."""
    if not ttl:
        return (yield from change(sql.END_LEASE, node)) == 1
    return (yield from change(sql.RENEW_NODE, columns.micros(now), columns.length_or_null(ttl), node, schema)) == 1


def claim(node: int, limit: int, now: datetime, workflows: Workflows) -> Program[tuple[list[Snapshot], set[int]]]:
    """Claim orphans of dead nodes, then due instances by urgency; return them whole, and the keys to signal.

    An instance with rules of flow control is claimed only if they let it through now; else it waits at a gate, and is due no more.
    """
    at, limit = columns.micros(now), max(limit, 0)
    named = () if workflows is None else (list(workflows),)
    touched: set[int] = set()
    keys = yield from _take_over(node, limit, now, named, touched)
    if (yield from fetch(Ask.LATE.value, at, 1)):
        at_gates = yield from flows(now)
        yield from at_gates.run(at_gates.gates.end_late())
        touched |= at_gates.touched
    looked_at = 0
    while len(keys) < limit and looked_at < LOOKED_AT:
        found = yield from _due(at, limit - len(keys), named)
        gated = (yield from fetch(sql.AT_GATES, found)) if found else []
        ready = found
        if gated:
            at_gates = yield from flows(now)
            ready = yield from _let_in(at_gates, found, {key: tuple(due) for key, *due in gated})
            touched |= at_gates.touched
        yield from _claim(node, at, ready)
        keys += ready
        looked_at += len(found)
        if not gated:  # otherwise somebody else may have become due by that
            break
    if not keys:
        return [], touched
    whole = {snapshot.instance.key: snapshot for snapshot in (yield from snapshots(keys))}
    return [whole[key] for key in keys], touched


def _take_over(node: int, limit: int, now: datetime, named: tuple[list[str], ...], touched: set[int]) -> Program[list[int]]:
    """Claim instances of dead nodes; their places at gates are theirs already."""
    at = columns.micros(now)
    dead = [key for (key,) in (yield from fetch(sql.DEAD_NODES, at, node))]
    if not dead:
        return []
    yield from _pause_orphans(dead, now, touched)
    keys = [key for (key,) in (yield from fetch(sql.ORPHANS_OF if named else sql.ORPHANS, dead, *named, limit))]
    yield from _claim(node, at, keys)
    if 0 < len(keys) < limit:  # the last ones of a death
        at_gates = yield from flows(now)
        yield from at_gates.run(at_gates.gates.mend())
        touched |= at_gates.touched
    return keys


def _pause_orphans(dead: list[int], now: datetime, touched: set[int]) -> Program[None]:
    """Pause what somebody wanted to be paused when its node died."""
    at = columns.micros(now)
    paused = yield from fetch(sql.ORPHANS_TO_PAUSE, dead)
    if not paused:
        return
    _, revs = yield from numbers(0, len(paused))
    for key, _ in paused:
        yield from fetch(sql.PAUSE_ORPHAN, at, key)
        yield from fetch(sql.INSERT_HISTORY, key, next(revs), HistoryKind.PAUSED.value, at, None)
    gated = [key for key, is_gated in paused if is_gated]
    if gated:
        at_gates = yield from flows(now)
        for key in gated:
            yield from at_gates.run(at_gates.gates.rest(key, paused=True))
        touched |= at_gates.touched


def _due(at: int, limit: int, named: tuple[list[str], ...]) -> Program[list[int]]:
    """Return the most urgent of what is due, in order: by the time since when it is, and a head start counts like such a time.

    Whoever is among the first has a place either among the first by time, or among the first of those with a head start.
    """
    asked = (at, *named, limit)
    found = yield from fetch(sql.DUE_OF if named else sql.DUE, *asked)
    ahead = yield from fetch(sql.DUE_AHEAD_OF if named else sql.DUE_AHEAD, *asked)
    if not ahead:
        return [key for key, _ in found]
    since = dict([*found, *ahead])
    return sorted(since, key=lambda key: (since[key], key))[:limit]


def _let_in(at_gates: Flows, found: list[int], gated: dict[int, tuple[int, str, int | None, int]]) -> Program[list[int]]:
    """Return which of some due instances may execute now."""
    ready = []
    for key in found:
        if key in gated:
            wake_at, flow, ahead, token = gated[key]
            entering = at_gates.gates.enter(Due(key, wake_at, flow_of(flow), ahead or 0, fresh=token == 0))
            if not (yield from at_gates.run(entering)):
                continue
        ready.append(key)
    return ready


def _claim(node: int, at: int, keys: list[int]) -> Program[None]:
    if not keys:
        return
    going_on = yield from fetch(sql.GOES_ON, keys)  # those that the history must say it of; of the others their start is told
    _, revs = yield from numbers(0, len(going_on) + len(keys))
    yield from many(sql.INSERT_HISTORY, [(key, next(revs), HistoryKind.RUNNING.value, at, None) for (key,) in going_on])
    yield from many(sql.CLAIM, [(node, at, next(revs), key) for key in keys])


class Kept(NamedTuple):
    """How long stored deliveries and messages of queues are kept; None = for ever."""

    deliveries: timedelta | None
    messages: timedelta | None


def prune(now: datetime, limit: int, kept: Kept) -> Program[tuple[int, set[int]]]:
    """Delete instances whose retention has ended, stored deliveries and messages that are old, and what nobody will ask for any more.

    Returns the largest of the first three numbers, and the keys to signal: instances that wait beyond their start deadline end here too,
    also when every slot is taken and nobody claims.
    """
    at, limit = columns.micros(now), max(limit, 0)
    late, touched = 0, set[int]()
    if (yield from fetch(Ask.LATE.value, at, 1)):
        at_gates = yield from flows(now)
        late = yield from at_gates.run(at_gates.gates.end_late())
        touched = at_gates.touched
    keys = [key for (key,) in (yield from fetch(sql.EXPIRED, at, limit))]
    if keys and (yield from fetch(sql.AT_GATES, keys)):
        yield Turn()
    yield from forget(keys)
    yield from fetch(sql.PRUNE_ORPHANS, columns.micros(now - DELIVERY_KEPT), limit)
    yield from fetch(Ask.PRUNE_BUCKETS.value, at, limit)
    yield from fetch(sql.FORGET_NODES, at, columns.length_or_null(FORGOTTEN))
    old = 0 if kept.deliveries is None else (yield from deliveries.prune(now - kept.deliveries, limit))
    unread = 0 if kept.messages is None else (yield from messages.prune(now - kept.messages, limit))
    return max(len(keys), old, unread, late), touched
