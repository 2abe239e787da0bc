"""Conformance: a group is one transaction, and means what its writes mean one after the other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from hub.core.model import InstanceQuery, Kind, Retention, Rollback, State, Status, Version, WorkflowQuery
from hub.core.ports import Store
from hub.core.writes import (
    Begin,
    CreateInstance,
    DeleteInstance,
    DeleteWorkflow,
    RegisterWorkflow,
    Restart,
    RestartPoint,
    RollBack,
    StartWait,
    Steer,
    Verb,
    Verdict,
    Write,
)
from tests.store.given import (
    ERROR,
    LEASE,
    World,
    at,
    call,
    entry,
    fail,
    finish,
    new,
    opened,
    park,
    send,
    settle,
    start_child,
    steer,
    waiting,
)

# ---- order


async def test_an_empty_group_has_no_outcomes(world: World) -> None:
    assert await world.store.apply([]) == []


async def test_a_workflow_is_registered_used_and_deleted_in_one_group(world: World) -> None:
    parcels = Version(id="v", workflow="parcels", class_name="P", digest="d", created_at=at(0))
    create = CreateInstance(new=new("one", workflow="parcels"))
    register = RegisterWorkflow(version=parcels, script_name="shop")

    verdicts = await world.verdicts(create, register, create, DeleteWorkflow(name="parcels"), create)

    assert verdicts == [Verdict.MISSING, Verdict.APPLIED, Verdict.APPLIED, Verdict.APPLIED, Verdict.MISSING]
    assert await world.ids() == []
    assert [workflow.name for workflow in (await world.store.find(WorkflowQuery())).items] == ["orders"]


async def test_an_id_is_free_again_within_the_group_that_deletes_it(world: World) -> None:
    old = await world.create("one")

    outcomes = await world.store.apply(
        [CreateInstance(new=new("one")), DeleteInstance(instance=old), CreateInstance(new=new("one")), DeleteInstance(instance=old)]
    )

    assert [outcome.verdict for outcome in outcomes] == [Verdict.CONFLICT, Verdict.APPLIED, Verdict.APPLIED, Verdict.MISSING]
    assert [instance.key for instance in (await world.store.find(InstanceQuery())).items] == [outcomes[2].instance]


async def test_the_last_write_of_an_entry_counts(world: World) -> None:
    key = await world.born()

    await world.verdicts(fail(key, 1), fail(key, 2), settle(key, entry(attempt=3)))

    assert (await world.snapshot(key)).entries == (entry(attempt=3),)


async def test_outcomes_tell_the_state_after_each_write(world: World) -> None:
    key = await world.born()

    outcomes = await world.store.apply([send(key), steer(key, Verb.PAUSE), settle(key), park(key, None), steer(key, Verb.RESUME)])

    assert [(outcome.status, outcome.wish) for outcome in outcomes] == [
        (Status.QUEUED, "none"),
        (Status.WAITING_FOR_PAUSE, "pause"),
        (Status.WAITING_FOR_PAUSE, "pause"),
        (Status.PAUSED, "none"),
        (Status.QUEUED, "none"),
    ]


@pytest.mark.parametrize("count", [3, 4, 5, 21, 85, 341])  # databases take many rows at once, and the rest one by one
async def test_a_group_of_any_size_keeps_what_each_write_says(world: World, count: int) -> None:
    created = await world.store.apply([CreateInstance(new=new(f"i{n}", params=b"%d" % n), node=world.node) for n in range(count)])
    keys = [outcome.instance or 0 for outcome in created]
    ends: list[Write] = [finish(key, output=b"%d" % n) for n, key in enumerate(keys)]

    await world.store.apply([settle(key, entry(output=b'"step %d"' % n)) for n, key in enumerate(keys)])
    verdicts = await world.verdicts(*ends, settle(keys[-1], entry("late")))

    stored = [await world.snapshot(key) for key in keys]
    assert verdicts == [*[Verdict.APPLIED] * count, Verdict.FENCED]
    assert [one.instance.params for one in stored] == [one.instance.output for one in stored] == [b"%d" % n for n in range(count)]
    assert [one.entries for one in stored] == [(entry(output=b'"step %d"' % n),) for n in range(count)]


@pytest.fixture
async def twin(tmp_path: Path) -> AsyncIterator[Store]:
    """Open a second empty store, an embedded one: what a group means is the same in all."""
    async with opened(tmp_path / "twin.sqlite") as store:
        yield store


def any_write(dice: random.Random, node: int) -> Write:
    """Return some write on one of a few instances, with a token that may be stale."""
    key, token, second = dice.randint(1, 4), dice.randint(1, 2), dice.randint(0, 30)
    step = entry(dice.choice("abc"), ordinal=dice.randint(1, 5))
    rest = waiting(dice.choice("ab"), until=at(second + 9), ordinal=dice.randint(1, 5), kind=dice.choice([Kind.SLEEP, Kind.EVENT]))
    child = f"i{dice.randint(1, 4)}"
    waits = call(child, name=dice.choice("ab"), ordinal=dice.randint(1, 5))
    writes: list[Write] = [
        CreateInstance(
            new=new(
                f"i{dice.randint(1, 4)}",
                created_at=at(second),
                trigger="hook",
                dedupe_key=dice.choice([None, "d1", "d2"]),
                retention=Retention(success=timedelta(seconds=dice.randint(1, 9))),
            ),
            node=dice.choice([None, node]),
        ),
        start_child(key, child, token=token, entry=waits, created_at=at(second)),
        start_child(key, child, token=token, entry=waits, created_at=at(second)),
        settle(key, replace(waits, state=State.DONE), token=token, consumes=1),
        RollBack(instance=key, token=token, at=at(second), error=ERROR),
        Begin(instance=key, token=token, at=at(second), started=(step,)),
        settle(key, step, token=token, consumes=dice.choice([None, 1, 2])),
        fail(key, dice.randint(1, 2), name=dice.choice("abc"), token=token),
        StartWait(instance=key, token=token, entry=rest),
        park(key, dice.choice([None, at(second + 9)]), token=token, seen=dice.randint(0, 2), entries=(rest,), at=at(second)),
        finish(key, token=token, at=at(second), rollback=dice.choice([None, Rollback(complete=False, error=ERROR)])),
        send(key, when=at(second)),
        Steer(instance=key, verb=dice.choice(list(Verb)), at=at(second), rollback=dice.choice([True, False])),
        Restart(instance=key, at=at(second), origin=dice.choice([None, RestartPoint(name=dice.choice("abc"))])),
        DeleteInstance(instance=key),
    ]
    return dice.choice(writes)


@pytest.mark.parametrize("seed", range(25))
async def test_a_group_means_what_its_writes_mean_one_after_the_other(world: World, twin: Store, seed: int) -> None:
    other = World(twin, await twin.renew(None, LEASE, at(0)))
    await other.register("orders")
    dice = random.Random(seed)  # repeatable, not secret
    for round_ in range(8):
        writes = [any_write(dice, world.node) for _ in range(dice.randint(1, 40))]

        together = await world.store.apply(writes)
        alone = [await other.do(write) for write in writes]

        assert together == alone
        assert await world.everything() == await other.everything()
        assert await world.store.next_due(at(0)) == await twin.next_due(at(0))
        limit = dice.randint(0, 2) if round_ % 3 == 2 else 0
        assert await world.store.claim(world.node, limit, at(round_ * 5)) == await twin.claim(other.node, limit, at(round_ * 5))


# ---- poison


def poisons(key: int) -> dict[str, Write]:
    """Return writes that no database of this suite can keep, by what is wrong with them."""
    return {
        "text with half a surrogate pair": settle(key, entry("\ud83d")),
        "a number beyond 64 bits": settle(key, entry("big", count=2**63)),
        "an attempt that is refused after its entry was taken": replace(fail(key), attempt=replace(fail(key).attempt, number=2**63)),
        "an empty id": CreateInstance(new=new("")),
        "a time without zone": Steer(instance=key, verb=Verb.PAUSE, at=at(1).replace(tzinfo=None)),
        "no bytes": send(key, payload=object()),  # type: ignore[arg-type]
        "a child without an id": start_child(key, ""),
        "an id that is no new one": CreateInstance(new=new("taken", generated_id=True)),
    }


@pytest.mark.parametrize("name", list(poisons(1)))
async def test_a_poison_write_fails_alone(world: World, name: str) -> None:
    await world.create("taken")
    key = await world.born()
    poison = poisons(key)[name]

    outcomes = await world.store.apply([settle(key, entry("a")), poison, CreateInstance(new=new("two")), settle(key, entry("b"))])

    assert [outcome.verdict for outcome in outcomes] == [Verdict.APPLIED, Verdict.POISON, Verdict.APPLIED, Verdict.APPLIED]
    assert outcomes[1].reason
    assert outcomes[1].instance == getattr(poison, "instance", None)
    assert {kept.name for kept in (await world.snapshot(key)).entries} == {"a", "b"}
    assert await world.ids() == ["two", "one", "taken"]
    assert (await world.head(key)).status is Status.QUEUED


async def test_a_group_of_nothing_but_poison_changes_nothing(world: World) -> None:
    key = await world.born()
    before = await world.everything()

    outcomes = await world.store.apply([settle(key, entry("\ud83d")), CreateInstance(new=new(""))])

    assert [outcome.verdict for outcome in outcomes] == [Verdict.POISON] * 2
    assert await world.everything() == before
    assert await world.verdicts(settle(key)) == [Verdict.APPLIED]


async def test_what_depends_on_a_poison_write_is_decided_without_it(world: World) -> None:
    first, second = (CreateInstance(new=new(id, trigger="hook", dedupe_key="d-1")) for id in ("", "two"))

    assert await world.verdicts(first, second) == [Verdict.POISON, Verdict.APPLIED]


async def test_an_error_message_with_half_a_surrogate_pair_is_no_poison(world: World) -> None:
    key = await world.born()

    assert await world.verdicts(fail(key)) == [Verdict.APPLIED]

    assert (await world.snapshot(key)).attempts[0].error.message.endswith("\ud83d")


# ---- concurrency


async def test_groups_are_applied_in_the_order_of_their_calls(world: World) -> None:
    key = await world.born()

    groups = [asyncio.ensure_future(world.store.apply([settle(key, entry(f"s{n}", ordinal=n))])) for n in range(20)]
    last = asyncio.ensure_future(world.store.apply([finish(key), settle(key, entry("late"))]))

    assert [outcome.verdict for outcome in await last] == [Verdict.APPLIED, Verdict.FENCED]
    assert {group[0].verdict for group in await asyncio.gather(*groups)} == {Verdict.APPLIED}
    assert len((await world.snapshot(key)).entries) == 20


async def test_a_cancelled_caller_does_not_undo_its_group(world: World) -> None:
    key = await world.born()
    caller = asyncio.ensure_future(world.store.apply([settle(key)]))
    await asyncio.sleep(0)  # the group is handed in

    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller

    assert await world.verdicts(replace(settle(key), entry=entry("next", ordinal=2))) == [Verdict.APPLIED]
    assert [kept.name for kept in (await world.snapshot(key)).entries] == ["charge", "next"]


async def test_reads_see_what_was_answered_and_never_half_a_group(world: World) -> None:
    keys = [await world.born(f"i{n}") for n in range(2)]

    async def write() -> None:
        for answered in range(1, 41):
            await world.store.apply([send(key) for key in keys])
            assert (await world.head(keys[0])).inbox_seq == answered

    writer = asyncio.ensure_future(write())
    while not writer.done():
        numbers = {instance.inbox_seq for instance in (await world.store.find(InstanceQuery())).items}
        assert len(numbers) == 1
    await writer


async def test_a_large_group_is_one_group(world: World) -> None:
    outcomes = await world.store.apply([CreateInstance(new=new(f"i{n}", trigger="hook", dedupe_key=str(n))) for n in range(5000)])
    assert {outcome.verdict for outcome in outcomes} == {Verdict.APPLIED}

    keys = [outcome.instance for outcome in outcomes]
    assert keys == sorted(set(keys), key=lambda key: key or 0)
    assert (await world.store.counts()) == {Status.QUEUED: 5000}
    again = await world.store.apply([CreateInstance(new=new(f"x{n}", trigger="hook", dedupe_key=str(n))) for n in range(5000)])
    assert [(outcome.verdict, outcome.instance) for outcome in again] == [(Verdict.DUPLICATE, key) for key in keys]


async def test_a_group_may_change_many_instances(world: World) -> None:
    keys = [
        outcome.instance for outcome in await world.store.apply([CreateInstance(new=new(f"i{n}"), node=world.node) for n in range(300)])
    ]

    verdicts = await world.verdicts(*(settle(key or 0) for key in keys), *(finish(key or 0) for key in reversed(keys)))

    assert verdicts == [Verdict.APPLIED] * 600
    assert await world.store.counts() == {Status.COMPLETE: 300}
