"""Starts triggers and stands between them and the bus: each gets a context with its name, clock, log, routes and `emit`.

Owns the life of triggers; never looks into what they do. After `stop` of a trigger nothing is emitted in its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple
from urllib.parse import quote

from hub.core.clock import Clock
from hub.core.delivery import Receipt, TriggerEvent
from hub.core.errors import Unavailable
from hub.core.ports import Log, Routes, Trigger
from hub.engine.routes import RouteTable
from hub.engine.telemetry import Telemetry

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0  # between two runs of a loop that ended


class TriggerSpec(NamedTuple):
    """A trigger of the project: its name, the workflow that it starts, and the object."""

    name: str
    workflow: str
    trigger: Trigger


Emit = Callable[[str, str, TriggerEvent], Awaitable[Receipt]]


class HostedTrigger:
    """The context of one trigger (`TriggerContext`)."""

    def __init__(self, spec: TriggerSpec, emit: Emit, clock: Clock, log: Log, routes: Routes, account: str, telemetry: Telemetry) -> None:
        self._spec = spec
        self._emit = emit
        self._clock = clock
        self._log = log
        self._routes = routes
        self._account = account
        self._telemetry = telemetry
        self._loops: list[asyncio.Task[None]] = []
        self._open = False

    @property
    def name(self) -> str:
        """The trigger's name in hub.toml."""
        return self._spec.name

    @property
    def clock(self) -> Clock:
        """The hub's clock."""
        return self._clock

    @property
    def log(self) -> Log:
        """A log for the trigger's own words."""
        return self._log

    @property
    def routes(self) -> Routes:
        """Where the trigger hangs its endpoints."""
        return self._routes

    def status_path(self, workflow: str, id: str) -> str:
        """Return the REST path at which an instance can be looked at."""
        return f"/client/v4/accounts/{quote(self._account)}/workflows/{workflow}/instances/{quote(id, safe='')}"

    async def emit(self, event: TriggerEvent) -> Receipt:
        """Create the instance that the event asks for; on disk when it returns. Raises: Rejected, Unavailable."""
        if not self._open:
            raise Unavailable(f'trigger "{self.name}" is stopping')
        return await self._emit(self._spec.name, self._spec.workflow, event)

    def supervise(self, loop: Callable[[], Awaitable[None]], /, *, label: str) -> None:
        """Run a loop until the trigger stops, again with back-off whenever it ends or fails."""
        self._loops.append(asyncio.create_task(self._run_again(loop, label), name=f"trigger-{self.name}-{label}"))

    async def start(self) -> None:
        """Start the trigger. Raises: ConfigError."""
        self._open = True
        try:
            await self._spec.trigger.start(self)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop the trigger and its loops."""
        await self._spec.trigger.stop()
        self._open = False
        loops, self._loops = self._loops, []
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    async def _run_again(self, loop: Callable[[], Awaitable[None]], label: str) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            began = self._clock.monotonic()
            try:
                await loop()
                self._log.warning("trigger.loop_ended", trigger=self.name, loop=label)
            except Exception as error:
                self._log.error("trigger.loop_failed", trigger=self.name, loop=label, error=f"{type(error).__name__}: {error}")
            self._telemetry.trigger_restarts += 1
            pause = _FIRST_PAUSE_S if self._clock.monotonic() - began > _LONGEST_PAUSE_S else min(pause * 2, _LONGEST_PAUSE_S)
            await self._clock.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, not a secret


class Hosting:
    """All triggers of a node."""

    def __init__(
        self,
        specs: Sequence[TriggerSpec],
        *,
        emit: Emit,
        clock: Clock,
        log: Log,
        account: str,
        telemetry: Telemetry,
    ) -> None:
        self.routes = RouteTable()
        self._hosted = [HostedTrigger(spec, emit, clock, log, self.routes, account, telemetry) for spec in specs]
        self._started: list[HostedTrigger] = []

    async def start(self) -> None:
        """Start every trigger, in order. Raises: ConfigError; those already started are stopped then."""
        try:
            for hosted in self._hosted:
                await hosted.start()
                self._started.append(hosted)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop every trigger; returns when nothing is emitted any more."""
        started, self._started = self._started, []
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*(hosted.stop() for hosted in started))
