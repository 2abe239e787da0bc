"""A node as a process: the engine on a real file in real time, an intake that is as fast as it can, and a ledger of what was acknowledged.

It never looks at what it is going to be judged by. Invariant: a line in the ledger stands for something that the engine has answered.

Lines of the ledger: `tried N`, `created N WORKFLOW ID`, `sent ID TAG`, `closed ID`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from hub import WorkflowEntrypoint
from hub.core.clock import Clock, SystemClock
from hub.core.delivery import TriggerEvent
from hub.core.errors import Conflict
from hub.core.model import FINAL, Instance
from hub.core.ports import CreateRequest, Store
from hub.engine.embedded import Definition, EmbeddedEngine
from hub.engine.rules import Rules
from hub.engine.runner import RunnerOptions
from hub.store import store_for

from .forks import Stage
from .journal import DATABASE
from .ledger import Ledger
from .programs import MIX, made

# Lease and poll are longer than any life: what is not taken up at once, or needs a poll to be noticed, is a fault.
OPTIONS = RunnerOptions(
    resident=timedelta(milliseconds=20),
    grace=timedelta(seconds=1),
    lease=timedelta(minutes=5),
    poll=timedelta(minutes=5),
    max_recoveries=1_000_000,  # here processes die for another reason than their instances
)
AT_ONCE_S = 10.0  # "within seconds", on a machine that has other things to do
ACKS, STARTS = "acks", "starts"
TRIGGER = "ledger"
WORKERS = 8
EVENTS = 2  # that each listener gets before it is closed
_POLL_S = 0.004

OWN_ID, NEW_ID, EVENT = "own id", "new id", "event"
_DOORS = (OWN_ID, NEW_ID, EVENT, EVENT)
_TURNS = (*(name for name in MIX if name != "slow"), *MIX)  # 11 and the 4 doors have no common factor: every pair occurs
clock = SystemClock()


# ---- engines


def file_store(folder: Path) -> Store:
    """Return the store in a folder."""
    return store_for(f"sqlite:///{folder / DATABASE}")


@asynccontextmanager
async def node(
    folder: Path,
    programs: Mapping[str, type[WorkflowEntrypoint]] = MIX,
    *,
    store: Store | None = None,
    options: RunnerOptions = OPTIONS,
    rules: Mapping[str, Rules] | None = None,
    time: Clock = clock,
    **bindings: Any,
) -> AsyncIterator[EmbeddedEngine]:
    """Run an engine in a folder; it is stopped cleanly at the end."""
    starts = Ledger(folder / STARTS)
    everything = {"STARTS": starts, "LIFE": 0, **bindings}
    definitions = [
        Definition(name=name, class_name=kind.__name__, script_name="crash", digest="1", make=partial(made, kind, **everything))
        for name, kind in programs.items()
    ]
    engine = EmbeddedEngine(store or file_store(folder), time, _log(), definitions, options, rules=rules)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()
        starts.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return when a condition holds; the deadline is that of the life."""
    while not await condition():
        await clock.sleep(_POLL_S)


async def ended(engine: EmbeddedEngine, workflow: str, id: str) -> Instance:
    """Return an instance when it has ended."""
    while (instance := await engine.instance(workflow, id)).status not in FINAL:
        await clock.sleep(_POLL_S)
    return instance


def _log() -> Any:
    return structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr), processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()]
    )


# ---- lives of the kill campaign


async def intake(stage: Stage) -> None:
    """Create instances and send events until the kill, or until the range of numbers is used up."""
    task = stage.task
    async with node(stage.folder, LIFE=task["life"]) as engine:
        door = Door(engine, Ledger(stage.folder / ACKS), task["life"])
        stage.up()
        await door.let_in(range(task["first"], task["first"] + task["count"]), task)
        await asyncio.Event().wait()  # the kill ends it


async def finish(stage: Stage) -> dict[str, Any]:
    """Take nothing new in, bring open listeners to their end, and return when nothing is unfinished."""
    store, task = file_store(stage.folder), stage.task
    began = clock.monotonic()

    async def all_ended() -> bool:
        return all(status in FINAL for status in await store.counts())

    async with node(stage.folder, store=store, LIFE=task["life"]) as engine:
        door = Door(engine, Ledger(stage.folder / ACKS), task["life"])
        stage.up()
        await door.let_in((), task)
        await until(all_ended)
        return {"finish_s": clock.monotonic() - began}


class Door:
    """The intake of one life."""

    def __init__(self, engine: EmbeddedEngine, acks: Ledger, life: int) -> None:
        self._engine = engine
        self._acks = acks
        self._life = life

    async def let_in(self, numbers: Iterable[int], unanswered: Mapping[str, Any]) -> None:
        """Create an instance for each number, several at a time, and send what earlier lives had no answer for.

        New listeners, and those of earlier lives, get what they wait for.
        """
        fresh = iter([*unanswered["again"], *numbers])
        async with asyncio.TaskGroup() as tasks:
            for id, had in unanswered["listeners"]:
                tasks.create_task(self._feed(id, had))
            for number in unanswered["repeated"]:
                tasks.create_task(self._let_in_one(number))
            for _ in range(WORKERS):
                tasks.create_task(self._work(fresh, tasks))

    async def _work(self, numbers: Iterator[int], tasks: asyncio.TaskGroup) -> None:
        for number in numbers:
            workflow, id = await self._let_in_one(number)
            if workflow == "listener":
                tasks.create_task(self._feed(id, 0))

    async def _let_in_one(self, number: int) -> tuple[str, str]:
        self._acks.note("tried", number)
        workflow, id = await self._create(number)
        self._acks.note("created", number, workflow, id)
        return workflow, id

    async def _create(self, number: int) -> tuple[str, str]:
        workflow, door = workflow_of(number), door_of(number)
        if door == EVENT:
            event = TriggerEvent(payload={"n": number}, key=f"k-{number}")
            receipt = await self._engine.emit(TRIGGER, workflow, event)
            return workflow, receipt.instance_id or "none"
        own = f"n-{number}" if door == OWN_ID else None
        try:
            created = await self._engine.create(CreateRequest(workflow=workflow, params={"n": number}, id=own))
        except Conflict:  # an earlier life was killed between commit and answer
            return workflow, own or "none"
        return workflow, created.id

    async def _feed(self, id: str, had: int) -> None:
        """Send the events that a listener has not had yet, then the last one.

        An event whose answer a kill has swallowed is sent again under another tag: it may come twice, its tags may not.
        """
        try:
            for turn in range(had, EVENTS):
                tag = f"{self._life}.{turn}"
                await self._engine.send_event("listener", id, "signal", {"tag": tag, "close": False})
                self._acks.note("sent", id, tag)
            await self._engine.send_event("listener", id, "signal", {"tag": "", "close": True})
        except Conflict:
            if had < EVENTS:
                raise
            # else the listener has taken a last event whose answer was swallowed, and has ended
        self._acks.note("closed", id)


def workflow_of(number: int) -> str:
    """Return which workflow an instance with that number has."""
    return _TURNS[number % len(_TURNS)]


def door_of(number: int) -> str:
    """Return how that instance is created. Nobody could send events to a listener whose new id a kill has swallowed."""
    door = _DOORS[number % len(_DOORS)]
    return OWN_ID if door == NEW_ID and workflow_of(number) == "listener" else door
