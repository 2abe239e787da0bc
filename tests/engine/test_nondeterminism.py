"""A program that contradicts its journal is parked with an error that names both; nothing of it is executed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hub import WorkflowEvent, WorkflowStep
from hub.core import codec
from hub.core.model import Status
from hub.core.writes import Verb

from .conftest import Hub

executed: list[str] = []


@pytest.fixture(autouse=True)
def nothing_executed() -> None:
    """Begin every test with an empty ledger."""
    executed.clear()


def body(name: str) -> Callable[[], str]:
    """Return a body that writes its name into the ledger."""

    def run() -> str:
        executed.append(name)
        return name

    return run


async def original(event: WorkflowEvent, step: WorkflowStep) -> Any:
    """Record two steps and a sleep, then be asleep for a day."""
    await step.do("a", body("a"))
    await step.sleep("short", "100 ms")
    await step.do("b", body("b"))
    await step.sleep("long", "1 day")
    return await step.do("c", body("c"))


async def renamed(event: WorkflowEvent, step: WorkflowStep) -> Any:
    await step.do("a", body("a"))
    await step.sleep("short", "100 ms")
    await step.do("b renamed", body("b renamed"))


async def other_kind(event: WorkflowEvent, step: WorkflowStep) -> Any:
    await step.do("a", body("a"))
    await step.do("short", body("short"))


async def removed(event: WorkflowEvent, step: WorkflowStep) -> Any:
    await step.do("a", body("a"))
    await step.do("c", body("c"))


async def inserted(event: WorkflowEvent, step: WorkflowStep) -> Any:
    await step.do("a", body("a"))
    await step.do("new", body("new"))
    await step.sleep("short", "100 ms")
    await step.do("b", body("b"))


async def cut_off(event: WorkflowEvent, step: WorkflowStep) -> Any:
    await step.do("a", body("a"))


async def fewer_rounds(event: WorkflowEvent, step: WorkflowStep) -> Any:
    return await step.do("a", body("a"))


async def in_parallel(event: WorkflowEvent, step: WorkflowStep) -> Any:
    await asyncio.gather(step.do("a", body("a")), step.do("x", body("x")), step.do("y", body("y")))


async def raises_first(event: WorkflowEvent, step: WorkflowStep) -> Any:
    raise ValueError("a new mistake")


async def waits_for_an_event_instead(event: WorkflowEvent, step: WorkflowStep) -> Any:
    await step.do("a", body("a"))
    await step.wait_for_event("short", "go")


@pytest.mark.parametrize(
    ("changed", "asks", "has"),
    [
        (renamed, 'step "b renamed" number 1', 'step "b" number 1'),
        (other_kind, 'step "short" number 1', 'sleep "short" number 1'),
        (removed, 'step "c" number 1', 'sleep "short" number 1'),
        (inserted, 'step "new" number 1', 'sleep "short" number 1'),
        (cut_off, "ends", 'sleep "short" number 1'),
        (fewer_rounds, "ends", 'sleep "short" number 1'),
        (in_parallel, 'step "x" number 1', 'sleep "short" number 1'),
        (raises_first, "ends", 'step "a" number 1'),
        (waits_for_an_event_instead, 'wait for event "short" number 1', 'sleep "short" number 1'),
    ],
)
async def test_changed_code_is_noticed_and_resumes_once_it_is_mended(hub: Hub, changed: Any, asks: str, has: str) -> None:
    await hub.start(program=original)
    id = await hub.create()
    await hub.until(id, Status.WAITING)
    await hub.stop()
    before = list(executed)
    await hub.start(program=changed)
    await hub.engine.send_event("program", id, "wake", None)
    instance = await hub.until(id, Status.PAUSED)
    assert instance.error is not None
    assert instance.error.name == "Nondeterminism"
    assert asks in instance.error.message
    assert has in instance.error.message
    assert executed == before
    await hub.stop()
    await hub.start(program=original)
    assert (await hub.engine.instance("program", id)).status is Status.PAUSED
    await hub.engine.steer("program", id, Verb.RESUME)
    ended = await hub.ended(id)
    assert (ended.status, ended.error, codec.decode(ended.output or b"")) == (Status.COMPLETE, None, "c")
    assert executed == ["a", "b", "c"]


async def test_unchanged_code_with_strands_that_lag_behind_is_no_contradiction(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def strand(n: int) -> None:
            for k in range(5):
                await step.do(f"{n}", body(f"{n}-{k}"))
                for _ in range(n):
                    await asyncio.sleep(0.01)
                if k % 2:
                    await step.sleep(f"nap {n}", f"{n + 1} hours")

        await asyncio.gather(*(strand(n) for n in range(5)))
        return "done"

    await hub.start(program=program)
    for _ in range(5):
        assert codec.decode((await hub.run()).output or b"") == "done"
    assert len(executed) == 5 * 25


async def test_a_step_in_a_task_that_nobody_awaits_is_no_contradiction(hub: Hub) -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("first", body("first"))
        tasks.append(asyncio.create_task(step.do("background", body("background"))))
        if not event.payload.get("straight"):
            await step.sleep("long enough to park", "1 hour")
        return "done"

    await hub.start(program=program)
    assert codec.decode((await hub.run()).output or b"") == "done"
    assert executed == ["first", "background"]
