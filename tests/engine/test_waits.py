"""Sleeps, events and parking."""

from __future__ import annotations

import asyncio
import gc
import weakref
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from hub import NonRetryableError, WaitTimeout, WorkflowEvent, WorkflowStep
from hub.core import codec
from hub.core.errors import Conflict, Rejected
from hub.core.model import Kind, State, Status

from .conftest import Hub


def output(instance: Any) -> Any:
    """Return the decoded output of an instance that must be complete."""
    assert instance.status is Status.COMPLETE, instance.error
    return codec.decode(instance.output)


@pytest.mark.parametrize("duration", ["200 ms", "1 hour", "30 days", timedelta(minutes=5), 1500, "1 hour 30 minutes"])
async def test_a_sleep_is_never_early_and_hardly_late(hub: Hub, duration: Any) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        before = await step.do("before", hub.clock.now)
        await step.sleep("nap", duration)
        return (await step.do("after", hub.clock.now)) - before

    await hub.start(program=program)
    instance = await hub.run()
    entry = next(e for e in (await hub.engine.describe("program", instance.id)).entries if e.kind is Kind.SLEEP)
    assert entry.wake_at is not None
    assert entry.wake_at <= entry.ended_at <= entry.wake_at + timedelta(milliseconds=100)  # type: ignore[operator]
    assert output(instance) >= entry.wake_at - entry.started_at


async def test_sleep_until_a_moment_and_one_in_the_past_continues_at_once(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.sleep_until("past", datetime(2001, 1, 1, tzinfo=UTC))
        await step.sleep_until("future", datetime(2030, 2, 1, tzinfo=UTC))
        await step.sleep_until("as milliseconds", datetime(2030, 2, 2, tzinfo=UTC).timestamp() * 1000)
        return await step.do("now", hub.clock.now)

    await hub.start(program=program)
    at = output(await hub.run())
    assert timedelta(0) <= at - datetime(2030, 2, 2, tzinfo=UTC) < timedelta(seconds=1)


async def test_a_sleep_of_more_than_a_year_is_refused(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.sleep("too long", "366 days")

    await hub.start(program=program)
    instance = await hub.run()
    assert instance.error is not None
    assert "365 days" in instance.error.message


async def test_a_wait_that_can_never_end_is_refused_at_once(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        with pytest.raises(NonRetryableError, match='sleep "x": until when\\? .* of type str'):
            await step.sleep_until("x", "2030-01-01")  # type: ignore[arg-type]
        for beyond in (1e30, float("nan"), datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))):
            with pytest.raises(NonRetryableError, match='sleep "x": .* is beyond the calendar'):
                await step.sleep_until("x", beyond)
        with pytest.raises(NonRetryableError, match='wait "x": invalid event type "a.b"'):
            await step.wait_for_event("x", "a.b")
        with pytest.raises(NonRetryableError, match='wait "x": say which type'):
            await step.wait_for_event("x")

    await hub.start(program=program)
    instance = await hub.run()
    assert instance.status is Status.COMPLETE, instance.error


async def test_a_sleeping_instance_holds_no_memory_and_has_the_status_waiting(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.sleep("nap", "1 day")

    await hub.start(program=program)
    ids = [await hub.create() for _ in range(20)]
    for id in ids:
        instance = await hub.until(id, Status.WAITING)
        assert instance.node is None
        assert instance.wake_at is not None
    assert b"hub_instances_resident 0.0\n" in hub.engine.telemetry.render()
    for id in ids:
        assert (await hub.ended(id)).status is Status.COMPLETE


@pytest.mark.parametrize("strands", [1, 2])
async def test_the_memory_of_what_is_parked_is_free_before_the_collector_looks(hub: Hub, strands: int) -> None:
    class Held:
        pass

    held: list[weakref.ref[Held]] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        mine = Held()
        held.append(weakref.ref(mine))
        await asyncio.gather(*(step.sleep(f"nap {number}", "1 day") for number in range(strands)))
        return str(mine)

    await hub.start(program=program)
    gc.disable()
    try:
        id = await hub.create()
        await hub.until(id, Status.WAITING)
        await hub.stop()
        assert [ref() for ref in held] == [None]
    finally:
        gc.enable()


async def test_an_event_that_comes_before_the_wait_is_kept_for_it(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.sleep("first something else", "1 hour")
        got = await step.wait_for_event("approval", "approved")
        assert got["type"] == "approved"
        assert got["timestamp"].tzinfo is not None
        return got["payload"]

    await hub.start(program=program)
    id = await hub.create()
    await hub.engine.send_event("program", id, "approved", {"by": "ann"})
    assert output(await hub.ended(id)) == {"by": "ann"}


async def test_an_event_wakes_a_parked_instance(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        first = await step.wait_for_event("one", type="go", timeout="7 days")
        second = await step.wait_for_event("two", "go", timeout="7 days")
        return [first["payload"], second["payload"]]

    await hub.start(program=program)
    id = await hub.create()
    for n in (1, 2):
        await hub.until(id, Status.WAITING)
        await hub.engine.send_event("program", id, "go", n)
    assert output(await hub.ended(id)) == [1, 2]
    assert hub.clock.monotonic() < 60


async def test_an_event_reaches_a_wait_that_is_still_in_memory(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def body() -> str:
            await asyncio.sleep(300)
            return "body"

        got, done = await asyncio.gather(step.wait_for_event("w", "go"), step.do("long", body))
        return [got["payload"], done, hub.clock.monotonic() >= 300]

    await hub.start(program=program)
    id = await hub.create()
    await hub.until(id, Status.RUNNING)
    await hub.engine.send_event("program", id, "go", "early")
    snapshot = await hub.engine.describe("program", id)
    while not any(e.kind is Kind.EVENT and e.state is State.DONE for e in snapshot.entries):
        await hub.clock.sleep(0.01)
        snapshot = await hub.engine.describe("program", id)
    assert hub.clock.monotonic() < 60
    assert output(await hub.ended(id)) == ["early", "body", True]


async def test_events_of_a_type_are_taken_in_the_order_of_their_arrival_each_by_one_wait(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        got = await asyncio.gather(*(step.wait_for_event(f"w{n}", "n") for n in range(3)), step.wait_for_event("other", "other"))
        return [g["payload"] for g in got]

    await hub.start(program=program)
    id = await hub.create()
    await hub.engine.send_event("program", id, "n", 0)
    await hub.until(id, Status.WAITING)
    for n in (1, 2, 3):
        await hub.engine.send_event("program", id, "n", n)
    await hub.engine.send_event("program", id, "other", "o")  # the last: with it the program ends, and takes no more
    assert output(await hub.ended(id)) == [0, 1, 2, "o"]


async def test_a_wait_without_an_event_times_out_catchably_and_the_same_way_on_replay(hub: Hub) -> None:
    seen: list[str] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        try:
            await step.wait_for_event("approval", "approved", timeout="24 hours")
        except WaitTimeout as error:
            seen.append(str(error))
        await step.sleep("replay", "1 hour")
        late = await step.wait_for_event("late one", "approved")
        return late["payload"]

    await hub.start(program=program)
    id = await hub.create()
    await hub.until(id, Status.WAITING)
    while hub.clock.monotonic() < 24.5 * 3600:
        await hub.clock.sleep(3600)
    await hub.engine.send_event("program", id, "approved", "too late for the first")
    assert output(await hub.ended(id)) == "too late for the first"
    assert len(seen) >= 2
    assert set(seen) == {'no event of type "approved" came within 1 day'}


async def test_an_uncaught_wait_timeout_ends_the_instance_errored(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.wait_for_event("approval", "approved", timeout="1 second")

    await hub.start(program=program)
    instance = await hub.run()
    assert instance.status is Status.ERRORED
    assert instance.error is not None
    assert instance.error.name == "WaitTimeout"


async def test_an_event_for_an_instance_that_has_ended_is_refused(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        return 1

    await hub.start(program=program)
    instance = await hub.run()
    with pytest.raises(Conflict, match="complete"):
        await hub.engine.send_event("program", instance.id, "go", 1)
    with pytest.raises(Rejected, match="event type"):
        await hub.engine.send_event("program", instance.id, "a.b", 1)


async def test_waits_side_by_side_are_parked_together_and_wake_one_by_one(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def nap(hours: int) -> float:
            await step.sleep(f"nap {hours}", f"{hours} hours")
            await step.do(f"after {hours}", lambda: None)
            return hub.clock.monotonic() // 3600

        return await asyncio.gather(*(nap(hours) for hours in (3, 1, 2)))

    await hub.start(program=program)
    assert output(await hub.run())[0] == 3
    assert hub.clock.monotonic() >= 3 * 3600


async def test_one_instance_with_many_waits_ends_in_time(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await asyncio.gather(*(step.sleep("many", f"{n + 1} seconds") for n in range(500)))
        return "all"

    await hub.start(program=program)
    assert output(await hub.run()) == "all"


async def test_an_instance_that_has_consumed_an_event_is_not_due_before_its_next_wait_ends(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.wait_for_event("w", "go")
        await step.sleep("one night", "1 day")
        await step.sleep("another night", "1 day")

    await hub.start(program=program)
    id = await hub.create()
    await hub.until(id, Status.WAITING)
    await hub.engine.send_event("program", id, "go", None)
    assert (await hub.ended(id)).token == 4, "a claim at the creation, one for the event and one after each night"
