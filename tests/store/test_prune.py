"""Conformance: forgetting what was kept long enough."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from hub.core.model import Retention, Status
from hub.core.retention import DELIVERY_KEPT
from hub.core.writes import CreateInstance, DeleteInstance, Restart, RollBack, Verb, Verdict
from tests.store.given import ERROR, World, at, entry, fail, finish, new, send, settle, steer

KEPT = Retention(success=timedelta(seconds=10), error=timedelta(seconds=20))
SOON = Retention(success=timedelta(microseconds=1), error=timedelta(microseconds=1))


async def kept(world: World, id: str = "one", **fields: object) -> int:
    """Create an instance that is to be forgotten some time after its end, and return its key."""
    return await world.born(id, retention=KEPT, **fields)


@pytest.mark.parametrize(
    ("status", "seconds"), [(Status.COMPLETE, 10), (Status.ERRORED, 20), (Status.TERMINATED, 20)], ids=["complete", "errored", "terminated"]
)
async def test_an_instance_is_forgotten_when_its_retention_has_ended_and_not_earlier(world: World, status: Status, seconds: int) -> None:
    key = await kept(world)
    await world.do(finish(key, status=status, at=at(100)))

    assert await world.store.prune(at(100 + seconds - 0.000_001), 10) == 0
    assert await world.ids() == ["one"]

    assert await world.store.prune(at(100 + seconds), 10) == 1
    assert await world.ids() == []
    assert await world.store.prune(at(1000), 10) == 0


@pytest.mark.parametrize("claimed", [True, False])
async def test_a_terminated_instance_is_kept_as_long_as_an_errored_one(world: World, claimed: bool) -> None:
    key = await (kept(world) if claimed else world.create("one", retention=KEPT))
    await world.do(steer(key, Verb.TERMINATE, at(100)))

    assert await world.store.prune(at(119), 10) == 0
    assert await world.store.prune(at(120), 10) == 1


async def test_an_instance_without_retention_is_kept_for_ever(world: World) -> None:
    await world.ended("complete")
    await world.ended("errored", status=Status.ERRORED)
    key = await world.born("half", retention=Retention(success=timedelta(seconds=1)))
    await world.do(finish(key, status=Status.ERRORED))

    assert await world.store.prune(at(10**9), 10) == 0

    assert await world.ids() == ["half", "errored", "complete"]


async def test_what_has_not_ended_is_never_pruned(world: World) -> None:
    await world.create("queued", retention=SOON)
    await kept(world, "claimed")
    rolling = await kept(world, "rolling back")
    await world.do(RollBack(instance=rolling, token=1, at=at(2), error=ERROR))

    assert await world.store.prune(at(10**6), 10) == 0


async def test_prune_forgets_no_more_than_asked_and_what_expired_first(world: World) -> None:
    for id, end in (("b", 50), ("a", 40), ("c", 60)):
        await world.do(finish(await kept(world, id), at=at(end)))

    assert await world.store.prune(at(1000), 0) == 0
    assert await world.store.prune(at(1000), -1) == 0
    assert await world.store.prune(at(1000), 2) == 2

    assert await world.ids() == ["c"]


async def test_a_restarted_instance_is_kept_until_it_has_ended_again(world: World) -> None:
    key = await kept(world)
    await world.verdicts(finish(key), Restart(instance=key, at=at(15)))

    assert await world.store.prune(at(1000), 10) == 0

    (again,) = await world.store.claim(world.node, 1, at(1000))
    await world.do(finish(key, token=again.instance.token, at=at(1000)))
    assert await world.store.prune(at(1009), 10) == 0
    assert await world.store.prune(at(1010), 10) == 1


async def test_an_instance_that_is_restarted_while_others_are_pruned_is_kept_or_gone_as_a_whole(world: World) -> None:
    for round_ in range(20):
        key = await kept(world, f"i{round_}")
        await world.do(finish(key))

        pruned, verdicts = await asyncio.gather(world.store.prune(at(20), 10), world.verdicts(Restart(instance=key, at=at(30))))

        assert (pruned, verdicts) in [(0, [Verdict.APPLIED]), (1, [Verdict.MISSING])]
        assert (await world.store.load(key) is None) == (pruned == 1)


async def test_a_pruned_instance_leaves_nothing_and_its_id_is_free(world: World) -> None:
    key = await kept(world)
    await world.verdicts(fail(key), settle(key, entry("b", ordinal=2)), send(key), finish(key))

    await world.store.prune(at(1000), 10)

    assert await world.store.load(key) is None
    assert await world.verdicts(CreateInstance(new=new("one"))) == [Verdict.APPLIED]
    assert (await world.snapshot(key + 1)).entries == ()


# ---- deliveries


@pytest.mark.parametrize("gone", ["deleted", "pruned"])
async def test_an_event_whose_instance_is_gone_is_recognised_as_long_as_sources_repeat(world: World, gone: str) -> None:
    key = await world.born("one", retention=SOON, trigger="hook", dedupe_key="d-1", created_at=at(10))
    await world.do(DeleteInstance(instance=key) if gone == "deleted" else finish(key))
    again = CreateInstance(new=new("two", trigger="hook", dedupe_key="d-1"))

    await world.store.prune(at(10) + DELIVERY_KEPT, 10)
    assert await world.store.load(key) is None
    assert await world.verdicts(again) == [Verdict.DUPLICATE]

    await world.store.prune(at(10.000_001) + DELIVERY_KEPT, 10)
    assert await world.verdicts(again) == [Verdict.APPLIED]


async def test_a_delivery_with_a_living_instance_is_kept_however_old(world: World) -> None:
    await world.create("one", trigger="hook", dedupe_key="d-1")

    await world.store.prune(at(1) + 2 * DELIVERY_KEPT, 10)

    assert await world.verdicts(CreateInstance(new=new("two", trigger="hook", dedupe_key="d-1"))) == [Verdict.DUPLICATE]
