"""Messages for the project's `queue(batch)` handler: how they become batches, and how the handler's decisions are carried out.

A message stays in its queue until it is decided, so that a hub that dies loses nothing. Invariant: a message is in at most one batch at a
time, and every batch that the handler has had is decided, whatever the handler did.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hub.core.delivery import DeliveryStatus
from hub.core.errors import Rejected, Unavailable
from hub.core.ports import Handler, TriggerContext
from hub.core.queue import Decision, Message, MessageBatch
from triggers._hands import Habits, Hands, Taken, first

_INSTANT_S = 1e-6  # what is left of a wait after rounding; no clock can be asked to sleep so long


@dataclass(slots=True, eq=False)
class _Entry:
    """A message that waits for a batch, or for the decision of its batch; None = the hub could not, so it does not count."""

    message: Message
    task: asyncio.Task[Any] | None
    since_s: float
    decided: asyncio.Future[Decision | None]
    failure: str = ""  # of the handler, where it raised


class Batches(Hands):
    """Hands messages over in batches."""

    def __init__(self, ctx: TriggerContext, habits: Habits, handler: Handler) -> None:
        super().__init__(ctx, habits)
        self._handler = handler
        self._waiting: list[_Entry] = []
        self._news = asyncio.Event()
        self._slots = asyncio.Semaphore(habits.max_concurrency)
        self._calls: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Make batches and hand them over, for as long as the trigger lives."""
        while True:
            await self._slots.acquire()
            try:
                batch = await self._gathered()
            except BaseException:
                self._slots.release()
                raise
            call = asyncio.create_task(self._call(batch), name=f"trigger-{self.ctx.name}-batch")
            self._calls.add(call)
            call.add_done_callback(self._ended)

    async def finish(self, grace: timedelta) -> None:
        """Let handlers that run come to their end within a time; what waits for a batch goes back at once."""
        await super().finish(grace)
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    @property
    def patient(self) -> bool:
        """A handler may take its time, and so may a message that waits for its next attempt."""
        return True

    # ---- batches

    async def _gathered(self) -> list[_Entry]:
        """Return the next batch, when it is full or its first message has waited long enough."""
        most, timeout_s = self.habits.max_batch_size, self.habits.max_batch_timeout.total_seconds()
        while True:
            await self.gate.opened()
            self._waiting = [entry for entry in self._waiting if not entry.decided.done()]  # the others are withdrawn
            rest_s = timeout_s - (self.ctx.clock.monotonic() - self._waiting[0].since_s) if self._waiting else math.inf
            if len(self._waiting) >= most or rest_s < _INSTANT_S:
                batch, self._waiting = self._waiting[:most], self._waiting[most:]
                for entry in batch:
                    self.busy(entry.task)
                return batch
            await self._until_news(rest_s)

    async def _until_news(self, seconds: float) -> None:
        """Return when a message has come, or after a time."""
        self._news.clear()
        if math.isinf(seconds):
            await self._news.wait()
            return
        await first(self._news.wait(), self.ctx.clock.sleep(seconds))

    async def _call(self, entries: Sequence[_Entry]) -> None:
        """Call the handler, and tell each message what was decided."""
        batch = MessageBatch(self.habits.queue, [entry.message for entry in entries])
        failed = counts = True
        text = ""
        try:
            await self._handler(batch)
            failed = False
            self.gate.taken()
        except Unavailable as error:  # the hub is at fault, not the message
            counts = False
            self.gate.shut(error)
        except Exception as error:
            self.gate.taken()
            text = f"{type(error).__name__}: {error}"
            self.ctx.log.error("queue.handler_failed", trigger=self.ctx.name, messages=len(entries), error=text, exc_info=error)
        finally:
            for entry in entries:
                if not entry.decided.done():
                    entry.failure = text
                    decision = entry.message.decision(failed=failed)
                    entry.decided.set_result(decision if counts or decision != Decision(retry=True) else None)

    # ---- one message

    async def _one(self, taken: Taken) -> None:
        if not await self.check(taken):
            return
        try:
            message = taken.message(self.ctx.clock.now())
        except Rejected as error:
            await self.bury(taken, taken.unread_event(), DeliveryStatus.REJECTED, error.code, error.message)
            return
        while True:
            entry = await self._decided(message)
            decision = entry.decided.result()
            if decision is None:
                await self.may_pass()
            elif not decision.retry:
                await taken.ack()
                return
            elif message.attempts > self.habits.max_retries:
                await self._give_up(taken, message, entry.failure)
                return
            else:
                rest = await taken.again(message.attempts, self.habits.retry_delay if decision.delay is None else decision.delay)
                if rest is None:
                    return
                with self.waiting():
                    await self.ctx.clock.sleep(rest.total_seconds())
            message = _afresh(message, attempts=message.attempts + (decision is not None))

    async def _give_up(self, taken: Taken, message: Message, failure: str) -> None:
        last = f", at last with {failure}" if failure else ""
        times = f"{message.attempts} time{'s' * (message.attempts > 1)}"
        text = f"it was tried {times}{last}; max_retries is {self.habits.max_retries}"
        await self.bury(taken, taken.dead_event(message), DeliveryStatus.DEAD, "queue.max_retries", text)

    async def _decided(self, message: Message) -> _Entry:
        """Put a message into the next batch and return when it is decided."""
        now_s, decided = self.ctx.clock.monotonic(), asyncio.get_running_loop().create_future()
        entry = _Entry(message, asyncio.current_task(), now_s, decided)
        self._waiting.append(entry)
        self._news.set()
        with self.waiting():  # until its batch begins
            await decided
        return entry

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._slots.release()


def _afresh(message: Message, attempts: int) -> Message:
    """Return the message as one on which nobody has decided."""
    return Message(id=message.id, timestamp=message.timestamp, body=message.body, attempts=attempts, metadata=message.metadata)
