"""Engine tests run on virtual time, with the real SQLite store in a temporary folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from hub import WorkflowEntrypoint
from hub.core.errors import Unavailable
from hub.core.model import Instance, Status
from hub.core.ports import CreateRequest
from hub.core.writes import Outcome, Write
from hub.engine.embedded import Definition, EmbeddedEngine
from hub.engine.rules import Rules
from hub.engine.runner import RunnerOptions
from hub.store.sqlite import SqliteStore
from hub.testing import VirtualClock, VirtualLoop
from tests.remembered import compared

Program = Callable[[Any, Any], Awaitable[Any]]
QUIET = timedelta(days=10_000)
ENDED = frozenset({Status.COMPLETE, Status.ERRORED, Status.TERMINATED})


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give every test of this folder a loop whose time jumps."""
    return {"virtual": VirtualLoop}


class Refusing(SqliteStore):
    """The real store, which is away for groups with certain writes."""

    def __init__(self, path: Path, refused: Callable[[Write], bool]) -> None:
        super().__init__(path)
        self._refused = refused

    async def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        if any(map(self._refused, writes)):
            raise Unavailable("the disk is full")
        return await super().apply(writes)


class Hub:
    """An engine that runs plain functions `async def program(event, step)` as workflows."""

    def __init__(self, path: Path, options: RunnerOptions) -> None:
        self.clock = VirtualClock()
        self.path = path
        self.options = options
        self.digest = "1"  # of the programs' code
        self.programs: dict[str, Program] = {}
        self.defined: dict[str, dict[str, Any]] = {}  # what else the definition of a workflow says, by its name
        self.rules: dict[str, Rules] = {}  # by trigger
        self.refused: Callable[[Write], bool] = lambda write: False  # writes that the store does not take
        self.engine: EmbeddedEngine = self._new()

    async def start(self, **programs: Program) -> Hub:
        """Start, or start again, with these programs beside the earlier ones."""
        self.programs.update(programs)
        self.engine = self._new()
        await self.engine.start()
        return self

    async def stop(self) -> None:
        """Stop cleanly."""
        await self.engine.stop()

    async def create(self, workflow: str = "program", params: Any = None, id: str | None = None) -> str:
        """Create an instance and return its id."""
        created = await self.engine.create(CreateRequest(workflow=workflow, params={} if params is None else params, id=id))
        return created.id

    async def run(self, workflow: str = "program", params: Any = None) -> Instance:
        """Create an instance and return it when it has ended."""
        return await self.ended(await self.create(workflow, params), workflow)

    async def ended(self, id: str, workflow: str = "program") -> Instance:
        """Return an instance when it has ended."""
        return await self.until(id, ENDED, workflow)

    async def until(self, id: str, statuses: frozenset[Status] | Status, workflow: str = "program") -> Instance:
        """Return an instance when it has one of those statuses; looks ever more seldom, in virtual time."""
        wanted = statuses if isinstance(statuses, frozenset) else frozenset({statuses})
        deadline, pause = self.clock.monotonic() + 400 * 86_400, 0.005
        while (instance := await self.engine.instance(workflow, id)).status not in wanted:
            assert self.clock.monotonic() < deadline, f"still {instance.status}"
            await self.clock.sleep(pause)
            pause = min(pause * 1.3, 3600)
        return instance

    def _new(self) -> EmbeddedEngine:
        def maker(program: Program) -> Callable[[], WorkflowEntrypoint]:
            cls = type("Program", (WorkflowEntrypoint,), {"run": lambda _self, event, step: program(event, step)})
            return lambda: cls(None, None)

        definitions = [
            Definition(name, name, "test", self.digest, maker(program), **self.defined.get(name, {}))
            for name, program in self.programs.items()
        ]
        store = Refusing(self.path / "hub.sqlite", lambda write: self.refused(write))  # noqa: PLW0108  # tests change it
        return EmbeddedEngine(store, self.clock, structlog.get_logger(), definitions, self.options, rules=self.rules)


@pytest.fixture(autouse=True)
def remembered_heads_are_true(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """See that nothing else is remembered than what is stored."""
    with compared(monkeypatch):
        yield


@pytest.fixture
def options() -> RunnerOptions:
    """Return the runner's options: no traffic of leases and polls, which would fill virtual months."""
    return RunnerOptions(lease=QUIET, poll=QUIET, prune_every=QUIET)


@pytest.fixture
async def hub(tmp_path: Path, options: RunnerOptions) -> AsyncIterator[Hub]:
    """Return an engine that is not started yet, and stop it after the test."""
    async with AsyncExitStack() as stack:
        hub = Hub(tmp_path, options)
        stack.push_async_callback(hub.stop)
        yield hub
