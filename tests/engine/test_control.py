"""The control verbs, on instances in memory and on parked ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub import WorkflowEvent, WorkflowStep
from hub.core import codec
from hub.core.errors import Conflict, NotFound, Rejected
from hub.core.model import InstanceQuery, Source, Status, Termination
from hub.core.writes import RestartPoint, Verb
from hub.engine.binding import WorkflowBinding

from .conftest import Hub


class Gate:
    """A step body that can be held, and counts its runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = 0

    async def body(self) -> str:
        self.runs += 1
        self.started.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "held"


async def test_pause_lets_a_running_body_finish_and_starts_no_further_step(hub: Hub) -> None:
    gate, later = Gate(), Gate()
    later.release.set()

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("held", gate.body)
        return await step.do("later", later.body)

    await hub.start(program=program)
    id = await hub.create()
    await gate.started.wait()
    assert await hub.engine.steer("program", id, Verb.PAUSE) is Status.WAITING_FOR_PAUSE
    gate.release.set()
    await hub.until(id, Status.PAUSED)
    assert (gate.runs, gate.cancelled, later.runs) == (1, 0, 0)
    await hub.engine.steer("program", id, Verb.RESUME)
    assert (await hub.ended(id)).status is Status.COMPLETE
    assert (gate.runs, later.runs) == (1, 1)


async def test_resume_takes_back_a_pause_that_has_not_come_about(hub: Hub) -> None:
    gate, side = Gate(), Gate()

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def other() -> None:
            await step.sleep("short", "100 ms")
            await step.do("side", side.body)

        await asyncio.gather(step.do("held", gate.body), other())

    await hub.start(program=program)
    id = await hub.create()
    await gate.started.wait()
    await hub.engine.steer("program", id, Verb.PAUSE)
    await hub.clock.sleep(5)
    assert side.runs == 0
    assert await hub.engine.steer("program", id, Verb.RESUME) is Status.RUNNING
    await side.started.wait()
    assert (await hub.engine.instance("program", id)).status is Status.RUNNING
    side.release.set()
    gate.release.set()
    assert (await hub.ended(id)).status is Status.COMPLETE
    assert gate.runs == side.runs == 1


async def test_pause_interrupts_a_sleep_and_resume_shifts_its_end_by_the_pause(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.sleep("nap", "10 hours")
        return hub.clock.monotonic() / 3600

    await hub.start(program=program)
    id = await hub.create()
    await hub.until(id, Status.WAITING)
    assert await hub.engine.steer("program", id, Verb.PAUSE) is Status.PAUSED
    await hub.clock.sleep(100 * 3600)
    assert (await hub.engine.instance("program", id)).status is Status.PAUSED
    await hub.engine.steer("program", id, Verb.RESUME)
    ended = await hub.ended(id)
    assert codec.decode(ended.output or b"") == pytest.approx(110, abs=0.1)


async def test_pause_interrupts_a_short_wait_and_a_back_off_in_memory(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        def broken() -> None:
            raise ValueError

        await step.do("broken", broken, retries={"limit": 10_000, "delay": "500 ms", "backoff": "constant"})

    await hub.start(program=program)
    id = await hub.create()
    await hub.until(id, Status.RUNNING)
    await hub.engine.steer("program", id, Verb.PAUSE)
    await hub.until(id, Status.PAUSED)
    before = len((await hub.engine.describe("program", id)).attempts)
    await hub.clock.sleep(60)
    assert len((await hub.engine.describe("program", id)).attempts) == before


async def test_events_sent_while_paused_are_kept(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        return (await step.wait_for_event("w", "go"))["payload"]

    await hub.start(program=program)
    id = await hub.create()
    await hub.until(id, Status.WAITING)
    await hub.engine.steer("program", id, Verb.PAUSE)
    await hub.engine.send_event("program", id, "go", "kept")
    await hub.clock.sleep(3600)
    assert (await hub.engine.instance("program", id)).status is Status.PAUSED
    await hub.engine.steer("program", id, Verb.RESUME)
    assert codec.decode((await hub.ended(id)).output or b"") == "kept"


async def test_terminate_cancels_bodies_at_once_and_nothing_starts_afterwards(hub: Hub) -> None:
    gates = [Gate() for _ in range(3)]
    after: list[int] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        try:
            await asyncio.gather(*(step.do("held", gate.body) for gate in gates))
        finally:
            await step.do("clean up", lambda: after.append(1))

    await hub.start(program=program)
    id = await hub.create()
    for gate in gates:
        await gate.started.wait()
    assert await hub.engine.steer("program", id, Verb.TERMINATE) is Status.TERMINATED
    await hub.clock.sleep(3600)
    assert [gate.cancelled for gate in gates] == [1, 1, 1]
    assert after == []
    instance = await hub.engine.instance("program", id)
    assert (instance.status, instance.ended_at is not None) == (Status.TERMINATED, True)


@pytest.mark.parametrize("rollback", [False, True])
async def test_who_terminated_an_instance_is_kept_until_it_is_restarted(hub: Hub, rollback: bool) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.wait_for_event("w", "go")

    await hub.start(program=program)
    id = await hub.create()
    await hub.until(id, Status.WAITING)
    handle = await WorkflowBinding(hub.engine, "program").get(id)
    await handle.terminate(rollback=rollback)
    assert (await hub.ended(id)).terminated_by == Termination(source=Source.BINDING)
    await hub.engine.restart("program", id)
    assert (await hub.engine.instance("program", id)).terminated_by is None
    await hub.engine.send_event("program", id, "go", None)
    ended = await hub.ended(id)
    assert (ended.status, ended.terminated_by) == (Status.COMPLETE, None)


@pytest.mark.parametrize("verb", list(Verb))
async def test_a_verb_on_an_ended_instance_is_a_conflict(hub: Hub, verb: Verb) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any: ...

    await hub.start(program=program)
    instance = await hub.run()
    with pytest.raises(Conflict, match="complete") as caught:
        await hub.engine.steer("program", instance.id, verb)
    assert caught.value.code == f"instance.cannot_{verb}"


async def test_restart_runs_everything_again_with_the_same_params(hub: Hub) -> None:
    runs: list[Any] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("a", lambda: runs.append(event.payload["n"]))

    await hub.start(program=program)
    instance = await hub.run(params={"n": 7})
    await hub.engine.restart("program", instance.id)
    ended = await hub.ended(instance.id)
    assert ended.status is Status.COMPLETE
    assert runs == [7, 7]


async def test_restart_of_a_running_instance_cancels_the_old_run(hub: Hub) -> None:
    gate = Gate()

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        return await step.do("held", gate.body)

    await hub.start(program=program)
    id = await hub.create()
    await gate.started.wait()
    gate.started.clear()
    await hub.engine.restart("program", id)
    await gate.started.wait()
    gate.release.set()
    assert (await hub.ended(id)).status is Status.COMPLETE
    assert (gate.runs, gate.cancelled) == (2, 1)


async def test_restart_from_a_step_keeps_the_results_before_it(hub: Hub) -> None:
    runs: list[str] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        for name in ("a", "b", "b", "c"):
            await step.do(name, lambda name=name: runs.append(name))

    await hub.start(program=program)
    instance = await hub.run()
    await hub.engine.restart("program", instance.id, RestartPoint(name="b", count=2))
    await hub.ended(instance.id)
    assert runs == ["a", "b", "b", "c", "b", "c"]
    with pytest.raises(Conflict, match='"nope".*not found in execution history'):
        await hub.engine.restart("program", instance.id, RestartPoint(name="nope"))


async def test_delete_forgets_an_instance_and_frees_its_id(hub: Hub) -> None:
    gate = Gate()

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        return await step.do("held", gate.body)

    await hub.start(program=program)
    id = await hub.create(id="mine")
    await gate.started.wait()
    with pytest.raises(Conflict, match="exists already"):
        await hub.create(id="mine")
    await hub.engine.delete("program", id)
    with pytest.raises(NotFound, match="mine"):
        await hub.engine.instance("program", id)
    await hub.clock.sleep(1)
    assert gate.cancelled == 1
    gate.release.set()
    await hub.create(id="mine")
    assert (await hub.ended("mine")).status is Status.COMPLETE
    assert gate.runs == 2


async def test_latest_stands_for_the_newest_instance(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any: ...

    await hub.start(program=program)
    with pytest.raises(NotFound, match="no instances yet"):
        await hub.engine.instance("program", "latest")
    await hub.create(id="older")
    await hub.create(id="newer")
    assert (await hub.engine.instance("program", "latest")).id == "newer"


async def test_an_unknown_workflow_is_refused_with_the_nearest_name(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any: ...

    await hub.start(program=program)
    for attempt in (hub.create("progam"), hub.engine.instance("progam", "x"), hub.engine.workflow("progam")):
        with pytest.raises(NotFound, match='did you mean "program"'):
            await attempt


async def test_a_deleted_workflow_is_gone_with_its_instances(hub: Hub) -> None:
    gate = Gate()

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("held", gate.body)

    await hub.start(program=program)
    await hub.create()
    await gate.started.wait()
    await hub.engine.delete_workflow("program")
    await hub.clock.sleep(1)
    assert gate.cancelled == 1
    with pytest.raises(NotFound, match='"program" not found: it was deleted'):
        await hub.create()
    assert (await hub.engine.find(InstanceQuery())).items == ()


@pytest.mark.parametrize(
    ("verb", "given", "fault"),
    [
        ("terminate", {"rollbak": True}, 'terminate: unknown key "rollbak"; there are rollback, cascade'),
        ("terminate", True, "terminate: expected a dict, got bool"),
        ("restart", {"form": {"name": "a"}}, 'restart: unknown key "form"'),
        ("restart", {"from": "a"}, "restart: from names a step"),
        ("restart", {"from": {"nme": "a"}}, "restart: from names a step"),
        ("restart", {"from": {"name": "a", "number": 2}}, 'restart: from: unknown key "number"; there are name, count, type'),
        ("restart", {"from": {"name": "a", "count": "2"}}, "restart: from.count is a whole number"),
        ("restart", {"from": {"name": "a", "type": "nap"}}, "restart: from.type is one of do, sleep"),
        ("send_event", {"typ": "approved"}, 'send_event: unknown key "typ"; there are type, payload'),
    ],
)
async def test_a_wrong_key_is_refused_before_anything_is_steered(hub: Hub, verb: str, given: Any, fault: str) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("a", lambda: None)
        await step.wait_for_event("end", "end")

    await hub.start(program=program)
    id = await hub.create()
    await hub.until(id, Status.WAITING)
    handle = await WorkflowBinding(hub.engine, "program").get(id)

    with pytest.raises(Rejected, match=fault):
        await getattr(handle, verb)(given)
    assert (await hub.engine.instance("program", id)).status is Status.WAITING
