"""Conformance: what becomes of an event before there is an instance: window, rate limit, batch, debounce, backlog."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hub.core import codec
from hub.core.delivery import Delivery, DeliveryQuery, DeliveryStatus, TriggerQuery
from hub.core.flow import Flow
from hub.core.model import Status
from hub.core.writes import CreateInstance, DeleteInstance, KeepDelivery, Outcome, RegisterTrigger, Verb, Verdict
from tests.store.flowing import all_live, batch, claimed, created, debounce, emit, end, flowing, limit, rate, seconds, singleton
from tests.store.given import World, at, new, park, steer

# ---- idempotency window


async def test_a_key_within_its_window_is_a_duplicate_and_later_is_unknown_again(world: World) -> None:
    flow = Flow(window=timedelta(hours=1))
    first = await created(world, "a", flow, trigger="hook", dedupe_key="k")

    within = await emit(world, "b", flow, 3599, trigger="hook", dedupe_key="k")
    after = await emit(world, "c", flow, 3600, trigger="hook", dedupe_key="k")
    within_again = await emit(world, "d", flow, 3601, trigger="hook", dedupe_key="k")

    assert (within.verdict, within.instance, within.id) == (Verdict.DUPLICATE, first, "a")
    assert (after.verdict, after.id) == (Verdict.APPLIED, "c")
    assert (within_again.verdict, within_again.id) == (Verdict.DUPLICATE, "c")


async def test_without_a_window_a_key_is_known_for_ever_and_another_trigger_has_keys_of_its_own(world: World) -> None:
    await created(world, "a", Flow(backlog=9), trigger="hook", dedupe_key="k")

    late = await emit(world, "b", Flow(backlog=9), 10_000_000, trigger="hook", dedupe_key="k")
    other = await emit(world, "c", Flow(backlog=9), 1, trigger="queue", dedupe_key="k")

    assert (late.verdict, other.verdict) == (Verdict.DUPLICATE, Verdict.APPLIED)


async def test_deleting_the_older_instance_of_a_key_does_not_make_the_newer_one_look_deleted(world: World) -> None:
    flow = Flow(window=seconds(10))
    first = await created(world, "a", flow, trigger="hook", dedupe_key="k")
    second = await created(world, "b", flow, 20, trigger="hook", dedupe_key="k")

    await world.do(DeleteInstance(instance=first))

    again = await emit(world, "c", flow, 21, trigger="hook", dedupe_key="k")
    assert (again.verdict, again.instance, again.id, again.status) == (Verdict.DUPLICATE, second, "b", Status.QUEUED)


# ---- rate limit


async def test_what_a_rate_limit_refuses_is_skipped_with_the_time_at_which_it_would_pass(world: World) -> None:
    flow = Flow(rate=rate(limit=2, period=60))
    await created(world, "a", flow)

    outcome = await emit(world, "b", flow, 10)
    later = await emit(world, "c", flow, 30)

    assert outcome == Outcome(verdict=Verdict.SKIPPED, reason="rate_limit", retry_at=at(30))
    assert later.verdict is Verdict.APPLIED
    assert await world.ids(ascending=True) == ["a", "c"]


async def test_a_rate_limit_is_exact_within_one_group_and_each_key_has_its_own(world: World) -> None:
    flow = Flow(rate=rate(limit=10, burst=3))
    other = Flow(rate=rate(limit=10, burst=3, key="other"))

    outcomes = await world.store.apply([*(flowing(f"a{n}", flow) for n in range(5)), *(flowing(f"b{n}", other) for n in range(5))])

    passed = [outcome.verdict is Verdict.APPLIED for outcome in outcomes]
    assert passed == [True, True, True, False, False] * 2


async def test_neither_a_duplicate_nor_what_finds_no_room_counts_for_a_rate_limit(world: World) -> None:
    flow = Flow(rate=rate(limit=1, period=60, burst=2), backlog=1)
    await created(world, "a", flow, trigger="hook", dedupe_key="k")
    assert (await emit(world, "again", flow, 1, trigger="hook", dedupe_key="k")).verdict is Verdict.DUPLICATE
    assert (await emit(world, "no room", flow, 2)).verdict is Verdict.FULL

    await claimed(world, 3)

    assert (await emit(world, "b", flow, 3)).verdict is Verdict.APPLIED
    await claimed(world, 4)
    assert (await emit(world, "c", flow, 4)).verdict is Verdict.SKIPPED


async def test_a_skipped_event_leaves_its_key_unknown_so_that_it_may_be_sent_again(world: World) -> None:
    flow = Flow(rate=rate(limit=1, period=60))
    await created(world, "a", flow)
    assert (await emit(world, "b", flow, 1, trigger="hook", dedupe_key="k")).verdict is Verdict.SKIPPED

    assert (await emit(world, "b", flow, 60, trigger="hook", dedupe_key="k")).verdict is Verdict.APPLIED


# ---- batch


async def test_events_of_a_key_become_one_instance_that_starts_with_the_list_of_their_payloads(world: World) -> None:
    flow = Flow(batch=batch(size=10, wait=10))
    first = await emit(world, "a", flow, 0, params=b'{"n":1}')
    second = await emit(world, "b", flow, 4, params=b'{"n":2}')
    third = await emit(world, "c", flow, 9, params=b'"three"')

    assert first.verdict is Verdict.APPLIED
    assert [second, third] == [Outcome(verdict=Verdict.JOINED, instance=first.instance, id="a", status=Status.QUEUED)] * 2
    assert await claimed(world, 9.9) == []
    (snapshot,) = await world.store.claim(world.node, 9, at(10))
    assert codec.decode(snapshot.instance.params) == [{"n": 1}, {"n": 2}, "three"]
    assert (await emit(world, "d", flow, 10)).verdict is Verdict.APPLIED


async def test_a_batch_of_one_is_a_list_too(world: World) -> None:
    await created(world, "a", Flow(batch=batch(wait=10)), params=b"1")

    (snapshot,) = await world.store.claim(world.node, 9, at(10))

    assert codec.decode(snapshot.instance.params) == [1]


async def test_a_full_batch_is_due_at_once_and_the_next_event_begins_another(world: World) -> None:
    flow = Flow(batch=batch(size=3, wait=3600))

    outcomes = await world.store.apply([flowing(f"i{n}", flow, params=b"%d" % n) for n in range(7)])

    assert [outcome.id for outcome in outcomes] == ["i0", "i0", "i0", "i3", "i3", "i3", "i6"]
    taken = await world.store.claim(world.node, 9, at(1))
    assert [codec.decode(snapshot.instance.params) for snapshot in taken] == [[0, 1, 2], [3, 4, 5]]


async def test_a_batch_never_is_larger_than_its_bytes_unless_one_event_is(world: World) -> None:
    flow = Flow(batch=batch(size=100, wait=3600, size_bytes=10))
    sizes = [6, 4, 6, 5, 20]

    for n, size in enumerate(sizes):
        await emit(world, f"i{n}", flow, n, params=b'"' + b"x" * (size - 2) + b'"')

    taken = await world.store.claim(world.node, 9, at(5))
    assert [[len(text) + 2 for text in codec.decode(snapshot.instance.params)] for snapshot in taken] == [[6, 4], [6], [5], [20]]


async def test_a_repeated_key_is_a_duplicate_that_names_the_instance_it_joined_also_after_that_is_deleted(world: World) -> None:
    flow = Flow(batch=batch(size=10, wait=10))
    key = await created(world, "a", flow, trigger="hook", dedupe_key="1")
    joined = await emit(world, "b", flow, 1, trigger="hook", dedupe_key="2")
    assert joined.verdict is Verdict.JOINED

    collecting = await emit(world, "b", flow, 2, trigger="hook", dedupe_key="2")
    assert (collecting.verdict, collecting.instance, collecting.id) == (Verdict.DUPLICATE, key, "a")
    (snapshot,) = await world.store.claim(world.node, 9, at(10))
    assert len(codec.decode(snapshot.instance.params)) == 2
    await world.do(DeleteInstance(instance=key))
    deleted = await emit(world, "b", flow, 11, trigger="hook", dedupe_key="2")
    assert (deleted.verdict, deleted.id, deleted.status) == (Verdict.DUPLICATE, "a", None)


async def test_a_batch_of_another_key_is_another_instance(world: World) -> None:
    outcomes = [await emit(world, id, Flow(batch=batch(key=key)), n) for n, (id, key) in enumerate([("a", "x"), ("b", "y"), ("c", "x")])]

    assert [(outcome.verdict, outcome.id) for outcome in outcomes] == [
        (Verdict.APPLIED, "a"), (Verdict.APPLIED, "b"), (Verdict.JOINED, "a")
    ]  # fmt: skip


async def test_an_event_never_joins_an_instance_that_was_claimed_ended_or_deleted(world: World) -> None:
    flow = Flow(batch=batch(size=10, wait=10))
    keys = []
    for n, id in enumerate("abc"):
        keys.append(await created(world, id, flow, n * 20))
        if id == "a":
            await claimed(world, 10)
        elif id == "b":
            await world.do(steer(keys[1], Verb.TERMINATE, at(21)))
        else:
            await world.do(DeleteInstance(instance=keys[2]))

    assert (await emit(world, "d", flow, 43)).verdict is Verdict.APPLIED


@pytest.mark.parametrize(
    "flow", [Flow(batch=batch(wait=10)), Flow(debounce=debounce("collect", period=10, longest=60))], ids=["batch", "burst"]
)
async def test_what_comes_when_a_collection_is_due_begins_another_one_however_long_nobody_claims_it(world: World, flow: Flow) -> None:
    await created(world, "a", flow, 0, params=b"1")

    late = await emit(world, "b", flow, 10, params=b"2")

    assert (late.verdict, late.id) == (Verdict.APPLIED, "b")
    taken = await world.store.claim(world.node, 9, at(3600))
    assert [codec.decode(snapshot.instance.params) for snapshot in taken] == [[1], [2]]


async def test_a_terminated_collection_still_shows_all_that_it_had(world: World) -> None:
    flow = Flow(batch=batch(size=10, wait=10))
    key = await created(world, "a", flow, params=b"1")
    await emit(world, "b", flow, 1, params=b"2")

    await world.do(steer(key, Verb.TERMINATE, at(2)))

    assert codec.decode((await world.head(key)).params) == [1, 2]


async def test_a_paused_collection_goes_on_collecting_and_starts_only_after_it_is_resumed(world: World) -> None:
    flow = Flow(batch=batch(size=3, wait=10))
    key = await created(world, "a", flow, params=b"1")
    await world.do(steer(key, Verb.PAUSE, at(1)))

    joined = [await emit(world, id, flow, n, params=b"%d" % n) for id, n in (("b", 2), ("c", 3))]

    assert [outcome.id for outcome in joined] == ["a", "a"]
    assert await claimed(world, 100) == []
    await world.do(steer(key, Verb.RESUME, at(100)))
    (snapshot,) = await world.store.claim(world.node, 9, at(100))
    assert codec.decode(snapshot.instance.params) == [1, 2, 3]


async def test_what_joins_settles_its_delivery_and_moves_the_cursor_and_what_is_skipped_does_neither(world: World) -> None:
    await world.do(RegisterTrigger(name="hook", kind="http", workflow="orders", digest="1", at=at(0)))
    for id in ("joins", "skipped"):
        held = Delivery(id=id, trigger="hook", status=DeliveryStatus.HELD, received_at=at(0), code="trigger.paused")
        await world.do(KeepDelivery(delivery=held))
    flow = Flow(batch=batch(size=10, wait=10), rate=rate(limit=60, burst=2))
    await created(world, "a", flow)

    def write(id: str, cursor: float) -> CreateInstance:
        return CreateInstance(new=new(id, created_at=at(0.1), trigger="hook"), flow=flow, cursor=at(cursor), replays=id)

    assert await world.verdicts(write("joins", 5), write("skipped", 7)) == [Verdict.JOINED, Verdict.SKIPPED]
    (trigger,) = (await world.store.find(TriggerQuery())).items
    stored = {each.id: each for each in (await world.store.find(DeliveryQuery())).items}
    assert trigger.cursor == at(5)
    assert (stored["joins"].status, stored["joins"].instance_id) == (DeliveryStatus.REPLAYED, "a")
    assert (stored["skipped"].status, stored["skipped"].instance_id) == (DeliveryStatus.HELD, None)


# ---- debounce


async def test_only_the_last_event_of_a_burst_counts_and_it_runs_a_while_after_it(world: World) -> None:
    flow = Flow(debounce=debounce(period=5, longest=60))
    first = await emit(world, "a", flow, 0, params=b"1", provenance=b'{"key":"1"}')
    second = await emit(world, "b", flow, 4, params=b"2", provenance=b'{"key":"2"}')

    assert (second.verdict, second.id) == (Verdict.JOINED, "a")
    assert await claimed(world, 8.9) == []
    (snapshot,) = await world.store.claim(world.node, 9, at(9))
    assert (snapshot.instance.key, snapshot.instance.params) == (first.instance, b"2")
    assert snapshot.instance.provenance == b'{"key":"2"}'


async def test_a_burst_without_end_runs_after_its_longest_delay(world: World) -> None:
    flow = Flow(debounce=debounce(period=5, longest=12))
    for second in range(0, 12, 3):
        await emit(world, f"i{second:02}", flow, second, params=b"%d" % second)

    assert await claimed(world, 11.9) == []
    (snapshot,) = await world.store.claim(world.node, 9, at(12))
    assert (snapshot.instance.id, snapshot.instance.params) == ("i00", b"9")


async def test_an_event_that_is_older_than_the_newest_makes_the_burst_longer_and_does_not_replace_it(world: World) -> None:
    older = Flow(debounce=debounce(period=5, longest=60), occurred_at=at(-100))
    newer = Flow(debounce=debounce(period=5, longest=60), occurred_at=at(-50))
    await emit(world, "a", newer, 0, params=b'"newer"')
    await emit(world, "b", older, 4, params=b'"older"')

    assert await claimed(world, 8) == []
    (snapshot,) = await world.store.claim(world.node, 9, at(9))
    assert snapshot.instance.params == b'"newer"'


async def test_in_collect_mode_the_instance_gets_all_events_of_the_burst(world: World) -> None:
    flow = Flow(debounce=debounce("collect", period=5, longest=60, max_size=3))
    for n in range(5):
        await emit(world, f"i{n}", flow, n, params=b"%d" % n)

    full = await world.store.claim(world.node, 9, at(4))
    rest = await world.store.claim(world.node, 9, at(9))

    assert [codec.decode(snapshot.instance.params) for snapshot in (*full, *rest)] == [[0, 1, 2], [3, 4]]


async def test_in_leading_mode_the_first_event_runs_and_the_rest_of_the_burst_is_skipped(world: World) -> None:
    flow = Flow(debounce=debounce("leading", period=5, longest=12))
    first = await created(world, "a", flow, 0, params=b"1")

    rest = [await emit(world, f"i{second}", flow, second) for second in (4, 8, 11.9)]
    after = await emit(world, "b", flow, 12)

    skipped = Outcome(verdict=Verdict.SKIPPED, reason="debounce", instance=first, id="a")
    assert rest == [skipped] * 3
    assert after.verdict is Verdict.APPLIED
    assert (await world.head(first)).params == b"1"


async def test_a_leading_burst_is_over_when_nothing_came_for_its_period_and_survives_the_deletion_of_its_instance(world: World) -> None:
    flow = Flow(debounce=debounce("leading", period=5, longest=60))
    first = await created(world, "a", flow, 0)
    await world.do(DeleteInstance(instance=first))

    during = await emit(world, "b", flow, 4.9)
    assert (during.verdict, during.instance, during.id) == (Verdict.SKIPPED, first, None)
    assert (await emit(world, "c", flow, 9.8)).verdict is Verdict.SKIPPED
    assert (await emit(world, "d", flow, 14.8)).verdict is Verdict.APPLIED


async def test_a_leading_burst_of_the_future_is_none(world: World) -> None:
    """The clock was put back."""
    flow = Flow(debounce=debounce("leading", period=5, longest=12))
    await created(world, "a", flow, 86_400)

    assert (await emit(world, "b", flow, 0)).verdict is Verdict.APPLIED


async def test_every_member_of_a_burst_is_known_by_its_key(world: World) -> None:
    flow = Flow(debounce=debounce(period=5, longest=60))
    for n in range(3):
        await emit(world, f"i{n}", flow, n, trigger="hook", dedupe_key=str(n))

    again = [await emit(world, "again", flow, 3, trigger="hook", dedupe_key=str(n)) for n in range(3)]

    assert [(outcome.verdict, outcome.id) for outcome in again] == [(Verdict.DUPLICATE, "i0")] * 3
    assert await claimed(world, 7) == ["i0"]


# ---- backlog


async def test_a_full_backlog_accepts_nothing_until_something_was_claimed(world: World) -> None:
    flow = Flow(backlog=2)
    await world.store.apply([flowing("a", flow), CreateInstance(new=new("through another door"))])

    full = await emit(world, "b", flow, 1)
    assert (full.verdict, full.instance) == (Verdict.FULL, None)
    assert full.retry_at is not None
    assert full.retry_at > at(1)
    await world.store.claim(world.node, 1, at(1))

    assert (await emit(world, "c", flow, 2)).verdict is Verdict.APPLIED


async def test_what_was_claimed_once_is_no_backlog_whatever_it_does_now(world: World) -> None:
    flow = Flow(backlog=1)
    key = await created(world, "a", flow, node=world.node)
    await world.do(park(key, at(3), status=Status.QUEUED))

    assert (await emit(world, "b", flow, 4)).verdict is Verdict.APPLIED
    assert (await emit(world, "c", flow, 5)).verdict is Verdict.FULL


async def test_a_full_backlog_still_answers_duplicates_and_takes_what_joins(world: World) -> None:
    flow = Flow(backlog=1, batch=batch(size=9))
    await created(world, "a", flow, trigger="hook", dedupe_key="k")

    assert (await emit(world, "b", flow, 1, trigger="hook", dedupe_key="k")).verdict is Verdict.DUPLICATE
    assert (await emit(world, "c", flow, 1)).verdict is Verdict.JOINED
    other = Flow(backlog=1, batch=batch(size=9, key="other"))
    assert (await emit(world, "d", other, 1)).verdict is Verdict.FULL


async def test_another_workflow_has_a_backlog_of_its_own(world: World) -> None:
    await world.register("refunds")
    await created(world, "a", Flow(backlog=1))

    assert (await emit(world, "b", Flow(backlog=1), workflow="refunds")).verdict is Verdict.APPLIED


# ---- the order of the rules


async def test_the_first_rule_in_the_documented_order_decides(world: World) -> None:
    flow = Flow(
        rate=rate(limit=60, burst=3), singleton=singleton("skip"), backlog=1, concurrency=(limit(1, "drop_new"),), window=seconds(100)
    )  # fmt: skip
    await created(world, "first", flow, trigger="hook", dedupe_key="k")

    async def answer(when: float, flow: Flow = flow, key: str | None = None) -> str | None:
        outcome = await emit(world, "next", flow, when, trigger="hook", dedupe_key=key)
        return outcome.reason or outcome.verdict.value

    assert await answer(0.1, key="k") == "duplicate"
    assert await answer(0.1) == "singleton"
    assert await answer(0.1) == "singleton"
    assert await answer(0.1) == "rate_limit"
    without = Flow(backlog=1, concurrency=flow.concurrency)
    assert await answer(0.1, without) == "full"
    await claimed(world, 0.2)
    assert await answer(0.3, without) == "concurrency"


async def test_a_refused_event_changes_nothing_beside_what_its_rules_count(world: World) -> None:
    running = await created(world, "a", Flow(singleton=singleton("terminate_running")), node=world.node)
    blocked = Flow(singleton=singleton("terminate_running"), backlog=1)
    await created(world, "waiting", Flow(backlog=9), start_at=at(99))

    outcome = await emit(world, "b", blocked, 1)

    assert outcome.verdict is Verdict.FULL
    assert (await world.head(running)).node == world.node


@pytest.mark.parametrize(
    "flow",
    [
        Flow(rate=rate()), Flow(batch=batch()), Flow(debounce=debounce()), Flow(singleton=singleton("queue_all")), Flow(delay=seconds(1)),
        Flow(throttle=rate()), Flow(concurrency=(limit(),)), Flow(priority=seconds(9)), Flow(backlog=9), Flow(cancels=("c",)),
        Flow(start_deadline=seconds(60)), Flow(window=seconds(60)),
    ],
    ids=lambda flow: next(name for name in flow.__slots__ if getattr(flow, name)),
)  # fmt: skip
async def test_each_rule_alone_lets_a_lonely_instance_run_to_its_end(world: World, flow: Flow) -> None:
    outcome = await emit(world, "a", flow, node=world.node)
    assert outcome.instance is not None

    if outcome.waits:
        assert await claimed(world, 11) == ["a"]
    await end(world, outcome.instance, 12)

    assert await all_live(world) == []
    assert await world.store.next_due(at(13)) is None
