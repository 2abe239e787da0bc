"""Queues: consumes one queue of an AMQP broker, and connects again for as long as it takes.

Owns the life of the link: when there is one, what makes it useless, and how the trigger's state reads. What becomes of a message is
decided in `_hands` (one message, one instance) or `_batches` (the project's `queue` handler). Invariant: never more than one link
consumes, and none while the trigger is paused, stopped, or the hub cannot take more.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import datetime, timedelta
from math import ceil
from typing import Any, ClassVar

from hub.core.delivery import Phase
from hub.core.ports import TriggerContext
from triggers._amqp_config import AmqpConfig
from triggers._amqp_link import Delivery, Depth, Link, LinkLost, Refused, Topology
from triggers._amqp_taken import AmqpTaken
from triggers._batches import Batches
from triggers._hands import Hands, first
from triggers._life import Life

DEADLINE = timedelta(seconds=5)  # of every answer of the broker
_STALE_LOOKS = 6  # so long with messages ready and none coming, or all in hand that may be and none getting done: the consumer is dead
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 20.0  # between two tries to connect: with a deadline on top still below half a minute


class AmqpTrigger:
    """One queue: each message becomes an instance, or is handed over to the project's handler in a batch."""

    Config: ClassVar[type] = AmqpConfig
    calls: ClassVar[str] = "queue"

    def __init__(self, config: AmqpConfig) -> None:
        self._config = config
        self._life = Life()

    async def start(self, ctx: TriggerContext) -> None:
        """Begin to connect; a broker that is away is waited for."""
        for name in ("aio_pika", "aiormq"):  # they report on their own what the trigger's state tells
            logging.getLogger(name).setLevel(logging.CRITICAL)
        await self._life.begin(ctx, _Consumer(ctx, self._config, self._life))

    async def stop(self) -> None:
        """Stop consuming, let what is in hand come to its end within the grace period, and give the rest back."""
        await self._life.end()


class _Consumer:
    """The loop behind a trigger: connect, consume until something happens, and again."""

    def __init__(self, ctx: TriggerContext, config: AmqpConfig, life: Life) -> None:
        self._ctx = ctx
        self._config = config
        self._life = life
        self._outlet = _Outlet(ctx, config)
        self._failures = 0
        self._links = 0
        self._depth: Depth | None = None
        self._consuming = False
        self._switch = asyncio.Lock()
        self._idle_probes = 0
        handler = ctx.handler
        self.hands = Hands(ctx, config) if handler is None else Batches(ctx, config, handler)

    async def run(self) -> None:
        """Consume until the trigger stops."""
        try:
            while not self._life.over:
                if self._ctx.paused:
                    self._report(Phase.PAUSED)
                    await self._life.changed(self._ctx)
                    continue
                try:
                    await self._connected()
                except Refused as error:
                    await self._pause(Phase.ERROR, str(error))
                except LinkLost as error:
                    await self._pause(Phase.CONNECTING, str(error))
            await self.hands.finish(self._config.grace)  # handlers that a lost link has left behind
        finally:
            await self._outlet.close()
        self._report(Phase.STOPPED)

    async def _connected(self) -> None:
        """Consume over one link until it is lost, or nobody wants it any more. Raises: LinkLost, Refused."""
        if not self._failures:  # else the state says why the last try failed
            self._report(Phase.CONNECTING, "connecting")
        link = await _open(self._config, self._ctx.name)
        self._links += 1
        try:
            await self._prepare(link)
            await self._begin(link)
            await first(self._fate(link), self._watch(link), self._keep_gate(link), self._life.unwanted(self._ctx))
            await self._cease(link)
            self._report(Phase.PAUSED if self._ctx.paused else Phase.STOPPED, "finishing what is in hand")
            await self.hands.finish(self._config.grace)
        finally:
            self._consuming = False
            await self.hands.forget()
            await link.close()

    async def _prepare(self, link: Link) -> None:
        config = self._config
        if config.topology == "declare":
            bindings = tuple((binding.exchange, binding.routing_key) for binding in config.bindings)
            await link.declare(
                Topology(
                    queue=config.queue,
                    dead_letter_queue=config.dead_queue,
                    delivery_limit=config.delivery_limit,
                    single_active_consumer=config.single_active_consumer,
                    bindings=bindings,
                )
            )
        elif config.topology == "passive":
            self._depth = await link.verify(config.queue)

    async def _begin(self, link: Link) -> None:
        """Start to consume, unless the hub takes nothing now."""
        async with self._switch:
            if self._consuming or not self.hands.gate.is_open:
                return
            self.hands.note_beginning()
            self._idle_probes = 0
            await link.consume(self._config.queue, self._config.prefetch, self._take)
            self._consuming = True
        self._report(Phase.CONSUMING)

    async def _cease(self, link: Link) -> None:
        """Stop consuming; what is in hand stays there."""
        async with self._switch:
            if self._consuming:
                self._consuming = False
                await link.cancel()

    def _take(self, delivery: Delivery) -> None:
        self._failures = 0  # not before: a message that breaks every connection must not be asked for in a hot loop
        self.hands.take(AmqpTaken(delivery, self._ctx, self._config, self._outlet))

    # ---- what ends a link

    async def _fate(self, link: Link) -> None:
        raise LinkLost(await asyncio.shield(link.lost))

    async def _watch(self, link: Link) -> None:
        """Ask the broker over and over, because a dead link says nothing. Raises: LinkLost, Refused."""
        while True:
            await self._ctx.clock.sleep(self._config.watch.total_seconds())
            if self._config.topology == "none":
                await link.echo()
            else:
                self._depth = await link.verify(self._config.queue)
            if self._consuming:
                self._failures = 0
                self._check()
                self._report(Phase.CONSUMING)

    def _check(self) -> None:
        """Find a consumer that is dead although the link is alive. Raises: LinkLost."""
        now, tally, depth = self._ctx.clock.monotonic(), self.hands.tally, self._depth
        gone = depth is not None and depth.consumers == 0
        self._idle_probes = self._idle_probes + 1 if gone else 0
        if self._idle_probes > 1:  # a look may come before the broker has told itself of the consumer
            raise LinkLost("the broker does not know the consumer any more")
        stale_s = _STALE_LOOKS * self._config.watch.total_seconds()
        free = self.hands.held < self._config.prefetch
        waiting = depth is not None and depth.ready > 0 and not self._config.single_active_consumer  # else another one may be served
        if free and waiting and now - max(tally.arrived_s, tally.settled_s) > stale_s:
            raise LinkLost(f"messages are ready, and none has come for {stale_s:g} s")
        if not free and not self.hands.patient and now - tally.settled_s > stale_s:
            raise LinkLost(f"{self.hands.held} messages are in hand, and none was settled for {stale_s:g} s")

    async def _keep_gate(self, link: Link) -> None:
        """Stop consuming while the hub takes nothing, try again with what is in hand, and consume again once something has passed."""
        gate = self.hands.gate
        while True:
            await gate.closed()
            await self._cease(link)
            pause_s = max(1.0, gate.pause_s() * random.uniform(0.75, 1.0))  # noqa: S311  # jitter, not a secret
            self._report(Phase.BLOCKED, f"{gate.message}; trying again in {pause_s:.0f} s")
            await self._ctx.clock.sleep(pause_s)
            gate.open()
            if self.hands.held:  # else only what comes next can tell
                await first(gate.passed(), gate.closed())
            await self._begin(link)

    # ---- state

    async def _pause(self, phase: Phase, message: str) -> None:
        """Wait before the next try, longer each time."""
        self._failures += 1
        longest_s = min(_FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 10), _LONGEST_PAUSE_S)
        pause_s = longest_s * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret
        self._ctx.log.warning("amqp.disconnected", trigger=self._ctx.name, reason=message, pause_s=round(pause_s, 1))
        self._report(phase, f"{message}; trying again in {ceil(pause_s)} s")
        await first(self._ctx.clock.sleep(pause_s), self._life.changed(self._ctx))

    def _report(self, phase: Phase, message: str = "") -> None:
        last: datetime | None = self.hands.tally.last_message_at
        self._ctx.report(
            phase,
            message,
            queue=self._config.queue,
            consuming=self._consuming,
            consumers=self._depth.consumers if self._depth else None,
            ready=self._depth.ready if self._depth else None,
            unacked=self.hands.held,
            last_message_at=last.isoformat() if last else None,
            connections=self._links,
        )


class _Outlet:
    """Publishes copies over a link of its own, which is opened when it is needed."""

    def __init__(self, ctx: TriggerContext, config: AmqpConfig) -> None:
        self._ctx = ctx
        self._config = config
        self._link: Link | None = None
        self._one = asyncio.Lock()

    async def publish(self, delivery: Delivery, queue: str, headers: dict[str, Any], delay: timedelta | None = None) -> None:
        """Put a copy into a queue, now or after a delay in whole seconds. Raises: LinkLost, Refused."""
        async with self._one:
            if self._link is None or self._link.lost.done():
                await self.close()
                self._link = await _open(self._config, f"{self._ctx.name} (publishing)")
            target = queue
            if delay is not None:
                delay = timedelta(seconds=ceil(delay.total_seconds()))
                target = f"{queue}.retry.{delay.total_seconds():.0f}"
                await self._link.declare_delay(target, delay, queue)
            await self._link.publish(delivery, target, headers)

    async def close(self) -> None:
        """Close the link, if there is one."""
        if self._link is not None:
            link, self._link = self._link, None
            await link.close()


async def _open(config: AmqpConfig, name: str) -> Link:
    return await Link.open(config.url.get_secret_value(), name=f"trigger-hub {name}", heartbeat=config.heartbeat, deadline=DEADLINE)

