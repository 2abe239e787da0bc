"""Queues of the hub itself: messages that lie in its database, so that a project needs no broker.

Owns when messages are taken and how the trigger's state reads. What becomes of one is decided in `_hands` (one message, one instance) or
`_batches` (the project's `queue` handler), as with a broker. Invariant: no message is in hand while the trigger is paused or stopped, and
none is taken while the hub cannot take more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hub.core.admission import check_queue_name
from hub.core.delivery import Phase, TriggerEvent
from hub.core.errors import Rejected, Unavailable
from hub.core.ports import TriggerContext
from hub.core.queue import LONGEST_DELAY, Message
from hub.core.queues import MESSAGE_BYTES, Fate, Feed, LeasedMessage, as_json, read_body
from triggers._batches import Batches
from triggers._durations import Duration, between
from triggers._hands import Hands, first
from triggers._life import Life

_IN_HAND = 256  # messages at a time that become instances: enough for one large commit
_WAITING = 1000  # messages at a time that wait for a batch or are in one
_HAND_BYTES = 32 * MESSAGE_BYTES  # … and their size
_WATCH_S = 5.0  # how often the state tells anew how many messages wait
_MOST_DEATHS = 20  # a message whose delivery ended that often with the process goes to the dead letters


def _as_seconds(value: Any) -> Any:
    return f"{value} seconds" if isinstance(value, int | float) and not isinstance(value, bool) else value


def _check_name(name: Any) -> Any:
    try:
        return check_queue_name(name)
    except Rejected as error:
        raise ValueError(error.message) from None


_Seconds = Annotated[Duration, BeforeValidator(_as_seconds)]  # a plain number is seconds, as in wrangler's settings of a consumer
_Name = Annotated[str, BeforeValidator(_check_name)]


class QueueConfig(BaseModel):
    """The keys of a `[[triggers]]` table with `kind = "queue"`, in the words of wrangler's consumers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    queue: _Name = Field(description="The queue to consume; it is made when the hub starts.")
    max_batch_size: int = Field(default=10, ge=1, le=100, description="Without workflow: most messages of one call of queue(batch).")
    max_batch_timeout: Annotated[_Seconds, between(timedelta(0), timedelta(minutes=1))] = Field(
        default=timedelta(seconds=5), description="Without workflow: how long a batch waits to be full; a number is seconds."
    )
    max_concurrency: int = Field(default=5, ge=1, le=250, description="Without workflow: calls of queue(batch) at a time on one node.")
    max_retries: int = Field(default=3, ge=0, le=100, description="Tries after the first one; then the message goes to the dead letters.")
    retry_delay: Annotated[_Seconds, between(timedelta(0), LONGEST_DELAY)] = Field(
        default=timedelta(0), description="Wait before a message is tried again, unless retry() says otherwise; a number is seconds."
    )
    dead_letter_queue: _Name | None = Field(
        default=None, description="The queue of the hub to which hopeless messages go; else they are kept as deliveries."
    )
    grace: Annotated[_Seconds, between(timedelta(0), timedelta(hours=1))] = Field(
        default=timedelta(seconds=10), description="How long messages in hand may take when the hub stops; the rest goes back."
    )

    @model_validator(mode="after")
    def _check_rules(self) -> QueueConfig:
        if self.dead_letter_queue == self.queue:
            raise ValueError("dead_letter_queue is the queue itself")
        return self


class QueueTrigger:
    """One queue: each message becomes an instance, or is handed over to the project's handler in a batch."""

    Config: ClassVar[type] = QueueConfig
    calls: ClassVar[str] = "queue"

    def __init__(self, config: QueueConfig) -> None:
        self._config = config
        self._life = Life()

    @property
    def queue(self) -> str:
        """The queue that it consumes."""
        return self._config.queue

    @property
    def dead_letter_queue(self) -> str | None:
        """The queue to which hopeless messages go."""
        return self._config.dead_letter_queue

    def consumption(self) -> Mapping[str, Any]:
        """Return how it consumes, in the words of Cloudflare's API."""
        config = self._config
        return {
            "batch_size": config.max_batch_size,
            "max_concurrency": config.max_concurrency,
            "max_retries": config.max_retries,
            "max_wait_time_ms": config.max_batch_timeout // timedelta(milliseconds=1),
            "retry_delay": config.retry_delay.total_seconds(),
        }

    async def start(self, ctx: TriggerContext) -> None:
        """Begin to consume."""
        await self._life.begin(ctx, _Consumer(ctx, self._config, self._life))

    async def stop(self) -> None:
        """Take nothing more, let what is in hand come to its end within the grace period, and give the rest back."""
        await self._life.end()


class _Consumer:
    """The loop behind a trigger: take messages whenever there are some and there is room, until nobody wants that."""

    def __init__(self, ctx: TriggerContext, config: QueueConfig, life: Life) -> None:
        self._ctx = ctx
        self._config = config
        self._life = life
        self._feed = ctx.feed(config.queue)
        self._taking = asyncio.Event()
        self._waiting: int | None = None
        handler = ctx.handler
        self.hands = Hands(ctx, config) if handler is None else Batches(ctx, config, handler)
        self._room, self._enough = _IN_HAND, _IN_HAND // 2  # few large transactions
        if handler is not None:  # a batch must be able to fill
            self._room = self._enough = max(config.max_batch_size, min(config.max_batch_size * config.max_concurrency, _WAITING))

    async def run(self) -> None:
        """Consume until the trigger stops."""
        while not self._life.over:
            if self._ctx.paused:
                self._report(Phase.PAUSED)
                await self._life.changed(self._ctx)
                continue
            self._taking.set()
            self._report(Phase.CONSUMING)
            try:
                await first(self._take(), self._watch(), self._keep_gate(), self._life.unwanted(self._ctx))
            finally:
                self._report(Phase.PAUSED if self._ctx.paused else Phase.STOPPED, "finishing what is in hand")
                await self.hands.finish(self._config.grace)
        self._report(Phase.STOPPED)

    async def _take(self) -> None:
        """Take messages over and over."""
        while True:
            await self._taking.wait()
            await self.hands.below(self._enough)
            room = self._room - self.hands.held
            try:
                messages = await self._feed.lease(room, _HAND_BYTES)
            except Unavailable as error:
                self.hands.gate.shut(error)
                await self.hands.gate.opened()
                continue
            for message in messages:
                self.hands.take(QueueTaken(message, self._feed, self._config))
            if not messages:
                await self._feed.news()

    async def _watch(self) -> None:
        """Tell now and then how many messages wait."""
        while True:
            await self._count()
            if self._taking.is_set():
                self._report(Phase.CONSUMING)
            await self._ctx.clock.sleep(_WATCH_S)

    async def _count(self) -> None:
        try:
            self._waiting = await self._feed.waiting()
        except Unavailable:
            self._waiting = None

    async def _keep_gate(self) -> None:
        """Take nothing while the hub refuses, try again with what is in hand, and go on once something has passed."""
        gate = self.hands.gate
        while True:
            await gate.closed()
            self._taking.clear()
            pause_s = max(1.0, gate.pause_s() * random.uniform(0.75, 1.0))  # noqa: S311  # jitter, not a secret
            self._report(Phase.BLOCKED, f"{gate.message}; trying again in {pause_s:.0f} s")
            await self._ctx.clock.sleep(pause_s)
            gate.open()
            if self.hands.held:  # else only what comes next can tell
                await first(gate.passed(), gate.closed())
            if gate.is_open:
                self._taking.set()
                self._report(Phase.CONSUMING)

    def _report(self, phase: Phase, message: str = "") -> None:
        last: datetime | None = self.hands.tally.last_message_at
        self._ctx.report(
            phase,
            message,
            queue=self._config.queue,
            ready=self._waiting,
            unacked=self.hands.held,
            last_message_at=last.isoformat() if last else None,
        )


class QueueTaken:
    """One message of a queue of the hub (`_hands.Taken`)."""

    def __init__(self, message: LeasedMessage, feed: Feed, config: QueueConfig) -> None:
        self._message = message
        self._feed = feed
        self._config = config

    @property
    def id(self) -> str:
        """The id of the message."""
        return self._message.id

    @property
    def leaves_dead(self) -> bool:
        """Whether dead letters lie in a queue of their own."""
        return self._config.dead_letter_queue is not None

    def overdue(self) -> tuple[str, str] | None:
        """Return why it must not be tried once more."""
        deaths = self._message.attempts - 1 - self._config.max_retries
        if deaths <= _MOST_DEATHS:
            return None
        return "queue.delivery_limit", f"it was delivered {self._message.attempts} times; the hub was killed while it had it"

    # ---- what it says

    def event(self) -> TriggerEvent:
        """Return the event that it announces."""
        return self._event(as_json(read_body(self._message)))

    def unread_event(self) -> TriggerEvent:
        """Return it as an event that can be stored although it cannot be read."""
        return self._event(as_json(self._message.body))

    def bare_event(self) -> TriggerEvent:
        """Return it as an event that any store can hold."""
        return TriggerEvent(payload=as_json(self._message.body))

    def message(self, now: datetime) -> Message:
        """Return it as a handler gets it."""
        message = self._message
        return Message(
            id=message.id, timestamp=message.sent_at, body=read_body(message), attempts=message.attempts, metadata=self._metadata()
        )

    def dead_event(self, message: Message) -> TriggerEvent:
        """Return the event to be kept of a message that its handler could not do."""
        return self._event(as_json(message.body))

    def _event(self, payload: Any) -> TriggerEvent:
        return TriggerEvent(payload=payload, key=self.id, metadata=self._metadata(), occurred_at=self._message.sent_at)

    def _metadata(self) -> dict[str, Any]:
        return {"queue": self._config.queue, "content_type": self._message.content_type.value, "attempts": self._message.attempts}

    # ---- what becomes of it

    async def ack(self) -> None:
        """Take it for good."""
        await self._feed.settle(self._message, Fate.DONE)

    async def give_back(self) -> None:
        """Return it unseen."""
        await self._feed.settle(self._message, Fate.BACK)

    async def remove(self, code: str) -> None:
        """Put it into the queue of dead letters; else the hub has it among its deliveries."""
        fate = Fate.BURY if self.leaves_dead else Fate.DONE
        await self._feed.settle(self._message, fate, to=self._config.dead_letter_queue)

    async def again(self, attempt: int, delay: timedelta) -> timedelta | None:
        """Let it come again after a time."""
        await self._feed.settle(self._message, Fate.AGAIN, delay=delay)
        return None
