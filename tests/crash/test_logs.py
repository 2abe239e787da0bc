"""What a settled step has logged is there after a kill, once; what an attempt has logged that was killed is not."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

from hub import WorkflowEvent
from hub.cli import logs
from hub.core.logs import LogQuery
from hub.core.model import State
from hub.core.ports import CreateRequest

from .forks import Lives, Stage
from .node import ended, node, until
from .programs import Ctx, Noted

_LOG = logging.getLogger("shop")


class Talkative(Noted):
    """Two steps that log; the second one does not end in the first life."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        async def one(ctx: Ctx) -> None:
            self.start(event, ctx)
            _LOG.warning("one begins")
            _LOG.warning("one ends")

        async def two(ctx: Ctx) -> None:
            self.start(event, ctx)
            _LOG.warning("two, attempt %d", ctx.attempt)
            if self.env.LIFE == 1:
                await asyncio.Event().wait()

        await step.do("one", one)
        await step.do("two", two, retries={"limit": 5, "delay": 0})


async def lines(engine: Any) -> list[list[Any]]:
    key = (await engine.instance("talkative", "it")).key
    page = await engine.find(LogQuery(instance=key))
    return [[each.name, each.attempt, each.line.message] for each in page.items]


async def begin(stage: Stage) -> None:
    """Run until the start of the second step is on disk, and on until the kill."""
    with (stage.folder / "hub.log").open("w") as stream:
        logs.configure("info", "json", stream)
        async with node(stage.folder, {"talkative": Talkative}, LIFE=1) as engine:
            await engine.create(CreateRequest(workflow="talkative", params={"n": 0}, id="it"))

            async def is_seen() -> bool:
                entries = (await engine.describe("talkative", "it")).entries
                return any(entry.name == "two" and entry.state is State.RUNNING for entry in entries)

            await until(is_seen)
            stage.up()
            await asyncio.Event().wait()


async def go_on(stage: Stage) -> list[list[Any]]:
    """Return the lines after the end."""
    with (stage.folder / "hub.log").open("a") as stream:
        logs.configure("info", "json", stream)
        async with node(stage.folder, {"talkative": Talkative}, LIFE=2) as engine:
            await ended(engine, "talkative", "it")
            return await lines(engine)


def test_lines_of_a_settled_step_survive_a_kill_and_are_not_doubled(lives: Lives, folder: Path) -> None:
    assert lives.run(begin, folder, kill_after_s=0.0).killed

    assert lives.run(go_on, folder).result == [["one", 1, "one begins"], ["one", 1, "one ends"], ["two", 2, "two, attempt 2"]]
