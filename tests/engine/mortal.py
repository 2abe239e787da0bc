"""A hub whose node can be lost at any moment, and whose programs are scripts that stop where a test wants them.

Owns the loop, which has no true concurrency, so that the same choices always give the same run; the file; and the nodes on it, one by one.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from hub import NonRetryableError, WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from hub.core.ports import Store
from hub.engine.embedded import Definition, EmbeddedEngine
from hub.engine.runner import RunnerOptions
from hub.store import store_for
from hub.testing import VirtualClock, VirtualLoop

from . import lifecycle_model as model
from .conftest import QUIET

T = TypeVar("T")


class OneThing(VirtualLoop):
    """A loop of virtual time without true concurrency: what threads are to do is done at once, so the same choices give the same run."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """Do the work now, and answer in the next turn."""
        future = self.create_future()
        try:
            result = func(*args)
        except Exception as error:
            self.call_soon(_answer, future.set_exception, error, future)
        else:
            self.call_soon(_answer, future.set_result, result, future)
        return future


def _answer(give: Callable[[Any], None], answer: Any, future: asyncio.Future[Any]) -> None:
    if not future.done():
        give(answer)


class Gates:
    """Where bodies and handlers stand until they are released, by instance."""

    def __init__(self) -> None:
        self.standing: dict[str, asyncio.Future[None]] = {}

    async def stand(self, id: str) -> None:
        """Wait for the release."""
        gate = self.standing[id] = asyncio.get_running_loop().create_future()
        try:
            await gate
        finally:
            if self.standing.get(id) is gate:
                del self.standing[id]


class Script(WorkflowEntrypoint):
    """Runs the commands in its params; see `lifecycle_model.Run`."""

    def __init__(self, gates: Gates) -> None:
        self._gates = gates

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        """Run them one by one; the output is what came as events."""
        taken = []
        endless = {"retries": {"limit": 10_000, "delay": 0}, "timeout": "10 years"}

        async def stand() -> None:
            await self._gates.stand(event.instance_id)

        for number, word in enumerate(event.payload):
            name = f"c{number}"
            if word == "held":
                await step.do(name, stand, config=endless, rollback=stand, rollback_config=endless)
            elif word in ("step", "broken"):
                await step.do(name, nothing, rollback=broken if word == "broken" else nothing)
            elif word == "retry":
                again = {"limit": model.FAILURES, "delay": timedelta(seconds=model.RETRY_S), "backoff": "constant"}
                await step.do(name, busy, retries=again, rollback=nothing)
            elif word == "nap":
                await step.sleep(name, timedelta(seconds=model.NAP_S))
            elif word == "wait":
                taken.append((await step.wait_for_event(name, "go", timeout=timedelta(seconds=model.WAIT_S)))["payload"])
            elif word == "fail":
                raise ValueError("no")
        return taken


async def nothing() -> None: ...


async def broken() -> None:
    raise NonRetryableError("cannot be undone")


async def busy(ctx: Any) -> None:
    if ctx.attempt <= model.FAILURES:
        raise ConnectionError("busy")


class Mortal:
    """A store that answers nobody once its node is gone. All that it does not say itself is the real store's."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._never = asyncio.Event()
        self.gone = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def apply(self, writes: Any) -> Any:
        """See `Store.apply`."""
        return await self._alive(self._store.apply(writes))

    async def claim(self, node: int, limit: int, now: Any, workflows: Any = None) -> Any:
        """See `Store.claim`."""
        return await self._alive(self._store.claim(node, limit, now, workflows))

    async def _alive(self, call: Coroutine[Any, Any, T]) -> T:
        if self.gone:  # asked by a timer that outlived the node
            call.close()
            raise asyncio.CancelledError
        result = await call
        if self.gone:
            await self._never.wait()
        return result


class Silent:
    """A log that keeps the errors."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def debug(self, event: str, **pairs: Any) -> None: ...
    def info(self, event: str, **pairs: Any) -> None: ...
    def warning(self, event: str, **pairs: Any) -> None: ...

    def error(self, event: str, **pairs: Any) -> None:
        """Keep it."""
        self.errors.append(f"{event} {pairs}")


class Hub:
    """One file, and one node after the other on it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.clock = VirtualClock()
        self.gates = Gates()
        self.log = Silent()
        self.engine: EmbeddedEngine

    async def start(self) -> None:
        """Start a node."""
        self._real = store_for(f"sqlite:///{self.file}")
        self._store = Mortal(self._real)
        options = RunnerOptions(lease=QUIET, poll=QUIET, prune_every=QUIET, grace=timedelta(seconds=1))
        definition = Definition("program", "Script", "test", "1", partial(Script, self.gates))
        self.engine = EmbeddedEngine(cast("Store", self._store), self.clock, self.log, [definition], options)
        await self.engine.start()

    async def crash(self) -> None:
        """Be gone: nothing of the node runs any more, nothing more is written."""
        self._store.gone = True
        await _end_tasks()
        self.engine.threads.close()
        await self._real.close()
        await _end_tasks()
        self.gates.standing.clear()

    def rows(self, id: str) -> list[Any]:
        """Return everything that the database knows of an instance."""
        with closing(sqlite3.connect(self.file)) as db:
            found = db.execute("SELECT * FROM instance WHERE id = ?", (id,)).fetchall()
            for table in ("step", "attempt", "inbox", "history"):
                found += db.execute(f"SELECT * FROM {table} WHERE instance IN (SELECT key FROM instance WHERE id = ?)", (id,)).fetchall()
            return found

    def takes(self, id: str, change: str, value: Any) -> bool:
        """Change the row of an instance behind the hub's back; returns whether the database lets that happen."""
        with closing(sqlite3.connect(self.file)) as db:
            try:
                with db:
                    db.execute(f"UPDATE instance SET {change} WHERE id = ?", (value, id))
            except sqlite3.IntegrityError:
                return False
            return True


async def _end_tasks() -> None:
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=1)  # some do something else before they end, and are cancelled once more
