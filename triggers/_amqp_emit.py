"""What becomes of a message: the gate before the hub, the grave of hopeless ones, and one instance for each of the others.

Invariant: a message is acknowledged only when what it asked for is on disk, or when it lies where somebody will find it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from hub.core.delivery import DeliveryStatus, TriggerEvent
from hub.core.errors import Rejected, Unavailable
from hub.core.ports import TriggerContext
from triggers._amqp_config import AmqpConfig
from triggers._amqp_link import Delivery, LinkLost, Refused
from triggers._amqp_messages import bare_event, read_event, unread_event

LONGEST_PAUSE_S = 60.0
_FIRST_PAUSE_S = 1.0


class Gate:
    """Whether the hub takes what comes. Shut by the first refusal; how long, its keeper decides."""

    def __init__(self) -> None:
        self.message = ""
        self._wish: timedelta | None = None
        self._failures = 0
        self._open = asyncio.Event()
        self._open.set()
        self._shut = asyncio.Event()
        self._passed = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether messages may pass."""
        return self._open.is_set()

    async def opened(self) -> None:
        """Return when the gate is open."""
        await self._open.wait()

    async def closed(self) -> None:
        """Return when the gate is shut."""
        await self._shut.wait()

    async def passed(self) -> None:
        """Return when something has passed since the gate was opened again."""
        await self._passed.wait()

    def shut(self, error: Unavailable) -> None:
        """Let nothing pass, because the hub refused something for now."""
        self.message, self._wish = error.message, error.retry_after
        if self._open.is_set():
            self._failures += 1
            self._open.clear()
            self._passed.clear()
            self._shut.set()

    def pause_s(self) -> float:
        """Return how long to stay shut: what the hub asked for, else longer with every failure, up to a minute."""
        if self._wish is not None:
            return min(max(self._wish.total_seconds(), _FIRST_PAUSE_S), LONGEST_PAUSE_S)
        return min(_FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE_S)

    def open(self) -> None:
        """Let what waits try again."""
        self._shut.clear()
        self._open.set()

    def taken(self) -> None:
        """Note that the hub has taken something."""
        if self._open.is_set():
            self._failures = 0
            self._passed.set()


class Outlet(Protocol):
    """Where copies of messages are published: a connection of its own, because a broker may block those that publish."""

    async def publish(self, delivery: Delivery, queue: str, headers: dict[str, Any], delay: timedelta | None = None) -> None:
        """Put a copy into a queue, now or after a delay; the broker has it when this returns. Raises: LinkLost, Refused."""
        ...


@dataclass(slots=True)
class Tally:
    """What the trigger's state tells of messages."""

    last_message_at: datetime | None = None
    settled_s: float = 0.0  # monotonic: when something was settled last, or when there was nothing to settle
    arrived_s: float = 0.0


class Hands:
    """Does its work on each message in a task of its own, and knows what is in hand."""

    def __init__(self, ctx: TriggerContext, config: AmqpConfig, outlet: Outlet) -> None:
        self.ctx = ctx
        self.config = config
        self.outlet = outlet
        self.gate = Gate()
        self.tally = Tally()
        self._tasks: dict[asyncio.Task[None], Delivery] = {}
        self._idle: set[asyncio.Task[Any] | None] = set()

    @property
    def held(self) -> int:
        """How many messages are not settled."""
        return len(self._tasks)

    def take(self, delivery: Delivery) -> None:
        """Begin with a message."""
        self.note_arrival()
        self.begin(self._one(delivery), delivery)

    async def finish(self, grace: timedelta) -> None:
        """Let what is being worked on come to its end within a time, and give the rest back. Nothing is in hand afterwards."""
        await self._give_back({task: delivery for task, delivery in self._tasks.items() if task in self._idle})
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace.total_seconds())
        await self._give_back(dict(self._tasks))

    async def forget(self) -> None:
        """Drop what is in hand: its link is lost, and the broker delivers it again."""
        await self._cancel(dict(self._tasks))

    # ---- for those that do the work

    def begin(self, work: Coroutine[Any, Any, None], delivery: Delivery) -> None:
        """Work on a message in a task."""
        task = asyncio.create_task(work, name=f"trigger-{self.ctx.name}-message")
        self._tasks[task] = delivery
        task.add_done_callback(self._done)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Mark the current task as one that only waits: a stop need not wait for it."""
        task = asyncio.current_task()
        self._idle.add(task)
        try:
            yield
        finally:
            self._idle.discard(task)

    def busy(self, task: asyncio.Task[Any] | None) -> None:
        """Say of a task that it does not only wait any more."""
        self._idle.discard(task)

    async def may_pass(self) -> None:
        """Return when the gate is open."""
        with self.waiting():
            await self.gate.opened()

    @property
    def patient(self) -> bool:
        """Whether messages may be in hand for as long as they like."""
        return not self.gate.is_open

    def note_beginning(self) -> None:
        """Note that messages may come from now on."""
        self.tally.arrived_s = self.tally.settled_s = self.ctx.clock.monotonic()

    def note_arrival(self) -> None:
        """Note that a message has come."""
        self.tally.last_message_at = self.ctx.clock.now()
        now = self.tally.arrived_s = self.ctx.clock.monotonic()
        if not self.held:
            self.tally.settled_s = now

    async def bury(self, delivery: Delivery, event: TriggerEvent, status: DeliveryStatus, code: str, message: str) -> None:
        """Keep a hopeless message as a delivery, then let the broker put it where its dead letters go."""
        kept = False
        while not kept:
            await self.may_pass()
            try:
                await self.ctx.keep(event, status, code=code, message=message)
                kept = True
            except Unavailable as error:
                self.gate.shut(error)
            except Rejected as error:  # the store cannot hold something that stands beside the body
                bare = bare_event(delivery.received)
                if event == bare:
                    raise Rejected(f"the message can be stored in no form, it stays with the broker: {error.message}") from error
                event = bare
        self.gate.taken()
        await self.remove(delivery, code)

    async def remove(self, delivery: Delivery, code: str) -> None:
        """Take a message that the hub has kept out of the queue."""
        self.ctx.log.warning("amqp.dead_letter", trigger=self.ctx.name, message_id=delivery.received.properties.message_id, code=code)
        if self.config.broker_buries:
            await delivery.bury()
            return
        if self.config.dead_letter_queue is not None:
            try:
                await self.outlet.publish(delivery, self.config.dead_letter_queue, {"x-hub-reason": code, "x-hub-trigger": self.ctx.name})
            except Refused as error:  # it is among the hub's deliveries; that must do
                self.ctx.log.error("amqp.dead_letter_queue", trigger=self.ctx.name, reason=str(error))
            except LinkLost as error:
                delivery.link.lose(f"the dead letter could not be published: {error}")
                return
        await delivery.ack()

    async def check(self, delivery: Delivery) -> bool:
        """Whether the message may be worked on; one that has come back too often is buried."""
        received = delivery.received
        if received.returns <= self.config.delivery_limit:
            return True
        text = f"it came back {received.returns} times; delivery_limit is {self.config.delivery_limit}"
        await self.bury(delivery, unread_event(received), DeliveryStatus.DEAD, "amqp.delivery_limit", text)
        return False

    # ---- one message, one instance

    async def _one(self, delivery: Delivery) -> None:
        if not await self.check(delivery):
            return
        try:
            event = read_event(delivery.received, self.config.max_body)
        except Rejected as error:
            await self.bury(delivery, unread_event(delivery.received), DeliveryStatus.REJECTED, error.code, error.message)
            return
        await self._emit(delivery, event)

    async def _emit(self, delivery: Delivery, event: TriggerEvent) -> None:
        tries = 0
        while True:
            await self.may_pass()
            try:
                await self.ctx.emit(event)
            except Unavailable as error:
                self.gate.shut(error)
            except Rejected as error:  # the bus has kept it
                self.gate.taken()
                await self.remove(delivery, error.code)
                return
            except Exception as error:  # a defect, ours or of the project's schema: it must neither block the queue nor spin
                tries += 1
                text = f"{type(error).__name__}: {error}"
                self.ctx.log.error("amqp.emit_failed", trigger=self.ctx.name, attempt=tries, error=text)
                if tries > self.config.max_retries:
                    await self.bury(delivery, event, DeliveryStatus.DEAD, "amqp.failed", text)
                    return
                with self.waiting():
                    await self.ctx.clock.sleep(max(_FIRST_PAUSE_S, self.config.retry_delay.total_seconds()))
            else:
                self.gate.taken()
                await delivery.ack()
                return

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self.tally.settled_s = self.ctx.clock.monotonic()
        if not task.cancelled() and (error := task.exception()) is not None:
            self.ctx.log.error("amqp.message_failed", trigger=self.ctx.name, error=f"{type(error).__name__}: {error}")

    async def _give_back(self, tasks: dict[asyncio.Task[None], Delivery]) -> None:
        await self._cancel(tasks)
        for delivery in tasks.values():
            await delivery.give_back()

    async def _cancel(self, tasks: dict[asyncio.Task[None], Delivery]) -> None:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
