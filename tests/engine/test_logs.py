"""What step bodies log is kept with their attempts."""

from __future__ import annotations

import asyncio
import contextvars
import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from hub import WorkflowEvent, WorkflowStep
from hub.cli import logs
from hub.core.logs import LogQuery
from hub.core.ports import CreateRequest

from .conftest import Hub

LOG = logging.getLogger("shop.cart")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Set up the logging of a hub; afterwards it is as it was."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    for handler in handlers:
        root.removeHandler(handler)  # else they are closed
    logs.configure("info", "json", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.configure(**before)


async def told(hub: Hub, id: str) -> list[tuple[str, int, str, str]]:
    """Return step, attempt, level and text of the lines of an instance."""
    instance = await hub.engine.instance("program", id)
    page = await hub.engine.find(LogQuery(instance=instance.key))
    return [(f"{each.name}-{each.count}", each.attempt, each.line.level, each.line.message) for each in page.items]


async def test_lines_of_every_kind_of_body_and_logger_are_kept(hub: Hub, stream: io.StringIO) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> None:
        LOG.warning("outside")

        async def asynchronous() -> None:
            LOG.info("charging %s", "kim")
            structlog.get_logger().warning("cart.full", items=3, who="kim")
            LOG.debug("too detailed")
            await asyncio.create_task(deeper())

        async def deeper() -> None:
            LOG.error("from a task")

        def synchronous() -> None:
            LOG.info("in %s", "a thread")
            print("not a line")

        await step.do("one", asynchronous)
        await step.do("two", synchronous)

    await hub.start(program=program)
    await hub.run()
    id = (await hub.engine.instance("program", "latest")).id

    assert await told(hub, id) == [
        ("one-1", 1, "info", "charging kim"),
        ("one-1", 1, "warning", "cart.full items=3 who=kim"),
        ("one-1", 1, "error", "from a task"),
        ("two-1", 1, "info", "in a thread"),
    ]
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    (row,) = [row for row in rows if row["event"] == "charging kim"]
    assert (row["workflow"], row["instance"], row["step"], row["attempt"], row["logger"]) == ("program", id, "one-1", 1, "shop.cart")
    (outside,) = [row for row in rows if row["event"] == "outside"]
    assert "step" not in outside


async def test_each_attempt_keeps_its_own_lines_and_the_trace_of_an_exception(hub: Hub, stream: io.StringIO) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> None:
        def body(ctx: Any) -> None:
            LOG.info("attempt %d", ctx.attempt)
            if ctx.attempt < 3:
                try:
                    raise ValueError("no card")
                except ValueError:
                    LOG.exception("failed")
                    raise

        await step.do("charge", body, retries={"limit": 5, "delay": "1 hour"})

    await hub.start(program=program)
    instance = await hub.run()

    lines = await told(hub, instance.id)
    assert [(attempt, text.splitlines()[0]) for _, attempt, _, text in lines] == [
        (1, "attempt 1"), (1, "failed"), (2, "attempt 2"), (2, "failed"), (3, "attempt 3"),
    ]  # fmt: skip
    assert lines[1][3].endswith("ValueError: no card")


async def test_lines_of_steps_side_by_side_do_not_mix_and_a_replay_repeats_none(hub: Hub, stream: io.StringIO) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> None:
        async def body(ctx: Any) -> None:
            for number in range(3):
                LOG.info("%s %d", ctx.step.name, number)
                await asyncio.sleep(0.01)

        await asyncio.gather(step.do("a", body), step.do("b", body))
        await step.sleep("rest", "1 day")
        await step.do("c", body)

    await hub.start(program=program)
    instance = await hub.run()

    lines = await told(hub, instance.id)
    for name in ("a", "b", "c"):
        assert [text for step, _, _, text in lines if step == f"{name}-1"] == [f"{name} 0", f"{name} 1", f"{name} 2"]
    assert len(lines) == 9


async def test_a_thread_that_was_left_behind_writes_no_more(hub: Hub, stream: io.StringIO) -> None:
    go_on = threading.Event()
    left: list[threading.Thread] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> None:
        def late() -> None:
            go_on.wait()
            LOG.info("late")

        def body() -> None:
            LOG.info("in time")
            left.append(threading.Thread(target=contextvars.copy_context().run, args=(late,)))
            left[0].start()

        await step.do("one", body)
        go_on.set()
        left[0].join()
        await step.do("two", lambda: None)

    await hub.start(program=program)
    instance = await hub.run()

    assert [text for *_, text in await told(hub, instance.id)] == ["in time"]


async def test_what_an_instance_logs_that_a_step_has_created_is_not_the_steps(hub: Hub, stream: io.StringIO) -> None:
    async def child(event: WorkflowEvent, step: WorkflowStep) -> None:
        LOG.warning("outside of steps")

    async def program(event: WorkflowEvent, step: WorkflowStep) -> None:
        async def body() -> None:
            await hub.engine.create(CreateRequest(workflow="child", id="made"))
            await hub.ended("made", "child")

        await step.do("create", body)

    await hub.start(program=program, child=child)
    instance = await hub.run()

    assert await told(hub, instance.id) == []
