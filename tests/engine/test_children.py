"""A workflow that runs another workflow and waits for its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub import StepFailed, WaitTimeout, WorkflowEvent, WorkflowStep
from hub.core import codec
from hub.core.errors import NonRetryableError
from hub.core.model import InstanceQuery, Kind, State, Status
from hub.core.writes import Verb
from hub.engine.binding import WorkflowBinding

from .conftest import Hub


async def child(event: WorkflowEvent, step: WorkflowStep) -> Any:
    """Sleep as long as the payload says, then return or fail as it says."""
    if event.payload.get("nap"):
        await step.sleep("nap", event.payload["nap"])
    if "error" in event.payload:
        raise ValueError(event.payload["error"])
    return {"doubled": event.payload["n"] * 2}


def output(instance: Any) -> Any:
    """Return the decoded output of an instance that must be complete."""
    assert instance.status is Status.COMPLETE, instance.error
    return codec.decode(instance.output)


@pytest.mark.parametrize("nap", [None, "100 ms", "3 days"])
async def test_the_parent_waits_for_the_output_of_its_child(hub: Hub, nap: str | None) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        got = await step.run_workflow("call", "child", {"n": 21, "nap": nap})
        await step.sleep("replay", "1 hour")
        return got

    await hub.start(program=program, child=child)
    instance = await hub.run()
    assert output(instance) == {"doubled": 42}
    (entry,) = [e for e in (await hub.engine.describe("program", instance.id)).entries if e.kind is Kind.CHILD]
    workflow, _, id = (entry.child or "").partition("/")
    assert workflow == "child"
    started = await hub.engine.instance("child", id)
    assert started.status is Status.COMPLETE
    assert (await hub.engine.find(InstanceQuery(parent=instance.key))).items[0].id == id
    assert len((await hub.engine.find(InstanceQuery(workflow="child"))).items) == 1


async def test_the_child_s_error_is_raised_in_the_parent_under_its_name(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        try:
            await step.run_workflow("call", "child", {"error": "bad input"})
        except ValueError as error:
            return str(error)

    await hub.start(program=program, child=child)
    assert output(await hub.run()) == "bad input"


async def test_many_children_run_side_by_side(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        got = await asyncio.gather(*(step.run_workflow("call", "child", {"n": n, "nap": f"{n} hours"}) for n in range(1, 6)))
        return [g["doubled"] for g in got]

    await hub.start(program=program, child=child)
    assert output(await hub.run()) == [2, 4, 6, 8, 10]
    assert hub.clock.monotonic() < 6 * 3600


async def test_a_child_with_an_id_of_its_own_is_started_once(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        first = await step.run_workflow("call", "child", {"n": 1}, id="mine")
        with pytest.raises(StepFailed, match="exists already"):
            await step.run_workflow("again", "child", {"n": 1}, id="mine")
        return first

    await hub.start(program=program, child=child)
    assert output(await hub.run()) == {"doubled": 2}
    assert (await hub.engine.instance("child", "mine")).status is Status.COMPLETE


async def test_a_timeout_ends_the_wait_and_not_the_child(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        with pytest.raises(WaitTimeout, match="goes on by itself"):
            await step.run_workflow("call", "child", {"n": 1, "nap": "10 days"}, id="slow", timeout="1 day")
        return "gave up"

    await hub.start(program=program, child=child)
    assert output(await hub.run()) == "gave up"
    assert (await hub.engine.instance("child", "slow")).status is Status.WAITING
    assert (await hub.ended("slow", "child")).status is Status.COMPLETE


async def test_a_terminated_child_is_an_error_in_the_parent(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        try:
            await step.run_workflow("call", "child", {"n": 1, "nap": "10 days"}, id="victim")
        except StepFailed as error:
            return error.name

    await hub.start(program=program, child=child)
    id = await hub.create()
    await hub.until(id, Status.WAITING)
    await hub.until("victim", Status.WAITING, "child")
    await hub.engine.steer("child", "victim", Verb.TERMINATE)
    assert output(await hub.ended(id)) == "Terminated"


async def test_terminate_takes_the_children_along_only_when_asked(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.run_workflow("call", "program" if event.payload.get("deep") else "child", {"n": 1, "nap": "10 days"})

    await hub.start(program=program, child=child)
    for cascade in (False, True):
        id = await hub.create(params={"deep": True})
        await hub.until(id, Status.WAITING)
        top = await hub.engine.instance("program", id)
        while not (below := (await hub.engine.find(InstanceQuery(parent=top.key))).items):
            await hub.clock.sleep(0.01)
        await hub.until(below[0].id, Status.WAITING)
        while not (lowest := (await hub.engine.find(InstanceQuery(parent=below[0].key))).items):
            await hub.clock.sleep(0.01)
        await hub.until(lowest[0].id, Status.WAITING, "child")
        await hub.engine.steer("program", id, Verb.TERMINATE, cascade=cascade)
        status = (await hub.engine.instance("child", lowest[0].id)).status
        assert status is (Status.TERMINATED if cascade else Status.WAITING)


@pytest.mark.parametrize(("workflow", "params"), [("nope", {}), ("child", "x" * (1 << 20))])
async def test_a_child_that_can_never_be_created_is_a_clear_error(hub: Hub, workflow: str, params: Any) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        with pytest.raises(NonRetryableError, match=r'workflow "call": .*(not found|at most)'):
            await step.run_workflow("call", workflow, params)
        return "caught"

    await hub.start(program=program, child=child)
    assert output(await hub.run()) == "caught"


async def test_a_workflow_that_was_deleted_from_the_store_is_an_error_in_the_parent_and_stays_one(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        with pytest.raises(StepFailed, match='there is no workflow "child"') as caught:
            await step.run_workflow("call", "child", {"n": 1})
        await step.sleep("replay", "1 hour")
        return caught.value.name

    await hub.start(program=program, child=child)
    await hub.engine.delete_workflow("child")
    instance = await hub.run()
    assert output(instance) == "NotFound"
    (entry,) = [e for e in (await hub.engine.describe("program", instance.id)).entries if e.kind is Kind.CHILD]
    assert (entry.state, entry.error and entry.error.name) == (State.FAILED, "NotFound")


async def test_a_restart_from_the_step_that_runs_a_workflow_runs_a_new_one(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("before", lambda: None)
        return await step.run_workflow("call", "child", {"n": 3})

    await hub.start(program=program, child=child)
    instance = await hub.run()
    handle = await WorkflowBinding(hub.engine, "program").get(instance.id)
    await handle.restart({"from": {"name": "call"}})
    assert output(await hub.ended(instance.id)) == {"doubled": 6}
    assert len((await hub.engine.find(InstanceQuery(parent=instance.key))).items) == 2


async def test_parent_and_child_go_on_after_a_restart_of_the_node(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        return await step.run_workflow("call", "child", {"n": 5, "nap": "1 day"})

    await hub.start(program=program, child=child)
    id = await hub.create()
    await hub.until(id, Status.WAITING)
    await hub.stop()
    await hub.start()
    assert output(await hub.ended(id)) == {"doubled": 10}
