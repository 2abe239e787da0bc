"""Subscriptions: an instance's story from its history and then live, on a real store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub import WorkflowEvent, WorkflowStep
from hub.core.errors import NonRetryableError, NotFound, Rejected
from hub.core.model import Status
from hub.core.stream import InstanceEvent
from hub.core.writes import RestartPoint, Verb
from hub.engine.binding import WorkflowBinding

from .conftest import Hub

STEP = ["step_started", "attempt_started", "attempt_completed", "step_completed"]


async def steps(event: WorkflowEvent, step: WorkflowStep) -> Any:
    """Do one step, sleep, wait, and do another one."""
    await step.do("a", lambda: 1)
    await step.sleep("nap", "10 seconds")
    got = await step.wait_for_event("wait", type="go", timeout="1 hour")
    await step.do("b", lambda: 2, sensitive="output")
    return got["payload"]


async def tell(hub: Hub, id: str, **options: Any) -> list[InstanceEvent]:
    """Return the whole story."""
    return [event async for event in await hub.engine.subscribe("program", id, **options)]


def types(events: list[InstanceEvent]) -> list[str]:
    return [event.type for event in events]


async def finished(hub: Hub) -> str:
    """Run `steps` to its end."""
    await hub.start(program=steps)
    id = await hub.create()
    await hub.engine.send_event("program", id, "go", {"ok": True})
    await hub.ended(id)
    return id


async def test_the_whole_story_of_an_instance_that_has_ended(hub: Hub) -> None:
    events = await tell(hub, await finished(hub))
    journal = [event for event in events if not event.type.startswith("workflow_")]
    assert types(journal) == [*STEP, "sleep_started", "sleep_completed", "wait_started", "wait_completed", *STEP]
    assert types(events)[:2] == ["workflow_queued", "workflow_started"]
    assert (events[-1].type, events[-1].fields) == ("workflow_completed", {"output": {"ok": True}})
    assert journal[-1].fields["output"] == "[REDACTED]"
    assert [event.id for event in events] == sorted({event.id for event in events})


async def test_a_subscriber_hears_live_what_another_one_reads_later(hub: Hub) -> None:
    await hub.start(program=steps)
    id = await hub.create()
    listening = asyncio.create_task(tell(hub, id))
    await hub.until(id, Status.WAITING)
    await hub.engine.steer("program", id, Verb.PAUSE)
    await hub.until(id, Status.PAUSED)
    await hub.engine.steer("program", id, Verb.RESUME)
    await hub.engine.send_event("program", id, "go", 5)
    heard = await listening
    assert heard == await tell(hub, id)
    assert {"workflow_waiting", "workflow_paused", "workflow_running"} <= set(types(heard))


async def test_whoever_comes_back_hears_the_rest(hub: Hub) -> None:
    id = await finished(hub)
    events = await tell(hub, id)
    for number, event in enumerate(events, start=1):
        assert await tell(hub, id, cursor=event.id) == events[number:]


async def test_the_story_ends_with_the_instance_even_when_its_end_is_filtered_out(hub: Hub) -> None:
    assert types(await tell(hub, await finished(hub), filter=["sleep_completed", "step_started"])) == [
        "step_started",
        "sleep_completed",
        "step_started",
    ]


async def test_failed_attempts_and_the_rollback_are_told(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        def fail() -> None:
            raise ValueError("busy")

        await step.do("a", lambda: 1, rollback=lambda: None)
        await step.do("b", fail, retries={"limit": 1, "delay": "5 seconds"})

    await hub.start(program=program)
    id = await hub.create()
    live = await asyncio.create_task(tell(hub, id))
    expected = [
        *STEP,
        *("step_started", "attempt_started", "attempt_errored", "attempt_started", "attempt_errored", "step_errored"),
        *("rollback_started", *(f"rollback_{type}" for type in STEP), "rollback_completed", "workflow_errored"),
    ]
    moves = {"workflow_queued", "workflow_started", "workflow_waiting", "workflow_running"}
    for events in (live, await tell(hub, id)):
        assert [type for type in types(events) if type not in moves] == expected
    assert [event.fields.get("retryDelayMs") for event in live if event.type == "attempt_errored"] == [5000, None]


async def test_whoever_comes_back_after_every_event_hears_each_attempt_once_with_the_delay_after_it(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def slow(ctx: Any) -> None:
            await asyncio.sleep(10)
            if ctx.attempt < 4:
                raise ValueError("busy")

        await step.do("slow", slow, retries={"limit": 5, "delay": "1 minute", "backoff": "linear"})

    await hub.start(program=program)
    id = await hub.create()
    live = asyncio.create_task(tell(hub, id))
    restless: list[InstanceEvent] = []
    while not restless or not restless[-1].terminal:
        stream = await hub.engine.subscribe("program", id, cursor=restless[-1].id if restless else None)
        restless.append(await anext(stream))
        await stream.aclose()  # type: ignore[attr-defined]  # an iterator that is a generator

    replayed = await tell(hub, id)
    assert await live == replayed == restless
    assert [event.fields["attempt"] for event in replayed if event.type == "attempt_started"] == [1, 2, 3, 4]
    errored = [event.fields for event in replayed if event.type == "attempt_errored"]
    assert [fields["retryDelayMs"] for fields in errored] == [60_000, 120_000, 180_000]


async def test_a_restarted_instance_tells_its_new_story(hub: Hub) -> None:
    id = await finished(hub)
    before = await tell(hub, id)
    await hub.engine.restart("program", id, RestartPoint(name="nap"))
    await hub.engine.send_event("program", id, "go", {"ok": 2})
    again = await tell(hub, id, cursor=before[-1].id)
    assert types(again)[0] == "workflow_queued"
    assert again[-1].fields == {"output": {"ok": 2}}
    assert [event.fields["stepName"] for event in again if event.type == "step_started"] == ["b-1"]


async def test_a_story_ends_when_the_instance_is_deleted(hub: Hub) -> None:
    await hub.start(program=steps)
    id = await hub.create()
    await hub.until(id, Status.WAITING)
    listening = asyncio.create_task(tell(hub, id))
    await hub.clock.sleep(1)
    await hub.engine.delete("program", id)
    assert "workflow_waiting" in types(await listening)


async def test_a_story_ends_when_the_hub_stops(hub: Hub) -> None:
    await hub.start(program=steps)
    id = await hub.create()
    await hub.until(id, Status.WAITING)
    listening = asyncio.create_task(tell(hub, id))
    await hub.clock.sleep(1)
    await hub.stop()
    assert "workflow_waiting" in types(await listening)


async def test_a_node_that_started_again_goes_on_with_the_numbers(hub: Hub) -> None:
    await hub.start(program=steps)
    id = await hub.create()
    await hub.until(id, Status.WAITING)
    first = await asyncio.wait_for(anext(await hub.engine.subscribe("program", id, filter=["workflow_waiting"])), 5)
    await hub.stop()
    await hub.start()
    await hub.engine.send_event("program", id, "go", None)
    rest = await tell(hub, id, cursor=first.id)
    assert min(event.id for event in rest) > first.id
    assert rest[-1].type == "workflow_completed"


async def test_a_story_longer_than_a_page_is_told_whole(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        for number in range(600):
            await step.do("each", lambda n=number: n)

    await hub.start(program=program)
    instance = await hub.run()
    events = await tell(hub, instance.id, filter=["step_completed"])
    assert [event.fields["output"] for event in events] == list(range(600))


async def test_what_cannot_be_subscribed_to_is_told_at_once(hub: Hub) -> None:
    id = await finished(hub)
    with pytest.raises(NotFound):
        await hub.engine.subscribe("program", "nobody")
    with pytest.raises(Rejected, match="cursor"):
        await hub.engine.subscribe("program", id, cursor=-1)
    with pytest.raises(Rejected, match="step_begun"):
        await hub.engine.subscribe("program", id, filter=["step_begun"])


async def test_a_binding_iterates_over_the_events_in_the_shape_of_the_api(hub: Hub) -> None:
    id = await finished(hub)
    handle = await WorkflowBinding(hub.engine, "program").get(id)
    events = [event async for event in handle.subscribe(filter=["workflow_completed"])]
    assert [(event["instanceId"], event["type"], event["output"]) for event in events] == [(id, "workflow_completed", {"ok": True})]
    assert [event async for event in handle.subscribe({"cursor": events[0]["eventId"]})] == []
    with pytest.raises(Rejected):
        await anext(handle.subscribe({"filter": ["nothing"]}))


async def test_a_program_that_fails_at_once_tells_its_error(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        raise NonRetryableError("no")

    await hub.start(program=program)
    events = await tell(hub, (await hub.run()).id)
    assert types(events) == ["workflow_queued", "workflow_started", "workflow_errored"]
    assert events[-1].fields == {"error": {"name": "NonRetryableError", "message": "no"}}
