"""Conformance: what is signalled, and when."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

import pytest

from hub.core.ports import Store
from hub.core.writes import CreateInstance, DeleteInstance, DeleteWorkflow, Restart, RestartPoint, Verb, Verdict, Write
from hub.store import store_for
from tests.store.given import World, at, fail, finish, new, park, send, settle, steer

DUE = 0


def unseen(signals: AsyncIterator[int]) -> set[int]:
    """Take what can be taken without waiting."""
    seen: set[int] = set()
    while True:
        step = signals.__anext__()
        try:
            step.send(None)  # type: ignore[attr-defined]  # runs until it would wait
        except StopIteration as taken:
            seen.add(taken.value)
        else:
            step.close()  # type: ignore[attr-defined]
            return seen


async def test_verbs_events_restart_and_delete_signal_their_instance(world: World) -> None:
    signals = world.store.signals()
    key = await world.born()
    for write in (send(key), steer(key, Verb.PAUSE), steer(key, Verb.RESUME), DeleteInstance(instance=key)):
        await world.do(write)
        assert unseen(signals) == {key}, write


async def test_a_restarted_instance_is_signalled_and_due(world: World) -> None:
    key = await world.born()
    signals = world.store.signals()

    await world.do(Restart(instance=key, at=at(5)))

    assert unseen(signals) == {key, DUE}


async def test_deleting_a_workflow_signals_its_instances(world: World) -> None:
    keys = {await world.born("a"), await world.ended("b")}
    signals = world.store.signals()

    await world.do(DeleteWorkflow(name="orders"))

    assert unseen(signals) == keys


async def test_an_unclaimed_new_instance_signals_that_something_may_be_due(world: World) -> None:
    signals = world.store.signals()

    await world.create()

    assert unseen(signals) == {DUE}


async def test_what_an_execution_writes_of_itself_is_not_signalled(world: World) -> None:
    signals = world.store.signals()
    key = await world.born()

    await world.verdicts(fail(key), settle(key), park(key, at(60)))
    (claimed,) = await world.store.claim(world.node, 1, at(60))
    await world.verdicts(finish(key, token=claimed.instance.token))

    assert unseen(signals) == set()


async def test_an_event_for_a_waiting_instance_makes_it_due(world: World) -> None:
    key = await world.parked(None)
    signals = world.store.signals()

    await world.do(send(key))

    assert unseen(signals) == {key, DUE}


async def test_a_resumed_instance_is_due(world: World) -> None:
    key = await world.parked(at(60))
    await world.do(steer(key, Verb.PAUSE))
    signals = world.store.signals()

    await world.do(steer(key, Verb.RESUME, at(9)))

    assert unseen(signals) == {key, DUE}


async def test_a_park_that_found_a_newer_event_signals_that_it_is_due(world: World) -> None:
    key = await world.born()
    await world.do(send(key))
    signals = world.store.signals()

    await world.do(park(key, at(60), seen=0))

    assert unseen(signals) == {DUE}


@pytest.mark.parametrize("verdict", [Verdict.CONFLICT, Verdict.MISSING, Verdict.POISON])
async def test_a_write_that_changed_nothing_signals_nothing(world: World, verdict: Verdict) -> None:
    key = await world.ended()
    writes: list[Write] = {
        Verdict.CONFLICT: [send(key), steer(key, Verb.TERMINATE), CreateInstance(new=new("one"))],
        Verdict.MISSING: [Restart(instance=key, at=at(9), origin=RestartPoint(name="x")), DeleteInstance(instance=99)],
        Verdict.POISON: [CreateInstance(new=new(""))],
    }[verdict]  # type: ignore[assignment]  # mypy joins lists of different writes to lists of objects
    signals = world.store.signals()

    assert set(await world.verdicts(*writes)) == {verdict}

    assert unseen(signals) == set()


async def test_a_poison_write_takes_no_signal_from_the_others(world: World) -> None:
    key = await world.born()
    signals = world.store.signals()

    assert await world.verdicts(CreateInstance(new=new("")), send(key)) == [Verdict.POISON, Verdict.APPLIED]

    assert unseen(signals) == {key}


async def test_the_signal_is_there_before_the_verb_is_answered(world: World) -> None:
    key = await world.born()
    signals = world.store.signals()
    order: list[str] = []

    async def listen() -> None:
        assert await anext(signals) == key
        order.append("told")

    async def terminate() -> None:
        await world.do(steer(key, Verb.TERMINATE))
        order.append("answered")

    listener = asyncio.ensure_future(listen())
    await asyncio.sleep(0)  # it listens
    await asyncio.gather(listener, terminate())

    assert order == ["told", "answered"]


async def test_the_signal_comes_even_when_the_caller_is_gone(world: World) -> None:
    key = await world.born()
    signals = world.store.signals()
    caller = asyncio.ensure_future(world.store.apply([send(key)]))
    await asyncio.sleep(0)  # the group is handed in
    caller.cancel()

    assert await anext(signals) == key


async def test_many_signals_of_one_instance_are_one(world: World) -> None:
    keys = [await world.born(id) for id in ("a", "b")]
    signals = world.store.signals()

    for key in keys * 5:
        await world.do(send(key))

    assert [await anext(signals), await anext(signals)] == keys
    assert unseen(signals) == set()


async def test_every_subscriber_gets_every_signal(world: World) -> None:
    key = await world.born()
    first, second = world.store.signals(), world.store.signals()

    await world.do(send(key))

    assert unseen(first) == unseen(second) == {key}


async def test_a_dropped_subscriber_is_forgotten(world: World) -> None:
    key = await world.born()
    signals = world.store.signals()
    dropped = weakref.ref(signals)

    del signals
    gc.collect()
    await world.do(send(key))

    assert dropped() is None


async def test_signals_end_when_the_store_closes(url: str) -> None:
    store: Store = store_for(url)
    await store.open()
    signals = store.signals()

    async def listen() -> list[int]:
        return [key async for key in signals]

    listener = asyncio.ensure_future(listen())
    await asyncio.sleep(0)  # it listens
    await store.close()

    assert await listener == []
