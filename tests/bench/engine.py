"""A node of the bench: the engine itself, on real time and a real database, through its public port.

How the end is noticed: the store that the engine gets is the real one behind `Ends`, which lets every call through and looks at what
`Store.apply` has answered. The port promises that an answered write is on disk, so an APPLIED `Finish` that comes back is the durable end;
nothing polls, and the workflow itself tells nothing. The price is one look at the type of each write.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import structlog

from hub.cli import logs
from hub.core.clock import Clock, SystemClock
from hub.core.ports import CreateRequest, Store
from hub.core.workflow import Env, WorkflowEntrypoint
from hub.core.writes import Finish, Outcome, Verdict, Write
from hub.engine.embedded import Definition, EmbeddedEngine
from hub.engine.runner import RunnerOptions
from hub.store import store_for
from tests.bench.programs import Stage
from tests.bench.project.three_steps import ThreeSteps

NAME = "three-steps"


class Ends:
    """A store that is the given one, and knows which ends are on disk. `tell` gets their number whenever it has grown."""

    def __init__(self, store: Store, tell: Callable[[int], None] | None = None) -> None:
        self._store = store
        self._tell = tell
        self._count = 0
        self._waiters: dict[int, asyncio.Future[None]] = {}
        self._goal: tuple[int, asyncio.Future[None]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Apply writes and note the ends among them."""
        outcomes = await self._store.apply(writes)
        before = self._count
        for write, outcome in zip(writes, outcomes, strict=True):
            if type(write) is Finish and outcome.verdict is Verdict.APPLIED:
                self._note(write.instance)
        if self._tell is not None and self._count > before:
            self._tell(self._count)
        return outcomes

    async def of(self, key: int) -> None:
        """Return when the end of an instance is on disk. To be called before it can be: right after its creation."""
        future = self._waiters[key] = asyncio.get_running_loop().create_future()
        await future

    async def reach(self, count: int) -> None:
        """Return when so many ends are on disk."""
        future = asyncio.get_running_loop().create_future()
        if self._count >= count:
            return
        self._goal = (count, future)
        await future

    def _note(self, key: int) -> None:
        self._count += 1
        waiter = self._waiters.pop(key, None)
        if waiter is not None:
            waiter.set_result(None)
        if self._goal is not None and self._count == self._goal[0]:
            self._goal[1].set_result(None)


class Node:
    """The engine as `hub serve` runs it on the store at `url`, with all settings at their defaults unless it says otherwise.

    `tell` hears of ends: see `Ends`. `steps` and `slots` are limits; a workload that needs more of them than the default says so.
    """

    def __init__(
        self,
        url: str,
        tell: Callable[[int], None] | None = None,
        *,
        program: type[WorkflowEntrypoint] = ThreeSteps,
        clock: Clock | None = None,
        steps: int | None = None,
        slots: int = RunnerOptions().slots,
    ) -> None:
        self.ends = Ends(store_for(url), tell)
        self.stage = Stage()
        env = Env({"STAGE": self.stage})
        definition = Definition(NAME, program.__name__, "bench", "1", lambda: program(None, env), steps=steps)
        logs.configure("info", "auto")
        log, options = structlog.get_logger("hub"), RunnerOptions(slots=slots)
        self.engine = EmbeddedEngine(cast(Store, self.ends), clock or SystemClock(), log, [definition], options)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Node]:
        """Run it inside `async with`."""
        await self.engine.start()
        try:
            yield self
        finally:
            await self.engine.stop()

    async def create(self, number: int) -> int:
        """Create an instance; its key, once it is on disk."""
        return await self.create_with({"number": number})

    async def create_with(self, params: Any, id: str | None = None) -> int:
        """Create an instance with these params; its key, once it is on disk."""
        return (await self.engine.create(CreateRequest(workflow=NAME, params=params, id=id))).key

    async def run(self, number: int) -> None:
        """Create an instance and return when its end is on disk."""
        await self.ends.of(await self.create(number))
