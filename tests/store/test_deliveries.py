"""Conformance: what was received and created no instance, what becomes of it, and the records of triggers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from hub.core.delivery import Delivery, DeliveryQuery, DeliveryStatus, TriggerQuery, TriggerRecord
from hub.core.errors import Rejected
from hub.core.writes import (
    NO_DELIVERY,
    REPLAYED,
    ChangeDelivery,
    CreateInstance,
    KeepDelivery,
    MoveCursor,
    Outcome,
    RegisterTrigger,
    SteerTrigger,
    Verdict,
)
from tests.store.given import World, at, new

KEPT = timedelta(days=30)
PROVENANCE = b'{"headers":{"x-github-event":"push"}}'


def delivery(id: str = "d-1", **fields: Any) -> Delivery:
    """Return a delivery of trigger `hook` that is held."""
    plain = {"trigger": "hook", "status": DeliveryStatus.HELD, "received_at": at(0), "code": "trigger.paused", "event": b'{"payload":1}'}
    return Delivery(**{"id": id, **plain, **fields})


def change(id: str = "d-1", status: DeliveryStatus = DeliveryStatus.REJECTED) -> ChangeDelivery:
    return ChangeDelivery(id=id, status=status, code="payload.schema", message="no amount", at=at(9))


def register(name: str = "hook", digest: str = "1", when: datetime | None = None, **fields: Any) -> RegisterTrigger:
    return RegisterTrigger(**{"name": name, "kind": "http", "workflow": "orders", "digest": digest, "at": when or at(0), **fields})


def release(id: str = "d-1", instance: str = "one", **fields: Any) -> CreateInstance:
    """Return the write that creates an instance from a stored delivery."""
    return CreateInstance(new=new(instance, **{"trigger": "hook", "created_at": at(7), **fields}), replays=id)


async def keep(world: World, *deliveries: Delivery) -> list[Outcome]:
    return await world.store.apply([KeepDelivery(delivery=each) for each in deliveries])


async def stored(world: World, id: str = "d-1") -> Delivery:
    (found,) = (await world.store.find(DeliveryQuery(id=id, heads=False))).items
    return found


async def record(world: World, name: str = "hook") -> TriggerRecord:
    (found,) = (await world.store.find(TriggerQuery(name=name))).items
    return found


async def listed(world: World, **query: Any) -> list[str]:
    return [each.id for each in (await world.store.find(DeliveryQuery(**query))).items]


# ---- keeping


async def test_a_stored_delivery_comes_back_as_it_was(world: World) -> None:
    full = delivery(
        status=DeliveryStatus.SKIPPED,
        message="one is running ✗",
        key="2026-01-01T00:00:00+00:00",
        occurred_at=at(-5),
        workflow="orders",
        instance_id="one",
        changed_at=at(1),
    )

    assert await keep(world, full, delivery("d-2")) == [
        Outcome(verdict=Verdict.APPLIED, id="d-1"),
        Outcome(verdict=Verdict.APPLIED, id="d-2"),
    ]

    assert await stored(world, "d-1") == full
    assert await stored(world, "d-2") == delivery("d-2")


async def test_a_list_leaves_the_event_out_unless_it_is_asked_for(world: World) -> None:
    await keep(world, delivery())

    assert [each.event for each in (await world.store.find(DeliveryQuery())).items] == [b"null"]
    assert (await stored(world)).event == b'{"payload":1}'


async def test_the_same_key_is_stored_once_for_each_status(world: World) -> None:
    await keep(world, delivery("d-1", key="k"))

    again, other_status, other_trigger = await keep(
        world,
        delivery("d-2", key="k"),
        delivery("d-3", key="k", status=DeliveryStatus.REJECTED),
        delivery("d-4", key="k", trigger="other"),
    )

    assert again == Outcome(verdict=Verdict.DUPLICATE, id="d-1")
    assert (other_status.verdict, other_trigger.verdict) == (Verdict.APPLIED, Verdict.APPLIED)
    assert await listed(world, ascending=True) == ["d-1", "d-3", "d-4"]


async def test_without_a_key_only_the_same_id_is_the_same(world: World) -> None:
    first, second, again = await keep(world, delivery("d-1"), delivery("d-2"), delivery("d-1"))

    assert (first.verdict, second.verdict) == (Verdict.APPLIED, Verdict.APPLIED)
    assert again == Outcome(verdict=Verdict.DUPLICATE, id="d-1")


async def test_a_key_that_was_released_can_be_held_again(world: World) -> None:
    await keep(world, delivery("d-1", key="k"))
    await world.do(release("d-1", dedupe_key="k"))

    (again,) = await keep(world, delivery("d-2", key="k"))

    assert again == Outcome(verdict=Verdict.APPLIED, id="d-2")


async def test_no_more_are_stored_than_a_trigger_may_hold_until_one_was_released(world: World) -> None:
    def held(id: str, **fields: Any) -> KeepDelivery:
        return KeepDelivery(delivery=delivery(id, **fields), most=2)

    outcomes = await world.store.apply([held("d-1", key="a"), held("d-2"), held("d-3"), held("d-4", key="a"), held("d-5", trigger="other")])
    await world.do(release("d-1"))
    freed, full = await world.store.apply([held("d-6"), held("d-7")])

    assert [outcome.verdict for outcome in outcomes] == [
        Verdict.APPLIED, Verdict.APPLIED, Verdict.FULL, Verdict.DUPLICATE, Verdict.APPLIED,
    ]  # fmt: skip
    assert (freed.verdict, full.verdict) == (Verdict.APPLIED, Verdict.FULL)
    assert await listed(world, trigger="hook", ascending=True) == ["d-1", "d-2", "d-6"]


# ---- changing and replaying


async def test_a_changed_delivery_says_why_and_when(world: World) -> None:
    await keep(world, delivery())

    assert await world.do(change()) == Outcome(verdict=Verdict.APPLIED, id="d-1")

    changed = await stored(world)
    assert (changed.status, changed.code, changed.message, changed.changed_at) == (
        DeliveryStatus.REJECTED,
        "payload.schema",
        "no amount",
        at(9),
    )
    assert changed.event == b'{"payload":1}'


async def test_what_is_not_there_cannot_be_changed(world: World) -> None:
    assert (await world.do(change("d-9"))).verdict is Verdict.MISSING


@pytest.mark.parametrize("status", [DeliveryStatus.HELD, DeliveryStatus.REJECTED, DeliveryStatus.FILTERED])
async def test_an_instance_settles_the_delivery_that_it_was_created_from(world: World, status: DeliveryStatus) -> None:
    await keep(world, delivery(status=status))

    outcome = await world.do(release())

    assert outcome.verdict is Verdict.APPLIED
    settled = await stored(world)
    assert (settled.status, settled.instance_id, settled.workflow, settled.changed_at) == (DeliveryStatus.REPLAYED, "one", "orders", at(7))
    assert settled.code == "trigger.paused"  # why it had been stored at all


@pytest.mark.parametrize("together", [True, False], ids=["one group", "two groups"])
async def test_a_delivery_creates_one_instance_however_often_it_is_released(world: World, together: bool) -> None:
    await keep(world, delivery())
    writes = [release("d-1", "one"), release("d-1", "two")]

    first, second = await world.store.apply(writes) if together else [await world.do(write) for write in writes]

    assert first.verdict is Verdict.APPLIED
    assert second == Outcome(verdict=Verdict.CONFLICT, id="one", reason=REPLAYED)
    assert await world.ids() == ["one"]


async def test_a_delivery_that_is_gone_creates_nothing(world: World) -> None:
    assert await world.do(release("d-9")) == Outcome(verdict=Verdict.MISSING, reason=NO_DELIVERY)
    assert await world.ids() == []


async def test_a_delivery_whose_key_has_created_an_instance_meanwhile_is_settled_with_that_one(world: World) -> None:
    await world.create("first", trigger="hook", dedupe_key="k")
    await keep(world, delivery(key="k"))

    outcome = await world.do(release("d-1", "second", dedupe_key="k"))

    assert (outcome.verdict, outcome.id) == (Verdict.DUPLICATE, "first")
    settled = await stored(world)
    assert (settled.status, settled.instance_id) == (DeliveryStatus.REPLAYED, "first")


async def test_a_release_that_creates_nothing_leaves_its_delivery_as_it_is(world: World) -> None:
    await world.create("one")
    await keep(world, delivery())

    assert (await world.do(release("d-1", "one"))).verdict is Verdict.CONFLICT
    assert (await world.do(release("d-1", workflow="gone"))).verdict is Verdict.MISSING

    assert await stored(world) == delivery()


async def test_a_replayed_delivery_is_final(world: World) -> None:
    await keep(world, delivery())
    await world.do(release())

    assert (await world.do(change())).verdict is Verdict.CONFLICT
    assert (await stored(world)).status is DeliveryStatus.REPLAYED


async def test_a_delivery_is_kept_changed_and_replayed_in_one_group(world: World) -> None:
    verdicts = await world.verdicts(KeepDelivery(delivery=delivery()), change(), release(), change())

    assert verdicts == [Verdict.APPLIED, Verdict.APPLIED, Verdict.APPLIED, Verdict.CONFLICT]
    assert (await stored(world)).code == "payload.schema"


# ---- listing


async def test_deliveries_are_listed_by_all_conditions_in_the_order_of_their_arrival(world: World) -> None:
    rejected = DeliveryStatus.REJECTED
    await keep(
        world,
        delivery("d-3", received_at=at(30)),  # a node whose clock is ahead
        delivery("d-1", received_at=at(10), status=rejected),
        delivery("d-2", received_at=at(20), trigger="other"),
        delivery("d-4", received_at=at(40), status=rejected),
    )

    assert await listed(world) == ["d-4", "d-2", "d-1", "d-3"]
    assert await listed(world, ascending=True, trigger="hook") == ["d-3", "d-1", "d-4"]
    assert await listed(world, statuses=frozenset({rejected})) == ["d-4", "d-1"]
    assert await listed(world, statuses=frozenset({rejected, DeliveryStatus.HELD}), trigger="other") == ["d-2"]
    assert await listed(world, received_from=at(20), received_to=at(30)) == ["d-2", "d-3"]
    assert await listed(world, id="d-1") == ["d-1"]
    assert await listed(world, id="d-9") == []


@pytest.mark.parametrize("ascending", [True, False])
async def test_pages_follow_each_other_without_gap_or_repetition(world: World, ascending: bool) -> None:
    ids = [f"d-{n}" for n in range(7)]
    await keep(world, *(delivery(id) for id in ids))
    seen: list[str] = []
    cursor: str | None = None

    while True:
        page = await world.store.find(DeliveryQuery(limit=3, cursor=cursor, ascending=ascending, total=True))
        assert page.total == 7
        seen += [each.id for each in page.items]
        cursor = page.cursor
        if cursor is None:
            break

    assert seen == (ids if ascending else ids[::-1])


async def test_a_foreign_cursor_is_refused(world: World) -> None:
    with pytest.raises(Rejected, match="no cursor of this list"):
        await world.store.find(DeliveryQuery(cursor="∞"))


# ---- pruning


async def test_deliveries_are_forgotten_when_they_are_old_except_held_ones(world: World) -> None:
    await keep(world, delivery("held"), *(delivery(status.value, status=status) for status in DeliveryStatus if status.value != "held"))
    await keep(world, delivery("young", status=DeliveryStatus.DEAD, received_at=at(1)))

    assert await world.store.prune(at(0) + KEPT, 10, KEPT) == 0
    assert await world.store.prune(at(0.5) + KEPT, 10) == 0
    assert await world.store.prune(at(0.5) + KEPT, 4, KEPT) == 4
    assert await world.store.prune(at(0.5) + KEPT, 4, KEPT) == 2
    assert await world.store.prune(at(0.5) + KEPT, 4, KEPT) == 0

    assert await listed(world) == ["young", "held"]


# ---- provenance


async def test_an_instance_keeps_where_it_comes_from(world: World) -> None:
    with_it = await world.create("one", trigger="hook", provenance=PROVENANCE)
    without = await world.create("two")

    assert (await world.head(with_it)).provenance == PROVENANCE
    assert (await world.head(without)).provenance is None
    claimed = await world.store.claim(world.node, 10, at(1))
    assert [snapshot.instance.provenance for snapshot in claimed] == [PROVENANCE, None]


# ---- triggers


async def test_a_new_trigger_starts_from_now(world: World) -> None:
    assert await world.do(register(when=at(5))) == Outcome(verdict=Verdict.APPLIED)

    assert await record(world) == TriggerRecord(
        name="hook", kind="http", workflow="orders", created_at=at(5), modified_at=at(5), digest="1", cursor=at(5)
    )


async def test_registering_again_changes_only_what_is_new(world: World) -> None:
    await world.do(register())
    await world.do(MoveCursor(name="hook", expected=at(0), cursor=at(3), at=at(4)))
    before = await record(world)

    await world.do(register(when=at(10)))
    assert await record(world) == before

    await world.do(register(when=at(20), workflow=None))
    moved = await record(world)
    assert (moved.workflow, moved.cursor, moved.created_at, moved.modified_at) == (None, at(3), at(0), at(20))


async def test_a_trigger_with_other_settings_starts_from_now(world: World) -> None:
    await world.do(register())

    await world.do(register(digest="2", when=at(20)))

    changed = await record(world)
    assert (changed.digest, changed.cursor, changed.created_at) == ("2", at(20), at(0))


async def test_a_pause_outlives_a_registration_and_keeps_its_time(world: World) -> None:
    await world.do(register())
    await world.do(SteerTrigger(name="hook", paused=True, at=at(5), note="broken"))
    await world.verdicts(SteerTrigger(name="hook", paused=True, at=at(6), note="still"), register(digest="2", when=at(7)))

    paused = await record(world)

    assert (paused.paused_at, paused.note) == (at(5), "still")


async def test_a_resumed_trigger_starts_from_now(world: World) -> None:
    await world.do(register())
    await world.do(SteerTrigger(name="hook", paused=True, at=at(5)))

    assert await world.verdicts(SteerTrigger(name="hook", paused=False, at=at(8))) == [Verdict.APPLIED]

    resumed = await record(world)
    assert (resumed.paused_at, resumed.note, resumed.cursor) == (None, None, at(8))


async def test_resuming_what_is_not_paused_changes_nothing(world: World) -> None:
    await world.do(register())
    before = await record(world)

    assert await world.verdicts(SteerTrigger(name="hook", paused=False, at=at(8))) == [Verdict.APPLIED]

    assert await record(world) == before


@pytest.mark.parametrize("paused", [True, False])
async def test_a_trigger_that_does_not_exist_cannot_be_steered_or_moved(world: World, paused: bool) -> None:
    assert await world.verdicts(
        SteerTrigger(name="hook", paused=paused, at=at(5)), MoveCursor(name="hook", expected=None, cursor=at(1), at=at(1))
    ) == [Verdict.MISSING, Verdict.MISSING]


async def test_triggers_are_listed_by_name(world: World) -> None:
    await world.verdicts(register("b"), register("a"))

    assert [each.name for each in (await world.store.find(TriggerQuery())).items] == ["a", "b"]
    assert [each.name for each in (await world.store.find(TriggerQuery(limit=1))).items] == ["a"]
    assert (await world.store.find(TriggerQuery(name="c"))).items == ()


# ---- the cursor


async def test_only_the_first_of_two_nodes_moves_a_cursor(world: World) -> None:
    await world.do(register())
    move = MoveCursor(name="hook", expected=at(0), cursor=at(60), at=at(61))

    assert await world.verdicts(move, move) == [Verdict.APPLIED, Verdict.CONFLICT]
    assert (await record(world)).cursor == at(60)


def slot(id: str, cursor: float) -> CreateInstance:
    return CreateInstance(new=new(id, trigger="hook", dedupe_key=id), cursor=at(cursor))


async def test_the_cursor_moves_with_the_instance_also_when_that_is_a_duplicate(world: World) -> None:
    await world.do(register())

    assert await world.verdicts(slot("one", 60)) == [Verdict.APPLIED]
    assert (await record(world)).cursor == at(60)
    assert await world.verdicts(slot("two", 120), slot("three", 180)) == [Verdict.APPLIED, Verdict.APPLIED]
    assert (await record(world)).cursor == at(180)
    assert await world.verdicts(slot("one", 240)) == [Verdict.DUPLICATE]
    assert (await record(world)).cursor == at(240)


@pytest.mark.parametrize("together", [False, True], ids=["later", "in one group"])
async def test_a_slot_that_was_decided_on_becomes_no_instance_any_more(world: World, together: bool) -> None:
    """Another node has skipped it for an instance that has ended since."""
    await world.do(register())
    first, late = slot("one", 120), slot("late", 60)
    outcomes = await world.store.apply([first, late]) if together else [await world.do(first), await world.do(late)]

    assert [(outcome.verdict, outcome.id) for outcome in outcomes] == [(Verdict.APPLIED, "one"), (Verdict.DUPLICATE, None)]
    assert [outcome.verdict for outcome in await world.store.apply([slot("same", 120)])] == [Verdict.DUPLICATE]
    assert (await record(world)).cursor == at(120)


async def test_a_slot_of_which_another_node_has_made_an_instance_is_not_told_as_skipped(world: World) -> None:
    await world.do(register())
    await world.do(slot("one", 60))
    skipped = delivery(status=DeliveryStatus.SKIPPED, key="one")

    outcome = await world.do(KeepDelivery(delivery=skipped, cursor=at(60)))

    assert outcome == Outcome(verdict=Verdict.DUPLICATE)  # and names no row, for there is none
    assert await listed(world) == []


async def test_slots_of_which_another_node_has_told_some_are_not_told_again(world: World) -> None:
    """It looked a second earlier, when one slot less had passed."""
    await world.do(register())
    some, all, rest = (delivery(id, status=DeliveryStatus.MISSED, key=id) for id in ("some", "all", "rest"))

    outcomes = [
        await world.do(KeepDelivery(delivery=some, since=at(10), cursor=at(60))),
        await world.do(KeepDelivery(delivery=all, since=at(10), cursor=at(61))),
        await world.do(KeepDelivery(delivery=rest, since=at(61), cursor=at(61))),
    ]

    assert [(outcome.verdict, outcome.id) for outcome in outcomes] == [
        (Verdict.APPLIED, "some"),
        (Verdict.DUPLICATE, None),
        (Verdict.APPLIED, "rest"),
    ]
    assert await listed(world) == ["rest", "some"]
    assert (await record(world)).cursor == at(61)


async def test_the_cursor_stays_when_nothing_was_created(world: World) -> None:
    await world.do(register())
    await world.create("one")

    unknown = CreateInstance(new=new("two", trigger="hook", workflow="gone"), cursor=at(60))

    assert await world.verdicts(unknown) == [Verdict.MISSING]
    assert (await record(world)).cursor == at(0)


async def test_a_slot_whose_id_is_taken_has_its_instance(world: World) -> None:
    """Another schedule of the workflow has the same expression."""
    await world.do(register())
    key = await world.create("one")

    outcome = await world.do(slot("one", 60))

    assert (outcome.verdict, outcome.instance, outcome.id) == (Verdict.DUPLICATE, key, "one")
    assert (await record(world)).cursor == at(60)


@pytest.mark.parametrize("again", [False, True], ids=["first", "repeated"])
async def test_the_cursor_moves_with_a_stored_delivery(world: World, again: bool) -> None:
    await world.do(register())
    missed = delivery(status=DeliveryStatus.MISSED, key="slot")
    if again:
        await keep(world, missed)

    await world.do(KeepDelivery(delivery=missed, cursor=at(60)))
    await world.do(KeepDelivery(delivery=delivery("d-2", status=DeliveryStatus.MISSED, key="earlier"), cursor=at(30)))

    assert (await record(world)).cursor == at(60)
