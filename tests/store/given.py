"""What the conformance suite gives to a store: times, writes and a small world around it. Drives the public port only."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hub.core.errors import ErrorInfo
from hub.core.family import inbox_type
from hub.core.flow import NONE, Flow
from hub.core.model import Attempt, Entry, Instance, InstanceQuery, Kind, NewInstance, Parent, Snapshot, State, Status, Version
from hub.core.ports import Store
from hub.core.writes import (
    CreateInstance,
    FailAttempt,
    Finish,
    Outcome,
    Park,
    RegisterWorkflow,
    SendEvent,
    SettleStep,
    StartChild,
    Steer,
    Verb,
    Verdict,
    Write,
)
from hub.store import store_for

LEASE = timedelta(seconds=10)
ERROR = ErrorInfo(name="ValueError", message="no such file ✗ \ud83d", stack="line 1\nline 2")


def at(seconds: float) -> datetime:
    """Return a time of the test's own calendar; microseconds that no float could carry are part of it."""
    return datetime(2026, 3, 29, 1, 59, 59, 999_999, tzinfo=UTC) + timedelta(seconds=seconds)


def new(id: str = "one", **fields: Any) -> NewInstance:
    """Return an instance to create, of workflow `orders`."""
    return NewInstance(**{"workflow": "orders", "id": id, "params": b'{"n":1}', "created_at": at(0), **fields})


def entry(name: str = "charge", *, ordinal: int = 1, **fields: Any) -> Entry:
    """Return a journal entry of a step that is done."""
    settled = {"kind": Kind.STEP, "count": 1, "state": State.DONE, "started_at": at(1), "ended_at": at(2), "output": b'"paid"'}
    return Entry(**{"name": name, "ordinal": ordinal, **settled, **fields})


def waiting(name: str = "rest", *, until: datetime | None, ordinal: int = 1, **fields: Any) -> Entry:
    """Return a journal entry of a sleep."""
    asleep = {"kind": Kind.SLEEP, "count": 1, "state": State.WAITING, "started_at": at(1), "wake_at": until}
    return Entry(**{"name": name, "ordinal": ordinal, **asleep, **fields})


def settle(instance: int, settled: Entry | None = None, *, token: int = 1, consumes: int | None = None) -> SettleStep:
    """Return the write that settles a step."""
    return SettleStep(instance=instance, token=token, entry=settled or entry(), consumes=consumes)


def fail(instance: int, number: int = 1, *, name: str = "charge", token: int = 1, ordinal: int = 1) -> FailAttempt:
    """Return the write of a failed attempt that will be repeated at second 60."""
    attempt = Attempt(name=name, count=1, number=number, started_at=at(number), ended_at=at(number + 0.5), error=ERROR)
    next_one = entry(name, ordinal=ordinal, state=State.WAITING, ended_at=None, output=None, attempt=number + 1, wake_at=at(60))
    return FailAttempt(instance=instance, token=token, entry=next_one, attempt=attempt)


def park(instance: int, until: datetime | None, *, token: int = 1, seen: int = 0, **fields: Any) -> Park:
    """Return the write that gives a claim back at second 3."""
    rest = {"at": at(3), "status": Status.WAITING, "started_at": at(1)}
    return Park(instance=instance, token=token, wake_at=until, inbox_seen=seen, **{**rest, **fields})


def finish(instance: int, *, token: int = 1, **fields: Any) -> Finish:
    """Return the write that completes an instance at second 9."""
    end = {"at": at(9), "status": Status.COMPLETE, "started_at": at(1), "output": b'"done"'}
    return Finish(instance=instance, token=token, **{**end, **fields})


def send(instance: int, type: str = "approved", payload: bytes = b"1", when: datetime | None = None) -> SendEvent:
    """Return the write that sends an event."""
    return SendEvent(instance=instance, type=type, payload=payload, at=when or at(5))


def steer(instance: int, verb: Verb, when: datetime | None = None, *, rollback: bool = False) -> Steer:
    """Return the write of an operator's verb."""
    return Steer(instance=instance, verb=verb, at=when or at(6), rollback=rollback)


def call(id: str = "child", *, name: str = "call", ordinal: int = 1, **fields: Any) -> Entry:
    """Return the journal entry of a parent that waits for the end of a child."""
    waits = {"kind": Kind.CHILD, "count": 1, "state": State.WAITING, "started_at": at(1), "child": f"orders/{id}"}
    return Entry(**{"name": name, "ordinal": ordinal, "event_type": inbox_type(name, 1), **waits, **fields})


def start_child(
    parent: int, id: str = "child", *, token: int = 1, entry: Entry | None = None, flow: Flow = NONE, **fields: Any
) -> StartChild:
    """Return the write with which an instance starts another one."""
    waits = entry or call(id)
    bound = Parent(key=parent, inbox_type=waits.event_type or "")
    child = new(id, **{"parent": bound, "created_at": at(2), **fields})
    return StartChild(instance=parent, token=token, entry=waits, new=child, flow=flow)


@dataclass(frozen=True, slots=True)
class World:
    """A store in which workflow `orders` and one node exist."""

    store: Store
    node: int

    async def do(self, write: Write) -> Outcome:
        """Apply one write alone."""
        (outcome,) = await self.store.apply([write])
        return outcome

    async def verdicts(self, *writes: Write) -> list[Verdict]:
        """Apply one group and return the verdicts."""
        return [outcome.verdict for outcome in await self.store.apply(writes)]

    async def register(self, workflow: str, digest: str = "d1", when: datetime | None = None) -> Outcome:
        """Register a version; its id is made of the other two."""
        version = Version(id=f"{workflow}-{digest}", workflow=workflow, class_name="Orders", digest=digest, created_at=when or at(0))
        return await self.do(RegisterWorkflow(version=version, script_name="shop"))

    async def create(self, id: str = "one", **fields: Any) -> int:
        """Create an unclaimed instance and return its key."""
        return _key(await self.do(CreateInstance(new=new(id, **fields))))

    async def born(self, id: str = "one", **fields: Any) -> int:
        """Create an instance that this node has claimed with token 1; return its key."""
        return _key(await self.do(CreateInstance(new=new(id, **fields), node=self.node)))

    async def parked(self, until: datetime | None, id: str = "one", entries: Sequence[Entry] = ()) -> int:
        """Create an instance that waits, unclaimed, and return its key."""
        key = await self.born(id)
        await self.do(park(key, until, entries=tuple(entries)))
        return key

    async def ended(self, id: str = "one", **fields: Any) -> int:
        """Create an instance that is final and return its key."""
        key = await self.born(id)
        await self.do(finish(key, **fields))
        return key

    async def snapshot(self, key: int) -> Snapshot:
        """Load an instance that must exist."""
        snapshot = await self.store.load(key)
        assert snapshot is not None
        return snapshot

    async def head(self, key: int) -> Instance:
        """Load the head of an instance that must exist."""
        return (await self.snapshot(key)).instance

    async def ids(self, **query: Any) -> list[str]:
        """List instances and return their ids in order."""
        return [instance.id for instance in (await self.store.find(InstanceQuery(**query))).items]

    async def everything(self) -> list[Snapshot]:
        """Return all that the store knows of instances, by key."""
        page = await self.store.find(InstanceQuery(ascending=True, limit=1000))
        return [await self.snapshot(instance.key) for instance in page.items]


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Store]:
    """Open the embedded store in that file for a while."""
    store = store_for(f"sqlite:///{path}")
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def world_in(path: Path) -> AsyncIterator[World]:
    """Open the embedded store in that file, with workflow `orders` and a node."""
    async with opened(path) as store:
        world = World(store, await store.renew(None, LEASE, at(0)))
        await world.register("orders")
        yield world


def _key(outcome: Outcome) -> int:
    assert outcome.verdict is Verdict.APPLIED, outcome
    assert outcome.instance is not None
    return outcome.instance
