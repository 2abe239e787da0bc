"""What the hub is measured with inside one process: the engine itself, on real time and a real file, through its public port.

Three steps: all instances are started as fast as `Engine.create` takes them, by 1,000 callers that each go on when theirs is on disk; the
clock stops when the last end is on disk.
Latency: one instance at a time, from the call of `create` until its end is on disk.

How the end is noticed: the store that the engine gets is the real one behind `Ends`, which lets every call through and looks at what
`Store.apply` has answered. The port promises that an answered write is on disk, so an APPLIED `Finish` that comes back is the durable end;
nothing polls, and the workflow itself tells nothing. The price is one look at the type of each write. After the run the file is read:
instances that are not complete in it are an error, not a figure.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, cast

import structlog

from hub.cli import logs
from hub.core.clock import SystemClock
from hub.core.ports import CreateRequest, Store
from hub.core.workflow import Env
from hub.core.writes import Finish, Outcome, Verdict, Write
from hub.engine.embedded import Definition, EmbeddedEngine
from hub.engine.runner import RunnerOptions
from hub.store import store_for
from tests.bench.measurement import STARTERS, WARM_UP, Measurement, Size, each, metered
from tests.bench.project.three_steps import STEPS, ThreeSteps

_NAME = "three-steps"


async def three_step(folder: Path, size: Size) -> Measurement:
    """Start `n` instances at once and measure until all have ended."""
    async with _Node(folder).running() as node:
        await each(WARM_UP, node.run, at_once=1)
        with metered() as span:
            await each(size.n, node.create, at_once=STARTERS)
            await node.ends.reach(WARM_UP + size.n)
    check(node.file, WARM_UP + size.n)
    return span.measurement(size.n)


async def latency(folder: Path, size: Size) -> Measurement:
    """Run `n` instances one after the other and measure each."""
    times: list[float] = []
    async with _Node(folder).running() as node:
        await each(WARM_UP, node.run, at_once=1)
        with metered() as span:
            for number in range(size.n):
                began = time.perf_counter()
                await node.run(number)
                times.append(time.perf_counter() - began)
    check(node.file, WARM_UP + size.n)
    return span.measurement(size.n, times)


def check(file: Path, n: int) -> None:
    """Read what is on disk. Raises: AssertionError unless it is exactly `n` complete instances with all their steps."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        statuses = dict(db.execute("SELECT status, count(*) FROM instance GROUP BY status").fetchall())
        (results,) = db.execute("SELECT count(*) FROM instance WHERE output IS NOT NULL AND ended_at IS NOT NULL").fetchone()
        (steps,) = db.execute("SELECT count(*) FROM step WHERE state = 'done' AND output IS NOT NULL").fetchone()
    if statuses != {"complete": n} or results != n or steps != n * len(STEPS):
        raise AssertionError(f"{file} has {statuses} with {results} results and {steps} steps done; {n} instances were run")


class Ends:
    """A store that is the given one, and knows which ends are on disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._count = 0
        self._waiters: dict[int, asyncio.Future[None]] = {}
        self._goal: tuple[int, asyncio.Future[None]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Apply writes and note the ends among them."""
        outcomes = await self._store.apply(writes)
        for write, outcome in zip(writes, outcomes, strict=True):
            if type(write) is Finish and outcome.verdict is Verdict.APPLIED:
                self._note(write.instance)
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


class _Node:
    """The engine as `hub serve` runs it, with all settings at their defaults."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "hub.sqlite"
        self.ends = Ends(store_for(f"sqlite:///{self.file}"))
        definition = Definition(_NAME, ThreeSteps.__name__, "bench", "1", lambda: ThreeSteps(None, Env({})))
        logs.configure("info", "auto")
        self._engine = EmbeddedEngine(cast(Store, self.ends), SystemClock(), structlog.get_logger("hub"), [definition], RunnerOptions())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[_Node]:
        await self._engine.start()
        try:
            yield self
        finally:
            await self._engine.stop()

    async def create(self, number: int) -> int:
        """Create an instance; its key, once it is on disk."""
        return (await self._engine.create(CreateRequest(workflow=_NAME, params={"number": number}))).key

    async def run(self, number: int) -> None:
        """Create an instance and return when its end is on disk."""
        await self.ends.of(await self.create(number))
