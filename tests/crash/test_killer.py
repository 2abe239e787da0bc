"""An instance that kills every process that runs it is ended, and no longer stands in the way of the others."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

from hub import WorkflowEvent
from hub.core.ports import CreateRequest

from .forks import Lives, Stage
from .kills import Judge
from .node import OPTIONS, ended, node
from .programs import Ctx, Noted, Plain

_DEATHS = 3


class Killer(Noted):
    """Its step takes the process with it."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        async def body(ctx: Ctx) -> None:
            self.start(event, ctx)
            os.kill(os.getpid(), signal.SIGKILL)

        await step.do("kill", body)


async def live(stage: Stage) -> list[Any]:
    """Create both instances in the first life; return how they ended."""
    options = replace(OPTIONS, max_recoveries=_DEATHS - 1)
    async with node(stage.folder, {"killer": Killer, "plain": Plain}, options=options) as engine:
        if stage.task["first"]:
            await engine.create(CreateRequest(workflow="killer", params={"n": 1}, id="killer"))
        other = await engine.create(CreateRequest(workflow="plain", params={"n": 1}))
        killer = await ended(engine, "killer", "killer")
        return [killer.status, killer.error and killer.error.name, (await ended(engine, "plain", other.id)).status]


def test_an_instance_that_keeps_killing_its_process_is_ended(lives: Lives, folder: Path) -> None:
    judge = Judge(folder)
    for death in range(_DEATHS):
        assert lives.run(live, folder, first=death == 0).killed
        judge.hear()
    assert lives.run(live, folder, first=False).result == ["errored", "TooManyRecoveries", "complete"]
    judge.hear()
    assert judge.starts_of(("killer", "killer", "kill", 1)) == _DEATHS
