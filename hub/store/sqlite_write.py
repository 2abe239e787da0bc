"""Groups of writes in the embedded store.

A group is one transaction, on disk when it returns. Anything that cannot be stored for a reason of its own (a value, a constraint) is a
result, `POISON`; whatever a later attempt could cure (disk, lock) is raised as the driver raises it, with all undone.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Sequence

from hub.core.history import HistoryKind
from hub.core.lifecycle import begins_at, decide
from hub.core.model import Kind
from hub.core.nodes import SOMETHING_DUE
from hub.core.writes import (
    AccessWrite,
    CancelInstances,
    CreateInstance,
    DeleteInstance,
    DeleteWorkflow,
    Outcome,
    QueueWrite,
    RegisterWorkflow,
    Restart,
    StartChild,
    Verdict,
    Write,
)
from hub.store import access, columns, deliveries, lines, messages, rows
from hub.store import sqlite_flow as flow
from hub.store import statements as sql
from hub.store.group import Alone, Group, answer, due, parts
from hub.store.revisions import Revisions
from hub.store.sqlite_group import forget, heads_of, known_heads
from hub.store.sqlite_transaction import is_failure_of_storage, numbered

Signalled = set[int]


def apply(db: sqlite3.Connection, writes: Sequence[Write], revs: Revisions) -> tuple[list[Outcome], Signalled]:
    """Apply writes in one transaction; return an outcome each and the keys to signal."""
    try:
        with numbered(db, revs):
            return _apply(db, writes, revs)
    except Exception as error:
        if is_failure_of_storage(error):
            raise
    with numbered(db, revs):
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
            answers, signalled = flow.run_group(db, part, revs)
            outcomes += answers
        else:
            outcome, signalled = _apply_alone(db, part, revs)
            outcomes.append(outcome)
        touched |= signalled
    return outcomes, touched


# ---- writes that run alone


def _apply_alone(db: sqlite3.Connection, write: Alone | CreateInstance | StartChild, revs: Revisions) -> tuple[Outcome, Signalled]:
    if isinstance(write, CreateInstance):
        return flow.create(db, write, revs)
    if isinstance(write, StartChild):
        return flow.start_child(db, write, revs)
    if isinstance(write, CancelInstances):
        return flow.cancel(db, write, revs)
    if isinstance(write, RegisterWorkflow):
        return _register(db, write), set()
    if isinstance(write, DeleteWorkflow):
        return _delete_workflow(db, write, revs)
    if isinstance(write, Restart):
        return _restart(db, write, revs)
    if isinstance(write, DeleteInstance):
        return _delete(db, write, revs)
    if isinstance(write, QueueWrite):
        return messages.apply(db, write, revs.numbers), set()
    if isinstance(write, AccessWrite):
        return access.apply(db, write), set()
    return deliveries.apply(db, write), set()


def _delete(db: sqlite3.Connection, write: DeleteInstance, revs: Revisions) -> tuple[Outcome, Signalled]:
    known = known_heads(db, [write.instance], [write.instance], revs)
    group, head = Group(known), known.heads.get(write.instance)
    outcome = group.delete(write.instance)
    if outcome.verdict is not Verdict.APPLIED:
        return outcome, set()
    touched = flow.finish(db, group, revs)
    if head is not None and head.flow:
        flows = flow.Flows(db, revs, head.modified_at)
        flows.run(flows.gates.leave(head.key))
        touched |= flows.touched
    forget(db, [write.instance])
    return outcome, {write.instance, *touched}


def _restart(db: sqlite3.Connection, write: Restart, revs: Revisions) -> tuple[Outcome, Signalled]:
    head = heads_of(db, [write.instance]).get(write.instance)
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
        db.execute(lines.FORGET, (write.instance,))
        db.execute(sql.FORGET_STEPS, (write.instance,))
        db.execute(sql.FORGET_HISTORY, (write.instance,))
    else:
        db.execute(sql.FORGET_ATTEMPTS_SINCE, (write.instance, since))
        db.execute(lines.FORGET_SINCE, (write.instance, since))
        db.execute(sql.FORGET_STEPS_SINCE, (write.instance, since))
    db.execute(sql.FORGET_INBOX, (write.instance,))
    told = (head.key, next(revs.numbers), HistoryKind.RESTARTED.value, columns.micros(write.at), columns.origin_text(write.origin))
    db.execute(sql.INSERT_HISTORY, told)
    db.execute(sql.UPDATE_ALL, rows.all_row(head, None))
    db.execute(sql.QUEUED_AGAIN, (next(revs.numbers), head.key))
    touched = {write.instance, *([SOMETHING_DUE] if due(head, write) else [])}
    if head.flow:
        flows = flow.Flows(db, revs, write.at)
        flows.run(flows.gates.restart(head.key))
        touched |= flows.touched
    return answer(verdict, write.instance, head), touched


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
    group = Group(known_heads(db, children, children, revs))
    for child in children:
        group.delete(child)
    touched = flow.finish(db, group, revs)
    flows = flow.Flows(db, revs, columns.EPOCH)
    flows.run(flows.gates.leave_all(found[0]))
    forget(db, keys)
    db.execute(sql.DELETE_VERSIONS, found)
    db.execute(sql.DELETE_WORKFLOW, found)
    return Outcome(verdict=Verdict.APPLIED), {*keys, *touched, *flows.touched}
