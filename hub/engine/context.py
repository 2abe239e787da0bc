"""What the hub gives to one started trigger: the port `TriggerContext` on the engine of this node.

Owns what the trigger has reported and the loops that it has asked for. Whether it runs and is paused is decided by `hosting`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from hub.core.clock import Clock
from hub.core.delivery import DeliveryStatus, Phase, Receipt, TriggerEvent, TriggerHealth, TriggerRecord
from hub.core.errors import Unavailable
from hub.core.model import Instance
from hub.core.ports import Handler, Log, Trigger
from hub.engine.changes import Changes
from hub.engine.ends import end_of
from hub.engine.gate import Again, Gate
from hub.engine.ledger import Finding, Ledger
from hub.engine.pipeline import UNAVAILABLE
from hub.engine.queues import QueueFeed, Queues
from hub.engine.routes import RouteTable
from hub.engine.telemetry import Telemetry

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0  # between two runs of a loop that ended


class TriggerSpec(NamedTuple):
    """A trigger of the project: its name, the workflow that it starts (None = it calls the handler), and the object.

    `settings` are shown to operators, without secrets; `digest` identifies a schedule, whose changed form starts from now.
    """

    name: str
    workflow: str | None
    trigger: Trigger
    kind: str = ""
    enabled: bool = True
    digest: str = ""
    handler: Handler | None = None
    settings: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What hosted triggers work with."""

    emit: Callable[[str, str | None, TriggerEvent], Awaitable[Receipt]]
    again: Again
    instance: Callable[[str, str], Awaitable[Instance]]
    ledger: Ledger
    queues: Queues
    telemetry: Telemetry
    clock: Clock
    log: Log
    routes: RouteTable
    changes: Changes
    poll: timedelta = timedelta(seconds=5)


class Context:
    """The context of one trigger, from its start to its stop (`TriggerContext`)."""

    def __init__(self, spec: TriggerSpec, services: Services, gate: Gate, *, paused: bool) -> None:
        self.name = spec.name
        self.handler = spec.handler
        self.clock = services.clock
        self.log = services.log
        self.routes = services.routes
        self.paused = paused
        self.health = TriggerHealth(phase=Phase.STARTING)
        self.news = asyncio.Event()
        self._workflow = spec.workflow
        self._services = services
        self._gate = gate
        self._stopping = asyncio.Event()
        self._open = True
        self._loops: list[asyncio.Task[None]] = []

    def feed(self, queue: str) -> QueueFeed:
        """Return one of the hub's own queues, for this trigger."""
        return self._services.queues.feed(queue)

    async def emit(self, event: TriggerEvent) -> Receipt:
        """Do what the event asks for; see `TriggerContext.emit`."""
        if not self._open:
            raise Unavailable(f'trigger "{self.name}" is stopping')
        if not self._gate.shut:
            return await self._services.emit(self.name, self._workflow, event)
        try:
            receipt = await self._gate.hold(event)
        except Unavailable:
            self._services.telemetry.event(self.name, UNAVAILABLE)
            raise
        self._services.telemetry.event(self.name, receipt.status.value)
        return receipt

    async def keep(
        self, event: TriggerEvent, status: DeliveryStatus, *, code: str, message: str,
        since: datetime | None = None, instance_id: str | None = None,
    ) -> str | None:  # fmt: skip
        """Store something that cannot be emitted; see `TriggerContext.keep`."""
        finding = Finding(status, code, message, instance_id)
        cursor, workflow = event.cursor if since is not None else None, event.workflow or self._workflow
        id = await self._services.ledger.keep(self.name, event, finding, workflow=workflow, cursor=cursor, since=since)
        self._services.telemetry.event(self.name, status.value)
        return id

    async def instance(self, workflow: str, id: str, wait: timedelta = timedelta(0)) -> Instance:
        """Return an instance as soon as it has ended, or else as it is after that time, or when the trigger is stopping."""
        return await end_of(lambda: self._services.instance(workflow, id), wait, self.clock, self._stopping)

    async def record(self) -> TriggerRecord:
        """Return what is stored of this trigger."""
        return await self._services.ledger.record(self.name)

    async def move_cursor(self, expected: datetime | None, cursor: datetime) -> bool:
        """Move the cursor; False = another node was faster."""
        return await self._services.ledger.move_cursor(self.name, expected, cursor)

    async def changed(self) -> None:
        """Return when there is news since the last return; for one loop of the trigger, which misses none."""
        await self.news.wait()
        self.news.clear()

    def report(self, phase: Phase, message: str = "", **facts: Any) -> None:
        """Tell how the trigger is doing."""
        self.health = TriggerHealth(phase=phase, message=message, facts=facts)

    def supervise(self, loop: Callable[[], Awaitable[None]], /, *, label: str) -> None:
        """Run a loop until the trigger stops, again with back-off whenever it ends or fails."""
        self._loops.append(asyncio.create_task(self._run_again(loop, label), name=f"trigger-{self.name}-{label}"))

    def hurry(self) -> None:
        """Let nobody wait for the end of an instance any more: the trigger is about to stop."""
        self._stopping.set()

    async def close(self) -> None:
        """Let nothing pass any more, and end the loops."""
        self._open = False
        loops, self._loops = self._loops, []
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        self.report(Phase.STOPPED)

    async def _run_again(self, loop: Callable[[], Awaitable[None]], label: str) -> None:
        pause, log, clock = _FIRST_PAUSE_S, self.log, self.clock
        while True:
            began = clock.monotonic()
            try:
                await loop()
                log.warning("trigger.loop_ended", trigger=self.name, loop=label)
            except Exception as error:
                log.error("trigger.loop_failed", trigger=self.name, loop=label, error=f"{type(error).__name__}: {error}")
            self._services.telemetry.trigger_restarts += 1
            pause = _FIRST_PAUSE_S if clock.monotonic() - began > _LONGEST_PAUSE_S else min(pause * 2, _LONGEST_PAUSE_S)
            await clock.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, not a secret
