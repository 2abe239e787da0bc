"""Every limit at its border: what is just allowed goes, one more is refused with a clear error; and no work grows faster than it must."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest

from hub import NonRetryableError, WaitTimeout, WorkflowEvent, WorkflowStep
from hub.core import codec
from hub.core.errors import PayloadTooLarge, Rejected
from hub.core.model import Entry, Kind, NewInstance, State, Status, Version
from hub.core.writes import CreateInstance, Park, RegisterWorkflow, SettleStep
from hub.engine.runner import RunnerOptions
from hub.store import store_for

from .conftest import QUIET, Hub

MIB = 1 << 20
YEAR = timedelta(days=365)


def text(encoded_bytes: int) -> str:
    """Return a text that is that long as JSON."""
    return "x" * (encoded_bytes - 2)


def output(instance: Any) -> Any:
    """Return the decoded output of an instance that must be complete."""
    assert instance.status is Status.COMPLETE, instance.error
    return codec.decode(instance.output)


# ---- what comes in


async def test_params_and_events_of_a_mebibyte_are_taken_and_one_byte_more_is_refused(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        got = await step.wait_for_event("wait", "go")
        return [len(event.payload), len(got["payload"])]

    await hub.start(program=program)
    id = await hub.create(params=text(MIB))
    with pytest.raises(PayloadTooLarge, match=r"the payload is 1,048,577 bytes; at most 1,048,576 are accepted \(limits.payload_bytes\)"):
        await hub.create(params=text(MIB + 1))
    with pytest.raises(PayloadTooLarge, match=r"the event payload is 1,048,577 bytes; at most 1,048,576"):
        await hub.engine.send_event("program", id, "go", text(MIB + 1))
    await hub.engine.send_event("program", id, "go", text(MIB - 100))  # with its frame it is a result of the wait
    assert output(await hub.ended(id)) == [MIB - 2, MIB - 102]


async def test_ids_and_event_types_of_100_characters_are_taken_and_one_more_is_refused(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        with pytest.raises(NonRetryableError, match="1 to 100 of"):
            await step.wait_for_event("wait", "t" * 101)
        return (await step.wait_for_event("wait", "t" * 100))["payload"]

    await hub.start(program=program)
    id = await hub.create(id="i" * 100)
    with pytest.raises(Rejected, match="1 to 100 of"):
        await hub.create(id="i" * 101)
    with pytest.raises(Rejected, match="1 to 100 of"):
        await hub.engine.send_event("program", id, "t" * 101, None)
    await hub.engine.send_event("program", id, "t" * 100, "came")
    assert output(await hub.ended(id)) == "came"


# ---- what a program may ask for


CALLS: list[Callable[[WorkflowStep, str], Any]] = [
    lambda step, name: step.do(name, lambda: None),
    lambda step, name: step.do(name)(lambda: None)(),
    lambda step, name: step.sleep(name, 0),
    lambda step, name: step.sleep_until(name, 0),
    lambda step, name: step.wait_for_event(name, "go", timeout=1),
    lambda step, name: step.run_workflow(name, "child"),
]


@pytest.mark.parametrize("call", CALLS, ids=["do", "decorated", "sleep", "sleep_until", "wait", "workflow"])
async def test_a_step_s_name_has_at_most_256_characters(hub: Hub, call: Callable[[WorkflowStep, str], Any]) -> None:
    async def child(event: WorkflowEvent, step: WorkflowStep) -> Any: ...

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        with pytest.raises(NonRetryableError, match="at most 256 characters"):
            await call(step, "n" * 257)
        with contextlib.suppress(WaitTimeout):  # there is no event
            await call(step, "n" * 256)

    await hub.start(program=program, child=child)
    instance = await hub.run()
    assert instance.status is Status.COMPLETE, instance.error
    assert [entry.name for entry in (await hub.engine.describe("program", instance.id)).entries] == ["n" * 256]


async def test_a_step_may_have_10_000_retries_and_uses_them_all(hub: Hub) -> None:
    runs: list[int] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def broken() -> None:
            runs.append(1)
            raise ValueError

        with pytest.raises(NonRetryableError, match=r"retries\.limit: .* from 0 to 10000, got 10001"):
            await step.do("too many", broken, retries={"limit": 10_001})
        policy = {"limit": 10_000, "delay": 0, "backoff": "constant"}
        with pytest.raises(ValueError, match=r"^$"):
            await step.do("many", broken, retries=policy | {"limit": event.payload})
        await step.do("most", lambda: None, retries=policy)

    await hub.start(program=program)
    assert output(await hub.run(params=20)) is None
    assert len(runs) == 21


@pytest.mark.parametrize("kind", ["sleep", "sleep_until", "wait", "workflow"])
async def test_a_wait_is_at_most_365_days_long(hub: Hub, kind: str) -> None:
    async def child(event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.wait_for_event("never", "go", timeout=YEAR)

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def wait(length: timedelta) -> None:
            if kind == "sleep":
                await step.sleep("w", length)
            elif kind == "sleep_until":
                await step.sleep_until("w", event.timestamp + length)
            elif kind == "wait":
                await step.wait_for_event("w", "go", timeout=length)
            else:
                await step.run_workflow("w", "child", timeout=length)

        with pytest.raises(NonRetryableError, match="at most 365 days"):
            await wait(YEAR + timedelta(minutes=1))
        try:
            await wait(YEAR)
        except Exception as error:
            return type(error).__name__

    await hub.start(program=program, child=child)
    id = await hub.create()
    await hub.clock.sleep(YEAR.total_seconds() - 60)
    assert (await hub.engine.instance("program", id)).status is Status.WAITING
    assert output(await hub.ended(id)) == (None if kind.startswith("sleep") else "WaitTimeout")
    assert hub.clock.monotonic() < YEAR.total_seconds() + 60


async def test_a_sleep_until_a_moment_that_was_too_far_stays_refused_when_time_has_passed(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        refused = ""
        try:
            await step.sleep_until("far", event.timestamp + YEAR + timedelta(days=1))
        except NonRetryableError as error:
            refused = str(error)
        await step.sleep("replay", "30 days")
        return refused

    await hub.start(program=program)
    instance = await hub.run()
    assert "at most 365 days" in output(instance)
    assert hub.clock.monotonic() < 31 * 86_400


# ---- what is kept


class TestRoomForAThousandBytes:
    """With small limits of results."""

    @pytest.fixture
    def options(self) -> RunnerOptions:
        """Return options with small limits."""
        return RunnerOptions(lease=QUIET, poll=QUIET, prune_every=QUIET, result_bytes=600, state_bytes=1000)

    async def test_a_result_at_the_limit_is_kept_and_one_byte_more_fails_the_step_at_once(self, hub: Hub) -> None:
        runs: list[int] = []

        async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
            async def large() -> str:
                runs.append(1)
                return text(601)

            await step.do("fits", lambda: text(600))
            with pytest.raises(NonRetryableError, match=r'step "large" is 601 bytes; at most 600 are stored \(limits.result_bytes\)'):
                await step.do("large", large)
            return text(event.payload)

        await hub.start(program=program)
        assert len(output(await hub.run(params=600))) == 598
        assert len(runs) == 1
        error = (await hub.run(params=601)).error
        assert error is not None
        assert "the workflow's output is 601 bytes; at most 600 are stored (limits.result_bytes)" in error.message

    async def test_all_results_together_fill_the_limit_and_not_one_byte_more(self, hub: Hub) -> None:
        async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
            await step.do("a", lambda: text(500))
            await step.sleep("replay", "1 hour")
            with pytest.raises(NonRetryableError, match=r"1,001 bytes together; at most 1,000 are kept \(limits.state_bytes\)"):
                await step.do("b", lambda: text(501))
            return len(await step.do("c", lambda: text(500)))

        await hub.start(program=program)
        assert output(await hub.run()) == 498

    @pytest.mark.parametrize("replay", [False, True])
    async def test_what_came_as_an_event_or_from_a_child_counts_like_a_result(self, hub: Hub, replay: bool) -> None:
        async def child(event: WorkflowEvent, step: WorkflowStep) -> Any:
            return text(300)

        async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
            await step.run_workflow("call", "child")
            waited = await step.wait_for_event("wait", "go")
            if replay:
                await step.sleep("replay", "1 hour")
            rest = 1_000 - 300 - len(codec.encode(waited))
            with pytest.raises(NonRetryableError, match=r"1,001 bytes together"):
                await step.do("over", lambda: text(rest + 1))
            await step.do("fits", lambda: text(rest))

        await hub.start(program=program, child=child)
        id = await hub.create()
        await hub.engine.send_event("program", id, "go", text(200))
        assert output(await hub.ended(id)) is None


# ---- how the work grows


@contextlib.contextmanager
def calls_counted() -> Iterator[Callable[[], int]]:
    """Count every call of a Python function in this thread and in those that begin meanwhile."""
    numbers = count()

    def called(_frame: Any, event: str, _arg: Any) -> None:
        if event == "call":
            next(numbers)

    threading.setprofile(called)
    sys.setprofile(called)
    try:
        yield lambda: next(numbers)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


async def recorded(hub: Hub, steps: int) -> str:
    """Write an instance with that many recorded steps into the store; the hub has not started yet."""
    store, now, id = store_for(f"sqlite:///{hub.path}/hub.sqlite"), hub.clock.now(), f"with-{steps}"
    await store.open()
    node = await store.renew(None, QUIET, now)
    version = Version(id="v1", workflow="program", class_name="program", digest="1", created_at=now)
    new = NewInstance(workflow="program", id=id, params=str(steps).encode(), created_at=now)
    _, created = await store.apply([RegisterWorkflow(version=version, script_name="test"), CreateInstance(new=new, node=node)])
    key = created.instance or 0
    await store.apply([SettleStep(instance=key, token=1, entry=_done(number, now)) for number in range(1, steps + 1)])
    await store.apply([Park(instance=key, token=1, at=now, status=Status.QUEUED, wake_at=now, inbox_seen=0, started_at=now)])
    await store.close()
    return id


def _done(number: int, now: datetime) -> Entry:
    return Entry(
        kind=Kind.STEP, name="step", count=number, ordinal=number, state=State.DONE, started_at=now, ended_at=now, output=b"1"
    )


@pytest.mark.timeout(300)
async def test_the_work_of_a_replay_grows_with_the_number_of_steps_and_no_faster(hub: Hub) -> None:
    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def body() -> int:
            raise AssertionError("a recorded step runs again")

        return sum([await step.do("step", body) for _ in range(event.payload)])

    hub.programs["program"] = program
    work: dict[int, int] = {}
    for steps in (0, 1_000, 10_000):
        id = await recorded(hub, steps)
        with calls_counted() as calls:
            await hub.start()
            assert output(await hub.ended(id)) == steps
            work[steps] = calls()
        await hub.stop()
    of_one = (work[1_000] - work[0]) / 1_000
    of_each = (work[10_000] - work[0]) / 10_000
    assert of_each < of_one * 1.05, work


@pytest.mark.timeout(300)
async def test_the_work_of_a_step_does_not_grow_with_those_before_it(hub: Hub) -> None:
    marks: list[int] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def body() -> None: ...

        for number in range(550):
            if number in (0, 50, 500):
                marks.append(calls())
            await step.do("step", body)
        marks.append(calls())

    with calls_counted() as calls:
        await hub.start(program=program)
        assert (await hub.run()).status is Status.COMPLETE
    first, last = marks[1] - marks[0], marks[3] - marks[2]
    assert last < first * 1.05, marks
