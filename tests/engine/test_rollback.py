"""Rollback handlers: which run, in which order, with what, and what comes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub import NonRetryableError, WorkflowEvent, WorkflowStep
from hub.core.errors import Conflict
from hub.core.model import Kind, State, Status
from hub.core.writes import Verb

from .conftest import Hub

undone: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_undone() -> None:
    """Begin every test with an empty ledger."""
    undone.clear()


def undo(name: str) -> Any:
    """Return a handler that writes what it gets into the ledger."""

    async def handler(output: Any, error: Exception, step_name: str) -> None:
        undone.append((name, output, str(error), step_name))

    return handler


def broken(message: str = "no") -> Any:
    """Return a body that always fails."""

    def body() -> None:
        raise NonRetryableError(message)

    return body


async def test_a_failed_run_undoes_its_steps_in_the_reverse_order_of_their_start(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("a", lambda: 1, rollback=undo("a"))
        await step.do("plain", lambda: 0)

        @step.do("b", rollback=undo("b"))
        async def b() -> int:
            return 2

        await b()
        await b()
        await step.do("c", broken("the end"), rollback=undo("c"))

    await hub.start(program=program)
    instance = await hub.run()
    assert instance.status is Status.ERRORED
    assert instance.error is not None
    assert (instance.error.name, instance.error.message) == ("NonRetryableError", "the end")
    assert instance.rollback is not None
    assert instance.rollback.complete
    assert undone == [("c", None, "the end", "c-1"), ("b", 2, "the end", "b-2"), ("b", 2, "the end", "b-1"), ("a", 1, "the end", "a-1")]
    snapshot = await hub.engine.describe("program", instance.id)
    assert [(e.name, e.count) for e in snapshot.entries if e.kind is Kind.ROLLBACK] == [("c", 1), ("b", 2), ("b", 1), ("a", 1)]


async def test_a_successful_run_and_a_caught_error_undo_nothing(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("a", lambda: 1, rollback=undo("a"))
        with pytest.raises(NonRetryableError):
            await step.do("b", broken(), rollback=undo("b"))
        return "fine"

    await hub.start(program=program)
    instance = await hub.run()
    assert (instance.status, instance.rollback, undone) == (Status.COMPLETE, None, [])


async def test_an_error_between_steps_rolls_back_too(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("a", lambda: 1, rollback=undo("a"))
        raise ValueError("between")

    await hub.start(program=program)
    instance = await hub.run()
    assert instance.error is not None
    assert instance.error.name == "ValueError"
    assert undone == [("a", 1, "between", "a-1")]


async def test_a_handler_has_its_own_attempts_and_long_back_offs(hub: Hub) -> None:
    attempts: list[int] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        def handler(ctx: Any) -> None:
            attempts.append(ctx.attempt)
            if ctx.attempt < 3:
                raise ValueError("not yet")

        retries = {"retries": {"limit": 5, "delay": "1 hour", "backoff": "constant"}}
        await step.do("a", lambda: 1, rollback=handler, rollback_config=retries)
        await step.do("b", broken())

    await hub.start(program=program)
    id = await hub.create()
    rolling = await hub.until(id, Status.ROLLING_BACK)
    assert rolling.error is not None
    instance = await hub.ended(id)
    assert attempts == [1, 2, 3]
    assert instance.status is Status.ERRORED
    assert instance.rollback is not None
    assert instance.rollback.complete
    assert hub.clock.monotonic() >= 2 * 3600


async def test_the_first_handler_that_fails_for_good_ends_the_rollback(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("a", lambda: 1, rollback=undo("a"))
        await step.do("b", lambda: 2, rollback=broken("cannot undo"))
        await step.do("c", broken(), rollback=undo("c"))

    await hub.start(program=program)
    instance = await hub.run()
    assert instance.status is Status.ERRORED
    assert instance.error is not None
    assert instance.error.message == "no"
    assert instance.rollback is not None
    assert not instance.rollback.complete
    assert instance.rollback.error is not None
    assert instance.rollback.error.message == "cannot undo"
    assert [name for name, *_ in undone] == ["c"]


async def test_terminate_with_rollback_cancels_bodies_and_undoes_what_had_begun(hub: Hub) -> None:
    started = asyncio.Event()
    cancelled: list[int] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def long() -> None:
            started.set()
            try:
                await asyncio.sleep(300)
            except asyncio.CancelledError:
                cancelled.append(1)
                raise

        await step.do("a", lambda: 1, rollback=undo("a"))
        await asyncio.gather(step.do("long", long, rollback=undo("long")), step.sleep("nap", "1 day"))
        await step.do("never", lambda: undone.append("never"), rollback=undo("never"))

    await hub.start(program=program)
    id = await hub.create()
    await started.wait()
    await hub.engine.steer("program", id, Verb.TERMINATE, rollback=True)
    instance = await hub.ended(id)
    assert instance.status is Status.TERMINATED
    assert instance.rollback is not None
    assert instance.rollback.complete
    assert cancelled == [1]
    assert [(name, output) for name, output, *_ in undone] == [("long", None), ("a", 1)]


async def test_terminate_with_rollback_wakes_a_sleeping_instance_to_undo_it(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("a", lambda: 1, rollback=undo("a"))
        await step.sleep("nap", "30 days")
        await step.do("b", lambda: undone.append("never"), rollback=undo("b"))

    await hub.start(program=program)
    for prepare in (Status.WAITING, Status.PAUSED):
        undone.clear()
        id = await hub.create()
        await hub.until(id, Status.WAITING)
        if prepare is Status.PAUSED:
            await hub.engine.steer("program", id, Verb.PAUSE)
        await hub.engine.steer("program", id, Verb.TERMINATE, rollback=True)
        instance = await hub.ended(id)
        assert instance.status is Status.TERMINATED
        assert undone == [("a", 1, "the instance was terminated", "a-1")]


@pytest.mark.parametrize("pause", [False, True])
async def test_a_step_between_two_attempts_has_begun_and_is_undone_by_terminate_with_rollback(hub: Hub, pause: bool) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def busy() -> None:
            raise ValueError("busy")

        await step.do("a", lambda: 1, rollback=undo("a"))
        await step.do("b", busy, retries={"limit": 5, "delay": "1 day"}, rollback=undo("b"))

    await hub.start(program=program)
    id = await hub.create()
    await hub.until(id, Status.WAITING)
    if pause:
        await hub.engine.steer("program", id, Verb.PAUSE)
    await hub.engine.steer("program", id, Verb.TERMINATE, rollback=True)
    assert (await hub.ended(id)).status is Status.TERMINATED
    assert [name for name, *_ in undone] == ["b", "a"]


async def test_a_step_that_was_interrupted_has_begun_and_is_undone_by_terminate_with_rollback(hub: Hub) -> None:
    started = asyncio.Event()

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def long(ctx: Any) -> None:
            started.set()
            await asyncio.sleep(3600)

        await step.do("a", long, timeout="2 hours", rollback=undo("a"))

    await hub.start(program=program)
    id = await hub.create()
    await started.wait()
    await hub.until(id, Status.RUNNING)
    await hub.engine.steer("program", id, Verb.PAUSE)
    await hub.stop()
    await hub.start()
    assert (await hub.engine.instance("program", id)).status is Status.PAUSED
    await hub.engine.steer("program", id, Verb.TERMINATE, rollback=True)
    assert (await hub.ended(id)).status is Status.TERMINATED
    assert [name for name, *_ in undone] == ["a"]


async def test_a_rollback_goes_on_after_a_restart_of_the_node_and_repeats_no_handler(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def slow_undo(ctx: Any) -> None:
            undone.append(("b", ctx.attempt))
            if ctx.attempt == 1:
                raise ValueError("later")

        await step.do("a", lambda: 1, rollback=undo("a"))
        await step.do("b", lambda: 2, rollback=slow_undo, rollback_config={"retries": {"limit": 3, "delay": "2 days"}})
        await step.do("c", broken(), rollback=undo("c"))

    await hub.start(program=program)
    id = await hub.create()
    await hub.until(id, Status.ROLLING_BACK)
    while ("b", 1) not in undone:
        await hub.clock.sleep(1)
    await hub.clock.sleep(60)
    await hub.stop()
    await hub.start()
    instance = await hub.ended(id)
    assert (instance.status, instance.rollback and instance.rollback.complete) == (Status.ERRORED, True)
    assert [item[0] for item in undone] == ["c", "b", "b", "a"]


async def test_no_new_step_can_begin_in_a_handler(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def handler() -> None:
            await step.do("sneaky", lambda: undone.append("sneaky"))

        await step.do("a", lambda: 1, rollback=handler)
        await step.do("b", broken())

    await hub.start(program=program)
    instance = await hub.run()
    assert instance.rollback is not None
    assert instance.rollback.error is not None
    assert "rolled back" in instance.rollback.error.message
    assert undone == []


async def test_pause_and_resume_are_conflicts_while_rolling_back_and_a_plain_terminate_ends_it(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("a", lambda: 1, rollback=broken("x"), rollback_config={"retries": {"limit": 9, "delay": "1 day"}})

        async def always(ctx: Any) -> None:
            raise ValueError

        await step.do("b", lambda: 2, rollback=always, rollback_config={"retries": {"limit": 9, "delay": "1 day"}})
        await step.do("c", broken())

    await hub.start(program=program)
    id = await hub.create()
    await hub.until(id, Status.ROLLING_BACK)
    for verb in (Verb.PAUSE, Verb.RESUME):
        with pytest.raises(Conflict):
            await hub.engine.steer("program", id, verb)
    assert await hub.engine.steer("program", id, Verb.TERMINATE) is Status.TERMINATED
    await hub.clock.sleep(10 * 86_400)
    assert (await hub.engine.instance("program", id)).status is Status.TERMINATED


async def test_restart_after_a_rollback_runs_everything_again(hub: Hub) -> None:
    runs: list[int] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("a", lambda: runs.append(1), rollback=undo("a"))
        if len(runs) == 1:
            await step.do("b", broken())
        return "second time"

    await hub.start(program=program)
    instance = await hub.run()
    await hub.engine.restart("program", instance.id)
    again = await hub.ended(instance.id)
    assert (again.status, again.rollback, again.error) == (Status.COMPLETE, None, None)
    assert len(runs) == 2
    entries = (await hub.engine.describe("program", instance.id)).entries
    assert [(e.kind, e.state) for e in entries] == [(Kind.STEP, State.DONE)]
