"""Conformance: what stands between an instance and its execution: singleton, delay, deadline, throttle, limits, priority, cancel keys."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hub.core.errors import ErrorInfo
from hub.core.flow import Flow
from hub.core.model import Status
from hub.core.writes import (
    CancelInstances,
    CreateInstance,
    DeleteInstance,
    DeleteWorkflow,
    Outcome,
    Restart,
    Verb,
    Verdict,
    Write,
)
from tests.store.flowing import (
    batch,
    claimed,
    created,
    emit,
    end,
    executing,
    flowing,
    ids,
    limit,
    rate,
    seconds,
    singleton,
    standing,
)
from tests.store.given import LEASE, World, at, finish, new, park, send, start_child, steer
from tests.store.test_signals import unseen

# ---- singleton


async def test_skip_drops_what_comes_while_an_earlier_one_has_not_ended_wherever_that_is(world: World) -> None:
    flow = Flow(singleton=singleton("skip"))
    key = await created(world, "a", flow)
    for when, change in ((1, None), (2, "claim"), (3, "park"), (4, "pause")):
        if change == "claim":
            await claimed(world, 2)
        elif change == "park":
            await world.do(park(key, at(1000)))
        elif change == "pause":
            await world.do(steer(key, Verb.PAUSE, at(4)))
        outcome = await emit(world, "b", flow, when)
        assert (outcome.verdict, outcome.reason, outcome.instance, outcome.id) == (Verdict.SKIPPED, "singleton", key, "a")

    await world.do(steer(key, Verb.TERMINATE, at(5)))

    assert (await emit(world, "b", flow, 6)).verdict is Verdict.APPLIED


@pytest.mark.parametrize("how", ["finish", "terminate", "delete"])
async def test_queue_all_runs_one_after_the_other_however_each_ends(world: World, how: str) -> None:
    flow = Flow(singleton=singleton("queue_all"))
    keys = [await created(world, id, flow, n) for n, id in enumerate("abc")]
    order = []

    for n, key in enumerate(keys):
        order += await claimed(world, 10 + n)
        assert len(await executing(world)) == 1
        if how == "finish":
            await end(world, key, 10 + n)
        else:
            await world.do(steer(key, Verb.TERMINATE, at(10 + n)) if how == "terminate" else DeleteInstance(instance=key))

    assert order == ["a", "b", "c"]


async def test_one_that_waits_for_its_turn_is_not_due_and_does_not_move_the_next_due_time(world: World) -> None:
    flow = Flow(singleton=singleton("queue_all"))
    first = await created(world, "a", flow, node=world.node)
    outcome = await emit(world, "b", flow, 1, node=world.node)

    assert outcome.waits
    assert await world.store.next_due(at(2)) is None
    await end(world, first, 3)
    assert await world.store.next_due(at(3)) == at(3)


async def test_queue_one_lets_one_wait_and_skips_the_others(world: World) -> None:
    flow = Flow(singleton=singleton("queue_one"))
    outcomes = await world.store.apply([flowing(id, flow) for id in "abc"])

    assert [outcome.verdict for outcome in outcomes] == [Verdict.APPLIED, Verdict.APPLIED, Verdict.SKIPPED]
    assert outcomes[2].id == "b"


async def test_queue_all_is_bounded_by_the_backlog(world: World) -> None:
    flow = Flow(singleton=singleton("queue_all"), backlog=2)
    first = await created(world, "a", flow)
    await claimed(world, 0)

    outcomes = await world.store.apply([flowing(id, flow, 1) for id in "bcd"])

    assert [outcome.verdict for outcome in outcomes] == [Verdict.APPLIED, Verdict.APPLIED, Verdict.FULL]
    await end(world, first)
    await claimed(world, 9)
    assert (await emit(world, "d", flow, 10)).verdict is Verdict.APPLIED


async def test_terminate_running_ends_all_others_at_once_and_says_what_took_their_place(world: World) -> None:
    flow = Flow(singleton=singleton("queue_all"))
    keys = [await created(world, id, flow) for id in "ab"]
    await claimed(world, 1)

    outcome = await emit(world, "c", Flow(singleton=singleton("terminate_running")), 2, node=world.node)

    assert (outcome.verdict, outcome.waits) == (Verdict.APPLIED, False)
    for key in keys:
        head = await world.head(key)
        assert (head.status, head.error) == (
            Status.TERMINATED,
            ErrorInfo(name="Cancelled", message='the newer instance "c" took its place'),
        )
    assert await executing(world) == ["c"]


async def test_cancel_running_waits_for_the_rollback_of_what_has_run_and_ends_what_has_not(world: World) -> None:
    flow = Flow(singleton=singleton("queue_all"))
    ran, never = [await created(world, id, flow) for id in "ab"]
    await claimed(world, 1)

    outcome = await emit(world, "c", Flow(singleton=singleton("cancel_running")), 2, node=world.node)

    assert outcome.waits
    assert ((await world.head(ran)).status, (await world.head(never)).status) == (Status.ROLLING_BACK, Status.TERMINATED)
    assert await claimed(world, 3) == []
    await world.do(finish(ran, status=Status.TERMINATED, at=at(4)))
    assert await claimed(world, 4) == ["c"]


async def test_one_that_overlaps_by_permission_is_in_the_way_of_the_next(world: World) -> None:
    allowed = Flow(singleton=singleton("allow"))
    await created(world, "a", allowed, node=world.node)
    assert (await emit(world, "b", allowed, 1, node=world.node)).waits is False

    assert (await emit(world, "c", Flow(singleton=singleton("skip")), 2)).verdict is Verdict.SKIPPED
    assert (await emit(world, "d", Flow(singleton=singleton("queue_all")), 3, node=world.node)).waits is True


async def test_another_key_is_not_in_the_way(world: World) -> None:
    await created(world, "a", Flow(singleton=singleton("skip")))

    assert (await emit(world, "b", Flow(singleton=singleton("skip", key="other")))).verdict is Verdict.APPLIED


async def test_a_restarted_instance_waits_until_the_others_of_its_key_have_ended(world: World) -> None:
    flow = Flow(singleton=singleton("queue_all"))
    first = await created(world, "a", flow, node=world.node)
    await end(world, first, 1)
    second = await created(world, "b", flow, 2, node=world.node)

    await world.do(Restart(instance=first, at=at(3)))

    assert await claimed(world, 4) == []
    await end(world, second, 5)
    assert await claimed(world, 5) == ["a"]


async def test_a_paused_one_loses_its_place_in_the_line_and_stands_at_its_end_when_it_is_resumed(world: World) -> None:
    flow = Flow(singleton=singleton("queue_all"))
    first, second, third = [await created(world, id, flow, n) for n, id in enumerate("abc")]
    await claimed(world, 2)
    await world.do(steer(second, Verb.PAUSE, at(3)))
    await end(world, first, 4)
    assert await claimed(world, 4) == ["c"]
    await world.do(steer(second, Verb.RESUME, at(5)))
    assert await claimed(world, 5) == []

    await end(world, third, 6)

    assert await claimed(world, 6) == ["b"]


# ---- delay and start deadline


async def test_a_delayed_instance_is_due_after_the_delay(world: World) -> None:
    outcome = await emit(world, "a", Flow(delay=seconds(60)), node=world.node)

    assert outcome.waits
    assert (await claimed(world, 59), await claimed(world, 60)) == ([], ["a"])


async def test_what_has_not_started_in_time_ends_as_terminated_and_never_runs(world: World) -> None:
    flow = Flow(delay=seconds(60), start_deadline=seconds(30))
    early, late = [await created(world, id, flow, start) for id, start in (("early", 0), ("late", 10))]
    assert await claimed(world, 99.9) == ["late"]
    head = await world.head(early)

    assert (head.status, head.error and head.error.name, head.started_at) == (Status.TERMINATED, "StartDeadlineExceeded", None)
    await world.do(park(late, at(1000), at=at(101)))
    assert await claimed(world, 1000) == ["late"]


async def test_a_deadline_is_kept_also_where_nobody_claims_and_for_what_waits_at_a_gate(world: World) -> None:
    flow = Flow(singleton=singleton("queue_all"), start_deadline=seconds(30))
    running = await created(world, "a", flow, node=world.node)
    waits = await created(world, "b", flow, 1)
    assert await world.store.next_due(at(2)) == at(31)

    assert await world.store.prune(at(30.9), 10) == 0
    assert await world.store.prune(at(31), 10) == 1

    assert (await world.head(waits)).status is Status.TERMINATED
    assert (await world.head(running)).status is Status.QUEUED
    assert await world.store.next_due(at(32)) is None


async def test_the_deadline_of_a_collection_counts_from_the_time_at_which_it_would_start(world: World) -> None:
    flow = Flow(batch=batch(size=3, wait=100), start_deadline=seconds(10))
    key = await created(world, "a", flow)
    await emit(world, "b", flow, 1)
    await emit(world, "c", flow, 2)

    await world.store.prune(at(11.9), 10)
    assert (await world.head(key)).status is Status.QUEUED
    await world.store.prune(at(12), 10)
    assert (await world.head(key)).status is Status.TERMINATED


async def test_an_operator_who_restarts_what_was_late_gets_it_run(world: World) -> None:
    key = await created(world, "a", Flow(start_deadline=seconds(30)))
    await world.store.prune(at(30), 10)

    await world.do(Restart(instance=key, at=at(100)))

    assert await claimed(world, 200) == ["a"]


# ---- throttle


async def starts(world: World, until: float, step: float = 0.5) -> list[tuple[str, float]]:
    """Claim as a node does, whenever something is due; return what started when."""
    found: list[tuple[str, float]] = []
    now = 0.0
    while now <= until:
        found += [(id, now) for id in await claimed(world, now)]
        now += step
    return found


async def test_throttled_instances_start_evenly_in_the_order_of_their_events(world: World) -> None:
    flow = Flow(throttle=rate(limit=1, period=2))
    for id in ids(range(4)):
        await created(world, id, flow)

    assert await starts(world, 8) == [("i000", 0), ("i001", 2), ("i002", 4), ("i003", 6)]


async def test_a_burst_may_start_at_once_and_then_the_rest_evenly(world: World) -> None:
    flow = Flow(throttle=rate(limit=2, period=4, burst=3))
    await world.store.apply([flowing(id, flow) for id in ids(range(6))])

    assert await starts(world, 8) == [("i000", 0), ("i001", 0), ("i002", 0), ("i003", 2), ("i004", 4), ("i005", 6)]


async def test_after_a_long_silence_of_all_nodes_the_waiting_do_not_start_all_at_once(world: World) -> None:
    flow = Flow(throttle=rate(limit=1, period=2))
    await world.store.apply([flowing(id, flow) for id in ids(range(4))])

    assert await claimed(world, 3600) == ["i000"]
    assert await claimed(world, 3601.9) == []
    assert await claimed(world, 3602) == ["i001"]


async def test_the_first_of_a_throttled_line_may_leave_it_and_the_next_has_its_time(world: World) -> None:
    flow = Flow(throttle=rate(limit=1, period=10))
    keys = [await created(world, id, flow) for id in ids(range(4))]
    await claimed(world, 0)
    await world.do(steer(keys[1], Verb.TERMINATE, at(1)))
    await world.do(steer(keys[2], Verb.PAUSE, at(1)))

    assert await world.store.next_due(at(1)) == at(10)
    assert await claimed(world, 10) == ["i003"]


async def test_a_throttle_counts_first_starts_only(world: World) -> None:
    flow = Flow(throttle=rate(limit=1, period=10))
    key = await created(world, "a", flow, node=world.node)
    await created(world, "b", flow)
    await world.do(park(key, at(4)))

    assert await claimed(world, 4) == ["a"]
    assert await claimed(world, 10) == ["b"]


async def test_an_event_that_is_to_run_later_does_not_use_the_throttle_before(world: World) -> None:
    await created(world, "later", Flow(throttle=rate(limit=1, period=10), delay=seconds(60)))
    await created(world, "now", Flow(throttle=rate(limit=1, period=10)), 1)

    assert await claimed(world, 1) == ["now"]
    assert await claimed(world, 60) == ["later"]


async def test_each_key_is_throttled_for_itself(world: World) -> None:
    for n, key in enumerate("xyxyx"):
        await created(world, f"i{n}", Flow(throttle=rate(limit=1, period=10, key=key)))

    assert await claimed(world, 0) == ["i0", "i1"]
    assert await claimed(world, 10) == ["i2", "i3"]


async def test_hundreds_of_throttled_instances_are_not_due_but_for_the_first(world: World) -> None:
    flow = Flow(throttle=rate(limit=1, period=1))
    await world.store.apply([flowing(f"i{n}", flow) for n in range(600)])

    assert await claimed(world, 0, limit=600) == ["i0"]
    assert len(await standing(world)) == 598
    assert await world.store.next_due(at(0)) == at(1)


# ---- concurrency


async def test_no_more_than_the_limit_execute_and_each_that_ends_lets_the_next_one_in(world: World) -> None:
    flow = Flow(concurrency=(limit(2),))
    keys = {id: await created(world, id, flow, node=world.node) for id in "abcd"}

    assert await executing(world) == ["a", "b"]
    assert await claimed(world, 1) == []
    await end(world, keys["b"], 2)
    assert await claimed(world, 2) == ["c"]
    await end(world, keys["a"], 3)
    await end(world, keys["c"], 3)
    assert await claimed(world, 3) == ["d"]


@pytest.mark.parametrize("how", ["finish", "park", "pause", "terminate", "delete", "restart"])
async def test_a_place_is_given_on_in_the_transaction_that_frees_it(world: World, how: str) -> None:
    flow = Flow(concurrency=(limit(1),))
    key = await created(world, "a", flow, node=world.node)
    await created(world, "b", flow, 1)
    if how == "pause":
        await world.do(steer(key, Verb.PAUSE, at(2)))
        assert await claimed(world, 2) == []
    writes: dict[str, Write] = {
        "finish": finish(key, at=at(3)),
        "park": park(key, at(1000)),
        "pause": park(key, None, status=Status.PAUSED),
        "terminate": steer(key, Verb.TERMINATE, at(3)),
        "delete": DeleteInstance(instance=key),
        "restart": Restart(instance=key, at=at(3)),
    }

    await world.do(writes[how])

    assert await world.store.next_due(at(3)) == at(3)
    assert await claimed(world, 3) == ["b"]
    assert await executing(world) == ["b"]


async def test_deleting_a_workflow_gives_the_places_of_its_instances_on(world: World) -> None:
    await world.register("refunds")
    flow = Flow(concurrency=(limit(1, key="trigger/hook\nnull"),), singleton=singleton("queue_all", key="trigger/hook\nnull"))
    await created(world, "a", flow, workflow="refunds", node=world.node)
    await created(world, "b", flow, workflow="refunds")
    await created(world, "c", flow)

    await world.do(DeleteWorkflow(name="refunds"))

    assert await claimed(world, 1) == ["c"]


async def test_a_sleeping_instance_holds_no_place_and_must_get_one_again_when_it_wakes(world: World) -> None:
    flow = Flow(concurrency=(limit(1),))
    key = await created(world, "a", flow, node=world.node)
    await world.do(park(key, at(10)))
    other = await created(world, "b", flow, 4, node=world.node)

    assert await claimed(world, 10) == []
    await end(world, other, 20)

    assert await claimed(world, 20) == ["a"]


async def test_an_event_wakes_what_waits_for_it_no_earlier_than_there_is_a_place(world: World) -> None:
    flow = Flow(concurrency=(limit(1),))
    key = await created(world, "a", flow, node=world.node)
    await world.do(park(key, None))
    other = await created(world, "b", flow, 4, node=world.node)
    await world.verdicts(send(key), send(key))

    assert await claimed(world, 6) == []
    await world.do(send(key))
    assert await claimed(world, 7) == []
    await end(world, other, 20)
    assert await claimed(world, 20) == ["a"]


async def test_what_wakes_stands_in_the_line_by_the_time_it_woke(world: World) -> None:
    flow = Flow(concurrency=(limit(1),))
    sleeper = await created(world, "sleeper", flow, node=world.node)
    await world.do(park(sleeper, at(10)))
    running = await created(world, "running", flow, 4, node=world.node)
    before = await created(world, "before", flow, 9)
    await claimed(world, 11)
    after = await created(world, "after", flow, 12)

    order = []
    for n, key in enumerate((running, before, sleeper, after)):
        await end(world, key, 20 + n)
        order += await claimed(world, 20 + n)

    assert order == ["before", "sleeper", "after"]


async def test_a_node_that_stops_keeps_the_places_of_what_is_due_at_once(world: World) -> None:
    flow = Flow(concurrency=(limit(1),))
    key = await created(world, "a", flow, node=world.node)
    await created(world, "b", flow, 1)

    await world.do(park(key, at(3), status=Status.QUEUED))

    assert await claimed(world, 3) == ["a"]
    assert await executing(world) == ["a"]


async def test_an_instance_of_a_dead_node_holds_its_place_until_it_is_taken_over_and_after(world: World) -> None:
    flow = Flow(concurrency=(limit(1),))
    await created(world, "a", flow, node=world.node)
    await created(world, "b", flow, 1)
    other = await world.store.renew(None, LEASE * 100, at(1))

    assert await world.store.claim(other, 9, at(9)) == []
    assert [snapshot.instance.id for snapshot in await world.store.claim(other, 9, at(11))] == ["a"]
    assert await standing(world) == ["b"]


async def test_an_instance_that_was_to_be_paused_when_its_node_died_gives_its_place_on(world: World) -> None:
    flow = Flow(concurrency=(limit(1),))
    key = await created(world, "a", flow, node=world.node)
    await created(world, "b", flow, 1)
    await world.do(steer(key, Verb.PAUSE, at(2)))
    other = await world.store.renew(None, LEASE * 100, at(2))

    assert [snapshot.instance.id for snapshot in await world.store.claim(other, 9, at(11))] == ["b"]


async def test_a_claimed_instance_says_that_a_limit_counts_it(world: World) -> None:
    await created(world, "limited", Flow(concurrency=(limit(1),)))
    await created(world, "plain", Flow(throttle=rate()))

    taken = {each.instance.id: each.instance.limited for each in await world.store.claim(world.node, 9, at(1))}

    assert taken == {"limited": True, "plain": False}


async def test_drop_new_skips_at_the_limit_and_never_drops_what_wakes(world: World) -> None:
    flow = Flow(concurrency=(limit(1, "drop_new"),))
    sleeper = await created(world, "a", flow, node=world.node)
    outcome = await emit(world, "b", flow, 1)
    assert outcome == Outcome(verdict=Verdict.SKIPPED, reason="concurrency", instance=sleeper, id="a")
    await world.do(park(sleeper, at(10)))
    running = await created(world, "c", flow, 5, node=world.node)

    assert await claimed(world, 10) == []
    await end(world, running, 11)
    assert await claimed(world, 11) == ["a"]


async def test_cancel_oldest_makes_room_for_the_newest(world: World) -> None:
    flow = Flow(concurrency=(limit(2, "cancel_oldest"),))
    keys = [await created(world, id, flow, n, node=world.node) for n, id in enumerate("abcd")]

    assert await executing(world) == ["c", "d"]
    head = await world.head(keys[0])
    assert (head.status, head.error) == (Status.TERMINATED, ErrorInfo(name="Cancelled", message='the newer instance "c" took its place'))


async def test_cancel_oldest_also_decides_when_a_delayed_instance_starts_and_lets_sleepers_wait(world: World) -> None:
    flow = Flow(concurrency=(limit(1, "cancel_oldest"),))
    sleeper = await created(world, "sleeper", flow, node=world.node)
    await world.do(park(sleeper, at(10)))
    running = await created(world, "running", flow, 4, node=world.node)
    await created(world, "delayed", Flow(concurrency=flow.concurrency, delay=seconds(16)), 4)

    assert await claimed(world, 10) == []
    assert await claimed(world, 20) == ["delayed"]
    assert (await world.head(running)).status is Status.TERMINATED
    assert (await world.head(sleeper)).status is Status.WAITING


async def test_a_termination_that_makes_room_is_signalled_also_by_a_claim(world: World) -> None:
    flow = Flow(concurrency=(limit(1, "cancel_oldest"),))
    first = await created(world, "a", flow, node=world.node)
    signals = world.store.signals()

    second = await created(world, "b", flow, 1, node=world.node)
    assert first in unseen(signals)

    await created(world, "c", Flow(concurrency=flow.concurrency, delay=seconds(1)), 1)
    assert second not in unseen(signals)
    await claimed(world, 2)
    assert second in unseen(signals)


async def test_of_several_limits_all_must_have_room(world: World) -> None:
    def of(customer: str) -> Flow:
        return Flow(concurrency=(limit(3, key="all"), limit(1, key=customer)))

    keys = {id: await created(world, id, of(id[0]), n, node=world.node) for n, id in enumerate(("x1", "x2", "y1", "z1", "w1"))}
    assert await executing(world) == ["x1", "y1", "z1"]

    await end(world, keys["y1"], 10)
    assert await claimed(world, 10) == ["w1"]
    await end(world, keys["x1"], 11)
    assert await claimed(world, 11) == ["x2"]


async def test_lanes_that_share_a_limit_take_turns_however_long_the_line_of_one_is(world: World) -> None:
    def of(customer: str) -> Flow:
        return Flow(concurrency=(limit(1, key="all"), limit(1, key=customer)))

    running = await created(world, "first", of("x"), node=world.node)
    for id in ("x1", "x2", "x3", "x4", "y1", "y2", "z1"):
        await created(world, id, of(id[0]))

    order = []
    for n in range(7):
        await end(world, running, 10 + n)
        (snapshot,) = await world.store.claim(world.node, 9, at(10 + n))
        order.append(snapshot.instance.id)
        running = snapshot.instance.key

    assert order == ["x1", "y1", "z1", "x2", "y2", "x3", "x4"]


async def test_a_raised_limit_counts_as_soon_as_an_instance_is_created_with_it(world: World) -> None:
    running = await created(world, "a", Flow(concurrency=(limit(1),)), node=world.node)
    for id in "bcd":
        await created(world, id, Flow(concurrency=(limit(1),)))
    await created(world, "e", Flow(concurrency=(limit(3),)))

    assert await claimed(world, 5) == ["b", "c"]
    await end(world, running, 6)
    assert await claimed(world, 6) == ["d"]


async def test_a_lowered_limit_lets_nobody_in_until_fewer_execute(world: World) -> None:
    keys = [await created(world, id, Flow(concurrency=(limit(3),)), node=world.node) for id in "abc"]
    await created(world, "d", Flow(concurrency=(limit(3),)))
    await created(world, "e", Flow(concurrency=(limit(1),)))

    for n, key in enumerate(keys):
        assert await claimed(world, 5 + n) == []
        await end(world, key, 5 + n)

    assert await claimed(world, 9) == ["d"]


async def test_a_limit_never_counts_beyond_its_key_and_an_instance_without_one_is_free(world: World) -> None:
    await created(world, "a", Flow(concurrency=(limit(1),)), node=world.node)

    assert (await emit(world, "b", Flow(concurrency=(limit(1, key="other"),)), node=world.node)).waits is False
    assert (await world.do(CreateInstance(new=new("c"), node=world.node))).waits is False


async def test_a_thousand_that_wake_at_once_pass_one_claim_after_the_other_within_the_limit(world: World) -> None:
    flow = Flow(concurrency=(limit(10),), delay=seconds(5))
    await world.store.apply([flowing(f"i{n:04}", flow) for n in range(1300)])

    first = await claimed(world, 5, limit=256)
    rest = [id for _ in range(5) for id in await claimed(world, 5, limit=256)]

    assert (len(first), rest) == (10, [])
    assert len(await standing(world)) == 1290
    assert await world.store.next_due(at(6)) is None


# ---- priority


async def test_a_head_start_counts_among_what_is_due_and_makes_nothing_due_earlier(world: World) -> None:
    for id, when, ahead in (("old", 0, 0), ("urgent", 50, 60), ("less", 50, 40), ("new", 20, 0)):
        await created(world, id, Flow(priority=seconds(ahead)), when)
    await created(world, "future", Flow(priority=timedelta(minutes=10), delay=seconds(100)), 50)

    assert await claimed(world, 60) == ["urgent", "old", "less", "new"]
    assert await claimed(world, 149) == []
    assert await claimed(world, 150) == ["future"]


async def test_a_head_start_also_counts_in_a_line(world: World) -> None:
    running = await created(world, "a", Flow(concurrency=(limit(1),)), node=world.node)
    await created(world, "b", Flow(concurrency=(limit(1),)), 1)
    urgent = await created(world, "c", Flow(concurrency=(limit(1),), priority=seconds(10)), 2)

    await end(world, running, 3)
    assert await claimed(world, 3) == ["c"]
    await end(world, urgent, 4)
    assert await claimed(world, 4) == ["b"]


async def test_a_head_start_is_found_behind_any_number_of_others_that_are_due(world: World) -> None:
    await world.store.apply([CreateInstance(new=new(f"i{n}", created_at=at(n / 1000))) for n in range(500)])
    await created(world, "urgent", Flow(priority=seconds(600)), 1)

    assert await claimed(world, 2, limit=1) == ["urgent"]


# ---- cancel keys


async def test_an_event_cancels_what_carries_its_key_and_has_not_ended(world: World) -> None:
    flow = Flow(cancels=("order/1", "customer/7"))
    running = await created(world, "running", flow, node=world.node)
    queued = await created(world, "queued", flow)
    ended = await created(world, "ended", flow, node=world.node)
    await end(world, ended)
    other = await created(world, "other", Flow(cancels=("order/2",)))

    outcome = await world.do(CancelInstances(key="order/1", at=at(10), reason="order 1 was withdrawn"))

    assert (outcome.verdict, outcome.count) == (Verdict.APPLIED, 2)
    for key in (running, queued):
        head = await world.head(key)
        assert (head.status, head.error) == (Status.TERMINATED, ErrorInfo(name="Cancelled", message="order 1 was withdrawn"))
    assert ((await world.head(ended)).status, (await world.head(other)).status) == (Status.COMPLETE, Status.QUEUED)
    assert (await world.do(CancelInstances(key="customer/7", at=at(11), reason="again"))).count == 0


async def test_an_event_that_comes_before_the_instance_cancels_nothing(world: World) -> None:
    assert (await world.do(CancelInstances(key="order/1", at=at(0), reason="early"))).count == 0

    key = await created(world, "a", Flow(cancels=("order/1",)), 1)

    assert (await world.head(key)).status is Status.QUEUED


async def test_a_restarted_instance_can_be_cancelled_again(world: World) -> None:
    key = await created(world, "a", Flow(cancels=("order/1",)))
    await world.do(CancelInstances(key="order/1", at=at(1), reason="once"))
    await world.do(Restart(instance=key, at=at(2)))

    assert (await world.do(CancelInstances(key="order/1", at=at(3), reason="twice"))).count == 1
    assert (await world.head(key)).error == ErrorInfo(name="Cancelled", message="twice")


async def test_the_parent_of_a_cancelled_child_is_told_why(world: World) -> None:
    parent = await world.born("parent")
    await world.do(start_child(parent, flow=Flow(cancels=("order/1",))))

    await world.do(CancelInstances(key="order/1", at=at(3), reason="order 1 was withdrawn"))

    (event,) = (await world.snapshot(parent)).inbox
    assert b"order 1 was withdrawn" in event.payload


# ---- children


async def test_a_child_waits_for_its_place_and_is_never_dropped(world: World) -> None:
    parent = await world.born("parent")
    flow = Flow(concurrency=(limit(1, "drop_new"),), singleton=singleton("skip"), rate=rate(), backlog=1)
    running = await created(world, "a", flow, node=world.node)

    outcome = await world.do(start_child(parent, flow=flow))

    assert outcome.verdict is Verdict.APPLIED
    assert await claimed(world, 5) == []
    await end(world, running, 6)
    assert await claimed(world, 6) == ["child"]


async def test_a_parent_that_waits_for_its_child_does_not_keep_the_place_that_the_child_needs(world: World) -> None:
    flow = Flow(concurrency=(limit(1),))
    parent = await created(world, "parent", flow, node=world.node)
    await world.do(start_child(parent, flow=flow))

    await world.do(park(parent, None, entries=()))

    assert await claimed(world, 5) == ["child"]


# ---- together


async def test_an_instance_passes_its_gates_in_the_documented_order(world: World) -> None:
    flow = Flow(
        batch=batch(size=2, wait=100),
        singleton=singleton("queue_all"),
        throttle=rate(limit=1, period=50),
        concurrency=(limit(1),),
    )
    holder = await created(world, "holder", Flow(concurrency=(limit(1),)), node=world.node)
    first = await created(world, "first", flow, 1)
    await emit(world, "joins", flow, 2)
    await created(world, "second", flow, 3)
    await emit(world, "joins too", flow, 4)

    assert await claimed(world, 5) == []  # the first has its turn, has passed the throttle, and waits for a place
    await end(world, holder, 10)
    assert await claimed(world, 10) == ["first"]
    await end(world, first, 11)
    assert await claimed(world, 11) == []  # the second has its turn and waits at the throttle
    assert await world.store.next_due(at(11)) == at(55)
    assert await claimed(world, 55) == ["second"]
