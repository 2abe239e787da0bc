"""A process that dies during the last allowed attempt of a step has used it up."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from hub import StepFailed, WorkflowEvent
from hub.core import codec
from hub.core.model import State
from hub.core.ports import CreateRequest

from .forks import Lives, Stage
from .kills import Judge
from .node import ended, node, until
from .programs import Ctx, Noted

_ONCE = {"limit": 0}


class Once(Noted):
    """A step with one attempt, which does not end in the first life. The instance says whether the error is caught."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        async def awaits(ctx: Ctx) -> int:
            self.start(event, ctx)
            if self.env.LIFE == 1:
                await asyncio.Event().wait()
            return 1

        def blocks(ctx: Ctx) -> int:
            self.start(event, ctx)
            if self.env.LIFE == 1:
                threading.Event().wait()
            return 1

        try:
            return await step.do("only", blocks if event.payload["sync"] else awaits, retries=_ONCE)
        except StepFailed as error:
            if event.payload["caught"]:
                return [error.name, str(error)]
            raise


async def begin(stage: Stage) -> None:
    """Run the step until its start is on disk, and on until the kill."""
    async with node(stage.folder, {"once": Once}, LIFE=1) as engine:
        await engine.create(CreateRequest(workflow="once", params={"n": 0, **stage.task}, id="it"))

        async def is_seen() -> bool:
            return any(entry.state is State.RUNNING for entry in (await engine.describe("once", "it")).entries)

        await until(is_seen)
        stage.up()
        await asyncio.Event().wait()


async def go_on(stage: Stage) -> dict[str, Any]:
    """Return how the instance ended."""
    async with node(stage.folder, {"once": Once}, LIFE=2) as engine:
        instance = await ended(engine, "once", "it")
        error = None if instance.error is None else [instance.error.name, instance.error.message]
        return {"status": instance.status, "output": codec.decode(instance.output or b"null"), "error": error}


@pytest.mark.parametrize("caught", [False, True], ids=["uncaught", "caught"])
@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
def test_an_interrupted_last_attempt_fails_the_step_and_does_not_run_again(
    lives: Lives, folder: Path, sync: bool, caught: bool
) -> None:
    judge = Judge(folder)
    assert lives.run(begin, folder, kill_after_s=0.0, sync=sync, caught=caught).killed
    assert judge.hear() == []
    judge.look()
    last = lives.run(go_on, folder).result
    told = ["StepInterrupted", "the process ended during attempt 1"]
    assert last == (
        {"status": "complete", "output": told, "error": None} if caught else {"status": "errored", "output": None, "error": told}
    )
    assert judge.hear() == []
    assert judge.starts_of(("once", "it", "only", 1)) == 1
