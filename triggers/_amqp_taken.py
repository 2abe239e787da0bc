"""A message of a broker in the hub's hands: what it says, and how it is settled with the broker.

Invariant: whatever happens, the broker has the message until it is acknowledged; a copy that is published elsewhere is confirmed first.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Protocol

from hub.core.delivery import TriggerEvent
from hub.core.ids import new_id
from hub.core.ports import TriggerContext
from hub.core.queue import Message
from triggers._amqp_config import AmqpConfig
from triggers._amqp_link import Delivery, LinkLost, Refused
from triggers._amqp_messages import as_json, bare_event, event_of, read_body, read_event, read_metadata, unread_event

ATTEMPTS = "x-hub-attempts"  # on a copy that waits for its next attempt: how many there were
LONGEST_HOLD = timedelta(minutes=15)  # of a message that waits here: a broker takes an unacknowledged one back after 30 minutes


class Outlet(Protocol):
    """Where copies of messages are published: a connection of its own, because a broker may block those that publish."""

    async def publish(self, delivery: Delivery, queue: str, headers: dict[str, Any], delay: timedelta | None = None) -> None:
        """Put a copy into a queue, now or after a delay; the broker has it when this returns. Raises: LinkLost, Refused."""
        ...


class AmqpTaken:
    """One delivery of a broker (`_hands.Taken`)."""

    leaves_dead = False  # a queue of the broker may have no place for dead letters

    def __init__(self, delivery: Delivery, ctx: TriggerContext, config: AmqpConfig, outlet: Outlet) -> None:
        self._delivery = delivery
        self._received = delivery.received
        self._ctx = ctx
        self._config = config
        self._outlet = outlet

    @property
    def id(self) -> str | None:
        """The sender's id of the message."""
        return self._received.properties.message_id

    def overdue(self) -> tuple[str, str] | None:
        """Return why it must not be tried once more."""
        returns, limit = self._received.returns, self._config.delivery_limit
        return None if returns <= limit else ("amqp.delivery_limit", f"it came back {returns} times; delivery_limit is {limit}")

    # ---- what it says

    def event(self) -> TriggerEvent:
        """Return the event that it announces."""
        return read_event(self._received, self._config.max_body)

    def unread_event(self) -> TriggerEvent:
        """Return it as an event that can be stored although it cannot be read."""
        return unread_event(self._received)

    def bare_event(self) -> TriggerEvent:
        """Return it as an event that any store can hold."""
        return bare_event(self._received)

    def message(self, now: datetime) -> Message:
        """Return it as a handler gets it."""
        received = self._received
        return Message(
            id=self.id or new_id(now),
            timestamp=received.properties.timestamp or now,
            body=read_body(received, self._config.max_body),
            attempts=1 + received.returns + _attempts(received.headers.get(ATTEMPTS)),
            metadata=read_metadata(received),
        )

    def dead_event(self, message: Message) -> TriggerEvent:
        """Return the event to be kept of a message that its handler could not do."""
        return event_of(self._received, as_json(self._received, message.body), self.id)

    # ---- what becomes of it

    async def ack(self) -> None:
        """Take it for good."""
        await self._delivery.ack()

    async def give_back(self) -> None:
        """Return it unseen."""
        await self._delivery.give_back()

    async def remove(self, code: str) -> None:
        """Put it where the dead letters of its queue go; the hub has it among its deliveries."""
        if self._config.broker_buries:
            await self._delivery.bury()
            return
        if self._config.dead_letter_queue is not None:
            headers = {"x-hub-reason": code, "x-hub-trigger": self._ctx.name}
            try:
                await self._outlet.publish(self._delivery, self._config.dead_letter_queue, headers)
            except Refused as error:  # it is among the hub's deliveries; that must do
                self._ctx.log.error("amqp.dead_letter_queue", trigger=self._ctx.name, reason=str(error))
            except LinkLost as error:
                self._delivery.link.lose(f"the dead letter could not be published: {error}")
                return
        await self._delivery.ack()

    async def again(self, attempt: int, delay: timedelta) -> timedelta | None:
        """Let it wait for its next attempt: in a queue of the broker where the hub may declare one, else in hand."""
        if not delay:
            return delay
        if self._config.topology == "declare":
            try:
                await self._outlet.publish(self._delivery, self._config.queue, {ATTEMPTS: attempt}, delay)
            except (LinkLost, Refused) as error:
                self._ctx.log.warning("queue.retry_held", trigger=self._ctx.name, reason=str(error))
            else:
                await self._delivery.ack()
                return None
        if delay > LONGEST_HOLD:
            asked_s, held_s = delay.total_seconds(), LONGEST_HOLD.total_seconds()
            self._ctx.log.warning("queue.retry_early", trigger=self._ctx.name, asked_s=asked_s, held_s=held_s)
        return min(delay, LONGEST_HOLD)


def _attempts(header: Any) -> int:
    return min(max(header, 0), 1000) if isinstance(header, int) else 0
