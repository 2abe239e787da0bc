"""Conformance: forgetting what ended long ago."""

from __future__ import annotations

import asyncio

from hub.core.model import Status
from hub.core.writes import CreateInstance, DeleteInstance, Restart, Verb, Verdict
from tests.store.given import World, at, entry, fail, finish, new, send, settle, steer


async def test_prune_forgets_final_instances_that_ended_before(world: World) -> None:
    await world.ended("complete", at=at(10))
    await world.ended("errored", at=at(11), status=Status.ERRORED)
    await world.do(steer(await world.create("terminated"), Verb.TERMINATE, at(12)))
    await world.ended("too young", at=at(20))
    await world.parked(None, "waiting")
    await world.create("queued")

    assert await world.store.prune(at(20), 10) == 3

    assert await world.ids() == ["queued", "waiting", "too young"]
    assert await world.store.prune(at(20), 10) == 0


async def test_prune_forgets_no_more_than_asked_and_the_oldest_first(world: World) -> None:
    for number in range(3):
        await world.ended(f"i{number}")

    assert await world.store.prune(at(20), 2) == 2

    assert await world.ids() == ["i2"]


async def test_a_restarted_instance_is_not_old(world: World) -> None:
    await world.do(Restart(instance=await world.ended(), at=at(15)))

    assert await world.store.prune(at(20), 10) == 0

    assert await world.ids() == ["one"]


async def test_an_instance_that_is_restarted_while_others_are_pruned_is_kept_or_gone_as_a_whole(world: World) -> None:
    for round_ in range(20):
        key = await world.ended(f"i{round_}")

        pruned, verdicts = await asyncio.gather(world.store.prune(at(20), 10), world.verdicts(Restart(instance=key, at=at(30))))

        assert (pruned, verdicts) in [(0, [Verdict.APPLIED]), (1, [Verdict.MISSING])]
        assert (await world.store.load(key) is None) == (pruned == 1)


async def test_a_pruned_instance_leaves_nothing_and_its_id_is_free(world: World) -> None:
    key = await world.born("one", trigger="hook", dedupe_key="d-1")
    await world.verdicts(fail(key), settle(key, entry("b", ordinal=2)), send(key), finish(key))

    await world.store.prune(at(20), 10)

    assert await world.store.load(key) is None
    assert await world.verdicts(CreateInstance(new=new("one", trigger="hook", dedupe_key="d-1"))) == [Verdict.APPLIED]
    assert (await world.snapshot(key + 1)).entries == ()


async def test_a_delivery_without_instance_is_pruned_by_its_age(world: World) -> None:
    key = await world.create("one", trigger="hook", dedupe_key="d-1", created_at=at(10))
    await world.do(DeleteInstance(instance=key))
    again = CreateInstance(new=new("two", trigger="hook", dedupe_key="d-1"))

    assert await world.store.prune(at(10), 10) == 0
    assert await world.verdicts(again) == [Verdict.DUPLICATE]

    assert await world.store.prune(at(11), 10) == 0
    assert await world.verdicts(again) == [Verdict.APPLIED]


async def test_a_delivery_with_a_living_instance_is_kept_however_old(world: World) -> None:
    await world.create("one", trigger="hook", dedupe_key="d-1")

    await world.store.prune(at(10_000), 10)

    assert await world.verdicts(CreateInstance(new=new("two", trigger="hook", dedupe_key="d-1"))) == [Verdict.DUPLICATE]
