"""The hub's own hosting around one trigger, with a plain function as the bus and a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from hub.core.delivery import Receipt, ReceiptStatus, TriggerEvent
from hub.core.errors import PayloadTooLarge
from hub.core.model import HttpReply, HttpRequest
from hub.core.ports import HttpHandler, Matched, Trigger
from hub.engine.hosting import Hosting, TriggerSpec
from hub.engine.telemetry import Telemetry


class HandClock:
    """A clock that stands still until the test moves it. `jump` sets the wall clock alone, as a suspend or an operator does."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._monotonic = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._asleep = asyncio.Event()

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        sleeper = (self._monotonic + seconds, asyncio.get_running_loop().create_future())
        self._sleepers.append(sleeper)
        self._asleep.set()
        try:
            await sleeper[1]
        finally:
            self._sleepers.remove(sleeper)

    def jump(self, by: timedelta) -> None:
        self._now += by

    async def until_asleep(self, sleepers: int = 1) -> None:
        """Return when that many wait for this clock."""
        while len(self._sleepers) < sleepers:
            self._asleep.clear()
            await self._asleep.wait()

    async def advance(self, by: timedelta) -> None:
        """Move on from deadline to deadline, letting those who wake do their work."""
        end = self._monotonic + by.total_seconds()
        while True:
            await settle()
            due = min((deadline for deadline, sleeper in self._sleepers if not sleeper.done()), default=end)
            step = min(due, end) - self._monotonic
            self._monotonic += step
            self._now += timedelta(seconds=step)
            for deadline, sleeper in self._sleepers:
                if deadline <= self._monotonic and not sleeper.done():
                    sleeper.set_result(None)
            if due >= end:
                await settle()
                if not any(deadline <= end and not sleeper.done() for deadline, sleeper in self._sleepers):
                    return


async def settle() -> None:
    """Let everything run that can run without time."""
    for _ in range(50):
        await asyncio.sleep(0)


class Hosted:
    """One hosted trigger and what it emitted."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.events: list[TriggerEvent] = []
        self.answer: Callable[[TriggerEvent], Awaitable[Receipt]] = self.accept
        self._hosting: Hosting | None = None

    async def accept(self, event: TriggerEvent) -> Receipt:
        """Answer as the bus does: a key that is known is a duplicate of its first instance."""
        known = [earlier.key for earlier in self.events]
        if event.key is not None and event.key in known:
            return Receipt(status=ReceiptStatus.DUPLICATE, workflow="orders", instance_id=f"i{known.index(event.key)}")
        self.events.append(event)
        return Receipt(status=ReceiptStatus.CREATED, workflow="orders", instance_id=f"i{len(self.events) - 1}")

    async def host(self, **triggers: Trigger) -> None:
        """Start triggers under their names, all bound to the workflow `orders`."""

        async def emit(_trigger: str, _workflow: str, event: TriggerEvent) -> Receipt:
            return await self.answer(event)

        self._hosting = Hosting(
            [TriggerSpec(name, "orders", trigger) for name, trigger in triggers.items()],
            emit=emit,
            clock=self.clock,
            log=structlog.get_logger(),
            account="local",
            telemetry=Telemetry(),
        )
        await self._hosting.start()

    def handler(self, path: str) -> HttpHandler:
        """Return what the server calls for a path; it hands over the body when it is asked for."""
        assert self._hosting is not None
        found = self._hosting.routes.match(path)
        assert found is not None, f"nothing is served at {path}"
        return partial(_serve, found)

    async def send(self, path: str, body: bytes = b"", **headers: str) -> HttpReply:
        """Hand a request to the trigger as the server does. Keywords are headers, with _ for -."""
        return await self.handler(path)(request(path, body, **headers))

    def serves(self, path: str) -> bool:
        return self._hosting is not None and self._hosting.routes.match(path) is not None

    async def stop(self) -> None:
        if self._hosting is not None:
            await self._hosting.stop()
            self._hosting = None


async def _serve(found: Matched, sent: HttpRequest) -> HttpReply:
    async def read(limit_bytes: int) -> bytes:
        if len(sent.body) > limit_bytes:
            raise PayloadTooLarge
        return sent.body

    return await found.route.handler(replace(sent, body=b"", params=dict(found.params)), read)


def request(path: str, body: bytes = b"", **headers: str) -> HttpRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpRequest(method="POST", url=f"http://hub{path}", path=path, headers=named, body=body)
