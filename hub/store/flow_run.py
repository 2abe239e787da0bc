"""Flow control in a transaction: it answers the questions of `gates` and `arrivals`, and runs groups whose instances stand at gates.

Programs; decides nothing. Whatever looks at gates waits for its turn first, so that limits hold whoever else writes. The invariant: whoever
changes an instance for which rules of flow control hold does it through here, so that what the instance gives free is given on in the same
transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
from hub.store.lookup import known_of, run
from hub.store.program import REVISIONS, Program, Turn, fetch, many, numbers

T = TypeVar("T")


class Flows:
    """The gates of one transaction at a moment; made by `flows`. `touched` grows with what is to be signalled."""

    def __init__(self, at: datetime, revs: Iterator[int]) -> None:
        self.gates = Gates(at, revs)
        self.touched = self.gates.touched

    def run(self, steps: Steps[T]) -> Program[T]:
        """Do some steps to their end."""
        answer: object = None
        while True:
            try:
                asked = steps.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(asked, Steer):
                (answer,), touched = yield from run_group([asked])
                self.touched |= touched
            else:
                answer = yield from fetch(asked[0].value, *asked[1])


def flows(at: datetime) -> Program[Flows]:
    """Return the gates as soon as no other transaction can change them."""
    yield Turn()
    _, revs = yield from numbers(0, REVISIONS)
    return Flows(at, revs)


def run_group(writes: Sequence[Planned]) -> Program[tuple[list[Outcome], set[int]]]:
    """Plan some writes together and run them; return an outcome each and the keys to signal."""
    known = yield from known_of(writes)
    group = Group(known)
    outcomes = [group.add(write) for write in writes]
    return outcomes, (yield from finish(group))


def finish(group: Group) -> Program[set[int]]:
    """Run a plan, and give on what its instances give free; return the keys to signal."""
    group.finish()
    for head in group.freed.values():
        if head.final and head.token == 0:  # what it has collected must be its payload before it is final
            at_gates = yield from flows(head.modified_at)
            yield from at_gates.run(at_gates.gates.close_collection(head.key))
    yield from run(group.rows)
    if not group.freed:
        return group.touched
    freed = yield from _free(group.freed.values())
    return group.touched | freed


def _free(heads: Iterable[Head]) -> Program[set[int]]:
    touched: set[int] = set()
    yield Turn()
    _, revs = yield from numbers(0, REVISIONS)
    for head in heads:
        at_gates = Flows(head.modified_at, revs)
        if head.final:
            yield from at_gates.run(at_gates.gates.leave(head.key))
        elif head.status is Status.PAUSED:
            yield from at_gates.run(at_gates.gates.rest(head.key, paused=True))
        elif head.node is None and (head.wake_at is None or head.wake_at > head.modified_at):  # else it is due, and keeps its places
            yield from at_gates.run(at_gates.gates.rest(head.key, paused=False))
        touched |= at_gates.touched
    return touched


def create(write: CreateInstance) -> Program[tuple[Outcome, set[int]]]:
    """Create an instance if its flow allows."""
    new, flow = write.new, write.flow
    at_gates = yield from flows(new.created_at)
    if flow.window is not None and new.trigger is not None and new.dedupe_key is not None:
        yield from fetch(Ask.FORGET_SEEN.value, new.trigger, new.dedupe_key, micros(new.created_at - flow.window))
    known = yield from known_of([write])
    group = Group(known)
    if group.in_the_way(write) is not None:
        outcome = group.add(write)
        return outcome, (yield from finish(group))
    arrival = yield from at_gates.run(arrive(write))
    if arrival.outcome is not None:
        if arrival.outcome.verdict is Verdict.JOINED:
            group.join(write, arrival.outcome)
        at_gates.touched |= yield from finish(group)
        yield from _change(at_gates, arrival)
        return arrival.outcome, at_gates.touched
    yield from _change(at_gates, arrival)
    outcome = group.add(replace(write, new=replace(new, start_at=arrival.due_at), node=None))
    at_gates.touched |= yield from finish(group)
    if outcome.instance is None:
        return outcome, at_gates.touched
    executes = yield from at_gates.run(settle_in(at_gates.gates, write, arrival, outcome.instance))
    if write.node is not None and executes:
        _, revs = yield from numbers(0, 1)
        yield from fetch(sql.CLAIM_BORN, write.node, next(revs), outcome.instance)
    return replace(outcome, waits=write.node is not None and not executes), at_gates.touched


def _change(at_gates: Flows, arrival: Arrival) -> Program[None]:
    """Do what the rules have decided beside the instance itself."""
    for ask, row in arrival.changes:
        yield from many(ask.value, [row])
    if arrival.closes is not None:
        yield from at_gates.run(at_gates.gates.close_collection(arrival.closes))
    at_gates.touched |= arrival.touched
    if arrival.terminate:
        _, touched = yield from run_group(arrival.terminate)
        at_gates.touched |= touched


def start_child(write: StartChild) -> Program[tuple[Outcome, set[int]]]:
    """Start a child, which waits where its flow says so."""
    yield Turn()
    known = yield from known_of([write])
    group = Group(known)
    outcome = group.add(write)
    touched = yield from finish(group)
    child = group.key_of(write.new)
    if outcome.verdict is Verdict.APPLIED and child is not None:
        at_gates = yield from flows(write.new.created_at)
        lasting = admit.lasting(write.flow, child=True)
        due_at = write.new.start_at or write.new.created_at
        deadline = None if lasting.start_deadline is None else due_at + lasting.start_deadline
        yield from at_gates.run(at_gates.gates.register(child, lasting, deadline))
        yield from at_gates.run(at_gates.gates.enter(due_of(child, due_at, lasting), claiming=False))
        touched |= at_gates.touched
    return outcome, touched


def cancel(write: CancelInstances) -> Program[tuple[Outcome, set[int]]]:
    """Terminate the instances that an event cancels."""
    found = yield from fetch(Ask.CANCELLED.value, Rule.CANCEL, write.key)
    error = admit.cancelled_by(write.reason)
    by = Termination(source=Source.EVENT)
    ends = [Steer(instance=key, verb=Verb.TERMINATE, at=write.at, error=error, by=by) for (key,) in found]
    if not ends:
        return Outcome(verdict=Verdict.APPLIED, count=0), set()
    yield Turn()
    outcomes, touched = yield from run_group(ends)
    return Outcome(verdict=Verdict.APPLIED, count=sum(outcome.verdict is Verdict.APPLIED for outcome in outcomes)), touched
