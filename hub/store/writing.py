"""Groups of writes: the program of one transaction.

Anything that cannot be stored for a reason of its own (a value, a constraint) is a result, `POISON`; whatever a later attempt could cure
(disk, lock, connection) ends the transaction, with all undone.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import partial

from hub.core.access import KeepToken, RevokeToken
from hub.core.history import HistoryKind
from hub.core.lifecycle import begins_at, decide
from hub.core.model import Kind
from hub.core.nodes import SOMETHING_CHANGED, SOMETHING_DUE, SOMETHING_SENT
from hub.core.queues import Fate, PushMessages, SettleMessage
from hub.core.writes import (
    AccessWrite,
    CancelInstances,
    CreateInstance,
    DeleteInstance,
    DeleteWorkflow,
    Outcome,
    QueueWrite,
    RegisterTrigger,
    RegisterWorkflow,
    Restart,
    StartChild,
    SteerTrigger,
    Verdict,
    Write,
)
from hub.store import access, columns, deliveries, lines, messages, rows
from hub.store import flow_run as flow
from hub.store import statements as sql
from hub.store.group import Alone, Group, answer, due, parts
from hub.store.lookup import forget, head_of, known_heads
from hub.store.program import REVISIONS, Program, Try, Turn, change, fetch, first, numbers

Signalled = set[int]
_TELLING = (KeepToken, RevokeToken, RegisterTrigger, SteerTrigger)  # what all nodes have to know soon


def apply(writes: Sequence[Write]) -> Program[tuple[list[Outcome], Signalled]]:
    """Apply writes together; return an outcome each and the keys to signal. Raises what the database does not take."""
    outcomes: list[Outcome] = []
    touched: Signalled = set()
    for part in parts(writes):
        if isinstance(part, list):
            answers, signalled = yield from flow.run_group(part)
            outcomes += answers
        else:
            outcome, signalled = yield from _apply_alone(part)
            outcomes.append(outcome)
        touched |= signalled
    return outcomes, touched


def apply_each(writes: Sequence[Write]) -> Program[tuple[list[Outcome], Signalled]]:
    """Apply writes one by one, so that only those fail that cannot be kept."""
    outcomes: list[Outcome] = []
    touched: Signalled = set()
    for write in writes:
        answered = yield Try(partial(apply, [write]))
        if isinstance(answered, Exception):
            reason = f"{type(answered).__name__}: {answered}"
            outcomes.append(Outcome(verdict=Verdict.POISON, instance=getattr(write, "instance", None), reason=reason))
        else:
            (outcome,), signalled = answered
            outcomes.append(outcome)
            touched |= signalled
    return outcomes, touched


# ---- writes that run alone


def _apply_alone(write: Alone | CreateInstance | StartChild) -> Program[tuple[Outcome, Signalled]]:  # one a kind
    if isinstance(write, CreateInstance):
        return (yield from flow.create(write))
    if isinstance(write, StartChild):
        return (yield from flow.start_child(write))
    if isinstance(write, CancelInstances):
        return (yield from flow.cancel(write))
    if isinstance(write, RegisterWorkflow):
        return (yield from _register(write)), set()
    if isinstance(write, DeleteWorkflow):
        return (yield from _delete_workflow(write))
    if isinstance(write, Restart):
        return (yield from _restart(write))
    if isinstance(write, DeleteInstance):
        return (yield from _delete(write))
    if isinstance(write, QueueWrite):
        sent = isinstance(write, PushMessages) or (isinstance(write, SettleMessage) and write.fate is not Fate.DONE)
        return (yield from messages.apply(write)), {SOMETHING_SENT} if sent else set()
    outcome = yield from access.apply(write) if isinstance(write, AccessWrite) else deliveries.apply(write)
    return outcome, {SOMETHING_CHANGED} if isinstance(write, _TELLING) else set()


def _delete(write: DeleteInstance) -> Program[tuple[Outcome, Signalled]]:
    known = yield from known_heads([write.instance], [write.instance])
    _, known.revs = yield from numbers(0, 1)
    group, head = Group(known), known.heads.get(write.instance)
    outcome = group.delete(write.instance)
    if outcome.verdict is not Verdict.APPLIED:
        return outcome, set()
    touched = yield from flow.finish(group)
    if head is not None and head.flow:
        flows = yield from flow.flows(head.modified_at)
        yield from flows.run(flows.gates.leave(head.key))
        touched |= flows.touched
    yield from forget([write.instance])
    return outcome, {write.instance, *touched}


def _restart(write: Restart) -> Program[tuple[Outcome, Signalled]]:
    head = yield from head_of(write.instance)
    since: int | None = None
    if head is not None and write.origin is not None:
        found = yield from fetch(sql.OF_NAME, write.instance, write.origin.name, write.origin.count)
        since = begins_at(write.origin, {Kind(kind): ordinal for kind, ordinal in found})
        if since is None:
            return answer(Verdict.MISSING, write.instance, head), set()
    verdict = decide(head, write)
    if verdict is not Verdict.APPLIED or head is None:
        return answer(verdict, write.instance, head), set()
    if head.flow:
        yield Turn()
    _, revs = yield from numbers(0, 2)
    if since is None:
        for text in (sql.FORGET_ATTEMPTS, lines.FORGET, sql.FORGET_STEPS, sql.FORGET_HISTORY):
            yield from fetch(text, write.instance)
    else:
        for text in (sql.FORGET_ATTEMPTS_SINCE, lines.FORGET_SINCE, sql.FORGET_STEPS_SINCE):
            yield from fetch(text, write.instance, since)
    yield from fetch(sql.FORGET_INBOX, write.instance)
    told = (head.key, next(revs), HistoryKind.RESTARTED.value, columns.micros(write.at), columns.origin_text(write.origin))
    yield from fetch(sql.INSERT_HISTORY, *told)
    yield from fetch(sql.UPDATE_ALL, *rows.all_row(head, None))
    yield from fetch(sql.QUEUED_AGAIN, next(revs), head.key)
    touched = {write.instance, *([SOMETHING_DUE] if due(head, write) else [])}
    if head.flow:
        flows = yield from flow.flows(write.at)
        yield from flows.run(flows.gates.restart(head.key))
        touched |= flows.touched
    return answer(verdict, write.instance, head), touched


def _register(write: RegisterWorkflow) -> Program[Outcome]:
    version, at = write.version, columns.micros(write.version.created_at)
    found = yield from first(sql.WORKFLOW_KEY, version.workflow)
    if found is None:
        named = (str(uuid.uuid4()), version.workflow, version.class_name, write.script_name, at, at)
        ((workflow,),) = yield from fetch(sql.INSERT_WORKFLOW, *named)
    else:
        (workflow,) = found
        known = yield from first(sql.VERSION_OF_DIGEST, workflow, version.digest)
        if known is not None:
            return Outcome(verdict=Verdict.APPLIED, id=known[0])
        yield from change(sql.UPDATE_WORKFLOW, version.class_name, write.script_name, at, workflow)
    yield from fetch(sql.INSERT_VERSION, version.id, workflow, version.class_name, version.digest, at)
    return Outcome(verdict=Verdict.APPLIED, id=version.id)


def _delete_workflow(write: DeleteWorkflow) -> Program[tuple[Outcome, Signalled]]:
    yield Turn()
    found = yield from first(sql.WORKFLOW_TO_DELETE, write.name)
    if found is None:
        return Outcome(verdict=Verdict.MISSING), set()
    workflow = found[0]
    keys = [key for (key,) in (yield from fetch(sql.INSTANCES_OF_WORKFLOW, workflow))]
    children = [key for (key,) in (yield from fetch(sql.LIVE_CHILDREN_OF_WORKFLOW, workflow))]
    known = yield from known_heads(children, children)
    _, known.revs = yield from numbers(0, REVISIONS + 2 * len(children))
    group = Group(known)
    for child in children:
        group.delete(child)
    touched = yield from flow.finish(group)
    flows = yield from flow.flows(columns.EPOCH)
    yield from flows.run(flows.gates.leave_all(workflow))
    yield from forget(keys)
    yield from fetch(sql.DELETE_VERSIONS, workflow)
    yield from fetch(sql.DELETE_WORKFLOW, workflow)
    return Outcome(verdict=Verdict.APPLIED), {*keys, *touched, *flows.touched}
