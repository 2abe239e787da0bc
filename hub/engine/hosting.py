"""Starts triggers and stands between them and the bus: each gets a context with its name, clock, log, routes and `emit`.

Owns the life of triggers, whether they are paused, and what they report; never looks into what they do. After `stop` of a trigger nothing
is emitted in its name. A pause is a row in the store: every node reads it again at least every `poll`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

from hub.core.clock import Clock
from hub.core.delivery import DeliveryStatus, Phase, Receipt, TriggerEvent, TriggerHealth, TriggerRecord
from hub.core.errors import HubError, Unavailable
from hub.core.model import FINAL, Instance
from hub.core.ports import Handler, Log, Routes, Trigger
from hub.engine.gate import Again, Gate
from hub.engine.ledger import Finding, Ledger
from hub.engine.routes import RouteTable
from hub.engine.telemetry import Telemetry

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0  # between two runs of a loop that ended
_FIRST_LOOK_S, _LAST_LOOK_S = 0.01, 0.25  # at an instance whose end somebody waits for


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
    telemetry: Telemetry
    clock: Clock
    log: Log
    account: str
    poll: timedelta = timedelta(seconds=5)
    routes: RouteTable = field(default_factory=RouteTable)


class HostedTrigger:
    """The context of one trigger (`TriggerContext`)."""

    def __init__(self, spec: TriggerSpec, services: Services) -> None:
        self.spec = spec
        self.health = TriggerHealth(phase=Phase.STOPPED, message="" if spec.enabled else "disabled in hub.toml")
        self.gate = Gate(spec.name, spec.workflow, services.ledger, services.again, services.clock, services.log)
        self._services = services
        self._paused = False
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._open = False

    # ---- what the trigger sees

    @property
    def name(self) -> str:
        """The trigger's name in hub.toml."""
        return self.spec.name

    @property
    def clock(self) -> Clock:
        """The hub's clock."""
        return self._services.clock

    @property
    def log(self) -> Log:
        """A log for the trigger's own words."""
        return self._services.log

    @property
    def routes(self) -> Routes:
        """Where the trigger hangs its endpoints."""
        return self._services.routes

    @property
    def paused(self) -> bool:
        """Whether an operator has paused the trigger."""
        return self._paused

    @property
    def handler(self) -> Handler | None:
        """The project's handler, where the trigger is bound to no workflow."""
        return self.spec.handler

    def status_path(self, workflow: str, id: str) -> str:
        """Return the REST path at which an instance can be looked at."""
        return f"/client/v4/accounts/{quote(self._services.account)}/workflows/{workflow}/instances/{quote(id, safe='')}"

    async def emit(self, event: TriggerEvent) -> Receipt:
        """Do what the event asks for; see `TriggerContext.emit`."""
        if not self._open:
            raise Unavailable(f'trigger "{self.name}" is stopping')
        if not self.gate.shut:
            return await self._services.emit(self.spec.name, self.spec.workflow, event)
        receipt = await self.gate.hold(event)
        self._services.telemetry.event(self.name, receipt.status.value)
        return receipt

    async def keep(
        self, event: TriggerEvent, status: DeliveryStatus, *, code: str, message: str, advance: bool = False, instance_id: str | None = None
    ) -> str:
        """Store something that cannot be emitted; see `TriggerContext.keep`."""
        id = await self._services.ledger.keep(
            self.name,
            event,
            Finding(status, code, message, instance_id),
            workflow=event.workflow or self.spec.workflow,
            cursor=event.cursor if advance else None,
        )
        self._services.telemetry.event(self.name, status.value)
        return id

    async def ended(self, workflow: str, id: str, timeout: timedelta) -> Instance | None:
        """Return the instance once it has ended; None = not in time, or the trigger is stopping. Raises: NotFound, Unavailable."""
        pause, deadline = _FIRST_LOOK_S, self.clock.monotonic() + timeout.total_seconds()
        while True:
            instance = await self._services.instance(workflow, id)
            if instance.status in FINAL:
                return instance
            left = deadline - self.clock.monotonic()
            if left <= 0 or self._stopping.is_set():
                return None
            await self.clock.sleep(min(pause, left))
            pause = min(pause * 1.5, _LAST_LOOK_S)

    async def record(self) -> TriggerRecord:
        """Return what is stored of this trigger."""
        return await self._services.ledger.record(self.name)

    async def move_cursor(self, expected: datetime | None, cursor: datetime) -> bool:
        """Move the cursor; False = another node was faster."""
        return await self._services.ledger.move_cursor(self.name, expected, cursor)

    async def changed(self) -> None:
        """Return when there is news since the last return; for one loop of the trigger, which misses none."""
        await self._news.wait()
        self._news.clear()

    def report(self, phase: Phase, message: str = "", **facts: Any) -> None:
        """Tell how the trigger is doing."""
        self.health = TriggerHealth(phase=phase, message=message, facts=facts)

    def supervise(self, loop: Callable[[], Awaitable[None]], /, *, label: str) -> None:
        """Run a loop until the trigger stops, again with back-off whenever it ends or fails."""
        self._loops.append(asyncio.create_task(self._run_again(loop, label), name=f"trigger-{self.name}-{label}"))

    # ---- what the hosting does

    async def start(self, *, paused: bool = False, held: bool = False) -> None:
        """Start the trigger; with `held` the release of what is stored begins too. Raises: ConfigError."""
        self._open = True
        self._paused = paused
        if paused:
            self.gate.pause()
        elif held:
            self.gate.resume()
        self.report(Phase.STARTING)
        try:
            await self.spec.trigger.start(self)
        except BaseException:
            await self.stop()
            raise
        if self.health.phase is Phase.STARTING:
            self.report(Phase.LISTENING)

    async def stop(self) -> None:
        """Stop the trigger and its loops."""
        self._stopping.set()
        await self.spec.trigger.stop()
        self._open = False
        loops, self._loops = self._loops, []
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await self.gate.stop()
        self.report(Phase.STOPPED)

    def steer(self, *, paused: bool) -> None:
        """Take note of whether the trigger is paused."""
        if paused == self._paused:
            return
        self._paused = paused
        self._services.log.info("trigger.paused" if paused else "trigger.resumed", trigger=self.name)
        if paused:
            self.gate.pause()
        else:
            self.gate.resume()
        self.nudge()

    def nudge(self) -> None:
        """Ask the trigger to look at its clock and its state again."""
        self._news.set()

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


class Hosting:
    """All triggers of a node."""

    def __init__(self, specs: Sequence[TriggerSpec], services: Services) -> None:
        self.routes = services.routes
        self.hosted = {spec.name: HostedTrigger(spec, services) for spec in specs}
        self._services = services
        self._started: list[HostedTrigger] = []
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start every trigger that is enabled, in order. Raises: ConfigError, Unavailable; those already started are stopped then."""
        ledger = self._services.ledger
        for spec in (hosted.spec for hosted in self.hosted.values()):
            await ledger.register(spec.name, spec.kind, spec.workflow, spec.digest)
        records, held = await ledger.records(), await self._holding()
        try:
            for name, hosted in self.hosted.items():
                if hosted.spec.enabled:
                    await hosted.start(paused=records[name].paused_at is not None, held=name in held)
                    self._started.append(hosted)
        except BaseException:
            await self.stop()
            raise
        self._watching = asyncio.create_task(self._watch(), name="triggers-watch")

    async def stop(self) -> None:
        """Stop every trigger; returns when nothing is emitted any more."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        started, self._started = self._started, []
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*(hosted.stop() for hosted in started))

    async def refresh(self) -> None:
        """Read again who is paused, and release what somebody has left behind. Raises: Unavailable."""
        records, held = await self._services.ledger.records(), await self._holding()
        for hosted in self._started:
            record = records.get(hosted.name)
            hosted.steer(paused=record is not None and record.paused_at is not None)
            if hosted.name in held and not hosted.paused:
                hosted.gate.resume()

    async def _watch(self) -> None:
        """Refresh for ever."""
        while True:
            await self._services.clock.sleep(self._services.poll.total_seconds())
            try:
                await self.refresh()
            except HubError as error:
                self._services.log.warning("triggers.store_away", error=error.message)

    async def _holding(self) -> set[str]:
        """Return the names of the triggers here that have held deliveries; one question where there is none at all, as a rule."""
        ledger = self._services.ledger
        if not await ledger.held(None, 1):
            return set()
        return {name for name in self.hosted if await ledger.held(name, 1)}
