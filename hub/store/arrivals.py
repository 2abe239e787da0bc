"""What becomes of an event for a workflow with flow control: it is refused, joins what an instance collects, or makes a new instance.

Runs inside a transaction as `Steps`, in the documented order of the rules, which are those of `hub.core.admit`. Nothing is changed before
all rules have been asked: an event for which there is no room now is not counted by a rate limit, because its sender sends it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from hub.core import admit
from hub.core.admit import Collected, Collecting, Incoming, Live, Order
from hub.core.flow import Batch, Debounce, DebounceMode, Flow, Overlap, Refusal
from hub.core.model import NewInstance, Status
from hub.core.nodes import SOMETHING_DUE
from hub.core.writes import CreateInstance, Outcome, Steer, Verb, Verdict
from hub.store.columns import length_or_null, micros, moment
from hub.store.flow_rows import Bucket, Rule
from hub.store.flow_sql import Ask, Steps
from hub.store.gates import Due, Gates
from hub.store.program import Row

_ALL = 1 << 62  # rows: every one


@dataclass(slots=True, kw_only=True)
class Arrival:
    """What the rules say of an event. With an `outcome` no instance is created, else one that is due at `due_at`.

    `changes` are to be run in both cases, and a collecting instance that `closes` is to be closed.
    """

    outcome: Outcome | None = None
    due_at: datetime
    changes: list[tuple[Ask, Row]] = field(default_factory=list)
    terminate: list[Steer] = field(default_factory=list)
    closes: int | None = None
    collecting: Collecting | None = None
    touched: set[int] = field(default_factory=set)


def arrive(write: CreateInstance) -> Steps[Arrival]:
    """Ask all rules of a flow that decide before there is an instance; nothing is changed yet."""
    new, flow = write.new, write.flow
    arrival = Arrival(due_at=admit.starts_at(flow, new.created_at, new.start_at))
    for rule in (_rate_limit, _burst, _collection, _overlap, _backlog, _full_limits):
        yield from rule(new, flow, arrival)
        if arrival.outcome is not None:
            arrival.terminate.clear()
            break
    if arrival.outcome is not None and arrival.outcome.verdict is Verdict.FULL:
        return Arrival(outcome=arrival.outcome, due_at=arrival.due_at)
    return arrival


def settle_in(gates: Gates, write: CreateInstance, arrival: Arrival, instance: int) -> Steps[bool]:
    """Put an instance that has just been created behind its gates; return whether it may execute at once."""
    new, flow = write.new, write.flow
    due_at = arrival.due_at
    lasting = admit.lasting(flow)
    deadline = None if flow.start_deadline is None else due_at + flow.start_deadline
    yield from gates.register(instance, lasting, deadline)
    rule = admit.collects(flow)
    if rule is not None and arrival.collecting is not None:
        yield Ask.ADD, (instance, Rule.COLLECT, rule.key, None, None)
        yield Ask.COLLECT, (instance, *_row_of(arrival.collecting.collected))
        member = _member(instance, 1, new, keeps=admit.keeps_all(rule))
        if member is not None:
            yield member
    if flow.debounce is not None and flow.debounce.mode is DebounceMode.LEADING:
        ends = admit.burst_ends(flow.debounce, new.created_at, new.created_at)
        yield Ask.FILL, (Bucket.BURST, flow.debounce.key, micros(ends), micros(new.created_at), instance)
    if due_at > gates.at:
        return False
    return (yield from gates.enter(due_of(instance, due_at, lasting), claiming=write.node is not None))


def due_of(instance: int, due_at: datetime, flow: Flow) -> Due:
    """Return a new instance as one that wants to execute."""
    return Due(instance, micros(due_at), flow, length_or_null(flow.priority) or 0, fresh=True)


# ---- the rules, in their order


def _rate_limit(new: NewInstance, flow: Flow, arrival: Arrival) -> Steps[None]:
    if flow.rate is None:
        return
    found = yield Ask.BUCKET, (Bucket.RATE, flow.rate.key)
    may_pass = admit.next_pass(flow.rate, moment(found[0][0]) if found else None, new.created_at)
    if may_pass.at > new.created_at:
        arrival.outcome = Outcome(verdict=Verdict.SKIPPED, reason=Refusal.RATE_LIMIT, retry_at=may_pass.at)
    else:
        arrival.changes.append((Ask.FILL, (Bucket.RATE, flow.rate.key, micros(may_pass.then), None, None)))


def _burst(new: NewInstance, flow: Flow, arrival: Arrival) -> Steps[None]:
    """Drop what belongs to a burst whose first event has run already; it makes the burst last longer."""
    rule = flow.debounce
    if rule is None or rule.mode is not DebounceMode.LEADING:
        return
    found = yield Ask.BUCKET, (Bucket.BURST, rule.key)
    now = micros(new.created_at)
    if not found or not now < found[0][0] <= micros(new.created_at + rule.max_delay):  # over, or of a clock that was put back
        return
    ((until, since, first),) = found
    ends = admit.burst_ends(rule, moment(since), new.created_at)
    arrival.changes.append((Ask.FILL, (Bucket.BURST, rule.key, max(until, micros(ends)), since, first)))
    arrival.outcome = yield from _skipped(Refusal.DEBOUNCE, first)


def _collection(new: NewInstance, flow: Flow, arrival: Arrival) -> Steps[None]:
    rule = admit.collects(flow)
    if rule is None:
        return
    event = Incoming(now=new.created_at, occurred_at=flow.occurred_at or new.created_at, size_bytes=len(new.params))
    open_one = yield Ask.COLLECTION, (Rule.COLLECT, rule.key)
    if open_one:
        ((instance, id, due_at, opened_at, newest_at, number, size_bytes),) = open_one
        so_far = Collected(opened_at=moment(opened_at), newest_at=moment(newest_at), number=number, size_bytes=size_bytes)
        is_over = due_at is not None and due_at <= micros(new.created_at)  # it has only not been claimed yet
        collecting = None if is_over else admit.add_to_collection(rule, so_far, event)
        if collecting is not None:
            arrival.outcome = Outcome(verdict=Verdict.JOINED, instance=instance, id=id, status=Status.QUEUED)
            _join(new, flow, arrival, rule, collecting)
            return
        _close(arrival, instance, None if is_over else new.created_at)
    arrival.collecting = admit.open_collection(rule, event)
    arrival.due_at = arrival.collecting.due_at


def _join(new: NewInstance, flow: Flow, arrival: Arrival, rule: Batch | Debounce, collecting: Collecting) -> None:
    instance = arrival.outcome.instance if arrival.outcome is not None else None
    arrival.changes.append((Ask.COLLECT, (instance, *_row_of(collecting.collected))))
    arrival.changes.append((Ask.WAKE, (micros(collecting.due_at), instance)))
    member = _member(instance, collecting.collected.number, new, keeps=admit.keeps_all(rule))
    if member is not None:
        arrival.changes.append(member)
    if flow.start_deadline is not None:
        arrival.changes.append((Ask.MOVE_DEADLINE, (micros(collecting.due_at + flow.start_deadline), instance)))
    if collecting.newest and not admit.keeps_all(rule):
        arrival.changes.append((Ask.SET_PARAMS, (new.params, new.provenance, instance)))
    if collecting.full and instance is not None:
        _close(arrival, instance, new.created_at)


def _close(arrival: Arrival, instance: int, begins_at: datetime | None) -> None:
    """Let an instance collect no more, and begin at that time; None = at the time at which it is due already."""
    arrival.closes = instance
    if begins_at is not None:
        arrival.changes.append((Ask.WAKE, (micros(begins_at), instance)))
        arrival.touched.add(SOMETHING_DUE)


def _overlap(new: NewInstance, flow: Flow, arrival: Arrival) -> Steps[None]:
    rule = flow.singleton
    if rule is None or rule.overlap is Overlap.ALLOW:
        return
    longest = flow.backlog or admit.QUEUED_PER_KEY
    order = yield from _order(rule.key, rule.overlap, longest)
    if order.in_the_way is not None:
        arrival.outcome = yield from _skipped(Refusal.SINGLETON, order.in_the_way.instance)
    elif order.full:
        arrival.outcome = Outcome(verdict=Verdict.FULL, retry_at=new.created_at + admit.BACKLOG_RETRY)
    error = admit.replaced_by(new.id)
    arrival.terminate = [
        Steer(
            instance=each.instance,
            verb=Verb.TERMINATE,
            at=new.created_at,
            rollback=order.roll_back and each.claimed,  # what has never run has nothing to roll back
            error=error,
        )
        for each in order.terminate
    ]


def _order(key: str, overlap: Overlap, longest: int) -> Steps[Order]:
    """Ask no more than the policy reads: a line may be long."""
    waiting, live = 0, []
    if overlap is Overlap.QUEUE_ALL:
        ((waiting,),) = yield Ask.WAITING, (Rule.SINGLETON, key, longest)
    elif overlap is Overlap.QUEUE_ONE:
        live = yield Ask.WAITER, (Rule.SINGLETON, key)
    else:
        live = yield Ask.LIVE, (Rule.SINGLETON, key, 1 if overlap is Overlap.SKIP else _ALL)
    found = [Live(instance=instance, id=id, turn=bool(turn), claimed=bool(claimed)) for instance, id, turn, claimed in live]
    return admit.overlapping(overlap, found, waiting, longest)


def _backlog(new: NewInstance, flow: Flow, arrival: Arrival) -> Steps[None]:
    if flow.backlog is None:
        return
    ((queued,),) = yield Ask.QUEUED, (new.workflow, flow.backlog)
    if queued >= flow.backlog:
        arrival.outcome = Outcome(verdict=Verdict.FULL, retry_at=new.created_at + admit.BACKLOG_RETRY)


def _full_limits(new: NewInstance, flow: Flow, arrival: Arrival) -> Steps[None]:
    for rule in flow.concurrency:
        ((executing,),) = yield Ask.HELD, (rule.key,)
        if admit.drops(rule, executing):
            found = yield Ask.HOLDER, (Rule.SLOT, rule.key)
            arrival.outcome = yield from _skipped(Refusal.CONCURRENCY, found[0][0] if found else None)
            return


# ---- what the rules share


def _skipped(reason: Refusal, in_the_way: int | None) -> Steps[Outcome]:
    found = [] if in_the_way is None else (yield Ask.ID, (in_the_way,))
    return Outcome(verdict=Verdict.SKIPPED, reason=reason, instance=in_the_way, id=found[0][0] if found else None)


def _member(instance: int | None, seq: int, new: NewInstance, *, keeps: bool) -> tuple[Ask, Row] | None:
    """Return the row of an event in a collection; an event that is neither kept nor known by a key needs none."""
    if not keeps and new.dedupe_key is None:
        return None
    return Ask.ADD_MEMBER, (instance, seq, new.trigger, new.dedupe_key, new.params if keeps else None)


def _row_of(collected: Collected) -> Row:
    return (micros(collected.opened_at), micros(collected.newest_at), collected.number, collected.size_bytes)
