"""What the writer of the embedded store does with its connection: groups of writes, claims, leases, pruning.

Each public function is one transaction, on disk when it returns. Anything that cannot be stored for a reason of its own (a value, a
constraint) is a result, `POISON`; whatever a later attempt could cure (disk, lock) is raised as the driver raises it, with all undone.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from hub.core.delivery import DeliveryStatus
from hub.core.history import HistoryKind
from hub.core.lifecycle import Head, begins_at, decide
from hub.core.model import Kind, NewInstance, Snapshot, Status
from hub.core.retention import DELIVERY_KEPT
from hub.core.writes import (
    CreateInstance,
    DeleteInstance,
    DeleteWorkflow,
    Finish,
    Outcome,
    RegisterWorkflow,
    Restart,
    StartChild,
    Steer,
    Verdict,
    Write,
)
from hub.store import columns, deliveries, rows
from hub.store import statements as sql
from hub.store.group import SOMETHING_DUE, Alone, Existing, Group, Known, Planned, Rows, Stored, answer, due, parts
from hub.store.revisions import Revisions
from hub.store.sqlite_read import snapshots

FIRST_REVISION = 1  # 0 is the cursor of who has seen nothing

Signalled = set[int]
_ENDING = (Finish, Steer)  # after which a child may have ended


def is_failure_of_storage(error: BaseException) -> bool:
    """Whether the database could not be written at all, as against a value that it does not take."""
    return isinstance(error, sqlite3.OperationalError | sqlite3.InternalError | MemoryError) or type(error) is sqlite3.DatabaseError


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Run the body in one write transaction: committed when it ends, undone when it raises."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk may have ended it already
            db.execute("ROLLBACK")
        raise


# ---- revisions


def open_revisions(db: sqlite3.Connection) -> Revisions:
    """Return the numbers that no row has yet."""
    found = db.execute(sql.REVISIONS).fetchone()
    if found is not None:
        return Revisions(found[0])
    with transaction(db):
        db.execute(sql.FIRST_REVISIONS, (FIRST_REVISION,))
    return Revisions(FIRST_REVISION)


@contextmanager
def _numbered(db: sqlite3.Connection, revs: Revisions) -> Iterator[None]:
    """Run the body in one write transaction that keeps the revisions which the body gives to rows from being given again."""
    with transaction(db):
        yield
        used_below = revs.exceeds()
        if used_below is not None:
            db.execute(sql.MORE_REVISIONS, (used_below,))
    if used_below is not None:
        revs.kept(used_below)


# ---- groups


def apply(db: sqlite3.Connection, writes: Sequence[Write], revs: Revisions) -> tuple[list[Outcome], Signalled]:
    """Apply writes in one transaction; return an outcome each and the keys to signal."""
    try:
        with _numbered(db, revs):
            return _apply(db, writes, revs)
    except Exception as error:
        if is_failure_of_storage(error):
            raise
    with _numbered(db, revs):
        return _apply_each(db, writes, revs)


def _apply_each(db: sqlite3.Connection, writes: Sequence[Write], revs: Revisions) -> tuple[list[Outcome], Signalled]:
    """Apply writes one by one, so that only those fail that cannot be kept."""
    outcomes: list[Outcome] = []
    touched: Signalled = set()
    for write in writes:
        db.execute("SAVEPOINT one")
        try:
            (outcome,), signalled = _apply(db, [write], revs)
        except Exception as error:
            if is_failure_of_storage(error):
                raise
            db.execute("ROLLBACK TO one")
            outcomes.append(
                Outcome(verdict=Verdict.POISON, instance=getattr(write, "instance", None), reason=f"{type(error).__name__}: {error}")
            )
        else:
            outcomes.append(outcome)
            touched |= signalled
        db.execute("RELEASE one")
    return outcomes, touched


def _apply(db: sqlite3.Connection, writes: Sequence[Write], revs: Revisions) -> tuple[list[Outcome], Signalled]:
    outcomes: list[Outcome] = []
    touched: Signalled = set()
    for part in parts(writes):
        if isinstance(part, list):
            group = Group(_known(db, part, revs))
            outcomes += [group.add(write) for write in part]
            group.finish()
            _run(db, group.rows)
            touched |= group.touched
        else:
            outcome, signalled = _apply_alone(db, part, revs)
            outcomes.append(outcome)
            touched |= signalled
    return outcomes, touched


def _known(db: sqlite3.Connection, writes: Sequence[Planned], revs: Revisions) -> Known:
    changed: set[int] = set()
    ending: set[int] = set()
    created: list[NewInstance] = []
    replayed: list[str] = []
    for write in writes:
        if isinstance(write, CreateInstance):
            created.append(write.new)
            if write.replays is not None:
                replayed.append(write.replays)
            continue
        changed.add(write.instance)
        if isinstance(write, StartChild):
            created.append(write.new)
        elif isinstance(write, _ENDING):
            ending.add(write.instance)
    known = _known_heads(db, changed, ending, revs)
    for new in created:
        _look_up(db, new, known)
    for id in replayed:
        row = db.execute(deliveries.STATUS, (id,)).fetchone()
        if row is not None:
            known.deliveries[id] = Stored(row[0] == DeliveryStatus.REPLAYED, row[1])
    if created:
        last = db.execute(sql.LAST_KEY).fetchone()
        known.keys = count(1 if last is None else last[0] + 1)
    return known


def _known_heads(db: sqlite3.Connection, changed: Iterable[int], ending: Iterable[int], revs: Revisions) -> Known:
    """Load the heads that a group changes, and those of the parents that wait for one of them, which may be `ending`."""
    heads = _heads(db, changed)
    known = Known(heads=heads, awaited={}, workflows={}, seen={}, taken={}, deliveries={}, keys=iter(()), revs=revs.numbers)
    children = [key for key in ending if key in heads and heads[key].parent is not None]
    if children:
        known.awaited = {key: (parent, type) for key, parent, type in db.execute(sql.AWAITED, (json.dumps(children),))}
        heads |= _heads(db, {parent for parent, _ in known.awaited.values()} - heads.keys())
    return known


def _look_up(db: sqlite3.Connection, new: NewInstance, known: Known) -> None:
    """Find what a new instance could collide with; a statement each costs as little as a set of them, there is no network."""
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
        row = db.execute(sql.TAKEN, (workflow, new.id)).fetchone()
        if row is not None:
            known.taken[new.workflow, new.id] = _existing(row)


def _existing(row: rows.Row) -> Existing:
    key, id, status = row
    return Existing(key, id, None if status is None else Status(status))


def _heads(db: sqlite3.Connection, keys: Iterable[int]) -> dict[int, Head]:
    return {row[0]: rows.head_of(row) for row in db.execute(sql.HEADS, (json.dumps(sorted(keys)),))}


def _run(db: sqlite3.Connection, planned: Rows) -> None:
    for statement, values in (
        (sql.INSERT_INSTANCE, planned.instances),
        (sql.INSERT_SEEN, planned.seen),
        (deliveries.SETTLE, planned.settled),
        (deliveries.ADVANCE, [(cursor, trigger) for trigger, cursor in sorted(planned.cursors.items())]),
        (sql.TRIGGERED, [(at, workflow) for workflow, at in sorted(planned.triggered.items())]),
        (sql.UPSERT_STEP, planned.steps),
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


# ---- writes that run alone


def _apply_alone(db: sqlite3.Connection, write: Alone, revs: Revisions) -> tuple[Outcome, Signalled]:
    if isinstance(write, RegisterWorkflow):
        return _register(db, write), set()
    if isinstance(write, DeleteWorkflow):
        return _delete_workflow(db, write, revs)
    if isinstance(write, Restart):
        return _restart(db, write, revs)
    if isinstance(write, DeleteInstance):
        return _delete(db, write, revs)
    return deliveries.apply(db, write), set()


def _delete(db: sqlite3.Connection, write: DeleteInstance, revs: Revisions) -> tuple[Outcome, Signalled]:
    group = Group(_known_heads(db, [write.instance], [write.instance], revs))
    outcome = group.delete(write.instance)
    if outcome.verdict is not Verdict.APPLIED:
        return outcome, set()
    group.finish()
    _run(db, group.rows)
    _forget(db, [write.instance])
    return outcome, {write.instance, *group.touched}


def _restart(db: sqlite3.Connection, write: Restart, revs: Revisions) -> tuple[Outcome, Signalled]:
    head = _heads(db, [write.instance]).get(write.instance)
    since: int | None = None
    if head is not None and write.origin is not None:
        found = db.execute(sql.OF_NAME, (write.instance, write.origin.name, write.origin.count))
        since = begins_at(write.origin, {Kind(kind): ordinal for kind, ordinal in found})
        if since is None:
            return answer(Verdict.MISSING, write.instance, head), set()
    verdict = decide(head, write)
    if verdict is not Verdict.APPLIED or head is None:
        return answer(verdict, write.instance, head), set()
    if since is None:
        db.execute(sql.FORGET_ATTEMPTS, (write.instance,))
        db.execute(sql.FORGET_STEPS, (write.instance,))
        db.execute(sql.FORGET_HISTORY, (write.instance,))
    else:
        db.execute(sql.FORGET_ATTEMPTS_SINCE, (write.instance, since))
        db.execute(sql.FORGET_STEPS_SINCE, (write.instance, since))
    db.execute(sql.FORGET_INBOX, (write.instance,))
    told = (head.key, next(revs.numbers), HistoryKind.RESTARTED.value, columns.micros(write.at), columns.origin_text(write.origin))
    db.execute(sql.INSERT_HISTORY, told)
    db.execute(sql.UPDATE_ALL, rows.all_row(head, None))
    db.execute(sql.QUEUED_AGAIN, (next(revs.numbers), head.key))
    return answer(verdict, write.instance, head), {write.instance, *([SOMETHING_DUE] if due(head, write) else [])}


def _register(db: sqlite3.Connection, write: RegisterWorkflow) -> Outcome:
    version, at = write.version, columns.micros(write.version.created_at)
    found = db.execute(sql.WORKFLOW_KEY, (version.workflow,)).fetchone()
    if found is None:
        named = (str(uuid.uuid4()), version.workflow, version.class_name, write.script_name, at, at)
        (workflow,) = db.execute(sql.INSERT_WORKFLOW, named).fetchone()
    else:
        (workflow,) = found
        known = db.execute(sql.VERSION_OF_DIGEST, (workflow, version.digest)).fetchone()
        if known is not None:
            return Outcome(verdict=Verdict.APPLIED, id=known[0])
        db.execute(sql.UPDATE_WORKFLOW, (version.class_name, write.script_name, at, workflow))
    db.execute(sql.INSERT_VERSION, (version.id, workflow, version.class_name, version.digest, at))
    return Outcome(verdict=Verdict.APPLIED, id=version.id)


def _delete_workflow(db: sqlite3.Connection, write: DeleteWorkflow, revs: Revisions) -> tuple[Outcome, Signalled]:
    found = db.execute(sql.WORKFLOW_KEY, (write.name,)).fetchone()
    if found is None:
        return Outcome(verdict=Verdict.MISSING), set()
    keys = [key for (key,) in db.execute(sql.INSTANCES_OF_WORKFLOW, found)]
    children = [key for (key,) in db.execute(sql.LIVE_CHILDREN_OF_WORKFLOW, found)]
    group = Group(_known_heads(db, children, children, revs))
    for child in children:
        group.delete(child)
    group.finish()
    _run(db, group.rows)
    _forget(db, keys)
    db.execute(sql.DELETE_VERSIONS, found)
    db.execute(sql.DELETE_WORKFLOW, found)
    return Outcome(verdict=Verdict.APPLIED), {*keys, *group.touched}


def _forget(db: sqlite3.Connection, keys: Sequence[int]) -> None:
    """Delete instances with all that hangs on them; only which events of triggers were seen stays known."""
    listed = (json.dumps(keys),)
    db.execute(sql.KEEP_SEEN, listed)
    for statement in (*sql.DELETE_CHILDREN, sql.DELETE_INSTANCES):
        db.execute(statement, listed)


# ---- leases, claims, pruning


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
    with _numbered(db, revs):
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
        _forget(db, keys)
        db.execute(sql.PRUNE_ORPHANS, (columns.micros(now - DELIVERY_KEPT), limit))
        old = 0 if deliveries_kept is None else deliveries.prune(db, now - deliveries_kept, limit)
    return max(len(keys), old)
