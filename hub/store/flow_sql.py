"""The questions of flow control to the database, and its changes, in the words of `program.py`.

`gates` and `arrivals` name them. The order of values is that of the `?`. A gate counts only as long as its instance has not ended,
whatever the row says.
"""

from __future__ import annotations

from collections.abc import Generator
from enum import Enum
from typing import Any, TypeVar

from hub.core.writes import Steer
from hub.store.program import Row

T = TypeVar("T")

_LIVE = "FROM gate g JOIN instance i ON i.key = g.instance WHERE g.rule = ? AND g.key = ? AND i.ended_at IS NULL"
_CLAIMABLE = "i.ended_at IS NULL AND i.node IS NULL AND i.status <> 'paused'"
_OF_WORKFLOW = "IN (SELECT key FROM instance WHERE workflow = ? AND ended_at IS NULL)"
_HELD = "SELECT count(*) FROM gate h WHERE h.rule = 'slot' AND h.key = {} AND h.held IS NOT NULL"
_NEXT_LANE = f"""
SELECT l.lane FROM lane l WHERE l.slot = ?1 AND l.places {{}} ?2 AND NOT EXISTS
(SELECT 1 FROM lane o WHERE o.lane = l.lane AND o.slot <> ?1 AND ({_HELD.format("o.slot")}) >= o.places) ORDER BY l.turn LIMIT 1
"""


class Ask(Enum):
    """One statement."""

    # ---- instances
    KEEP_FLOW = "UPDATE instance SET flow = ?, ahead = ? WHERE key = ?"
    FLOW = "SELECT flow, coalesce(ahead, 0) FROM instance WHERE key = ?"
    ID = "SELECT id, status FROM instance WHERE key = ?"
    WAKE = "UPDATE instance AS i SET wake_at = ? WHERE i.key = ? AND " + _CLAIMABLE
    SLEEP = "UPDATE instance SET wake_at = NULL WHERE key = ? AND node IS NULL"
    QUEUED = """
SELECT count(*) FROM (SELECT 1 FROM instance i JOIN workflow w ON w.key = i.workflow
WHERE w.name = ? AND i.status = 'queued' AND i.token = 0 LIMIT ?) AS queued
"""

    # ---- gates
    GATES = "SELECT rule, key, held, place FROM gate WHERE instance = ?"
    ADD = "INSERT INTO gate (instance, rule, key, held, place) VALUES (?, ?, ?, ?, ?)"
    PASSED = "DELETE FROM gate WHERE instance = ? AND rule = ?"
    LEAVE = "DELETE FROM gate WHERE instance = ?"
    GATES_OF_WORKFLOW = f"SELECT DISTINCT rule, key FROM gate WHERE instance {_OF_WORKFLOW}"
    LEAVE_WORKFLOW = f"DELETE FROM gate WHERE instance {_OF_WORKFLOW}"
    HOLD = "UPDATE gate SET held = 1, place = NULL WHERE instance = ? AND rule = ?"
    LET_GO = "UPDATE gate SET held = NULL WHERE instance = ? AND rule = 'slot'"
    STAND = "UPDATE gate SET place = coalesce(place, ?) WHERE instance = ? AND rule = ?"
    STEP_ASIDE = "UPDATE gate SET place = NULL WHERE instance = ? AND rule IN ('singleton', 'throttle')"
    FIRST = f"SELECT g.instance {_LIVE} AND g.place IS NOT NULL AND {_CLAIMABLE} ORDER BY g.place, g.instance LIMIT 1"
    HOLDER = f"SELECT g.instance {_LIVE} AND g.held IS NOT NULL ORDER BY g.instance LIMIT 1"
    LIVE = f"SELECT g.instance, i.id, g.held IS NOT NULL, i.token > 0 {_LIVE} ORDER BY g.instance LIMIT ?"
    WAITER = f"SELECT g.instance, i.id, 0, i.token > 0 {_LIVE} AND g.held IS NULL ORDER BY g.instance LIMIT 1"
    WAITING = "SELECT count(*) FROM (SELECT 1 FROM gate WHERE rule = ? AND key = ? AND place IS NOT NULL LIMIT ?) AS line"
    CANCELLED = f"SELECT g.instance {_LIVE} ORDER BY g.instance"

    # ---- concurrency
    HELD = _HELD.format("?")
    OPEN_LANE = "INSERT INTO lane (lane, slot, places, turn) VALUES (?, ?, ?, ?) ON CONFLICT (lane, slot) DO NOTHING"
    SET_PLACES = "UPDATE lane SET places = ?1 WHERE lane = ?2 AND slot = ?3 AND places <> ?1 RETURNING slot"
    NEXT_LANE = _NEXT_LANE.format("=")
    ANY_LANE = _NEXT_LANE.format(">=")
    TURN = "UPDATE lane SET turn = ? WHERE lane = ?"
    CLOSE_LANE = """
DELETE FROM lane WHERE lane = ?1 AND NOT EXISTS (SELECT 1 FROM gate WHERE rule = 'lane' AND key = ?1 AND place IS NOT NULL)
"""

    DROP_LANE = "DELETE FROM lane WHERE lane = ?"

    # ---- rate limit, throttle, leading debounce
    BUCKET = "SELECT until, since, instance FROM bucket WHERE rule = ? AND key = ?"
    FILL = """
INSERT INTO bucket (rule, key, until, since, instance) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (rule, key) DO UPDATE SET until = excluded.until, since = excluded.since, instance = excluded.instance
"""
    PRUNE_BUCKETS = "DELETE FROM bucket WHERE (rule, key) IN (SELECT rule, key FROM bucket WHERE until <= ? ORDER BY until LIMIT ?)"

    # ---- batch, debounce
    COLLECTION = """
SELECT g.instance, i.id, i.wake_at, c.opened_at, c.newest_at, c.number, c.size_bytes
FROM gate g JOIN instance i ON i.key = g.instance JOIN collection c ON c.instance = g.instance
WHERE g.rule = ? AND g.key = ? AND i.ended_at IS NULL AND i.node IS NULL LIMIT 1
"""
    COLLECT = """
INSERT INTO collection (instance, opened_at, newest_at, number, size_bytes) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (instance) DO UPDATE SET newest_at = excluded.newest_at, number = excluded.number, size_bytes = excluded.size_bytes
"""
    ADD_MEMBER = "INSERT INTO member (instance, seq, trigger, key, payload) VALUES (?, ?, ?, ?, ?)"
    PAYLOADS = "SELECT payload FROM member WHERE instance = ? AND payload IS NOT NULL ORDER BY seq"
    DROP_PAYLOADS = "UPDATE member SET payload = NULL WHERE instance = ? AND payload IS NOT NULL"
    SET_PARAMS = "UPDATE instance SET params = ?, provenance = coalesce(?, provenance) WHERE key = ?"

    # ---- idempotency window
    FORGET_SEEN = "DELETE FROM idempotency WHERE trigger = ? AND key = ? AND at <= ?"

    # ---- start deadline
    LATE = "SELECT instance, place FROM gate WHERE rule = 'deadline' AND key = '' AND place <= ? ORDER BY place LIMIT ?"
    MOVE_DEADLINE = "UPDATE gate SET place = ? WHERE instance = ? AND rule = 'deadline'"

    # ---- after a death
    DROP_DEAD = "DELETE FROM gate WHERE NOT EXISTS (SELECT 1 FROM instance i WHERE i.key = gate.instance AND i.ended_at IS NULL)"
    FREE_PLACES = """
UPDATE gate SET held = NULL WHERE rule = 'slot' AND held IS NOT NULL AND EXISTS
(SELECT 1 FROM instance i WHERE i.key = gate.instance AND i.node IS NULL AND (i.wake_at IS NULL OR i.wake_at > ?))
"""
    TAKE_PLACES = """
UPDATE gate SET held = 1 WHERE rule = 'slot' AND held IS NULL AND EXISTS
(SELECT 1 FROM instance i WHERE i.key = gate.instance AND i.node IS NOT NULL)
"""
    WAKE_LOST = """
UPDATE instance SET wake_at = ? WHERE status = 'queued' AND ended_at IS NULL AND node IS NULL AND wake_at IS NULL
AND key IN (SELECT instance FROM gate WHERE rule IN ('singleton', 'throttle', 'slot')) AND NOT EXISTS
(SELECT 1 FROM gate WHERE gate.instance = instance.key AND place IS NOT NULL AND rule <> 'deadline')
"""
    SLOTS = "SELECT DISTINCT slot FROM lane"
    LINES = "SELECT DISTINCT rule, key FROM gate WHERE place IS NOT NULL AND rule IN ('singleton', 'throttle')"


Steps = Generator[tuple[Ask, Row] | Steer, Any, T]
"""Work inside a transaction: it yields a statement with its values and is sent the rows, or a write and is sent its outcome."""
