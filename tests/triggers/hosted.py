"""The hub's own hosting around triggers: a real engine on a database of its own, and virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from hub import WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from hub.core.delivery import Receipt, ReceiptStatus, TriggerEvent
from hub.core.errors import PayloadTooLarge
from hub.core.model import HttpReply, HttpRequest
from hub.core.ports import HttpHandler, Store, Trigger
from hub.core.routing import Matched
from hub.core.workflow import Env
from hub.engine.context import TriggerSpec
from hub.engine.embedded import Definition, EmbeddedEngine
from hub.engine.hosting import Hosting
from hub.engine.rules import Rules
from hub.engine.runner import RunnerOptions
from hub.store import store_for
from hub.testing import VirtualClock
from tests.databases import empty_database

QUIET = timedelta(days=10_000)
POLL = timedelta(seconds=5)  # how soon a pause on another node is seen


class Clock(VirtualClock):
    """A clock on virtual time. `jump` sets the wall clock alone, as a suspend or an operator does."""

    def __init__(self, now: datetime) -> None:
        super().__init__(now)
        self._jumped = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self._jumped

    def jump(self, by: timedelta) -> None:
        self._jumped += by

    async def until_asleep(self) -> None:
        """Return when nobody has anything to do before some time has passed."""
        await settle()

    async def advance(self, by: timedelta) -> None:
        """Let time pass; whoever has something to do in it does it."""
        await self.sleep(by.total_seconds())
        await settle()


async def settle() -> None:
    """Let everything run that can run without time, also what waits for the disk."""
    await asyncio.sleep(0.001)


class Hosted:
    """Triggers in a real engine, and what they emitted.

    They are bound to the workflow `orders`, which returns its payload, sleeps for a day before it returns `slow`, and fails on `broken`.
    `answer` may stand in the way of the engine, to say how a store misbehaves. A test that uses the fixture `hosted` runs on virtual time.
    """

    def __init__(self, path: Path, now: datetime) -> None:
        self.clock = Clock(now)
        self.events: list[TriggerEvent] = []  # that the engine has taken, without repeated ones
        self.answer: Callable[[TriggerEvent], Awaitable[Receipt]] = self.accept
        self.path = path
        self.rules: dict[str, Rules] = {}  # by trigger
        self.engine = self._engine()
        self._emitted_by: dict[int, str] = {}
        self._hosting: Hosting | None = None

    @property
    def hosting(self) -> Hosting:
        """What hosts the triggers. Only while they run."""
        assert self._hosting is not None
        return self._hosting

    async def accept(self, event: TriggerEvent) -> Receipt:
        """Let the engine do what the event asks for."""
        receipt = await self.engine.emit(self._emitted_by[id(event)], "orders", event)
        if receipt.status is not ReceiptStatus.DUPLICATE:
            self.events.append(event)
        return receipt

    async def host(self, **triggers: Trigger) -> None:
        """Start triggers under their names."""
        await self.host_specs(*(TriggerSpec(name, "orders", trigger, kind="test") for name, trigger in triggers.items()))

    async def host_specs(self, *specs: TriggerSpec) -> None:
        """Start triggers as a project would have declared them; after `stop` once more, as the next process does."""

        async def emit(trigger: str, _workflow: str | None, event: TriggerEvent) -> Receipt:
            self._emitted_by[id(event)] = trigger
            return await self.answer(event)

        self.engine = self._engine()
        await self.engine.start()
        self._hosting = Hosting(specs, replace(self.engine.services("local"), emit=emit, poll=POLL))
        await self._hosting.start()

    def store(self) -> Store:
        """Return the store of the next engine."""
        return store_for(f"sqlite:///{empty_database(self.path)}")

    def _engine(self) -> EmbeddedEngine:
        class Orders(WorkflowEntrypoint):
            async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
                if event.payload == "slow":
                    await step.sleep("a day", "1 day")
                if event.payload == "broken":
                    raise ValueError("the order is broken")
                return event.payload

        definition = Definition("orders", "Orders", "test", "1", lambda: Orders(None, Env({})))
        options = RunnerOptions(lease=QUIET, poll=QUIET, prune_every=QUIET)
        return EmbeddedEngine(self.store(), self.clock, structlog.get_logger(), [definition], options, rules=self.rules)

    def handler(self, path: str) -> HttpHandler:
        """Return what the server calls for a path; it hands over the body when it is asked for."""
        found = self.hosting.routes.match(path)
        assert found is not None, f"nothing is served at {path}"
        return partial(_serve, found)

    async def send(self, path: str, body: bytes = b"", **headers: str) -> HttpReply:
        """Hand a request to the trigger as the server does. Keywords are headers, with _ for -."""
        return await self.handler(path)(request(path, body, **headers))

    def serves(self, path: str) -> bool:
        return self._hosting is not None and self._hosting.routes.match(path) is not None

    async def stop(self) -> None:
        hosting, self._hosting = self._hosting, None
        if hosting is not None:
            await hosting.stop()
            await self.engine.stop()


async def _serve(found: Matched, sent: HttpRequest) -> HttpReply:
    async def read(limit_bytes: int) -> bytes:
        if len(sent.body) > limit_bytes:
            raise PayloadTooLarge
        return sent.body

    return await found.route.handler(replace(sent, body=b"", params=dict(found.params)), read)


def request(path: str, body: bytes = b"", **headers: str) -> HttpRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpRequest(method="POST", url=f"http://hub{path}", path=path, headers=named, body=body)
