"""Several nodes on one store in one process. Each has its own way to the store, which a test may block, as a stopped process is blocked."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import structlog

from hub import WorkflowEntrypoint
from hub.core.errors import Unavailable
from hub.core.model import Instance, InstanceQuery
from hub.core.nodes import NodeQuery, NodeRecord
from hub.core.ports import CreateRequest, Store
from hub.engine.embedded import Definition, EmbeddedEngine
from hub.engine.runner import RunnerOptions
from hub.store.sqlite import SqliteStore
from hub.testing import VirtualClock

from .conftest import ENDED, Program

LEASE = timedelta(seconds=10)
_BLOCKED = ("apply", "claim", "renew", "find", "next_due", "load", "prune")


class Way:
    """The way of one node to the store that all share. All that it does not say itself is the store's."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._open = asyncio.Event()
        self._open.set()
        self._muted: dict[str, asyncio.Event] = {}
        self.away = False

    def freeze(self) -> None:
        """Let every call hang."""
        self._open.clear()

    def thaw(self) -> None:
        """Let them go on."""
        self._open.set()

    def mute(self, call: str = "apply") -> None:
        """Let what is answered to such calls wait on its way back."""
        self._muted[call] = asyncio.Event()

    def tell(self) -> None:
        """Let the answers go on."""
        for muted in self._muted.values():
            muted.set()
        self._muted.clear()

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        of_store = getattr(self._store, name)
        if name not in _BLOCKED:
            return of_store

        async def call(*args: Any, **more: Any) -> Any:
            await self._open.wait()
            if self.away:
                raise Unavailable("nobody answers")
            answer = await of_store(*args, **more)
            if name in self._muted:
                await self._muted[name].wait()
            return answer

        return call


class Node:
    """One node."""

    def __init__(self, way: Way, engine: EmbeddedEngine) -> None:
        self.way = way
        self.engine = engine

    @property
    def resident(self) -> int:
        """How many instances it has in memory."""
        return self.engine.telemetry.resident()

    async def create(self, workflow: str = "program", params: Any = None) -> str:
        """Create an instance here and return its id."""
        created = await self.engine.create(CreateRequest(workflow=workflow, params=params or {}))
        return created.id


class Cluster:
    """A store and the nodes on it."""

    def __init__(self, path: Path, stack: AsyncExitStack) -> None:
        self.clock = VirtualClock()
        self.file = path / "hub.sqlite"
        self.store = SqliteStore(self.file)
        self._stack = stack

    async def start(self, options: RunnerOptions | None = None, **programs: Program) -> Node:
        """Start a node that knows these workflows."""
        options = options or RunnerOptions()
        await self.store.open()

        def maker(program: Program) -> Callable[[], WorkflowEntrypoint]:
            cls = type("Program", (WorkflowEntrypoint,), {"run": lambda _self, event, step: program(event, step)})
            return lambda: cls(None, None)

        definitions = [Definition(name, name, "test", "1", maker(program)) for name, program in programs.items()]
        way = Way(self.store)
        engine = EmbeddedEngine(cast("Store", way), self.clock, structlog.get_logger(), definitions, replace(options, lease=LEASE))
        node = Node(way, engine)
        await node.engine.start()
        self._stack.push_async_callback(node.engine.stop)
        self._stack.callback(way.tell)
        self._stack.callback(way.thaw)
        return node

    async def instance(self, id: str, workflow: str = "program") -> Instance:
        """Return an instance."""
        (found,) = (await self.store.find(InstanceQuery(workflow=workflow, id=id, heads=False))).items
        return found

    async def ended(self, id: str, workflow: str = "program", within: float = 60) -> Instance:
        """Return an instance when it has ended, at most so many seconds later."""
        found: Instance = await self.until(lambda: self._ended(id, workflow), within)
        return found

    async def until(self, look: Callable[[], Awaitable[Any]], within: float = 60) -> Any:
        """Return what is found as soon as it is something, at most so many seconds later."""
        deadline, pause = self.clock.monotonic() + within, 0.01
        while not (found := await look()):
            assert self.clock.monotonic() < deadline, f"not within {within} s"
            await self.clock.sleep(pause)
            pause = min(pause * 1.3, 0.5)
        return found

    async def instances(self) -> list[Instance]:
        """Return all instances."""
        return list((await self.store.find(InstanceQuery())).items)

    async def nodes(self) -> list[NodeRecord]:
        """Return all nodes that the store knows."""
        return list((await self.store.find(NodeQuery(now=self.clock.now()))).items)

    def forget(self, node: int) -> None:
        """Take a node out of the database behind its back."""
        with closing(sqlite3.connect(self.file)) as db, db:
            db.execute("DELETE FROM node WHERE key = ?", (node,))

    async def _ended(self, id: str, workflow: str) -> Instance | None:
        found = await self.instance(id, workflow)
        return found if found.status in ENDED else None
