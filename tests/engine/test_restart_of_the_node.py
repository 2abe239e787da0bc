"""What a clean stop and a new start of the node keep."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from hub import WorkflowEvent, WorkflowStep
from hub.core import codec
from hub.core.errors import Unavailable
from hub.core.model import State, Status
from hub.engine.runner import RunnerOptions

from .conftest import QUIET, Hub


@pytest.fixture
def options() -> RunnerOptions:
    """Return options with a grace period of two seconds."""
    return RunnerOptions(lease=QUIET, poll=QUIET, prune_every=QUIET, grace=timedelta(seconds=2))


async def test_a_body_that_ends_within_the_grace_period_is_not_run_again(hub: Hub) -> None:
    runs: list[str] = []
    started = asyncio.Event()

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def body() -> None:
            runs.append("first")
            started.set()
            await asyncio.sleep(1)

        await step.do("first", body)
        await step.do("second", lambda: runs.append("second"))

    await hub.start(program=program)
    id = await hub.create()
    await started.wait()
    await hub.stop()
    assert runs == ["first"]
    await hub.start()
    assert (await hub.ended(id)).status is Status.COMPLETE
    assert runs == ["first", "second"]


async def test_a_body_that_outlives_the_grace_period_counts_as_an_interrupted_attempt(hub: Hub) -> None:
    attempts: list[int] = []
    started = asyncio.Event()

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def body(ctx: Any) -> int:
            attempts.append(ctx.attempt)
            started.set()
            await asyncio.sleep(3600 if ctx.attempt == 1 else 0)
            return int(ctx.attempt)

        return await step.do("long", body, timeout="2 hours")

    await hub.start(program=program)
    id = await hub.create()
    await started.wait()
    await hub.until(id, Status.RUNNING)
    await hub.stop()
    await hub.start()
    instance = await hub.ended(id)
    assert codec.decode(instance.output or b"") == 2
    assert (attempts, instance.recoveries) == ([1, 2], 0)
    (lost,) = (await hub.engine.describe("program", id)).attempts
    assert (lost.number, lost.error.name) == (1, "StepInterrupted")


async def test_the_last_allowed_attempt_is_not_repeated_after_an_interruption(hub: Hub) -> None:
    runs: list[int] = []
    started = asyncio.Event()

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def once() -> None:
            runs.append(1)
            started.set()
            await asyncio.sleep(3600)

        await step.do("at most once", once, retries={"limit": 0}, timeout="2 hours")

    await hub.start(program=program)
    id = await hub.create()
    await started.wait()
    await hub.until(id, Status.RUNNING)
    await hub.stop()
    await hub.start()
    instance = await hub.ended(id)
    assert instance.error is not None
    assert instance.error.name == "StepInterrupted"
    assert runs == [1]
    (entry,) = (await hub.engine.describe("program", id)).entries
    assert entry.state is State.FAILED


async def test_sleeping_and_waiting_instances_go_on_after_a_restart(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.sleep("nap", "10 hours")
        got = await step.wait_for_event("w", "go")
        return [got["payload"], hub.clock.monotonic() // 3600]

    await hub.start(program=program)
    id = await hub.create()
    await hub.until(id, Status.WAITING)
    await hub.stop()
    await hub.clock.sleep(4 * 3600)
    await hub.start()
    await hub.engine.send_event("program", id, "go", "x")
    assert codec.decode((await hub.ended(id)).output or b"") == ["x", 10]


async def test_a_stopped_hub_refuses_new_work(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any: ...

    await hub.start(program=program)
    await hub.stop()
    with pytest.raises(Unavailable):
        await hub.create()
    await hub.stop()


async def test_an_instance_of_a_workflow_that_the_project_lost_waits_for_it(hub: Hub) -> None:
    async def gone(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.sleep("nap", "1 minute")
        return "found again"

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any: ...

    await hub.start(gone=gone, program=program)
    id = await hub.create("gone")
    await hub.until(id, Status.WAITING, "gone")
    await hub.stop()
    del hub.programs["gone"]
    await hub.start()
    await hub.clock.sleep(600)
    assert (await hub.engine.instance("gone", id)).status is Status.WAITING  # nobody has touched it
    await hub.stop()
    await hub.start(gone=gone)
    assert codec.decode((await hub.ended(id, "gone")).output or b"") == "found again"


async def test_a_branch_that_is_between_two_steps_when_the_node_stops_goes_on_at_the_next_start(hub: Hub) -> None:
    seconds: list[float] = []
    started = asyncio.Event()

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def body() -> None:
            started.set()
            await asyncio.sleep(1)

        async def working() -> None:
            await step.do("first", body)
            for _ in range(5):
                await asyncio.sleep(0)
            await step.do("second", lambda: seconds.append(hub.clock.monotonic()))

        await asyncio.gather(working(), step.sleep("nap", "10 hours"))

    await hub.start(program=program)
    id = await hub.create()
    await started.wait()
    await hub.stop()
    await hub.start()
    await hub.ended(id)
    assert seconds[0] < 60
