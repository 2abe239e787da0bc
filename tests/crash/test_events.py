"""An event that comes at any moment is taken: none waits for the next event, for a poll, or for a restart."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from hub import WaitTimeout, WorkflowEvent
from hub.core import codec
from hub.core.model import InboxQuery
from hub.core.ports import CreateRequest

from .faults import Fault, FaultyStore
from .forks import Lives, Stage
from .node import AT_ONCE_S, ended, file_store, node
from .programs import Ctx, Listener, Noted

_ROUNDS = 15
_LISTENERS = 5  # in step with each other, so that many things happen in the same turn of the loop
_EVENTS = 5
_SHORT_MS = 20  # a wait that stays in memory


async def send_to_many(stage: Stage) -> list[Any]:
    """Feed some listeners at once, each as fast as it can; return what they took, round by round."""
    async with node(stage.folder, {"listener": Listener}) as engine:

        async def feed(number: int) -> Any:
            id = f"n-{number}"
            await engine.create(CreateRequest(workflow="listener", params={"n": number}, id=id))
            for turn in range(_EVENTS):
                await engine.send_event("listener", id, "signal", {"tag": f"{turn}", "close": False})
            await engine.send_event("listener", id, "signal", {"tag": "", "close": True})
            return codec.decode((await ended(engine, "listener", id)).output or b"null")

        return [await asyncio.gather(*(feed(_LISTENERS * turn + number) for number in range(_LISTENERS))) for turn in range(_ROUNDS)]


class Turnstile(FaultyStore):
    """A store whose answers about inboxes pass only when they are let through: the event is handed over in that turn of the loop."""

    def __init__(self, folder: Path) -> None:
        super().__init__(file_store(folder), Fault(), folder / "grave")
        self.loaded = asyncio.Event()
        self.read = asyncio.Event()
        self.go = asyncio.Event()

    async def find(self, query: Any) -> Any:
        page = await super().find(query)
        if isinstance(query, InboxQuery):
            self.read.set()
            await self.go.wait()
        return page


class Waiter(Noted):
    """Waits for an event that is handed over just when the wait begins."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        async def until_the_event_is_read(ctx: Ctx) -> None:
            self.start(event, ctx)
            self.env.TURNSTILE.loaded.set()
            await self.env.TURNSTILE.read.wait()

        await step.do("read", until_the_event_is_read)
        self.env.TURNSTILE.go.set()
        return (await step.wait_for_event("signal", "signal", timeout="1 hour"))["payload"]


class Asker(Noted):
    """Waits twice; the event is handed over when the time of the first wait is over, and before the program knows of it."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        async def until_the_event_is_read(ctx: Ctx) -> None:
            self.start(event, ctx)
            self.env.TURNSTILE.loaded.set()
            await self.env.TURNSTILE.read.wait()

        await step.do("read", until_the_event_is_read)
        loop, busy = asyncio.get_running_loop(), threading.Event()
        loop.call_later(_SHORT_MS / 4000, busy.wait, _SHORT_MS / 500)  # a busy loop finds the two that follow due at once
        loop.call_later(_SHORT_MS / 2000, self.env.TURNSTILE.go.set)
        try:
            return ["first", (await step.wait_for_event("first", "signal", timeout=_SHORT_MS))["payload"]]
        except WaitTimeout:
            return ["second", (await step.wait_for_event("second", "signal", timeout="1 hour"))["payload"]]


_PROGRAMS: dict[str, type[Noted]] = {"waiter": Waiter, "asker": Asker}


async def meet(stage: Stage) -> Any:
    """Send one event, handed over when the program says so; return the output."""
    turnstile, workflow = Turnstile(stage.folder), stage.task["workflow"]
    async with node(stage.folder, _PROGRAMS, store=turnstile, TURNSTILE=turnstile) as engine:
        await engine.create(CreateRequest(workflow=workflow, params={"n": 1}, id="it"))
        await turnstile.loaded.wait()  # an event that came before would be loaded with the instance
        await engine.send_event(workflow, "it", "signal", "hello")
        return codec.decode((await ended(engine, workflow, "it")).output or b"null")


def test_no_event_waits_for_the_next_one(lives: Lives, folder: Path) -> None:
    last = lives.run(send_to_many, folder)
    assert last.result == [[[f"{turn}" for turn in range(_EVENTS)]] * _LISTENERS] * _ROUNDS


def test_an_event_that_comes_when_its_wait_begins_is_not_parked_with_it(lives: Lives, folder: Path) -> None:
    assert lives.run(meet, folder, workflow="waiter", deadline_s=AT_ONCE_S).result == "hello"


def test_an_event_that_comes_when_its_wait_is_over_is_kept_for_the_next_wait(lives: Lives, folder: Path) -> None:
    assert lives.run(meet, folder, workflow="asker", deadline_s=AT_ONCE_S).result == ["second", "hello"]
