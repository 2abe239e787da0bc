"""What the tests of flow control give to a store: rules with short names, and a look at who executes, who is due and who waits."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from hub.core.flow import Batch, Concurrency, Debounce, DebounceMode, Flow, OnLimit, Overlap, Rate, Singleton
from hub.core.model import FINAL, Instance, InstanceQuery, Status
from hub.core.writes import CreateInstance, Outcome, Verdict
from tests.store.given import World, at, finish, new

KEY = 'workflow/orders\n"a"'


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def rate(limit: int = 1, period: float = 60, burst: int = 1, key: str = KEY) -> Rate:
    return Rate(key=key, limit=limit, period=seconds(period), burst=burst)


def batch(size: int = 3, wait: float = 10, size_bytes: int = 1000, key: str = KEY) -> Batch:
    return Batch(key=key, max_size=size, max_wait=seconds(wait), max_bytes=size_bytes)


def debounce(mode: str = "trailing", period: float = 5, longest: float = 12, key: str = KEY, **fields: Any) -> Debounce:
    return Debounce(key=key, period=seconds(period), max_delay=seconds(longest), mode=DebounceMode(mode), **fields)


def singleton(overlap: str, key: str = KEY) -> Singleton:
    return Singleton(key=key, overlap=Overlap(overlap))


def limit(number: int = 1, on_limit: str = "queue", key: str = KEY) -> Concurrency:
    return Concurrency(key=key, limit=number, on_limit=OnLimit(on_limit))


def flowing(id: str, flow: Flow, when: float = 0, *, node: int | None = None, **fields: Any) -> CreateInstance:
    """Return the write of an event at a second."""
    return CreateInstance(new=new(id, created_at=at(when), **fields), flow=flow, node=node)


async def emit(world: World, id: str, flow: Flow, when: float = 0, *, node: int | None = None, **fields: Any) -> Outcome:
    """Apply one event at a second."""
    return await world.do(flowing(id, flow, when, node=node, **fields))


async def created(world: World, id: str, flow: Flow, when: float = 0, *, node: int | None = None, **fields: Any) -> int:
    """Apply an event that must create an instance; return its key."""
    outcome = await emit(world, id, flow, when, node=node, **fields)
    assert outcome.verdict is Verdict.APPLIED, outcome
    assert outcome.instance is not None
    return outcome.instance


async def claimed(world: World, when: float, limit: int = 100) -> list[str]:
    """Claim what is due at a second and return the ids, in order."""
    return [snapshot.instance.id for snapshot in await world.store.claim(world.node, limit, at(when))]


async def end(world: World, key: int, when: float = 9) -> None:
    """Complete an instance that executes."""
    head = await world.head(key)
    assert (await world.do(finish(key, token=head.token, at=at(when)))).verdict is Verdict.APPLIED


async def all_live(world: World) -> list[Instance]:
    """Return the instances that have not ended, oldest first."""
    found: list[Instance] = []
    cursor: str | None = None
    while True:
        page = await world.store.find(InstanceQuery(ascending=True, limit=1000, cursor=cursor))
        found += [instance for instance in page.items if instance.status not in FINAL]
        cursor = page.cursor
        if cursor is None:
            return found


async def executing(world: World) -> list[str]:
    """Return the ids of the instances that a node holds, oldest first."""
    return [instance.id for instance in await all_live(world) if instance.node is not None]


async def standing(world: World) -> list[str]:
    """Return the ids of those that no time and no event wakes, oldest first: they wait at a gate."""
    idle = (Status.PAUSED, Status.WAITING)
    return [i.id for i in await all_live(world) if i.node is None and i.wake_at is None and i.status not in idle]


def ids(numbers: Iterable[int]) -> list[str]:
    """Return ids that sort like their numbers."""
    return [f"i{number:03}" for number in numbers]
