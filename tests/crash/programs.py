"""The workflows that are killed. Each step body notes its start in the ledger before it does anything else.

Bodies are pure functions of the instance's number, so that the output of every instance is known beforehand; `expected` tells it.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from hub import NonRetryableError, WorkflowEntrypoint, WorkflowEvent
from hub.core.clock import SystemClock
from hub.core.workflow import Env

Ctx = Any

PATIENT = {"limit": 10_000, "delay": 5, "backoff": "constant"}  # every kill may cost an attempt, and none may be the last
TIRED = 2  # that many attempts of a flaky step fail
SLOW_S = (0.03, 0.06)  # longer than the watch's first look: such attempts get a start record


class Noted(WorkflowEntrypoint):
    """A workflow whose bodies tell the ledger `env.STARTS` that they start."""

    def start(self, event: WorkflowEvent, ctx: Ctx) -> int:
        """Note the start of a body and return the instance's number."""
        self.env.STARTS.note(self.env.LIFE, event.workflow_name, event.instance_id, ctx.step.name, ctx.step.count, ctx.attempt)
        number: int = event.payload["n"]
        return number


class Plain(Noted):
    """Three steps one after the other: asynchronous, synchronous, asynchronous under the same name."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return three numbers."""

        async def one(ctx: Ctx) -> int:
            return self.start(event, ctx)

        def two(ctx: Ctx) -> int:
            return self.start(event, ctx) + 1

        return [await step.do("one", one), await step.do("two", two), await step.do("one", one)]


class Parallel(Noted):
    """Three steps at once, and one that needs them all."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return four numbers."""

        async def one(ctx: Ctx) -> int:
            return self.start(event, ctx)

        def two(ctx: Ctx) -> int:
            return self.start(event, ctx) * 2

        async def three(ctx: Ctx) -> int:
            await asyncio.sleep(0)
            return self.start(event, ctx) * 3

        parts = await asyncio.gather(step.do("left", one), step.do("middle", two), step.do("right", three))

        async def total(ctx: Ctx) -> int:
            self.start(event, ctx)
            return sum(parts)

        return [*parts, await step.do("total", total)]


class Nap(Noted):
    """Two sleeps between steps: one stays in memory, the other one parks the instance."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return the number, increased by each step."""

        async def one(ctx: Ctx) -> int:
            return self.start(event, ctx)

        value = await step.do("before", one)
        await step.sleep("nap", 4)
        value += await step.do("between", one)
        await step.sleep("night", 40)
        return value + await step.do("after", one)


class Flaky(Noted):
    """A step that fails twice, in memory and parked, and one that can never succeed."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return how the steps ended."""

        async def flaky(ctx: Ctx) -> int:
            number = self.start(event, ctx)
            if ctx.attempt <= TIRED:
                raise ConnectionError("try again")
            return number

        def refused(ctx: Ctx) -> None:
            self.start(event, ctx)
            raise NonRetryableError("never")

        soon = await step.do("soon", flaky, retries=PATIENT)
        later = await step.do("later", flaky, retries={**PATIENT, "delay": 30})
        try:
            await step.do("refused", refused, retries=PATIENT)
        except NonRetryableError as error:
            return [soon, later, str(error)]


class Listener(Noted):
    """Takes events until it is told that no more will come."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return the tags of all events that came, in their order."""
        tags: list[str] = []
        while True:
            said = await step.wait_for_event("signal", "signal", timeout="1 hour")
            if said["payload"]["close"]:
                return tags

            async def take(ctx: Ctx, tag: str = said["payload"]["tag"]) -> str:
                self.start(event, ctx)
                return tag

            tags.append(await step.do("take", take))


class Slow(Noted):
    """Two steps long enough to get a start record, so that a kill costs them an attempt."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return the number twice."""

        async def awaits(ctx: Ctx) -> int:
            number = self.start(event, ctx)
            await SystemClock().sleep(SLOW_S[0])
            return number

        def blocks(ctx: Ctx) -> int:
            number = self.start(event, ctx)
            threading.Event().wait(SLOW_S[1])
            return number

        return await asyncio.gather(step.do("awaits", awaits, retries=PATIENT), step.do("blocks", blocks, retries=PATIENT))


MIX: dict[str, type[Noted]] = {"plain": Plain, "parallel": Parallel, "nap": Nap, "flaky": Flaky, "listener": Listener, "slow": Slow}


def expected(workflow: str, n: int) -> Any:
    """Return the output that an instance of the mix must have; a listener's depends on what it was sent."""
    return {
        "plain": [n, n + 1, n],
        "parallel": [n, n * 2, n * 3, n * 6],
        "nap": n * 3,
        "flaky": [n, n, "never"],
        "slow": [n, n],
    }[workflow]


def made(kind: type[WorkflowEntrypoint], **bindings: Any) -> WorkflowEntrypoint:
    """Return a workflow object with an environment of its own."""
    return kind(None, Env(bindings))
