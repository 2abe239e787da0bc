"""Starts and stops triggers, and tells them whether they are paused. Never looks into what they do.

After `stop` of a trigger nothing is emitted in its name. A pause is a row in the store: every node reads it again when the
store signals a change, and at least every `poll`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

from hub.core.delivery import Phase, Receipt, TriggerEvent, TriggerHealth
from hub.core.errors import Unavailable
from hub.core.queues import Consumer, ConsumerView
from hub.engine.context import Context, Services, TriggerSpec
from hub.engine.gate import Gate

_AT_WORK = frozenset({Phase.STARTING, Phase.LISTENING, Phase.CONNECTING, Phase.CONSUMING, Phase.BLOCKED})  # shown as paused while it is


class HostedTrigger:
    """One trigger with its gate, and its context while it runs."""

    def __init__(self, spec: TriggerSpec, services: Services) -> None:
        self.spec = spec
        self.gate = Gate(spec.name, spec.workflow, services.ledger, services.again, services.clock, services.log)
        self._services = services
        self._context: Context | None = None

    @property
    def health(self) -> TriggerHealth:
        """How the trigger is doing on this node."""
        if self._context is None:
            return TriggerHealth(phase=Phase.STOPPED, message="not started on this node" if self.spec.enabled else "disabled in hub.toml")
        health = self._context.health
        return replace(health, phase=Phase.PAUSED) if self._context.paused and health.phase in _AT_WORK else health

    @property
    def paused(self) -> bool:
        """Whether the trigger runs here and is paused."""
        return self._context is not None and self._context.paused

    @property
    def running(self) -> bool:
        """Whether the trigger has been started here."""
        return self._context is not None

    async def emit(self, event: TriggerEvent) -> Receipt:
        """Emit an event in the trigger's name, as if it came from its source. Raises: Rejected, Unavailable (it does not run)."""
        if self._context is None:
            raise Unavailable(f'trigger "{self.spec.name}" does not run here')
        return await self._context.emit(event)

    async def start(self, *, paused: bool = False, held: bool = False) -> None:
        """Start the trigger; with `held` the release of what is stored begins too. Raises: ConfigError."""
        context = self._context = Context(self.spec, self._services, self.gate, paused=paused)
        if paused:
            self.gate.pause()
        elif held:
            self.gate.resume()
        try:
            await self.spec.trigger.start(context)
        except BaseException:
            await self.stop()
            raise
        if context.health.phase is Phase.STARTING:
            context.report(Phase.LISTENING)

    async def stop(self) -> None:
        """Stop the trigger and its loops."""
        if self._context is not None:
            self._context.hurry()
        await self.spec.trigger.stop()
        if self._context is not None:
            await self._context.close()
        await self.gate.stop()

    def steer(self, *, paused: bool) -> None:
        """Take note of whether the trigger is paused."""
        if self._context is None or paused == self._context.paused:
            return
        self._context.paused = paused
        self._services.log.info("trigger.paused" if paused else "trigger.resumed", trigger=self.spec.name)
        if paused:
            self.gate.pause()
        else:
            self.gate.resume()
        self.nudge()

    def nudge(self) -> None:
        """Ask the trigger to look at its clock and its state again."""
        if self._context is not None:
            self._context.news.set()


class Hosting:
    """All triggers of a node."""

    def __init__(self, specs: Sequence[TriggerSpec], services: Services) -> None:
        self.routes = services.routes
        self.hosted = {spec.name: HostedTrigger(spec, services) for spec in specs}
        self._services = services
        self._started: list[HostedTrigger] = []
        self._watching: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()  # what was read later must be heeded later

    async def start(self) -> None:
        """Start every trigger that is enabled, in order. Raises: ConfigError, Unavailable; those already started are stopped then."""
        ledger = self._services.ledger
        specs = [hosted.spec for hosted in self.hosted.values()]
        await asyncio.gather(
            *(ledger.register(spec.name, spec.kind, spec.workflow, spec.digest) for spec in specs),
            *(self._declare_queues(spec) for spec in specs),
        )
        records, held = await ledger.records(), await self._holding()
        try:
            for name, hosted in self.hosted.items():
                if hosted.spec.enabled:
                    await hosted.start(paused=records[name].paused_at is not None, held=name in held)
                    self._started.append(hosted)
        except BaseException:
            await self.stop()
            raise
        self.routes.complete = True
        poll_s = self._services.poll.total_seconds()
        self._watching = asyncio.create_task(self._services.changes.keep(self.refresh, poll_s, "triggers"), name="triggers-watch")

    async def _declare_queues(self, spec: TriggerSpec) -> None:
        """Make the queues of the hub that a trigger consumes or fills, also when it is disabled: what is sent waits for it."""
        consumer = spec.trigger
        if not isinstance(consumer, Consumer):
            return
        dead = consumer.dead_letter_queue
        view = ConsumerView(trigger=spec.name, workflow=spec.workflow, dead_letter_queue=dead, settings=consumer.consumption())
        await self._services.queues.declare(consumer.queue, consumer=view)
        if dead is not None:
            await self._services.queues.declare(dead)

    async def stop(self) -> None:
        """Stop every trigger; returns when nothing is emitted any more."""
        self.routes.complete = False
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        started, self._started = self._started, []
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*(hosted.stop() for hosted in started))

    async def refresh(self) -> None:
        """Read again who is paused, and release what somebody has left behind. Raises: Unavailable."""
        async with self._reading:
            records, held = await self._services.ledger.records(), await self._holding()
            for hosted in self._started:
                record = records.get(hosted.spec.name)
                hosted.steer(paused=record is not None and record.paused_at is not None)
                if hosted.spec.name in held and not hosted.paused:
                    hosted.gate.resume()

    async def _holding(self) -> set[str]:
        """Return the names of the triggers here that have held deliveries; one question where there is none at all, as a rule."""
        ledger = self._services.ledger
        if not await ledger.held(None, 1):
            return set()
        return {name for name in self.hosted if await ledger.held(name, 1)}
