"""Delay functions, jitter, limits, retention and versions."""

from __future__ import annotations

import asyncio
import itertools
import threading
from datetime import timedelta
from typing import Any

import pytest

from hub import NonRetryableError, WorkflowEvent, WorkflowStep
from hub.core import codec
from hub.core.errors import NotFound, Rejected
from hub.core.model import NewInstance, Retention, Status
from hub.core.ports import CreateRequest
from hub.core.retention import RetentionWish
from hub.core.writes import CreateInstance
from hub.engine.binding import WorkflowBinding
from hub.engine.runner import RunnerOptions
from hub.store import store_for

from .conftest import QUIET, Hub


def output(instance: Any) -> Any:
    """Return the decoded output of an instance that must be complete."""
    assert instance.status is Status.COMPLETE, instance.error
    return codec.decode(instance.output)


async def test_a_delay_function_gives_the_base_which_the_back_off_multiplies(hub: Hub) -> None:
    at: list[float] = []
    asked: list[tuple[int, str]] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def delay(ctx: Any, error: Exception) -> str:
            asked.append((ctx.attempt, str(error)))
            return "1 minute"

        async def flaky(ctx: Any) -> int:
            at.append(hub.clock.monotonic())
            if ctx.attempt < 4:
                raise ValueError(f"attempt {ctx.attempt}")
            return 0

        await step.do("flaky", flaky, retries={"limit": 5, "delay": delay, "backoff": "linear"})

    await hub.start(program=program)
    instance = await hub.run()
    assert instance.status is Status.COMPLETE
    assert [round(b - a) for a, b in itertools.pairwise(at)] == [60, 120, 180]
    assert asked == [(n, f"attempt {n}") for n in (1, 2, 3)]
    (entry,) = (await hub.engine.describe("program", instance.id)).entries
    assert entry.config is not None
    assert entry.config.dynamic


async def test_a_synchronous_delay_function_holds_up_nothing_else(hub: Hub) -> None:
    asked_in: list[str] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        def delay() -> int:
            asked_in.append(threading.current_thread().name)
            return 1000

        def flaky(ctx: Any) -> int:
            if ctx.attempt < 2:
                raise ValueError("busy")
            return 0

        await step.do("flaky", flaky, retries={"limit": 1, "delay": delay})

    await hub.start(program=program)
    instance = await hub.run()
    assert instance.status is Status.COMPLETE
    assert [name.startswith("step-") for name in asked_in] == [True]


async def never_ending() -> int:
    """Take longer than a delay function may."""
    await asyncio.sleep(60)
    return 0


async def out_of_time() -> int:
    """Fail as if something inside had taken too long."""
    raise TimeoutError("the pool is busy")


class Later:
    """What is awaited and is no coroutine."""

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        return "2 mins"


@pytest.mark.parametrize(
    ("delay", "fault"),
    [
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: "2 mins", "mins"),
        (lambda: -1, "negative|-1"),
        (never_ending, "took more than 5 s"),
        (out_of_time, "TimeoutError: the pool is busy"),
        (Later, "mins"),
    ],
)
async def test_a_broken_delay_function_ends_the_attempts(hub: Hub, delay: Any, fault: str) -> None:
    runs: list[int] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        def broken() -> None:
            runs.append(1)
            raise ValueError("the body's own")

        with pytest.raises(Exception, match=fault) as caught:
            await step.do("broken", broken, retries={"limit": 5, "delay": delay})
        return caught.value.name  # type: ignore[attr-defined]

    await hub.start(program=program)
    assert output(await hub.run()) == "NonRetryableDelayError"
    assert runs == [1]


async def test_jitter_adds_at_most_its_part_to_a_delay(hub: Hub) -> None:
    at: list[float] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        def broken() -> None:
            at.append(hub.clock.monotonic())
            raise ValueError

        await step.do("broken", broken, retries={"limit": 30, "delay": "100 seconds", "backoff": "constant", "jitter": 0.5})

    await hub.start(program=program)
    await hub.run()
    pauses = [b - a for a, b in itertools.pairwise(at)]
    assert all(100 <= pause <= 151 for pause in pauses)
    assert max(pauses) - min(pauses) > 1


class TestSmallLimits:
    """With room for five steps."""

    @pytest.fixture
    def options(self) -> RunnerOptions:
        """Return options with small limits."""
        return RunnerOptions(lease=QUIET, poll=QUIET, prune_every=QUIET, steps=5)

    async def test_the_step_after_the_last_allowed_one_fails_and_sleeps_do_not_count(self, hub: Hub) -> None:
        runs: list[int] = []

        async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
            for n in range(5):
                await step.do("step", lambda n=n: runs.append(n))
                await step.sleep("nap", "1 hour")
            with pytest.raises(NonRetryableError, match="limit of 5 steps"):
                await step.do("step", lambda: runs.append(99))
            return "caught"

        await hub.start(program=program)
        assert output(await hub.run()) == "caught"
        assert runs == [0, 1, 2, 3, 4]

    async def test_a_workflow_may_have_a_limit_of_its_own(self, hub: Hub) -> None:
        async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
            for done in range(event.payload):
                try:
                    await step.do("step", lambda: None)
                except NonRetryableError as error:
                    return done, str(error)
            return event.payload, None

        hub.defined = {"wide": {"steps": 7}, "narrow": {"steps": 2}}
        await hub.start(wide=program, narrow=program, program=program)
        reached = {name: output(await hub.run(name, 10)) for name in hub.programs}
        assert {name: done for name, (done, _) in reached.items()} == {"wide": 7, "narrow": 2, "program": 5}
        assert "limit of 2 steps" in reached["narrow"][1]
        assert "limits.steps" in reached["narrow"][1]
        assert output(await hub.run("wide", 7)) == (7, None)

    async def test_a_limit_that_was_lowered_lets_recorded_steps_be_replayed(self, hub: Hub) -> None:
        async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
            for _ in range(3):
                await step.do("step", lambda: None)
            await step.wait_for_event("wait", "go")
            with pytest.raises(NonRetryableError, match="limit of 2 steps"):
                await step.do("step", lambda: None)
            return "caught"

        await hub.start(program=program)
        id = await hub.create()
        await hub.until(id, Status.WAITING)
        await hub.stop()
        hub.defined["program"] = {"steps": 2}
        await hub.start()
        await hub.engine.send_event("program", id, "go", None)
        assert output(await hub.ended(id)) == "caught"


async def test_instances_are_deleted_when_their_retention_has_ended(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        if event.payload == "fail":
            raise ValueError("no")
        await step.do("a", lambda: 1)

    await hub.start(program=program)
    keep = RetentionWish(success=timedelta(days=1), error=timedelta(days=3))
    ids = {}
    for payload in ("fine", "fail"):
        created = await hub.engine.create(CreateRequest(workflow="program", params=payload, retention=keep))
        ids[payload] = created.id
        await hub.ended(created.id)
    for_ever = (await hub.run()).id
    assert await hub.engine.prune() == 0
    await hub.clock.sleep(86_400 + 1)
    assert await hub.engine.prune() == 1
    with pytest.raises(NotFound):
        await hub.engine.instance("program", ids["fine"])
    await hub.clock.sleep(2 * 86_400)
    assert await hub.engine.prune() == 1
    with pytest.raises(NotFound):
        await hub.engine.instance("program", ids["fail"])
    assert (await hub.engine.instance("program", for_ever)).status is Status.COMPLETE


async def test_the_binding_creates_with_retention_and_deletes_in_batches(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any: ...

    await hub.start(program=program)
    binding = WorkflowBinding(hub.engine, "program")
    made = await binding.create(id="a", retention={"successRetention": "1 day"})
    assert (await hub.ended("a")).retention == Retention(success=timedelta(days=1))
    assert await made.status() == {"status": "complete", "output": None, "error": None, "rollback": None}
    for bad in ({"succesRetention": 1}, {"successRetention": 0}, {"errorRetention": "soon"}):
        with pytest.raises(Rejected, match="retention"):
            await binding.create(retention=bad)
    await binding.create_batch([{"id": "b"}, {"id": "c"}])
    answer = await binding.delete_batch(["a", "nope", "a", "b"])
    assert answer["deleted"] == [{"id": "a"}, {"id": "b"}]
    assert [(error["id"], error["code"]) for error in answer["errors"]] == [("nope", "instance.not_found")]
    for ids in ([], ["x"] * 101, ["no\ngood"]):
        with pytest.raises(Rejected):
            await binding.delete_batch(ids)


async def test_what_an_instance_does_not_say_of_its_retention_its_workflow_says(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any: ...

    day = timedelta(days=1)
    hub.defined["program"] = {"retention": Retention(success=2 * day, error=3 * day)}
    await hub.start(program=program)
    binding = WorkflowBinding(hub.engine, "program")
    await binding.create(id="silent")
    await binding.create(id="shorter", retention={"success_retention": "1 day"})
    await binding.create(id="longer", retention={"errorRetention": "forever"})
    kept = {id: (await hub.ended(id)).retention for id in ("silent", "shorter", "longer")}
    assert kept["silent"] == Retention(success=2 * day, error=3 * day)
    assert kept["shorter"] == Retention(success=day, error=3 * day)
    assert kept["longer"] == Retention(success=2 * day)
    await hub.clock.sleep(86_400 + 60)
    assert await hub.engine.prune() == 1
    await hub.clock.sleep(86_400)
    assert await hub.engine.prune() == 2


async def test_an_instance_tells_the_version_that_it_began_and_the_one_it_last_ran(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.wait_for_event("w", "go")

    await hub.start(program=program)
    id = await hub.create()
    await hub.until(id, Status.WAITING)
    first = await hub.engine.instance("program", id)
    await hub.stop()
    hub.digest = "2"
    await hub.start()
    await hub.engine.send_event("program", id, "go", None)
    ended = await hub.ended(id)
    assert first.version_ran in (None, first.version)
    assert ended.version == first.version
    assert ended.version_ran not in (None, first.version)
    assert ended.version_ran == hub.engine.versions()["program"]


@pytest.mark.parametrize(("deaths", "status"), [(2, Status.COMPLETE), (3, Status.ERRORED)])
async def test_an_instance_that_keeps_killing_its_process_is_given_up(hub: Hub, deaths: int, status: Status) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        return "survived"

    hub.options = RunnerOptions(lease=QUIET, poll=QUIET, prune_every=QUIET, max_recoveries=2)
    await hub.start(program=program)
    await hub.stop()
    store = store_for(f"sqlite:///{hub.path}/hub.sqlite")
    for death in range(deaths):  # a node that claims, and is gone without another word
        await store.open()
        node = await store.renew(None, QUIET, hub.clock.now())
        if death == 0:
            new = NewInstance(workflow="program", id="victim", params=b"{}", created_at=hub.clock.now())
            await store.apply([CreateInstance(new=new, node=node)])
        else:
            assert len(await store.claim(node, 10, hub.clock.now())) == 1
        await store.close()
    await hub.start()
    instance = await hub.ended("victim")
    assert (instance.status, instance.recoveries) == (status, deaths)
    if status is Status.ERRORED:
        assert instance.error is not None
        assert instance.error.name == "TooManyRecoveries"
