"""Conformance: leases, claims, take-over, due times."""

from __future__ import annotations

from datetime import timedelta

from hub.core.lifecycle import TERMINATED
from hub.core.model import InboxQuery, State, Status, Wish
from hub.core.writes import Begin, CreateInstance, RollBack, Verb, Verdict
from tests.store.given import ERROR, LEASE, World, at, entry, fail, new, park, send, settle, steer, waiting


async def second_node(world: World, when: float = 0) -> int:
    return await world.store.renew(None, LEASE, at(when))


async def claimed_ids(world: World, node: int, when: float, limit: int = 9) -> list[str]:
    return [snapshot.instance.id for snapshot in await world.store.claim(node, limit, at(when))]


async def test_a_claim_sets_node_and_token_and_takes_the_instance_from_the_others(world: World) -> None:
    key = await world.create()
    other = await second_node(world)

    (snapshot,) = await world.store.claim(world.node, 9, at(1))

    head = snapshot.instance
    assert (head.key, head.node, head.token, head.wake_at, head.status) == (key, world.node, 1, None, Status.QUEUED)
    assert head == await world.head(key)
    assert await claimed_ids(world, other, 1) == []
    assert await world.verdicts(settle(key, token=1)) == [Verdict.APPLIED]


async def test_an_instance_that_has_run_before_is_running_when_claimed(world: World) -> None:
    await world.parked(at(4))

    (snapshot,) = await world.store.claim(world.node, 9, at(4))

    assert (snapshot.instance.status, snapshot.instance.token, snapshot.instance.recoveries) == (Status.RUNNING, 2, 0)


async def test_claims_take_the_most_urgent_first_and_no_more_than_asked(world: World) -> None:
    for id, due in (("c", 3), ("a", 1), ("d", 4), ("b", 1)):
        await world.create(id, start_at=at(due))

    assert await claimed_ids(world, world.node, 10, limit=0) == []
    assert await claimed_ids(world, world.node, 10, limit=3) == ["a", "b", "c"]
    assert await claimed_ids(world, world.node, 10, limit=3) == ["d"]


async def test_a_negative_limit_claims_nothing(world: World) -> None:
    await world.create()

    assert await claimed_ids(world, world.node, 10, limit=-1) == []


async def test_claimed_instances_come_with_all_that_a_replay_needs(world: World) -> None:
    keys = [await world.born(id) for id in ("a", "b")]
    for key in keys:
        await world.verdicts(
            fail(key, 1, name=f"step of {key}"),
            settle(key, entry("x", ordinal=2)),
            send(key, payload=b"1"),
            send(key),
            settle(key, consumes=2),
        )
        await world.do(park(key, at(4), seen=2, entries=(waiting(until=at(4), ordinal=3),)))

    claimed = await world.store.claim(world.node, 9, at(4))

    assert claimed == [await world.snapshot(key) for key in keys]
    assert [[event.payload for event in snapshot.inbox] for snapshot in claimed] == [[b"1"], [b"1"]]
    assert all(len(snapshot.entries) == 4 and len(snapshot.attempts) == 1 for snapshot in claimed)


async def test_instances_of_a_node_whose_lease_has_ended_are_taken_over(world: World) -> None:
    key = await world.born()
    await world.do(Begin(instance=key, token=1, at=at(1)))
    other = await second_node(world, 5)

    assert await claimed_ids(world, other, 9.9) == []
    (snapshot,) = await world.store.claim(other, 9, at(10))

    head = snapshot.instance
    assert (head.node, head.token, head.status, head.recoveries) == (other, 2, Status.RUNNING, 1)
    assert await world.verdicts(settle(key, token=1), settle(key, token=2)) == [Verdict.FENCED, Verdict.APPLIED]


async def test_a_renewed_lease_keeps_its_instances(world: World) -> None:
    await world.born()
    other = await second_node(world, 5)

    assert await world.store.renew(world.node, LEASE, at(9)) == world.node

    assert await claimed_ids(world, other, 18) == []
    assert await claimed_ids(world, other, 19) == ["one"]


async def test_a_node_does_not_take_over_from_itself(world: World) -> None:
    await world.born()

    assert await claimed_ids(world, world.node, 3600) == []


async def test_a_lease_that_is_given_back_has_ended_at_once(world: World) -> None:
    await world.born()
    other = await second_node(world, 5)

    await world.store.renew(world.node, timedelta(0), at(5))

    assert await claimed_ids(world, other, 0) == ["one"]  # even for a clock that is behind


async def test_a_forgotten_node_gets_a_new_number(world: World) -> None:
    number = await world.store.renew(world.node + 40, LEASE, at(0))

    assert number not in (world.node, world.node + 40)
    assert await world.store.renew(number, LEASE, at(0)) == number


async def test_orphans_come_before_due_instances_and_share_the_limit(world: World) -> None:
    for id in ("orphan-1", "orphan-2"):
        await world.born(id)
    await world.create("due")
    other = await second_node(world, 5)

    assert await claimed_ids(world, other, 10, limit=1) == ["orphan-1"]
    assert await claimed_ids(world, other, 10, limit=2) == ["orphan-2", "due"]


async def test_an_orphan_that_was_to_pause_is_paused_instead_of_claimed(world: World) -> None:
    key = await world.born()
    await world.do(steer(key, Verb.PAUSE))
    other = await second_node(world, 5)

    assert await claimed_ids(world, other, 12) == []

    head = await world.head(key)
    assert (head.status, head.paused_at, head.node, head.wish) == (Status.PAUSED, at(12), None, Wish.NONE)
    assert (head.wake_at, head.recoveries) == (None, 1)
    assert await world.verdicts(settle(key, token=1)) == [Verdict.FENCED]
    assert (await world.do(steer(key, Verb.RESUME, at(13)))).status is Status.QUEUED


async def test_an_orphan_that_was_to_roll_back_is_claimed_rolling_back(world: World) -> None:
    key = await world.born()
    await world.verdicts(Begin(instance=key, token=1, at=at(1)), steer(key, Verb.TERMINATE, rollback=True))
    assert (await world.head(key)).wish is Wish.ROLL_BACK
    other = await second_node(world, 5)

    (snapshot,) = await world.store.claim(other, 9, at(10))

    head = snapshot.instance
    assert (head.status, head.wish, head.ends_as, head.recoveries) == (Status.ROLLING_BACK, Wish.NONE, Status.TERMINATED, 1)
    assert (head.error, head.token, head.node) == (TERMINATED, 2, other)
    assert head == await world.head(key)


async def test_an_instance_that_rolls_back_is_still_rolling_back_when_claimed(world: World) -> None:
    key = await world.born()
    await world.do(RollBack(instance=key, token=1, at=at(2), error=ERROR))
    await world.do(park(key, at(4), status=Status.ROLLING_BACK))

    (snapshot,) = await world.store.claim(world.node, 9, at(4))

    head = snapshot.instance
    assert (head.status, head.ends_as, head.error) == (Status.ROLLING_BACK, Status.ERRORED, ERROR)


async def test_final_and_paused_instances_are_never_claimed(world: World) -> None:
    await world.ended("ended")
    await world.parked(at(1), "paused")
    paused = await world.parked(at(1), "paused too")
    other = await second_node(world, 5)
    await world.do(steer(paused, Verb.PAUSE))

    assert await claimed_ids(world, other, 3600) == ["paused"]


async def test_next_due_is_the_earliest_of_the_unclaimed(world: World) -> None:
    assert await world.store.next_due(at(0)) is None
    await world.born("claimed")
    await world.ended("ended")
    await world.parked(None, "no time")
    assert await world.store.next_due(at(0)) is None

    await world.parked(at(60), "later")
    await world.parked(at(50), "sooner")

    assert await world.store.next_due(at(0)) == at(50)
    assert await world.store.next_due(at(55)) == at(55)
    await world.store.claim(world.node, 1, at(55))
    assert await world.store.next_due(at(0)) == at(60)


async def test_an_event_consumed_before_a_crash_stays_consumed_after_it(world: World) -> None:
    key = await world.born()
    await world.verdicts(send(key, payload=b"1"), send(key, payload=b"2"), settle(key, entry(state=State.DONE), consumes=1))
    other = await second_node(world, 5)

    (snapshot,) = await world.store.claim(other, 1, at(10))

    assert [event.payload for event in snapshot.inbox] == [b"2"]
    assert [event.payload for event in (await world.store.find(InboxQuery(instance=key))).items] == [b"2"]


async def test_many_claims_in_a_row_hand_out_each_instance_once(world: World) -> None:
    await world.store.apply([CreateInstance(new=new(f"i{n:03}")) for n in range(100)])
    other = await second_node(world)

    handed = [id for _ in range(10) for node in (world.node, other) for id in await claimed_ids(world, node, 1, limit=7)]

    assert sorted(handed) == [f"i{n:03}" for n in range(100)]
