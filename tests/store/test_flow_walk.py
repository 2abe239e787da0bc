"""Random walks through everything that can happen to instances at gates: no limit is ever exceeded, and nobody waits who could go on.

The judge knows only what it has asked for and what the public port tells. A seed repeats its walk.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from hub.core.flow import Concurrency, Flow
from hub.core.model import FINAL, Instance, Status
from hub.core.writes import DeleteInstance, Restart, Verb, Verdict, Write
from tests.store.flowing import all_live, batch, emit, limit, rate, seconds, singleton
from tests.store.given import World, at, finish, park, send, steer

STEPS = 120
CUSTOMERS = "xyz"
ALL = limit(4, key="all")
OF_CUSTOMER = {customer: limit(2, key=customer) for customer in CUSTOMERS}
LATER = timedelta(days=1)


@dataclass(slots=True)
class Known:
    """What the walk knows of one of its instances."""

    flow: Flow
    started: bool = False


class Walk:
    """One walk: its clock, its nodes, and what it has created."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.now = 0.0
        self.known: dict[int, Known] = {}
        self.number = 0

    # ---- what can happen

    async def create(self) -> None:
        flow, self.number = self.some_flow(), self.number + 1
        node = self.world.node if self.random.random() < 0.5 else None
        outcome = await emit(self.world, f"i{self.number}", flow, self.now, node=node)
        if outcome.verdict is Verdict.APPLIED:
            assert outcome.instance is not None
            self.known[outcome.instance] = Known(flow, started=node is not None and not outcome.waits)

    def some_flow(self) -> Flow:
        dice, customer = self.random.random, self.random.choice(CUSTOMERS)
        limits = (ALL, OF_CUSTOMER[customer]) if dice() < 0.8 else ()
        return Flow(
            concurrency=limits if dice() < 0.7 else limits[:1],
            singleton=singleton("queue_all", key=f"one {customer}") if dice() < 0.3 else None,
            throttle=rate(limit=1, period=3, burst=2, key=f"rate {customer}") if dice() < 0.3 else None,
            delay=seconds(self.random.randrange(0, 20)) if dice() < 0.3 else seconds(0),
            priority=seconds(self.random.randrange(0, 30)) if dice() < 0.3 else seconds(0),
            batch=batch(size=3, wait=6, key=f"batch {customer}") if dice() < 0.15 else None,
            start_deadline=seconds(40) if dice() < 0.15 else None,
            cancels=(f"cancel {customer}",),
        )

    async def claim(self) -> None:
        for snapshot in await self.world.store.claim(self.world.node, self.random.choice((1, 3, 100)), at(self.now)):
            self.known[snapshot.instance.key].started = True

    async def pass_time(self) -> None:
        self.now += self.random.choice((0.5, 1, 3, 10))

    async def end(self) -> None:
        for head in await self.some(executing=True):
            await self.do(finish(head.key, token=head.token, at=at(self.now)))

    async def rest(self) -> None:
        for head in await self.some(executing=True):
            until = self.random.choice((at(self.now), at(self.now + 5), None))
            status = Status.QUEUED if until == at(self.now) else Status.WAITING
            await self.do(park(head.key, until, token=head.token, seen=head.inbox_seq, at=at(self.now), status=status))

    async def tell(self) -> None:
        for head in await self.some():
            await self.do(send(head.key, when=at(self.now)))

    async def steer(self) -> None:
        verb = self.random.choice((Verb.PAUSE, Verb.RESUME, Verb.RESUME, Verb.TERMINATE))
        for head in await self.some():
            await self.do(steer(head.key, verb, at(self.now)))

    async def delete(self) -> None:
        for head in await self.some():
            await self.do(DeleteInstance(instance=head.key))

    async def restart(self) -> None:
        if self.known:
            key = self.random.choice(sorted(self.known))
            if await self.do(Restart(instance=key, at=at(self.now))) is Verdict.APPLIED:
                self.known[key].started = False

    async def die(self) -> None:
        """Let the node die and another one take over."""
        store = self.world.store
        self.now += 60
        self.world = World(store, await store.renew(None, LATER, at(self.now)))

    async def prune(self) -> None:
        await self.world.store.prune(at(self.now), 100)

    async def do(self, write: Write) -> Verdict:
        return (await self.world.do(write)).verdict

    async def some(self, *, executing: bool = False) -> list[Instance]:
        found = [head for head in await all_live(self.world) if head.node is not None or not executing]
        return [self.random.choice(found)] if found else []

    # ---- what must hold

    async def judge(self) -> None:
        live = await all_live(self.world)
        held = Counter(slot.key for head in live if head.node is not None for slot in self.slots(head))
        for slot in (ALL, *OF_CUSTOMER.values()):
            assert held[slot.key] <= slot.limit, f"{held[slot.key]} execute with {slot}"
        turns = Counter(self.turn(head) for head in live if self.known[head.key].started)
        assert all(number == 1 for key, number in turns.items() if key is not None), f"of one singleton key run {turns}"
        for head in live:
            if head.status is Status.QUEUED and head.node is None and head.wake_at is None:
                assert self.has_reason(head, live), f"{head.id} waits for nobody: {self.known[head.key].flow}"

    def has_reason(self, head: Instance, live: list[Instance]) -> bool:
        """Whether an instance that no time wakes waits for another one, which executes, has its turn, or may have been let in."""
        flow, others = self.known[head.key].flow, [other for other in live if other.key != head.key]
        due = [other for other in others if other.node is not None or (other.wake_at is not None and other.wake_at <= at(self.now))]
        if flow.singleton and any(self.turn(other) == flow.singleton.key for other in others):
            return True  # which may stand at a later gate itself; that nobody waits in a circle is proven when the walk is over
        if flow.throttle and any(self.known[o.key].flow.throttle == flow.throttle and o.wake_at is not None for o in others):
            return True
        return any(sum(slot in self.slots(other) for other in due) >= slot.limit for slot in flow.concurrency)

    def slots(self, head: Instance) -> tuple[Concurrency, ...]:
        return self.known[head.key].flow.concurrency

    def turn(self, head: Instance) -> str | None:
        one = self.known[head.key].flow.singleton
        return None if one is None else one.key

    # ---- to the end

    async def drain(self) -> None:
        """Bring every instance to its end, as a node does that works them off."""
        for head in await all_live(self.world):
            await self.do(steer(head.key, Verb.RESUME, at(self.now)))
            await self.do(send(head.key, when=at(self.now)))
        for _ in range(10 * (len(self.known) + 1)):
            claimed = await self.world.store.claim(self.world.node, 100, at(self.now))
            for snapshot in claimed:
                self.known[snapshot.instance.key].started = True
            await self.judge()
            for head in await all_live(self.world):
                if head.node is not None:
                    await self.do(finish(head.key, token=head.token, at=at(self.now)))
            due = await self.world.store.next_due(at(self.now))
            if due is None:
                break
            self.now = max(self.now, (due - at(0)).total_seconds())
        left = [(head.id, head.status, self.known[head.key].flow) for head in await all_live(self.world)]
        assert left == [], "nobody lets these go on"


@pytest.mark.parametrize("seed", range(8))
async def test_limits_hold_and_nobody_is_stuck_whatever_happens(world: World, seed: int) -> None:
    walk = Walk(replace(world, node=await world.store.renew(None, LATER, at(0))), seed)
    happenings = [
        *[walk.create] * 8, *[walk.claim] * 5, *[walk.end] * 4, *[walk.rest] * 4, *[walk.pass_time] * 4, walk.tell, walk.tell, walk.steer,
        walk.steer, walk.delete, walk.restart, walk.prune, walk.die,
    ]  # fmt: skip

    for _ in range(STEPS):
        await walk.random.choice(happenings)()
        await walk.judge()

    await walk.drain()
    assert all(head.status in FINAL for head in [await world.head(key) for key in walk.known if await world.store.load(key)])
