"""Steps: results, retries, timeouts, dependencies, typed values."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from hub import NonRetryableError, StepTimeout, WorkflowEvent, WorkflowStep
from hub.core import codec
from hub.core.errors import Rejected
from hub.core.model import State, Status
from hub.testing import VirtualLoop

from .conftest import Hub


def output(instance: Any) -> Any:
    """Return the decoded output of an instance that must be complete."""
    assert instance.status is Status.COMPLETE, instance.error
    return codec.decode(instance.output)


async def test_a_step_returns_what_its_body_returns(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        @step.do("asynchronous")
        async def one() -> list[str]:
            return ["a", event.payload["b"]]

        @step.do("synchronous")
        def two() -> int:
            return 2

        return [await one(), await two(), await step.do("direct", lambda: "three")]

    await hub.start(program=program)
    assert output(await hub.run(params={"b": "b"})) == [["a", "b"], 2, "three"]


async def test_the_event_reads_as_attributes_and_as_a_mapping(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        assert event["payload"] == event.payload == dict(event)["payload"]
        assert event["instanceId"] == event["instance_id"] == event.instance_id
        assert event["workflowName"] == "program"
        assert event.get("schedule") is None
        assert "instanceId" in event
        assert "schedule" not in event
        assert list(event) == [name for name, _ in event.items()] == ["payload", "timestamp", "instanceId", "workflowName"]
        assert event.timestamp.tzinfo is UTC
        return event["instanceId"]

    await hub.start(program=program)
    instance = await hub.run()
    assert output(instance) == instance.id


async def test_values_keep_their_types_on_the_first_run_already(hub: Hub) -> None:
    value = {"at": datetime(2030, 5, 1, tzinfo=UTC), "b": b"\x00\xff", "d": Decimal("1.10"), "u": UUID(int=7), "s": {1, 2}, "t": (1, (2,))}

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        got = await step.do("value", lambda: value)
        assert got == value
        assert isinstance(got["t"], tuple)
        return got

    await hub.start(program=program)
    assert output(await hub.run()) == value


class Order(BaseModel):
    id: int
    total: Decimal


@dataclass
class Line:
    order: Order
    count: int


async def test_models_and_dataclasses_come_back_by_the_return_annotation(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        @step.do()
        async def order() -> Order:
            return Order(id=1, total=Decimal("9.90"))

        @step.do()
        async def lines() -> list[Line]:
            return [Line(Order(id=2, total=Decimal(1)), 3)]

        assert await order() == Order(id=1, total=Decimal("9.90"))
        (line,) = await lines()
        assert line == Line(Order(id=2, total=Decimal(1)), 3)
        await step.sleep("make it replay", "1 hour")
        return (await step.do("last", lambda: line.count), line.order.id)

    await hub.start(program=program)
    assert output(await hub.run()) == (3, 2)


async def test_a_body_runs_once_although_the_program_is_replayed(hub: Hub) -> None:
    runs: list[str] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        for n in range(3):
            await step.do("same name", lambda n=n: runs.append(f"step {n}"))
            await step.sleep("between", "1 day")
        return len(runs)

    await hub.start(program=program)
    assert output(await hub.run()) == 3
    assert runs == ["step 0", "step 1", "step 2"]


async def test_a_failing_step_is_retried_with_exponential_back_off_and_then_succeeds(hub: Hub) -> None:
    at: list[float] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def flaky(ctx: Any) -> int:
            at.append(hub.clock.monotonic())
            if ctx["attempt"] < 4:
                raise ValueError(f"attempt {ctx.attempt}")
            return int(ctx.attempt)

        return await step.do("flaky", flaky, retries={"limit": 5, "delay": "5 second", "backoff": "exponential"})

    await hub.start(program=program)
    instance = await hub.run()
    assert output(instance) == 4
    assert [round(b - a) for a, b in itertools.pairwise(at)] == [5, 10, 20]
    snapshot = await hub.engine.describe("program", instance.id)
    assert [(a.number, a.error.name, a.error.message) for a in snapshot.attempts] == [
        (n, "ValueError", f"attempt {n}") for n in (1, 2, 3)
    ]
    assert "flaky" in (snapshot.attempts[0].error.stack or "")


async def test_the_documented_defaults_give_six_attempts(hub: Hub) -> None:
    at: list[float] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        @step.do()
        async def broken() -> None:
            at.append(hub.clock.monotonic())
            raise RuntimeError("always")

        await broken()

    await hub.start(program=program)
    instance = await hub.run()
    assert instance.status is Status.ERRORED
    assert instance.error is not None
    assert (instance.error.name, instance.error.message) == ("RuntimeError", "always")
    assert [round(b - a) for a, b in itertools.pairwise(at)] == [10, 20, 40, 80, 160]


async def test_a_limit_of_zero_gives_one_attempt(hub: Hub) -> None:
    runs: list[int] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        def broken() -> None:
            runs.append(1)
            raise KeyError("x")

        await step.do("once", {"retries": {"limit": 0, "delay": 0}}, broken)

    await hub.start(program=program)
    assert (await hub.run()).status is Status.ERRORED
    assert runs == [1]


async def test_a_non_retryable_error_stops_at_once_and_can_be_caught(hub: Hub) -> None:
    runs: list[int] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def body() -> None:
            runs.append(1)
            raise NonRetryableError("never")

        with pytest.raises(NonRetryableError, match="never"):
            await step.do("fatal", body)
        await step.sleep("replay it", "1 hour")
        return await step.do("after", lambda: "caught")

    await hub.start(program=program)
    assert output(await hub.run()) == "caught"
    assert runs == [1]


async def test_an_error_looks_the_same_on_the_first_run_and_on_a_replay(hub: Hub) -> None:
    class Odd(Exception):
        pass

    seen: list[tuple[str, str]] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def body() -> None:
            raise Odd("strange")

        try:
            await step.do("odd", body, retries={"limit": 0})
        except Exception as error:  # whatever it is, it must be the same twice
            seen.append((type(error).__name__, str(error)))
        await step.sleep("replay it", "1 hour")

    await hub.start(program=program)
    assert (await hub.run()).status is Status.COMPLETE
    assert seen == [("StepFailed", "strange")] * 2


async def test_an_attempt_that_takes_too_long_is_cancelled_and_retried(hub: Hub) -> None:
    cancelled: list[int] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def slow(ctx: Any) -> str:
            try:
                await asyncio.sleep(3600 if ctx.attempt == 1 else 0)
            except asyncio.CancelledError:
                cancelled.append(ctx.attempt)
                raise
            return "in time"

        return await step.do("slow", slow, timeout="30 seconds", retries={"limit": 1, "delay": "1 second"})

    await hub.start(program=program)
    instance = await hub.run()
    assert output(instance) == "in time"
    assert cancelled == [1]
    (failed,) = (await hub.engine.describe("program", instance.id)).attempts
    assert (failed.error.name, failed.error.message) == ("StepTimeout", "Execution timed out after 30000ms")
    assert timedelta(seconds=30) <= failed.ended_at - failed.started_at < timedelta(seconds=31)


async def test_a_body_that_swallows_its_cancellation_still_timed_out(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def stubborn() -> str:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
            return "late"

        with pytest.raises(StepTimeout):
            await step.do("stubborn", stubborn, timeout="10 ms", retries={"limit": 0})
        return "discarded"

    await hub.start(program=program)
    assert output(await hub.run()) == "discarded"


async def test_a_result_that_cannot_be_stored_names_the_step_and_the_type(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        with pytest.raises(NonRetryableError, match='step "bad".*object'):
            await step.do("bad", lambda: {"x": object()})
        with pytest.raises(NonRetryableError, match="at most"):
            await step.do("big", lambda: "x" * (1 << 20))
        return "went on"

    await hub.start(program=program)
    assert output(await hub.run()) == "went on"


async def test_system_exit_in_a_body_is_an_error_of_the_step_and_not_of_the_hub(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def leave() -> None:
            raise SystemExit(3)

        def leave_in_a_thread() -> None:
            raise SystemExit(4)

        for name, body in (("a", leave), ("b", leave_in_a_thread)):
            with pytest.raises(Exception, match=r"3|4"):
                await step.do(name, body, retries={"limit": 0})
        return "alive"

    await hub.start(program=program)
    assert output(await hub.run()) == "alive"


class Outcome(BaseException):
    """What some libraries raise past every `except Exception`."""


@pytest.mark.parametrize("where", ["in a body", "in a thread", "between steps"])
async def test_an_exception_of_any_class_ends_the_instance_and_does_not_leave_it_running(hub: Hub, where: str) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def fail() -> None:
            raise Outcome("no")

        def fail_in_a_thread() -> None:
            raise Outcome("no")

        if where == "between steps":
            raise Outcome("no")
        await step.do("fails", fail if where == "in a body" else fail_in_a_thread, retries={"limit": 1})

    await hub.start(program=program)
    instance = await hub.run()
    assert instance.status is Status.ERRORED
    assert instance.error is not None
    assert (instance.error.name, instance.error.message) == ("Outcome", "no")
    attempts = (await hub.engine.describe("program", instance.id)).attempts
    assert len(attempts) == (0 if where == "between steps" else 1)


async def test_steps_in_gather_and_in_a_task_group_run_side_by_side(hub: Hub) -> None:
    running: list[int] = []
    most: list[int] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def body(n: int) -> int:
            running.append(n)
            most.append(len(running))
            await asyncio.sleep(1)
            running.remove(n)
            return n

        first = await asyncio.gather(*(step.do("gathered", lambda n=n: body(n)) for n in range(5)))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step.do(f"grouped {n}", lambda n=n: body(n))) for n in range(5)]
        return first + [task.result() for task in tasks]

    await hub.start(program=program)
    assert output(await hub.run()) == [0, 1, 2, 3, 4] * 2
    assert max(most) == 5


async def test_a_strand_between_two_steps_keeps_the_instance_in_memory(hub: Hub) -> None:
    runs: list[str] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def chain() -> None:
            for n in range(20):
                await step.do("link", lambda n=n: runs.append(f"link {n}"))

        await asyncio.gather(step.sleep("long", "30 days"), chain())
        return hub.clock.monotonic()

    await hub.start(program=program)
    id = await hub.create()
    await hub.until(id, Status.WAITING)
    assert runs == [f"link {n}" for n in range(20)]
    assert output(await hub.ended(id)) >= 30 * 86_400
    assert len(runs) == 20


async def test_decorated_steps_get_their_dependencies_by_name_and_run_them_once(hub: Hub) -> None:
    runs: list[str] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        @step.do()
        async def left() -> int:
            runs.append("left")
            return 1

        @step.do("right")
        def anything() -> int:
            runs.append("right")
            return 2

        @step.do(concurrent=True)
        async def both(left: int, right: int, ctx: Any) -> list[Any]:
            return [left, right, ctx["step"]["name"]]

        @step.do("legacy", depends=[left, both])
        async def legacy(a: int, b: list[Any]) -> list[Any]:
            return [a, *b]

        return await legacy()

    await hub.start(program=program)
    assert output(await hub.run()) == [1, 1, 2, "both"]
    assert sorted(runs) == ["left", "right"]


async def test_a_parameter_that_names_no_step_is_refused(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        @step.do()
        async def lonely(nobody: int = 3) -> int:
            return nobody

        await lonely()

    await hub.start(program=program)
    instance = await hub.run()
    assert instance.error is not None
    assert "unexpected parameter nobody" in instance.error.message


async def test_a_function_that_nobody_can_call_is_refused_before_its_first_attempt(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        with pytest.raises(TypeError, match='step "charge": its function needs "amount"'):
            await step.do("charge", lambda amount: amount)
        return await step.do("charge", lambda amount=7, *_rest, **_more: amount)

    await hub.start(program=program)
    assert output(await hub.run()) == 7


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"retries": {"limt": 3}}, "limt"),
        ({"retries": {"limit": -1}}, "retries.limit"),
        ({"timeout": 0}, "timeout"),
        ({"config": {"retries": {"limit": 1, "delay": "2 mins"}}}, "retries.delay"),
        ({"config": 5}, "config: expected a dict"),
        ({"config": {"sensitive": "output"}, "sensitive": "output"}, "sensitive: given twice"),
        ({"rollback": "undo"}, "rollback: expected a function"),
        ({"rollback": int, "rollback_config": {"limit": 1}}, "rollback_config.limit"),
    ],
)
async def test_a_bad_configuration_names_the_step_and_the_key(hub: Hub, arguments: dict[str, Any], fault: str) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("charge", lambda: 1, **arguments)

    await hub.start(program=program)
    instance = await hub.run()
    assert instance.status is Status.ERRORED
    assert instance.error is not None
    assert fault in instance.error.message
    assert '"charge"' in instance.error.message


async def test_a_step_name_has_a_length_and_no_control_characters(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        for name in ("x" * 257, "a\nb"):
            with pytest.raises(NonRetryableError, match="name"):
                await step.do(name, lambda: 1)
        return await step.do("x" * 256, lambda: "fits")

    await hub.start(program=program)
    assert output(await hub.run()) == "fits"


async def test_a_running_step_is_visible_while_it_runs(hub: Hub) -> None:
    release = asyncio.Event()

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def long() -> None:
            await release.wait()

        await step.do("long", long)

    await hub.start(program=program)
    id = await hub.create()
    await hub.until(id, Status.RUNNING)
    (entry,) = (await hub.engine.describe("program", id)).entries
    assert (entry.name, entry.state, entry.attempt) == ("long", State.RUNNING, 1)
    release.set()
    assert (await hub.ended(id)).status is Status.COMPLETE


async def test_an_instance_of_short_steps_alone_is_shown_as_running_when_it_is_a_second_old(hub: Hub) -> None:
    shown: dict[int, Status] = {}

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        for number in range(30):

            async def short(number: int = number) -> None:
                if number in (10, 29):
                    shown[number] = (await hub.engine.describe("program", event.instance_id)).instance.status
                loop = asyncio.get_running_loop()
                assert isinstance(loop, VirtualLoop)
                loop.advance(0.05)  # which the writing of the result has taken, as far as anybody can tell

            await step.do("short", short)

    await hub.start(program=program)
    assert (await hub.ended(await hub.create())).status is Status.COMPLETE
    assert shown == {10: Status.QUEUED, 29: Status.RUNNING}


async def test_a_payload_over_the_limit_is_rejected_before_anything_is_created(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any: ...

    await hub.start(program=program)
    with pytest.raises(Rejected, match="at most 1,048,576"):
        await hub.create(params="x" * (1 << 20))
    assert (await hub.engine.workflow("program")).counts == {}


async def test_an_instance_that_fails_is_told_in_the_log_with_its_workflow_and_its_place(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        return await step.do("price", lambda: 7) / event.payload["count"]

    await hub.start(program=program)
    with capture_logs() as lines:
        instance = await hub.run(params={"count": 0})
        await hub.run(params={"count": 1})
    [line] = [line for line in lines if line["event"] == "instance.errored"]
    assert (line["workflow"], line["instance"]) == ("program", instance.id)
    assert line["error"] == "ZeroDivisionError: division by zero"
    assert "in program" in line["stack"]


async def test_an_attempt_that_fails_is_told_in_the_log_with_the_time_of_the_next_one_and_the_last_with_its_place(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        def charge(ctx: Any) -> None:
            raise ConnectionError("busy")

        await step.do("charge", charge, retries={"limit": 1, "delay": "7 seconds"})

    await hub.start(program=program)
    with capture_logs() as lines:
        instance = await hub.run()
    told = [(line["event"], line["instance"], line["step"], line["attempt"], line["error"]) for line in lines if "step" in line]
    assert told == [
        ("attempt.failed", instance.id, "charge", 1, "ConnectionError: busy"),
        ("step.failed", instance.id, "charge", 2, "ConnectionError: busy"),
    ]
    assert lines[0]["retry_in_s"] == 7
    assert "in charge" in lines[1]["stack"]
