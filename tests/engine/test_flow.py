"""Flow control under virtual time: each rule as a workflow and its callers see it."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from hub import WorkflowEvent, WorkflowStep
from hub.core import codec
from hub.core.delivery import DeliveryStatus, ReceiptStatus, TriggerEvent
from hub.core.errors import Conflict, Overloaded, RateLimited
from hub.core.flow import Overlap
from hub.core.model import Instance, InstanceQuery, Schedule, Status
from hub.core.ports import CreateRequest
from hub.core.writes import Verb
from hub.engine.binding import WorkflowBinding
from hub.engine.ledger import Finding
from hub.engine.rules import Rules

from .conftest import Hub
from .flowing import batch, cancel_rule, debounce, limit, rate, rules, seconds, singleton


class Log:
    """A program that notes when it runs, and for how long it is told to."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.runs: list[tuple[Any, float]] = []
        self.now = 0
        self.most = 0

    async def program(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        payload = event.payload

        async def work() -> None:
            self.runs.append((payload["n"] if isinstance(payload, dict) else [each["n"] for each in payload], self.hub.clock.monotonic()))
            self.now += 1
            self.most = max(self.most, self.now)
            await self.hub.clock.sleep(payload.get("s", 0.5) if isinstance(payload, dict) else 0.5)
            self.now -= 1

        await step.do("work", work)

    @property
    def order(self) -> list[Any]:
        return [n for n, _ in self.runs]

    @property
    def gaps(self) -> list[float]:
        times = [round(at, 3) for _, at in self.runs]
        return [round(b - a, 2) for a, b in itertools.pairwise(times)]


async def started(hub: Hub, **flow: Any) -> Log:
    """Start a hub whose only workflow has these rules."""
    log = Log(hub)
    hub.defined["program"] = {"flow": rules(**flow)}
    await hub.start(program=log.program)
    return log


async def all_ended(hub: Hub) -> list[Instance]:
    """Return all instances when each has ended."""
    page = await hub.engine.find(InstanceQuery(ascending=True, limit=10_000))
    return [await hub.ended(head.id, head.workflow) for head in page.items]


async def test_a_rate_limit_says_when_to_try_again(hub: Hub) -> None:
    await started(hub, rate=(rate(limit=1, period=60), "payload.user"))
    await hub.create(params={"n": 1, "user": "kim"})
    await hub.create(params={"n": 1, "user": "lee"})
    await hub.clock.sleep(20)

    with pytest.raises(RateLimited, match="than its rate limit allows; try again in [0-9]+ seconds?$") as refused:
        await hub.create(params={"n": 2, "user": "kim"})

    assert refused.value.retry_after is not None
    assert timedelta(seconds=39) < refused.value.retry_after <= timedelta(seconds=40)


async def test_events_of_a_trigger_that_are_rate_limited_are_stored_with_the_reason(hub: Hub) -> None:
    hub.rules["hook"] = Rules(flow=rules("trigger/hook", rate=(rate(limit=1, period=60), None)))
    log = await started(hub)

    first, second = [await hub.engine.emit("hook", "program", TriggerEvent(payload={"n": n}, key=str(n))) for n in (1, 2)]

    assert first.status is ReceiptStatus.CREATED
    assert (second.status, second.reason, second.instance_id) == (ReceiptStatus.FILTERED, "rate_limit", None)
    assert second.delivery is not None
    stored = await hub.engine.ledger.delivery(second.delivery)
    assert (stored.code, stored.key) == ("rate_limit", "2")
    await all_ended(hub)
    assert log.order == [1]


async def test_a_batch_hands_over_the_list_of_all_payloads(hub: Hub) -> None:
    log = await started(hub, batch=(batch(size=3, wait=10), "payload.user"))

    ids = [await hub.create(params={"n": n, "user": user}) for n, user in enumerate("aababaa")]

    assert ids == [ids[0], ids[0], ids[2], ids[0], ids[2], ids[5], ids[5]]
    await all_ended(hub)
    assert sorted(log.order) == [[0, 1, 3], [2, 4], [5, 6]]


async def test_a_full_batch_never_starts_with_a_single_payload_even_when_it_is_full_with_its_first_event(hub: Hub) -> None:
    log = await started(hub, batch=(batch(size=1), None))

    await hub.create(params={"n": 1})

    await all_ended(hub)
    assert log.order == [[1]]


async def test_a_debounced_burst_runs_once_with_its_last_event(hub: Hub) -> None:
    log = await started(hub, debounce=(debounce(period=5, longest=12), None))
    for n in range(6):
        await hub.create(params={"n": n})
        await hub.clock.sleep(3)

    await all_ended(hub)

    assert log.order == [3, 5]
    assert [round(at) for _, at in log.runs] == [12, 20]


async def test_a_leading_debounce_refuses_the_rest_of_the_burst(hub: Hub) -> None:
    log = await started(hub, debounce=(debounce("leading", period=5, longest=12), None))
    first = await hub.create(params={"n": 1})

    with pytest.raises(Conflict, match=first) as refused:
        await hub.create(params={"n": 2})

    assert refused.value.code == "flow.debounce"
    await all_ended(hub)
    assert log.order == [1]


async def test_overlaps_of_a_trigger_are_decided_by_its_own_instances(hub: Hub) -> None:
    log = await started(hub)

    async def emit(n: int, overlap: Overlap | None) -> ReceiptStatus:
        return (await hub.engine.emit("nightly", "program", TriggerEvent(payload={"n": n, "s": 10}, overlap=overlap))).status

    assert [
        await emit(1, Overlap.SKIP), await emit(2, Overlap.SKIP), await emit(3, Overlap.QUEUE_ONE), await emit(4, Overlap.QUEUE_ONE),
        await emit(5, Overlap.ALLOW), await emit(6, Overlap.QUEUE_ALL),
    ] == [
        ReceiptStatus.CREATED, ReceiptStatus.FILTERED, ReceiptStatus.CREATED, ReceiptStatus.FILTERED, ReceiptStatus.CREATED,
        ReceiptStatus.CREATED,
    ]  # fmt: skip
    await hub.create(params={"n": 7, "s": 10})
    await all_ended(hub)
    assert [(n, round(at)) for n, at in log.runs] == [(1, 0), (5, 0), (7, 0), (3, 10), (6, 20)]


@pytest.mark.parametrize(
    ("flow", "statuses"),
    [
        ({}, ["created", "filtered"]),
        ({"singleton": (singleton("queue_one"), None)}, ["created", "created"]),
        ({"batch": (batch(size=2), None)}, ["created", "delivered"]),
    ],
    ids=["skip", "as the singleton says", "collected"],
)
async def test_a_schedule_that_says_nothing_skips_what_overlaps_unless_the_flow_says_something(
    hub: Hub, flow: dict[str, Any], statuses: list[str]
) -> None:
    await started(hub, **flow)
    slot = TriggerEvent(payload={"n": 1, "s": 10}, schedule=Schedule(cron="@hourly", scheduled_at=hub.clock.now()))
    assert [(await hub.engine.emit("nightly", "program", slot)).status.value for _ in range(2)] == statuses
    await all_ended(hub)


async def test_cancel_running_rolls_back_before_the_new_one_starts(hub: Hub) -> None:
    order: list[str] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> None:
        order.append(f"{event.payload} begins")

        async def undo(ctx: Any) -> None:
            await hub.clock.sleep(5)
            order.append(f"{event.payload} is undone")

        await step.do("book", lambda: None, rollback=undo)
        await step.sleep("rest", "1 hour")

    hub.defined["program"] = {"flow": rules(singleton=(singleton("cancel_running"), None))}
    await hub.start(program=program)
    first = await hub.create(params="first")
    await hub.clock.sleep(60)
    second = await hub.create(params="second")
    await hub.clock.sleep(1)

    assert (await hub.engine.instance("program", first)).status is Status.ROLLING_BACK
    assert (await hub.ended(first)).status is Status.TERMINATED
    assert (await hub.ended(second)).status is Status.COMPLETE
    begun = [line for line in dict.fromkeys(order) if line != "second is undone"]
    assert begun == ["first begins", "first is undone", "second begins"]


async def test_terminate_running_starts_the_new_one_at_once(hub: Hub) -> None:
    log = await started(hub, singleton=(singleton("terminate_running"), "payload.user"))
    first = await hub.create(params={"n": 1, "s": 100, "user": "kim"})
    await hub.create(params={"n": 9, "s": 3, "user": "lee"})
    await hub.clock.sleep(2)
    second = await hub.create(params={"n": 2, "user": "kim"})

    ended = {instance.id: instance for instance in await all_ended(hub)}

    error = ended[first].error
    assert (ended[first].status, ended[second].status) == (Status.TERMINATED, Status.COMPLETE)
    assert error is not None
    assert second in error.message
    assert [(n, round(at)) for n, at in log.runs] == [(1, 0), (9, 0), (2, 2)]


async def test_a_delay_and_a_start_deadline_that_no_slot_meets(hub: Hub) -> None:
    log = await started(hub, delay=seconds(60), start_deadline=seconds(30), concurrency=[(limit(1), None)])
    for n, length in ((1, 50), (2, 1), (3, 1)):
        await hub.create(params={"n": n, "s": length})

    ended = await all_ended(hub)

    assert [(n, round(at)) for n, at in log.runs] == [(1, 60)]
    assert [instance.status for instance in ended] == [Status.COMPLETE, Status.TERMINATED, Status.TERMINATED]
    assert {instance.error and instance.error.name for instance in ended[1:]} == {"StartDeadlineExceeded"}
    assert {round((instance.ended_at - instance.created_at).total_seconds()) for instance in ended[1:] if instance.ended_at} == {90}


async def test_a_throttle_spaces_starts_and_keeps_their_order(hub: Hub) -> None:
    log = await started(hub, throttle=(rate(limit=1, period=10, burst=2), None))
    for n in range(5):
        await hub.create(params={"n": n, "s": 100})

    await all_ended(hub)

    assert log.order == [0, 1, 2, 3, 4]
    assert log.gaps == [0, 10, 10, 10]


async def test_only_so_many_bodies_run_at_once_and_all_come_to_an_end_in_order(hub: Hub) -> None:
    log = await started(hub, concurrency=[(limit(3), None)])
    for n in range(20):
        await hub.create(params={"n": n, "s": 1})

    ended = await all_ended(hub)

    assert {instance.status for instance in ended} == {Status.COMPLETE}
    assert log.most == 3
    assert [sorted(log.order[n : n + 3]) for n in range(0, 20, 3)] == [list(range(20))[n : n + 3] for n in range(0, 20, 3)]
    assert round(log.runs[-1][1]) == 6


async def test_each_key_has_places_of_its_own(hub: Hub) -> None:
    log = await started(hub, concurrency=[(limit(1), "payload.user")])
    for n, user in enumerate("aaab"):
        await hub.create(params={"n": n, "s": 10, "user": user})

    await all_ended(hub)

    assert [(n, round(at)) for n, at in log.runs] == [(0, 0), (3, 0), (1, 10), (2, 20)]


async def test_a_limited_instance_that_waits_however_shortly_makes_room(hub: Hub) -> None:
    """A wait of 10 ms stays in memory where no limit counts."""
    order: list[str] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> None:
        await step.do("before", lambda: order.append(f"{event.payload} before"))
        await step.sleep("wink", 10)
        await step.do("after", lambda: order.append(f"{event.payload} after"))

    hub.defined["program"] = {"flow": rules(concurrency=[(limit(1), None)])}
    await hub.start(program=program)
    for name in ("a", "b"):
        await hub.create(params=name)

    await all_ended(hub)

    assert order == ["a before", "b before", "a after", "b after"]


async def test_steps_side_by_side_of_a_limited_instance_keep_its_one_place(hub: Hub) -> None:
    running: Counter[str] = Counter()
    together: list[tuple[str, ...]] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> None:
        async def body() -> None:
            running[event.payload] += 1
            together.append(tuple(sorted(running)))
            await hub.clock.sleep(2)
            running[event.payload] -= 1
            if not running[event.payload]:
                del running[event.payload]

        await asyncio.gather(*(step.do(f"part {n}", body) for n in range(3)), step.sleep("rest", "1 second"))

    hub.defined["program"] = {"flow": rules(concurrency=[(limit(1), None)])}
    await hub.start(program=program)
    for name in ("a", "b"):
        await hub.create(params=name)

    await all_ended(hub)

    assert set(together) == {("a",), ("b",)}


async def test_children_obey_the_limit_of_their_workflow_and_a_waiting_parent_does_not_block_them(hub: Hub) -> None:
    log = Log(hub)

    async def parent(event: WorkflowEvent, step: WorkflowStep) -> None:
        await asyncio.gather(*(step.run_workflow(f"call {n}", "program", {"n": n, "s": 5}) for n in range(3)))

    async def nested(event: WorkflowEvent, step: WorkflowStep) -> Any:
        if event.payload:
            return await step.run_workflow("deeper", "nested", event.payload - 1)
        return "bottom"

    hub.defined["program"] = {"flow": rules(concurrency=[(limit(1), None)])}
    hub.defined["nested"] = {"flow": rules("workflow/nested", concurrency=[(limit(1), None)])}
    await hub.start(program=log.program, parent=parent, nested=nested)

    await hub.run("parent")
    deep = await hub.run("nested", 4)

    assert (log.most, [round(at) for _, at in log.runs]) == (1, [0, 5, 10])
    assert codec.decode(deep.output or b"null") == "bottom"


async def test_a_dropped_instance_and_the_oldest_that_made_room_are_named(hub: Hub) -> None:
    log = await started(hub, concurrency=[(limit(1, "drop_new"), "payload.user")])
    first = await hub.create(params={"n": 1, "s": 10, "user": "kim"})

    with pytest.raises(Conflict, match=first) as refused:
        await hub.create(params={"n": 2, "user": "kim"})

    assert refused.value.code == "flow.concurrency"
    await all_ended(hub)
    assert log.order == [1]


async def test_cancel_oldest_stops_the_body_that_runs(hub: Hub) -> None:
    log = await started(hub, concurrency=[(limit(2, "cancel_oldest"), None)])
    ids = []
    for n in range(4):
        ids.append(await hub.create(params={"n": n, "s": 100}))
        await hub.clock.sleep(1)

    ended = {instance.id: instance.status for instance in await all_ended(hub)}

    assert [ended[id] for id in ids] == [Status.TERMINATED, Status.TERMINATED, Status.COMPLETE, Status.COMPLETE]
    assert log.most == 4  # the count of a cancelled body is not taken back
    assert [round(at) for _, at in log.runs] == [0, 1, 2, 3]


async def test_a_head_start_of_an_expression_puts_an_instance_before_others_that_wait(hub: Hub) -> None:
    log = await started(hub, concurrency=[(limit(1), None)], priority="payload.ahead")
    await hub.create(params={"n": 0, "s": 30})
    for n, ahead in ((1, None), (2, "much"), (3, 100), (4, 5), (5, 9_999)):
        await hub.clock.sleep(1)
        await hub.create(params={"n": n, "ahead": ahead, "s": 1})

    await all_ended(hub)

    assert log.order == [0, 5, 3, 4, 1, 2]


async def test_a_full_backlog_refuses_at_every_door(hub: Hub) -> None:
    await started(hub, backlog=2, delay=seconds(60))
    binding = WorkflowBinding(hub.engine, "program")
    await hub.create(params={"n": 1})
    await hub.create(params={"n": 2})

    with pytest.raises(Overloaded) as refused:
        await hub.create(params={"n": 3})
    with pytest.raises(Overloaded):
        await binding.create(params={"n": 4})
    with pytest.raises(Overloaded):
        await hub.engine.emit("hook", "program", TriggerEvent(payload={"n": 5}))
    whole = await hub.engine.create_batch([CreateRequest(workflow="program", params={"n": 6})])

    assert refused.value.retry_after is not None
    assert refused.value.retry_after > timedelta(0)
    assert [error.code for error in whole.errors] == ["overloaded"]
    await all_ended(hub)
    await hub.create(params={"n": 7})


async def test_an_event_cancels_earlier_instances_and_may_create_a_later_one(hub: Hub) -> None:
    log = Log(hub)
    hub.defined["program"] = {"cancel_on": (cancel_rule("changes", "payload.n", "n"), cancel_rule("stops", "payload", "user.name"))}
    await hub.start(program=log.program)
    first = await hub.create(params={"n": 1, "s": 100})
    second = await hub.create(params={"n": 2, "s": 100, "user": {"name": "kim"}})
    await hub.clock.sleep(1)

    replaced = await hub.engine.emit("changes", "program", TriggerEvent(payload={"n": 1, "s": 1}))
    stopped = await hub.engine.emit("stops", None, TriggerEvent(payload="kim"))
    nobody = await hub.engine.emit("stops", None, TriggerEvent(payload="lee"))

    assert (replaced.status, stopped.status, stopped.reason) == (ReceiptStatus.CREATED, ReceiptStatus.DELIVERED, "cancelled 1 instance")
    assert nobody.reason == "cancelled 0 instances"
    ended = {instance.id: instance for instance in await all_ended(hub)}
    assert [ended[id].status for id in (first, second, replaced.instance_id or "")] == [
        Status.TERMINATED, Status.TERMINATED, Status.COMPLETE
    ]  # fmt: skip
    error = ended[second].error
    assert error is not None
    assert error.message == 'an event of trigger "stops" cancelled it: payload is "kim"'
    assert hub.clock.monotonic() < 50  # the bodies were stopped


async def test_a_held_event_that_cancels_is_settled_when_it_is_released(hub: Hub) -> None:
    log = Log(hub)
    hub.defined["program"] = {"cancel_on": (cancel_rule("stops", "payload", "n"),)}
    await hub.start(program=log.program)
    first = await hub.create(params={"n": 1, "s": 100})
    finding = Finding(DeliveryStatus.HELD, "trigger.paused", "")
    held = await hub.engine.ledger.keep("stops", TriggerEvent(payload=1), finding) or ""

    receipt = await hub.engine.again(await hub.engine.ledger.delivery(held), None)

    assert (receipt.status, receipt.reason) == (ReceiptStatus.DELIVERED, "cancelled 1 instance")
    assert (await hub.engine.ledger.delivery(held)).status is DeliveryStatus.REPLAYED
    assert (await hub.ended(first)).status is Status.TERMINATED


async def test_a_batch_of_creations_tells_which_of_them_the_flow_refuses(hub: Hub) -> None:
    await started(hub, singleton=(singleton("skip"), "payload.user"))

    made = await hub.engine.create_batch([CreateRequest(workflow="program", params={"n": n, "user": user}) for n, user in enumerate("aba")])

    assert len(made.created) == 2
    assert [(error.index, error.code) for error in made.errors] == [(2, "flow.singleton")]


async def test_a_clean_restart_of_the_node_keeps_order_limits_and_what_was_collected(hub: Hub) -> None:
    log = await started(hub, concurrency=[(limit(2), None)])
    for n in range(8):
        await hub.create(params={"n": n, "s": 4})
    await hub.clock.sleep(1)
    await hub.stop()
    log.now = log.most = 0

    await hub.start(program=log.program)
    ended = await all_ended(hub)

    assert {instance.status for instance in ended} == {Status.COMPLETE}
    assert log.most == 2
    assert list(dict.fromkeys(log.order)) == list(range(8))


async def test_an_operator_can_pause_resume_and_terminate_what_waits_at_a_gate(hub: Hub) -> None:
    log = await started(hub, concurrency=[(limit(1), None)])
    ids = [await hub.create(params={"n": n, "s": 10}) for n in range(4)]
    await hub.clock.sleep(1)

    await hub.engine.steer("program", ids[1], Verb.PAUSE)
    await hub.engine.steer("program", ids[2], Verb.TERMINATE)
    await hub.ended(ids[3])
    assert await hub.engine.steer("program", ids[1], Verb.RESUME) is Status.QUEUED

    await all_ended(hub)
    assert log.order == [0, 3, 1]


async def test_a_workflow_without_rules_pays_nothing_for_those_of_others(hub: Hub) -> None:
    log = Log(hub)
    hub.defined["program"] = {"flow": rules(concurrency=[(limit(1), None)])}
    await hub.start(program=log.program, free=log.program)
    for n in range(3):
        await hub.create("free", params={"n": n, "s": 1})

    await all_ended(hub)

    assert log.most == 3


async def test_limits_of_many_keys_hold_for_a_thousand_instances_in_every_sample(hub: Hub) -> None:
    running: Counter[str] = Counter()
    in_bodies: list[int] = []  # how many keys were over their limit, at the beginning of each body
    in_store: list[int] = []  # the same, by what the store says

    def over(executing: Counter[str]) -> int:
        return (executing["all"] > 20) + sum(executing[user] > 3 for user in users)

    async def program(event: WorkflowEvent, step: WorkflowStep) -> None:
        keys = ("all", event.payload["user"])

        async def body() -> None:
            running.update(keys)
            in_bodies.append(over(running))
            await hub.clock.sleep(event.payload["s"])
            running.subtract(keys)

        await step.do("one", body)
        await step.sleep("rest", 20)
        await step.do("two", body)

    async def sample() -> None:
        while True:
            await hub.clock.sleep(1)
            page = await hub.engine.find(InstanceQuery(limit=1000))
            held = [user_of[head.id] for head in page.items if head.node is not None and head.id in user_of]
            in_store.append(over(Counter({**Counter(held), "all": len(held)})))

    users = [f"user {n}" for n in range(10)]
    user_of: dict[str, str] = {}
    hub.defined["program"] = {"flow": rules(concurrency=[(limit(20), None), (limit(3), "payload.user")])}
    await hub.start(program=program)
    sampling = asyncio.create_task(sample())
    wanted = [CreateRequest(workflow="program", id=f"i{n}", params={"user": users[n % 10], "s": (n % 7) / 10}) for n in range(1000)]
    user_of.update({f"i{n}": users[n % 10] for n in range(1000)})
    for n in range(0, 1000, 100):
        assert len((await hub.engine.create_batch(wanted[n : n + 100])).created) == 100

    ended = await all_ended(hub)

    sampling.cancel()
    await asyncio.gather(sampling, return_exceptions=True)
    assert Counter(instance.status for instance in ended) == {Status.COMPLETE: 1000}
    assert (len(in_bodies), sum(in_bodies)) == (2000, 0)
    assert (len(in_store) > 10, sum(in_store)) == (True, 0)
