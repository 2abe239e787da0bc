"""Flow control on an SQLite connection: it answers the questions of `gates` and `arrivals`, and runs groups whose instances stand at gates.

Runs inside a transaction of its caller; decides nothing. The invariant: whoever changes an instance for which rules of flow control hold
does it through here, so that what the instance gives free is given on in the same transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from hub.core import admit
from hub.core.lifecycle import Head
from hub.core.model import Source, Status, Termination
from hub.core.writes import CancelInstances, CreateInstance, Outcome, StartChild, Steer, Verb, Verdict
from hub.store import statements as sql
from hub.store.arrivals import Arrival, arrive, due_of, settle_in
from hub.store.columns import micros
from hub.store.flow_rows import Rule
from hub.store.flow_sql import Ask, Steps
from hub.store.gates import Gates
from hub.store.group import Group, Planned
from hub.store.revisions import Revisions
from hub.store.sqlite_group import known_of, run

T = TypeVar("T")


class Flows:
    """The gates of one transaction at a moment, on a connection. `touched` grows with what is to be signalled."""

    def __init__(self, db: sqlite3.Connection, revs: Revisions, at: datetime) -> None:
        self.gates = Gates(at, revs.numbers)
        self.touched = self.gates.touched
        self._db = db
        self._revs = revs

    def run(self, steps: Steps[T]) -> T:
        """Do some steps to their end."""
        answer: object = None
        while True:
            try:
                asked = steps.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(asked, Steer):
                (answer,), touched = run_group(self._db, [asked], self._revs)
                self.touched |= touched
            else:
                answer = self._db.execute(asked[0].value, asked[1]).fetchall()


def run_group(db: sqlite3.Connection, writes: Sequence[Planned], revs: Revisions) -> tuple[list[Outcome], set[int]]:
    """Plan some writes together and run them; return an outcome each and the keys to signal."""
    group = Group(known_of(db, writes, revs))
    outcomes = [group.add(write) for write in writes]
    return outcomes, finish(db, group, revs)


def finish(db: sqlite3.Connection, group: Group, revs: Revisions) -> set[int]:
    """Run a plan, and give on what its instances give free; return the keys to signal."""
    group.finish()
    for head in group.freed.values():
        if head.final and head.token == 0:  # what it has collected must be its payload before it is final
            flows = Flows(db, revs, head.modified_at)
            flows.run(flows.gates.close_collection(head.key))
    run(db, group.rows)
    return group.touched | _free(db, group.freed.values(), revs) if group.freed else group.touched


def _free(db: sqlite3.Connection, heads: Iterable[Head], revs: Revisions) -> set[int]:
    touched: set[int] = set()
    for head in heads:
        flows = Flows(db, revs, head.modified_at)
        if head.final:
            flows.run(flows.gates.leave(head.key))
        elif head.status is Status.PAUSED:
            flows.run(flows.gates.rest(head.key, paused=True))
        elif head.node is None and (head.wake_at is None or head.wake_at > head.modified_at):  # else it is due, and keeps its places
            flows.run(flows.gates.rest(head.key, paused=False))
        touched |= flows.touched
    return touched


def create(db: sqlite3.Connection, write: CreateInstance, revs: Revisions) -> tuple[Outcome, set[int]]:
    """Create an instance if its flow allows."""
    new, flow = write.new, write.flow
    if flow.window is not None and new.trigger is not None and new.dedupe_key is not None:
        db.execute(Ask.FORGET_SEEN.value, (new.trigger, new.dedupe_key, micros(new.created_at - flow.window)))
    group = Group(known_of(db, [write], revs))
    if group.in_the_way(write) is not None:
        outcome = group.add(write)
        return outcome, finish(db, group, revs)
    flows = Flows(db, revs, new.created_at)
    arrival = flows.run(arrive(write))
    if arrival.outcome is not None:
        if arrival.outcome.verdict is Verdict.JOINED:
            group.join(write, arrival.outcome)
        flows.touched |= finish(db, group, revs)
        _change(db, flows, arrival, revs)
        return arrival.outcome, flows.touched
    _change(db, flows, arrival, revs)
    outcome = group.add(replace(write, new=replace(new, start_at=arrival.due_at), node=None))
    flows.touched |= finish(db, group, revs)
    if outcome.instance is None:
        return outcome, flows.touched
    executes = flows.run(settle_in(flows.gates, write, arrival, outcome.instance))
    if write.node is not None and executes:
        db.execute(sql.CLAIM_BORN, (write.node, next(revs.numbers), outcome.instance))
    return replace(outcome, waits=write.node is not None and not executes), flows.touched


def _change(db: sqlite3.Connection, flows: Flows, arrival: Arrival, revs: Revisions) -> None:
    """Do what the rules have decided beside the instance itself."""
    for ask, row in arrival.changes:
        db.execute(ask.value, row)
    if arrival.closes is not None:
        flows.run(flows.gates.close_collection(arrival.closes))
    flows.touched |= arrival.touched
    if arrival.terminate:
        flows.touched |= run_group(db, arrival.terminate, revs)[1]


def start_child(db: sqlite3.Connection, write: StartChild, revs: Revisions) -> tuple[Outcome, set[int]]:
    """Start a child, which waits where its flow says so."""
    group = Group(known_of(db, [write], revs))
    outcome = group.add(write)
    touched = finish(db, group, revs)
    child = group.key_of(write.new)
    if outcome.verdict is Verdict.APPLIED and child is not None:
        flows = Flows(db, revs, write.new.created_at)
        lasting = admit.lasting(write.flow, child=True)
        due_at = write.new.start_at or write.new.created_at
        deadline = None if lasting.start_deadline is None else due_at + lasting.start_deadline
        flows.run(flows.gates.register(child, lasting, deadline))
        flows.run(flows.gates.enter(due_of(child, due_at, lasting), claiming=False))
        touched |= flows.touched
    return outcome, touched


def cancel(db: sqlite3.Connection, write: CancelInstances, revs: Revisions) -> tuple[Outcome, set[int]]:
    """Terminate the instances that an event cancels."""
    found = db.execute(Ask.CANCELLED.value, (Rule.CANCEL, write.key)).fetchall()
    error = admit.cancelled_by(write.reason)
    by = Termination(source=Source.EVENT)
    ends = [Steer(instance=key, verb=Verb.TERMINATE, at=write.at, error=error, by=by) for (key,) in found]
    outcomes, touched = run_group(db, ends, revs)
    return Outcome(verdict=Verdict.APPLIED, count=sum(outcome.verdict is Verdict.APPLIED for outcome in outcomes)), touched
