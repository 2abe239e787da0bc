"""Creating instances: ids, duplicates, batches, slots, order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub import WorkflowEvent, WorkflowStep
from hub.core import codec
from hub.core.delivery import ReceiptStatus, TriggerEvent
from hub.core.errors import NotFound, Rejected
from hub.core.model import InstanceQuery, Schedule, Source, Status
from hub.core.ports import CreateRequest
from hub.core.writes import CreateInstance, Finish, Write
from hub.engine.runner import RunnerOptions

from .conftest import QUIET, Hub


async def nothing(event: WorkflowEvent, step: WorkflowStep) -> Any:
    """Return the payload."""
    return event.payload


async def test_an_event_with_a_known_key_creates_nothing_and_names_the_first_instance(hub: Hub) -> None:
    await hub.start(program=nothing)
    first = await hub.engine.emit("hook", "program", TriggerEvent(payload=1, key="k"))
    second = await hub.engine.emit("hook", "program", TriggerEvent(payload=2, key="k"))
    other = await hub.engine.emit("another hook", "program", TriggerEvent(payload=3, key="k"))
    assert (first.status, second.status, other.status) == (ReceiptStatus.CREATED, ReceiptStatus.DUPLICATE, ReceiptStatus.CREATED)
    assert first.instance_id == second.instance_id != other.instance_id


async def test_an_instance_runs_although_its_creator_has_gone_away(hub: Hub) -> None:
    await hub.start(program=nothing)
    creator = asyncio.create_task(hub.engine.create(CreateRequest(workflow="program", params=1, id="left")))
    await asyncio.sleep(0)  # the write is on its way
    creator.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creator
    await hub.create()  # on disk after the one that was left
    await hub.until("left", Status.COMPLETE)


async def test_of_many_events_with_one_key_at_once_exactly_one_creates(hub: Hub) -> None:
    await hub.start(program=nothing)
    receipts = await asyncio.gather(*(hub.engine.emit("hook", "program", TriggerEvent(payload=n, key=f"k{n % 10}")) for n in range(500)))
    assert sum(receipt.status is ReceiptStatus.CREATED for receipt in receipts) == 10
    assert len({receipt.instance_id for receipt in receipts}) == 10


async def test_events_without_a_key_are_never_duplicates(hub: Hub) -> None:
    await hub.start(program=nothing)
    receipts = [await hub.engine.emit("hook", "program", TriggerEvent(payload="same")) for _ in range(3)]
    assert len({receipt.instance_id for receipt in receipts}) == 3


async def test_a_trigger_may_derive_the_id_and_pass_its_schedule(hub: Hub) -> None:
    schedules: list[Any] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        schedules.append(event["schedule"])

    await hub.start(program=program)
    at = hub.clock.now()
    id = f"*/5 * * * *-{int(at.timestamp() * 1000)}"
    schedule = Schedule(cron="*/5 * * * *", scheduled_at=at)
    event = TriggerEvent(payload={}, key="t", instance_id=id, schedule=schedule, source=Source.CRON)
    assert (await hub.engine.emit("cron", "program", event)).instance_id == id
    instance = await hub.ended(id)
    assert (instance.source, instance.trigger, instance.schedule) == (Source.CRON, "cron", schedule)
    assert schedules == [{"cron": "*/5 * * * *", "scheduledTime": int(at.timestamp() * 1000)}]


@pytest.mark.parametrize("id", ["", "-x", "a b", "a.b", "x" * 101, "ü", "batch", "latest", "a\x00"])
async def test_a_bad_id_is_rejected_and_nothing_is_created(hub: Hub, id: str) -> None:
    await hub.start(program=nothing)
    with pytest.raises(Rejected) as caught:
        await hub.create(id=id)
    assert caught.value.code == "instance.invalid_id"
    assert (await hub.engine.find(InstanceQuery())).items == ()


async def test_a_batch_creates_in_one_go_with_an_error_for_each_bad_item(hub: Hub) -> None:
    await hub.start(program=nothing)
    await hub.create(id="taken")
    requests = [CreateRequest(workflow="program", id=id) for id in ("a", "taken", "b", "a")]
    batch = await hub.engine.create_batch(requests)
    assert [created.id for created in batch.created] == ["a", "b"]
    assert [(error.index, error.id, error.code) for error in batch.errors] == [
        (1, "taken", "instance.already_exists"),
        (3, "a", "instance.duplicate_in_batch"),
    ]


async def test_a_batch_with_one_malformed_item_creates_nothing(hub: Hub) -> None:
    await hub.start(program=nothing)
    with pytest.raises(Rejected):
        await hub.engine.create_batch([CreateRequest(workflow="program"), CreateRequest(workflow="program", id="no good")])
    with pytest.raises(NotFound):
        await hub.engine.create_batch([CreateRequest(workflow="program"), CreateRequest(workflow="nope")])
    for size in (0, 101):
        with pytest.raises(Rejected, match="1 to 100"):
            await hub.engine.create_batch([CreateRequest(workflow="program")] * size)
    assert (await hub.engine.find(InstanceQuery())).items == ()


async def test_json_from_outside_never_turns_into_a_tagged_type(hub: Hub) -> None:
    await hub.start(program=nothing)
    payload = {"$hub": ["bytes", "AAAA"], "nested": [{"$hub": ["datetime", "2030-01-01"]}]}
    assert codec.decode((await hub.run(params=payload)).output or b"") == payload


class TestFewSlots:
    """With two slots and many instances."""

    @pytest.fixture
    def options(self) -> RunnerOptions:
        """Return options with two slots."""
        return RunnerOptions(slots=2, lease=QUIET, poll=QUIET, prune_every=QUIET)

    async def test_at_most_that_many_instances_run_at_once_and_the_oldest_come_first(self, hub: Hub) -> None:
        running: set[int] = set()
        most: list[int] = []
        order: list[int] = []

        async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
            async def body() -> None:
                running.add(event.payload)
                order.append(event.payload)
                most.append(len(running))
                await asyncio.sleep(1)
                running.discard(event.payload)

            await step.do("body", body)

        await hub.start(program=program)
        ids = [await hub.create(params=n) for n in range(2)]
        while len(running) < 2:
            await hub.clock.sleep(0.01)
        ids += [await hub.create(params=n) for n in range(2, 10)]
        for id in ids:
            assert (await hub.ended(id)).status is Status.COMPLETE
        assert max(most) == 2
        assert order[2:] == list(range(2, 10))

    async def test_a_program_that_has_ended_holds_no_slot_while_its_end_waits_for_the_disk(self, hub: Hub) -> None:
        born: list[bool] = []
        successors: list[asyncio.Task[str]] = []

        def look(write: Write) -> bool:
            if isinstance(write, CreateInstance):
                born.append(write.node is not None)
            if isinstance(write, Finish) and len(successors) < 2:
                successors.append(asyncio.create_task(hub.create()))
            return False

        async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
            await step.do("body", lambda: None)

        await hub.start(program=program)
        await hub.run()  # from now on the node knows that nothing waits in the store
        hub.refused = look
        for id in await asyncio.gather(hub.create(), hub.create()):
            await hub.ended(id)
        for id in await asyncio.gather(*successors):
            assert (await hub.ended(id)).status is Status.COMPLETE
        assert born == [True] * 4

    async def test_a_sleeping_instance_holds_no_slot(self, hub: Hub) -> None:
        async def sleeper(event: WorkflowEvent, step: WorkflowStep) -> Any:
            await step.sleep("long", "10 days")

        await hub.start(sleeper=sleeper, program=nothing)
        for _ in range(5):
            await hub.until(await hub.create("sleeper"), Status.WAITING, "sleeper")
        assert (await hub.run()).status is Status.COMPLETE
        assert hub.clock.monotonic() < 3600
