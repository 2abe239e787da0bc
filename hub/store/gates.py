"""The gates between an instance and its execution: singleton, throttle, concurrency; who waits at them, and who is let in next.

Runs inside a transaction as `Steps`: no connection here, and the rules are those of `hub.core.admit`. An instance that waits at a gate has
no wake time, so it costs a claim nothing; it gets one in the transaction that frees what it waits for. The invariants: a place is taken in
the transaction that makes its instance due or claims it, so no limit is ever exceeded; and nobody waits who could go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from hub.core import admit
from hub.core.flow import Flow, OnLimit, Overlap
from hub.core.nodes import SOMETHING_DUE
from hub.core.writes import Steer, Verb
from hub.store.columns import length_or_null, micros, moment, moment_or_none
from hub.store.flow_rows import Bucket, Rule, flow_of, flow_text, lane_of
from hub.store.flow_sql import Ask, Steps

LATE_AT_ONCE = 500  # instances whose deadline has passed that one transaction ends


class Due(NamedTuple):
    """An instance that wants to execute: since when, what lasts of its flow, its head start, and whether it never has."""

    instance: int
    since: int
    flow: Flow
    ahead: int
    fresh: bool


class Gates:
    """The gates of one transaction at a moment. What it makes due is told by `touched`."""

    def __init__(self, at: datetime, revs: Iterator[int]) -> None:
        self.at = at
        self.touched: set[int] = set()
        self._now = micros(at)
        self._revs = revs

    # ---- for one instance

    def register(self, instance: int, flow: Flow, deadline: datetime | None = None) -> Steps[None]:
        """Keep what lasts of the flow of a new instance, and set up its gates."""
        yield Ask.KEEP_FLOW, (flow_text(flow), length_or_null(flow.priority) or None, instance)
        yield from self._set_up(instance, flow)
        if deadline is not None:
            yield Ask.ADD, (instance, Rule.DEADLINE, "", None, micros(deadline))

    def restart(self, instance: int) -> Steps[None]:
        """Set up the gates of an instance anew, which it then has to pass like a new one."""
        yield from self.leave(instance)
        ((text, _),) = yield Ask.FLOW, (instance,)
        yield from self._set_up(instance, flow_of(text))

    def _set_up(self, instance: int, flow: Flow) -> Steps[None]:
        if flow.singleton is not None:
            turn = 1 if flow.singleton.overlap is Overlap.ALLOW else None
            yield Ask.ADD, (instance, Rule.SINGLETON, flow.singleton.key, turn, None)
        if flow.throttle is not None:
            yield Ask.ADD, (instance, Rule.THROTTLE, flow.throttle.key, None, None)
        for slot in flow.concurrency:
            yield Ask.ADD, (instance, Rule.SLOT, slot.key, None, None)
        for key in dict.fromkeys(flow.cancels):
            yield Ask.ADD, (instance, Rule.CANCEL, key, None, None)

    def enter(self, due: Due, *, claiming: bool = True) -> Steps[bool]:
        """Let a due instance through its gates, or make it wait at the first one that is shut; return whether it may execute now.

        Whoever waits already keeps its place in the line, however often it asks. Without `claiming` it stops before its throttle, because
        that counts starts: who passed it early could start in a crowd with others, whenever a node has time for them.
        """
        gates = yield Ask.GATES, (due.instance,)
        keys = {rule: key for rule, key, _, _ in gates}
        held = {rule for rule, _, held, _ in gates if held}
        deadline = next((place for rule, _, _, place in gates if rule == Rule.DEADLINE), None)
        if deadline is not None and deadline <= self._now:
            yield Steer(instance=due.instance, verb=Verb.TERMINATE, at=self.at, error=admit.too_late(moment(deadline)))
            return False
        if Rule.COLLECT in keys:
            yield from self.close_collection(due.instance)
        if Rule.SINGLETON in keys and Rule.SINGLETON not in held and not (yield from self._turn(due, keys[Rule.SINGLETON])):
            return False
        if Rule.THROTTLE in keys and not (yield from self._throttled(due, keys[Rule.THROTTLE], claiming=claiming)):
            return False
        if Rule.SLOT in keys and Rule.SLOT not in held and not (yield from self._places(due, standing=Rule.LANE in keys)):
            return False
        if deadline is not None:
            yield Ask.PASSED, (due.instance, Rule.DEADLINE)
        return True

    def leave(self, instance: int) -> Steps[None]:
        """Free all that an instance holds, because it ends, is restarted or deleted, and let others go on."""
        gates = yield Ask.GATES, (instance,)
        if any(rule == Rule.COLLECT for rule, *_ in gates):
            yield from self.close_collection(instance)
        yield Ask.LEAVE, (instance,)
        for rule, key, _, place in gates:
            if rule == Rule.LANE:
                yield Ask.CLOSE_LANE, (key,)
            elif rule == Rule.THROTTLE and place is not None:
                yield from self._serve_throttle(key)
            elif rule == Rule.SINGLETON:
                yield from self._serve_singleton(key)
        yield from self._serve_slots(key for rule, key, held, _ in gates if rule == Rule.SLOT and held)

    def leave_all(self, workflow: int) -> Steps[None]:
        """Free all that the instances of a workflow hold, because they are about to be deleted."""
        gates = yield Ask.GATES_OF_WORKFLOW, (workflow,)
        yield Ask.LEAVE_WORKFLOW, (workflow,)
        for rule, key in gates:
            if rule == Rule.LANE:
                yield Ask.CLOSE_LANE, (key,)
            elif rule == Rule.THROTTLE:
                yield from self._serve_throttle(key)
            elif rule == Rule.SINGLETON:
                yield from self._serve_singleton(key)
        for key in [key for rule, key in gates if rule == Rule.SLOT]:
            yield from self._serve_slot(key, Ask.ANY_LANE)

    def rest(self, instance: int, *, paused: bool) -> Steps[None]:
        """Free the places of an instance that does not execute any more. A paused one also leaves the lines that it stands in."""
        gates = yield Ask.GATES, (instance,)
        held = [key for rule, key, held, _ in gates if rule == Rule.SLOT and held]
        if held:
            yield Ask.LET_GO, (instance,)
        if paused:
            yield Ask.STEP_ASIDE, (instance,)
            yield Ask.PASSED, (instance, Rule.LANE)
            for rule, key, _, place in gates:
                if rule == Rule.LANE:
                    yield Ask.CLOSE_LANE, (key,)
                elif rule == Rule.THROTTLE and place is not None:
                    yield from self._serve_throttle(key)
        yield from self._serve_slots(held)

    def close_collection(self, instance: int) -> Steps[None]:
        """Let an instance collect no more; where all events count, their list becomes its payload."""
        yield Ask.PASSED, (instance, Rule.COLLECT)
        payloads = yield Ask.PAYLOADS, (instance,)
        if payloads:
            yield Ask.SET_PARAMS, (b"[" + b",".join(payload for (payload,) in payloads) + b"]", None, instance)
            yield Ask.DROP_PAYLOADS, (instance,)

    # ---- for all

    def end_late(self) -> Steps[int]:
        """End instances that can no longer start in time; return how many."""
        late = yield Ask.LATE, (self._now, LATE_AT_ONCE)
        for instance, deadline in late:
            yield Steer(instance=instance, verb=Verb.TERMINATE, at=self.at, error=admit.too_late(moment(deadline)))
        return len(late)

    def mend(self) -> Steps[None]:
        """Look at every line after a node has died: free what nobody holds, let in whoever can go on. A safety net that finds nothing."""
        yield Ask.DROP_DEAD, ()
        yield Ask.FREE_PLACES, (self._now,)
        yield Ask.TAKE_PLACES, ()
        yield Ask.WAKE_LOST, (self._now,)
        for rule, key in (yield Ask.LINES, ()):
            yield from (self._serve_singleton(key) if rule == Rule.SINGLETON else self._serve_throttle(key))
        for (slot,) in (yield Ask.SLOTS, ()):
            yield from self._serve_slot(slot, Ask.ANY_LANE)

    # ---- singleton

    def _turn(self, due: Due, key: str) -> Steps[bool]:
        yield Ask.STAND, (due.since - due.ahead, due.instance, Rule.SINGLETON)
        if not (yield Ask.HOLDER, (Rule.SINGLETON, key)) and (yield Ask.FIRST, (Rule.SINGLETON, key)) == [(due.instance,)]:
            yield Ask.HOLD, (due.instance, Rule.SINGLETON)
            return True
        yield Ask.SLEEP, (due.instance,)
        return False

    def _serve_singleton(self, key: str) -> Steps[None]:
        if not (yield Ask.HOLDER, (Rule.SINGLETON, key)):
            for (instance,) in (yield Ask.FIRST, (Rule.SINGLETON, key)):
                yield Ask.HOLD, (instance, Rule.SINGLETON)
                yield from self._wake(instance, self._now)

    # ---- throttle

    def _throttled(self, due: Due, key: str, *, claiming: bool) -> Steps[bool]:
        if due.flow.throttle is None:  # the row would not be there
            return True
        yield Ask.STAND, (due.since - due.ahead, due.instance, Rule.THROTTLE)
        if (yield Ask.FIRST, (Rule.THROTTLE, key)) != [(due.instance,)]:
            yield Ask.SLEEP, (due.instance,)
            return False
        may_pass = admit.next_pass(due.flow.throttle, (yield from self._arrival(key)), self.at)
        if may_pass.at > self.at:
            yield from self._wake(due.instance, micros(may_pass.at))
            return False
        if not claiming:
            return False
        yield Ask.FILL, (Bucket.THROTTLE, key, micros(may_pass.then), None, None)
        yield Ask.PASSED, (due.instance, Rule.THROTTLE)
        yield from self._serve_throttle(key)
        return True

    def _serve_throttle(self, key: str) -> Steps[None]:
        """Give the first of the line the time at which it may pass; nobody behind it is due before."""
        for (instance,) in (yield Ask.FIRST, (Rule.THROTTLE, key)):
            ((text, _),) = yield Ask.FLOW, (instance,)
            rate = flow_of(text).throttle
            if rate is not None:
                yield from self._wake(instance, micros(admit.next_pass(rate, (yield from self._arrival(key)), self.at).at))

    def _arrival(self, key: str) -> Steps[datetime | None]:
        found = yield Ask.BUCKET, (Bucket.THROTTLE, key)
        return moment_or_none(found[0][0]) if found else None

    # ---- concurrency

    def _places(self, due: Due, *, standing: bool) -> Steps[bool]:
        rules = due.flow.concurrency
        lane = lane_of(rule.key for rule in rules)
        first = yield Ask.FIRST, (Rule.LANE, lane)
        full = []
        for rule in rules:
            ((number,),) = yield Ask.HELD, (rule.key,)
            if number >= rule.limit:
                full.append(rule)
        if not full and (not first or first == [(due.instance,)]):
            yield from self._take(due.instance, lane, standing=standing)
            return True
        if due.fresh and full and all(rule.on_limit is OnLimit.CANCEL_OLDEST for rule in full):
            yield from self._replace(due.instance, [rule.key for rule in full], lane)
            return True
        if not standing:
            yield Ask.ADD, (due.instance, Rule.LANE, lane, None, due.since - due.ahead)
        yield Ask.SLEEP, (due.instance,)
        for rule in rules:
            yield Ask.OPEN_LANE, (lane, rule.key, rule.limit, next(self._revs))
            if due.fresh and (yield Ask.SET_PLACES, (rule.limit, lane, rule.key)):  # the newest instance knows the limit of today
                yield from self._serve_slot(rule.key, Ask.ANY_LANE)
        return False

    def _take(self, instance: int, lane: str, *, standing: bool) -> Steps[None]:
        yield Ask.HOLD, (instance, Rule.SLOT)
        if standing:
            yield Ask.PASSED, (instance, Rule.LANE)
            yield Ask.TURN, (next(self._revs), lane)
            yield Ask.CLOSE_LANE, (lane,)

    def _replace(self, instance: int, slots: list[str], lane: str) -> Steps[None]:
        """Take places and terminate the oldest who hold them. First take, else the line would get what they leave."""
        ((id, _),) = yield Ask.ID, (instance,)
        oldest: set[int] = set()
        for slot in slots:
            holder = yield Ask.HOLDER, (Rule.SLOT, slot)
            oldest.update(holder[0])
        yield from self._take(instance, lane, standing=False)
        for each in sorted(oldest):
            yield Steer(instance=each, verb=Verb.TERMINATE, at=self.at, error=admit.replaced_by(id))

    def _serve_slots(self, slots: Iterable[str]) -> Steps[None]:
        """Give on the place that an instance has freed of each of these keys."""
        for slot in slots:
            yield from self._serve_slot(slot, Ask.NEXT_LANE)

    def _serve_slot(self, slot: str, next_lane: Ask) -> Steps[None]:
        """Give the free places of a key to the lanes that need it and nothing else that is full, in turns.

        NEXT_LANE finds those for which the last free place is the first one: before it came, the key was full for them. A lane for which
        there was room already waits for another key, and that need not be found out once for every place.
        """
        while True:
            ((held,),) = yield Ask.HELD, (slot,)
            lanes = yield next_lane, (slot, held + 1)
            if not lanes:
                return
            ((lane,),) = lanes
            first = yield Ask.FIRST, (Rule.LANE, lane)
            if first:
                yield from self._take(first[0][0], lane, standing=True)
                yield from self._wake(first[0][0], self._now)
            else:  # nobody stands there who could go on
                yield Ask.DROP_LANE, (lane,)

    def _wake(self, instance: int, at: int) -> Steps[None]:
        yield Ask.WAKE, (at, instance)
        self.touched.add(SOMETHING_DUE)
