"""What a group of writes needs of an SQLite connection: what the database knows of the things that it names, and to run its rows.

Runs inside a transaction of its caller. The rules are those of `group`; nothing is decided here.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from hub.core.delivery import DeliveryStatus
from hub.core.lifecycle import Head
from hub.core.model import Status
from hub.core.writes import CreateInstance, FailAttempt, Finish, SettleStep, StartChild, Steer
from hub.store import deliveries, lines, rows
from hub.store import statements as sql
from hub.store.group import Planned
from hub.store.plan import Existing, Known, Rows, Stored
from hub.store.revisions import Revisions

_ENDING = (Finish, Steer)  # after which a child may have ended
_LOGGING = (SettleStep, FailAttempt)


def known_of(db: sqlite3.Connection, writes: Sequence[Planned], revs: Revisions) -> Known:
    """Load what the database knows of all that some writes name."""
    changed: set[int] = set()
    ending: set[int] = set()
    logging: set[int] = set()
    created: list[CreateInstance] = []
    for write in writes:
        if isinstance(write, CreateInstance):
            created.append(write)
            continue
        changed.add(write.instance)
        if isinstance(write, StartChild):
            created.append(CreateInstance(new=write.new))
        elif isinstance(write, _ENDING):
            ending.add(write.instance)
        elif isinstance(write, _LOGGING) and write.logged is not None:
            logging.add(write.instance)
    known = known_heads(db, changed, ending, revs)
    for key in logging:
        row = db.execute(lines.TOTAL, (key,)).fetchone()
        known.logged[key] = 0 if row is None else row[0]
    for write in created:
        _look_up(db, write, known)
    if created:
        last = db.execute(sql.LAST_KEY).fetchone()
        known.keys = count(1 if last is None else last[0] + 1)
    return known


def known_heads(db: sqlite3.Connection, changed: Iterable[int], ending: Iterable[int], revs: Revisions) -> Known:
    """Load the heads that a group changes, and those of the parents that wait for one of them, which may be `ending`."""
    heads = heads_of(db, changed)
    nothing: dict[str, Any] = {name: {} for name in ("awaited", "workflows", "seen", "taken", "logged", "deliveries", "cursors")}
    known = Known(heads=heads, **nothing, keys=iter(()), revs=revs.numbers)
    children = [key for key in ending if key in heads and heads[key].parent is not None]
    if children:
        known.awaited = {key: (parent, type) for key, parent, type in db.execute(sql.AWAITED, (json.dumps(children),))}
        heads |= heads_of(db, {parent for parent, _ in known.awaited.values()} - heads.keys())
    return known


def _look_up(db: sqlite3.Connection, write: CreateInstance, known: Known) -> None:
    """Find what a new instance could collide with; a statement each costs as little as a set of them, there is no network."""
    new = write.new
    if write.replays is not None:
        row = db.execute(deliveries.STATUS, (write.replays,)).fetchone()
        if row is not None:
            known.deliveries[write.replays] = Stored(row[0] == DeliveryStatus.REPLAYED, row[1])
    if write.cursor is not None and new.trigger is not None:
        row = db.execute(deliveries.CURSOR, (new.trigger,)).fetchone()
        if row is not None:
            known.cursors[new.trigger] = row[0]
    if new.workflow not in known.workflows:
        row = db.execute(sql.WORKFLOW_KEY, (new.workflow,)).fetchone()
        if row is not None:
            known.workflows[new.workflow] = row[0]
    if new.trigger is not None and new.dedupe_key is not None:
        row = db.execute(sql.SEEN, (new.trigger, new.dedupe_key)).fetchone()
        if row is not None:
            known.seen[new.trigger, new.dedupe_key] = _existing(row)
    workflow = known.workflows.get(new.workflow)
    if workflow is not None and not new.generated_id:
        row = db.execute(sql.TAKEN_WITH if write.idempotent else sql.TAKEN, (workflow, new.id)).fetchone()
        if row is not None:
            known.taken[new.workflow, new.id] = _existing(row)


def _existing(row: rows.Row) -> Existing:
    key, id, status, *params = row
    return Existing(key, id, None if status is None else Status(status), params[0] if params else None)


def heads_of(db: sqlite3.Connection, keys: Iterable[int]) -> dict[int, Head]:
    """Load heads by key; those that do not exist are absent."""
    return {row[0]: rows.head_of(row) for row in db.execute(sql.HEADS, (json.dumps(sorted(keys)),))}


def run(db: sqlite3.Connection, planned: Rows) -> None:
    """Run the rows of a plan, kind by kind."""
    for statement, values in (
        (sql.INSERT_INSTANCE, planned.instances),
        (sql.INSERT_LABEL, planned.labels),
        (sql.INSERT_SEEN, planned.seen),
        (deliveries.SETTLE, planned.settled),
        (deliveries.ADVANCE, [(cursor, trigger) for trigger, cursor in sorted(planned.cursors.items())]),
        (sql.TRIGGERED, [(at, workflow) for workflow, at in sorted(planned.triggered.items())]),
        (sql.UPSERT_STEP, planned.steps),
        (lines.INSERT, planned.lines),
        (sql.BEGIN_ATTEMPT, planned.begun),
        (sql.UPSERT_ATTEMPT, planned.attempts),
        (sql.INSERT_HISTORY, planned.history),
        (sql.INSERT_EVENT, planned.events),
        (sql.CONSUME_EVENT, planned.consumed),
        (sql.SHIFT_TIMERS, planned.shifts),
        (sql.UPDATE_HEAD, planned.heads),
        (sql.UPDATE_RESULT, planned.results),
        (sql.UPDATE_END, planned.ends),
        (sql.UPDATE_ALL, planned.all),
    ):
        if values:
            db.executemany(statement, values)


def forget(db: sqlite3.Connection, keys: Sequence[int]) -> None:
    """Delete instances with all that hangs on them; only which events of triggers were seen stays known."""
    listed = (json.dumps(keys),)
    for statement in (sql.KEEP_SEEN, sql.KEEP_JOINED):
        db.execute(statement, listed)
    for statement in (*sql.DELETE_CHILDREN, sql.DELETE_INSTANCES):
        db.execute(statement, listed)
