"""A kill during a sleep or a back-off: the instance completes, the deadline is the one that was promised, no attempt is repeated."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hub import WorkflowEvent
from hub.core import codec
from hub.core.model import Entry, State
from hub.core.ports import CreateRequest

from .forks import Lives, Stage
from .journal import Journal
from .kills import Judge
from .node import OPTIONS, clock, ended, node, until
from .programs import TIRED, Ctx, Noted

_WAIT_MS = 500  # many times longer than what a life takes to start
_KILL_S = 0.05  # after the wait was seen on disk
_RESIDENT = {"parked": timedelta(0), "in memory": timedelta(minutes=1)}


class Sleeper(Noted):
    """A sleep between two steps."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        async def body(ctx: Ctx) -> int:
            return self.start(event, ctx)

        first = await step.do("before", body)
        await step.sleep("wait", _WAIT_MS)
        return [first, await step.do("after", body)]


class Retrier(Noted):
    """A step that fails twice, with a back-off as long as the sleep."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        async def body(ctx: Ctx) -> int:
            number = self.start(event, ctx)
            if ctx.attempt <= TIRED:
                raise ConnectionError("try again")
            return number

        return [1, await step.do("wait", body, retries={"limit": TIRED, "delay": _WAIT_MS, "backoff": "constant"})]


_PROGRAMS: dict[str, type[Noted]] = {"sleeper": Sleeper, "retrier": Retrier}
_BODIES = {"sleeper": ["before", "after"], "retrier": ["wait", "wait", "wait"]}


async def fall_asleep(stage: Stage) -> None:
    """Create an instance and say that it is up when its wait is on disk."""
    async with _node(stage) as engine:
        workflow = stage.task["workflow"]
        await engine.create(CreateRequest(workflow=workflow, params={"n": 1}, id="it"))

        async def waits() -> bool:
            return any(_is_wait(entry) for entry in (await engine.describe(workflow, "it")).entries)

        await until(waits)
        stage.up()
        await ended(engine, workflow, "it")


async def wake_up(stage: Stage) -> dict[str, Any]:
    """Bring the instance to its end; with `late`, not before the wait's deadline is over."""
    deadline = datetime.fromtimestamp(stage.task["wake_us"] / 1_000_000, UTC)

    async def over() -> bool:
        return clock.now() > deadline

    if stage.task["late"]:
        await until(over)
    born = clock.now()
    async with _node(stage) as engine:
        instance = await ended(engine, stage.task["workflow"], "it")
    return {"status": instance.status, "output": codec.decode(instance.output or b"null"), "was_early": born < deadline}


def _node(stage: Stage) -> Any:
    return node(stage.folder, _PROGRAMS, options=replace(OPTIONS, resident=_RESIDENT[stage.task["where"]]), LIFE=0)


def _is_wait(entry: Entry) -> bool:
    return entry.name == "wait" and entry.state is State.WAITING


@pytest.mark.parametrize("late", [False, True], ids=["back in time", "back too late"])
@pytest.mark.parametrize("where", _RESIDENT)
@pytest.mark.parametrize("workflow", _PROGRAMS)
def test_a_kill_during_a_wait_keeps_its_deadline_and_its_attempts(
    lives: Lives, folder: Path, workflow: str, where: str, late: bool
) -> None:
    judge, journal = Judge(folder), Journal(folder)
    assert lives.run(fall_asleep, folder, kill_after_s=_KILL_S, workflow=workflow, where=where).killed
    assert judge.hear() == []
    judge.look()
    promised = journal.entries(workflow, "it")["wait", 1]["wake_at"]

    last = lives.run(wake_up, folder, workflow=workflow, where=where, late=late, wake_us=promised).result
    assert (last["status"], last["output"]) == ("complete", [1, 1])
    assert not (late and last["was_early"])
    assert judge.hear() == []
    assert judge.repeats == 0
    assert [step for _, step in judge.order] == _BODIES[workflow]
    entry = journal.entries(workflow, "it")["wait", 1]
    if workflow == "sleeper":
        assert entry["wake_at"] == promised
        assert entry["ended_at"] >= promised
    else:
        assert [number for number, _ in judge.order] == [1, 2, 3]
        assert journal.attempts(workflow, "it")[1]["started_at"] >= promised  # the second one
