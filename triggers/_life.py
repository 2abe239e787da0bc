"""The life of a trigger that consumes a queue, of a broker or of the hub: from `start` to the end of what is in hand after `stop`.

Knows no queue. Invariant: `end` returns only when the consumer's `run` has returned, so that nothing is in hand afterwards.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from hub.core.ports import TriggerContext
from triggers._batches import Batches
from triggers._hands import Hands, first


class Consumer(Protocol):
    """What takes messages as long as the life lasts."""

    hands: Hands

    async def run(self) -> None:
        """Consume until the life is over; nothing is in hand when it returns."""
        ...


class Life:
    """Whether a trigger is to consume. One life can be begun again after its end."""

    def __init__(self) -> None:
        self._over = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def over(self) -> bool:
        """Whether the trigger was stopped."""
        return self._over.is_set()

    async def begin(self, ctx: TriggerContext, consumer: Consumer) -> None:
        """Start to consume."""
        self._over.clear()
        if isinstance(consumer.hands, Batches):
            ctx.supervise(consumer.hands.run, label="batches")

        async def consume() -> None:
            self._idle.clear()
            try:
                await consumer.run()
            finally:
                self._idle.set()
            await asyncio.Event().wait()  # stopped: whoever supervises ends this

        ctx.supervise(consume, label="consume")
        await asyncio.sleep(0)  # let it begin, so that an end waits for it

    async def end(self) -> None:
        """Stop consuming; return when nothing is in hand any more."""
        self._over.set()
        await self._idle.wait()

    async def changed(self, ctx: TriggerContext) -> None:
        """Return when the trigger is stopped, or something about it has changed, such as a pause."""
        await first(ctx.changed(), self._over.wait())

    async def unwanted(self, ctx: TriggerContext) -> None:
        """Return when the trigger is paused or stopped."""
        while not (self.over or ctx.paused):
            await self.changed(ctx)
