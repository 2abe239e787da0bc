"""Several nodes on one store: who executes what, what becomes of the instances of a node that dies, sleeps too long or stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hub import WorkflowEvent, WorkflowStep
from hub.core import codec
from hub.core.model import Instance, Status
from hub.core.nodes import Role
from hub.engine.runner import CLAIM, RunnerOptions

from .conftest import Program
from .nodes import Cluster, Node

TAKEN_OVER_S = 15  # with a lease of ten seconds
HANDED_OVER_S = 1


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Return a store without nodes; those that a test starts are stopped after it."""
    async with AsyncExitStack() as stack:
        cluster = Cluster(tmp_path, stack)
        stack.push_async_callback(cluster.store.close)
        yield cluster


async def told(event: WorkflowEvent, step: WorkflowStep) -> str:
    """Take one step."""
    return str(await step.do("one", lambda: "done"))


class Counted:
    """A program of one step that counts its runs."""

    def __init__(self) -> None:
        self.runs: list[int] = []

    async def program(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        """Take the step."""
        return await step.do("only", self._body)

    async def _body(self) -> int:
        self.runs.append(len(self.runs))
        return self.runs[-1]


async def _claiming(cluster: Cluster, program: Program) -> tuple[Node, str]:
    """Start a node that has seen what there was, so that it claims what it creates from now on; return its first instance, too."""
    node = await cluster.start(program=program)
    first = await node.create()
    await cluster.ended(first, within=5)
    return node, first


# ---- who executes what


async def test_an_instance_runs_only_on_a_node_that_may_execute_its_workflow(cluster: Cluster) -> None:
    fast = await cluster.start(RunnerOptions(workflows=("fast",)), fast=told, slow=told)
    id = await fast.create("slow")
    await cluster.clock.sleep(60)
    assert (await cluster.instance(id, "slow")).token == 0  # nobody has touched it
    assert (await cluster.ended(await fast.create("fast"), "fast", within=1)).status is Status.COMPLETE
    await cluster.start(RunnerOptions(workflows=("slow",)), fast=told, slow=told)
    assert (await cluster.ended(id, "slow", within=1)).status is Status.COMPLETE
    later = await fast.create("slow")
    assert (await cluster.ended(later, "slow", within=1)).status is Status.COMPLETE


async def test_a_node_that_does_not_know_a_workflow_leaves_its_instances_alone(cluster: Cluster) -> None:
    newer = await cluster.start(old=told, new=told)
    await cluster.start(old=told)
    id = await newer.create("new")
    await cluster.ended(id, "new", within=1)
    newer.way.freeze()
    await cluster.clock.sleep(60)
    newer.way.thaw()
    assert (await cluster.ended(await newer.create("new"), "new", within=1)).token == 1


async def test_a_node_without_the_role_run_executes_nothing_and_is_known(cluster: Cluster) -> None:
    door = await cluster.start(RunnerOptions(roles=(Role.INTAKE,)), program=told)
    id = await door.create()
    await cluster.clock.sleep(60)
    assert (await cluster.instance(id)).status is Status.QUEUED
    await cluster.start(RunnerOptions(roles=(Role.RUN,), slots=7), program=told)
    assert (await cluster.ended(id, within=1)).status is Status.COMPLETE
    assert (await cluster.ended(await door.create(), within=1)).status is Status.COMPLETE
    doors, runs = await cluster.nodes()
    assert (doors.about.roles, doors.about.workflows, doors.about.slots) == ((Role.INTAKE,), (), 0)
    assert (runs.about.roles, runs.about.workflows, runs.about.slots) == ((Role.RUN,), ("program",), 7)
    assert (doors.alive, runs.alive) == (True, True)


# ---- a node that is gone, or was for too long


async def test_instances_of_a_dead_node_go_on_elsewhere_in_time(cluster: Cluster) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        kept = await step.do("first", first)
        await step.do("long", long, timeout="1 hour", retries={"limit": 3, "delay": 0})
        return kept

    async def first() -> str:
        runs.append("first")
        return "kept"

    async def long() -> None:
        runs.append("long")
        started.set()
        await (asyncio.sleep(3600) if runs.count("long") == 1 else asyncio.sleep(0))

    runs: list[str] = []
    started = asyncio.Event()
    dead = await cluster.start(program=program)
    id = await dead.create()
    await started.wait()
    await cluster.clock.sleep(1)
    await cluster.start(program=program)
    dead.way.freeze()
    instance = await cluster.ended(id, within=TAKEN_OVER_S)
    assert codec.decode(instance.output or b"") == "kept"
    assert (runs, instance.recoveries) == (["first", "long", "long"], 1)


async def test_more_instances_of_a_dead_node_than_one_claim_takes_go_on_in_the_same_time(cluster: Cluster) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> None:
        await step.do("long", long, timeout="1 hour", retries={"limit": 3, "delay": 0})

    async def long() -> None:
        started.append(cluster.clock.monotonic())
        await asyncio.sleep(1800)

    async def begun(count: int) -> bool:
        return len(started) >= count

    count, started = 4 * CLAIM, list[float]()
    dead = await cluster.start(RunnerOptions(slots=count), program=program)
    for _ in range(count):
        await dead.create()
    await cluster.until(lambda: begun(count))
    await cluster.start(RunnerOptions(slots=count), program=program)
    dead.way.freeze()
    await cluster.until(lambda: begun(2 * count), within=TAKEN_OVER_S)


async def test_a_node_that_slept_past_its_lease_changes_nothing_that_others_have_taken_over(cluster: Cluster) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        value = await step.do("only", body, timeout="1 hour", retries={"limit": 3, "delay": 0})
        await step.sleep("nap", "1 minute")
        after.append(value)
        return value

    async def body() -> str:
        runs.append(len(runs))
        number = runs[-1]
        await asyncio.sleep(12 if number == 0 else 5)
        return f"of {number}"

    runs: list[int] = []
    after: list[str] = []
    zombie = await cluster.start(program=program)
    id = await zombie.create()
    await cluster.clock.sleep(1)
    await cluster.start(program=program)
    zombie.way.freeze()  # its body ends meanwhile; the result waits to be written
    await cluster.clock.sleep(TAKEN_OVER_S)
    assert (runs, zombie.resident) == ([0, 1], 1)
    zombie.way.thaw()
    await cluster.clock.sleep(0.1)
    assert zombie.resident == 0
    instance = await cluster.ended(id, within=120)
    assert codec.decode(instance.output or b"") == "of 1"
    assert (runs, after) == ([0, 1], ["of 1"])


async def test_one_that_only_sleeps_in_memory_finds_out_that_its_claim_is_lost(cluster: Cluster) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.sleep("nap", "30 minutes")

    options = RunnerOptions(resident=timedelta(hours=1))
    zombie = await cluster.start(options, program=program)
    id = await zombie.create()
    await cluster.until(lambda: _is(cluster, id, Status.RUNNING))
    heir = await cluster.start(options, program=program)
    zombie.way.freeze()
    await cluster.clock.sleep(TAKEN_OVER_S)
    assert (zombie.resident, heir.resident) == (1, 1)
    zombie.way.thaw()
    await cluster.clock.sleep(5)  # it writes nothing; the next renewal of the lease tells
    assert (zombie.resident, heir.resident) == (0, 1)


async def test_one_that_was_lost_and_is_claimed_again_runs_once(cluster: Cluster) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.sleep("nap", "30 minutes")
        runs.append("end")

    runs: list[str] = []
    options = RunnerOptions(resident=timedelta(hours=1))
    zombie = await cluster.start(options, program=program)
    id = await zombie.create()
    await cluster.until(lambda: _is(cluster, id, Status.RUNNING))
    heir = await cluster.start(options, program=program)
    zombie.way.freeze()
    await cluster.clock.sleep(TAKEN_OVER_S)
    heir.engine.retire()  # hands it over again, before the other one knows that it has lost it
    await cluster.clock.sleep(0.1)
    zombie.way.thaw()
    await cluster.ended(id, within=3600)
    assert (runs, zombie.resident) == (["end"], 0)


async def test_what_a_late_answer_gives_to_a_node_is_not_run_again_when_others_have_taken_it_over(cluster: Cluster) -> None:
    counted = Counted()
    late, first = await _claiming(cluster, counted.program)
    await cluster.start(program=counted.program)
    late.way.mute()
    creating = asyncio.create_task(late.create())

    async def created() -> list[Instance]:
        return [instance for instance in await cluster.instances() if instance.id != first]

    (found,) = await cluster.until(created)
    late.way.freeze()
    assert (await cluster.ended(found.id, within=TAKEN_OVER_S)).recoveries == 1
    late.way.thaw()
    await cluster.clock.sleep(5)  # it lives again, before it hears what it was given
    late.way.tell()
    assert await creating == found.id
    assert (await cluster.ended(await late.create(), within=5)).status is Status.COMPLETE  # the late one executes again
    assert counted.runs == [0, 1, 2]


async def test_what_was_still_a_nodes_own_when_it_asked_is_not_run_again_when_others_have_taken_it_over_since(cluster: Cluster) -> None:
    async def lapse() -> None:
        late.way.freeze()
        await cluster.clock.sleep(TAKEN_OVER_S)
        late.way.thaw()
        await cluster.clock.sleep(5)

    counted = Counted()
    late, _ = await _claiming(cluster, counted.program)
    late.way.mute()
    creating = asyncio.create_task(late.create())
    await cluster.clock.sleep(1)
    await lapse()  # nobody is there who could take anything over
    late.way.tell()
    late.way.mute("load")
    id = await creating
    await cluster.clock.sleep(1)  # it asks whether that instance is still its own, and it is
    await cluster.start(program=counted.program)
    await lapse()
    assert (await cluster.ended(id, within=1)).recoveries == 1
    late.way.tell()
    assert (await cluster.ended(await late.create(), within=5)).status is Status.COMPLETE
    assert counted.runs == [0, 1, 2]


async def test_a_store_that_is_away_for_less_than_a_lease_costs_nothing(cluster: Cluster) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("long", lambda: asyncio.sleep(60), timeout="1 hour")

    holder = await cluster.start(program=program)
    id = await holder.create()
    await cluster.until(lambda: _is(cluster, id, Status.RUNNING))
    await cluster.start(program=program)
    for _ in range(5):
        holder.way.away = True
        await cluster.clock.sleep(6)
        holder.way.away = False
        await cluster.clock.sleep(1)
    assert (await cluster.ended(id, within=90)).recoveries == 0


async def test_a_node_that_the_store_has_forgotten_goes_on_under_a_new_number(cluster: Cluster) -> None:
    node = await cluster.start(program=told)
    cluster.forget(1)
    await cluster.clock.sleep(10)
    (record,) = await cluster.nodes()
    assert (record.key, record.about.workflows, record.alive) == (2, ("program",), True)
    assert (await cluster.ended(await node.create(), within=1)).node is None


# ---- a node that stops


async def test_a_node_that_stops_does_not_wait_to_hear_what_is_still_its_own(cluster: Cluster) -> None:
    late, _ = await _claiming(cluster, told)
    late.way.mute()
    creating = asyncio.create_task(late.create())
    await cluster.clock.sleep(1)
    late.way.away = True
    await cluster.clock.sleep(TAKEN_OVER_S)
    late.way.tell()
    id = await creating  # it was stored, and given to a node that may have been taken for dead since
    await cluster.clock.sleep(5)
    await asyncio.wait_for(late.engine.stop(), 60)
    await cluster.start(program=told)
    assert (await cluster.ended(id, within=TAKEN_OVER_S)).recoveries == 1


async def test_a_stopping_node_hands_over_at_once_what_no_body_holds(cluster: Cluster) -> None:
    async def napping(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.sleep("nap", "40 seconds")

    async def busy(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("long", lambda: asyncio.sleep(40), timeout="1 hour")

    options = RunnerOptions(resident=timedelta(hours=1), grace=timedelta(seconds=60))
    leaver = await cluster.start(options, napping=napping, busy=busy)
    naps = [await leaver.create("napping") for _ in range(20)]
    body = await leaver.create("busy")
    await cluster.until(lambda: _is(cluster, body, Status.RUNNING, "busy"))
    heir = await cluster.start(options, napping=napping, busy=busy)
    began = cluster.clock.monotonic()
    stopping = asyncio.create_task(leaver.engine.stop())
    await cluster.clock.sleep(HANDED_OVER_S)
    assert {(await cluster.instance(id, "napping")).node for id in naps} == {None}  # parked: whoever is free takes each when it is due
    await stopping
    assert cluster.clock.monotonic() - began < 41  # it waited for the body, which no other node took from it meanwhile
    assert (await cluster.ended(body, "busy", within=1)).recoveries == 0
    for id in naps:
        assert (await cluster.ended(id, "napping", within=2)).recoveries == 0
    assert heir.resident == 0
    assert [record.alive for record in await cluster.nodes()] == [False, True]


async def test_what_a_stopping_node_lets_go_of_between_two_steps_goes_on_elsewhere_at_once(cluster: Cluster) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("first", first)
        await step.do("second", lambda: runs.append("second"))

    async def first() -> None:
        runs.append("first")
        started.set()
        await go_on.wait()

    runs: list[str] = []
    started, go_on = asyncio.Event(), asyncio.Event()
    leaver = await cluster.start(program=program)
    id = await leaver.create()
    await started.wait()
    await cluster.start(program=program)
    leaver.engine.retire()
    late = await leaver.create()  # intake goes on, and the instance is for others
    await cluster.clock.sleep(5)
    assert (await cluster.instance(late)).node == 2
    go_on.set()
    for each in (id, late):
        await cluster.ended(each, within=HANDED_OVER_S)
    assert runs.count("first") == runs.count("second") == 2


async def _is(cluster: Cluster, id: str, status: Status, workflow: str = "program") -> bool:
    return (await cluster.instance(id, workflow)).status is status
