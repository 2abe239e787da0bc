"""News from the other nodes: what a node keeps in memory of the store is read again soon after somebody has changed it, and every while.

The store's signals only make it quick, and may be lost; the reading every while is the truth. What is told here says nothing of what has
changed: whoever heeds it asks the store. Executions hear of their instances in `runner`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from weakref import WeakSet

from hub.core.clock import Clock
from hub.core.errors import HubError
from hub.core.nodes import SOMETHING_CHANGED, SOMETHING_SENT
from hub.core.ports import Log, Store

AGAIN_S = 0.5  # the pause after the store was away


class Changes:
    """Hears the store's signals for all who keep something in memory. `sent` is called when a message may have come into some queue."""

    def __init__(self, store: Store, clock: Clock, log: Log, sent: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._log = log
        self._sent = sent
        self._readers: WeakSet[asyncio.Event] = WeakSet()

    async def hear(self) -> None:
        """Pass the signals on for ever."""
        while True:
            with contextlib.suppress(HubError):
                async for word in self._store.signals():
                    if word == SOMETHING_CHANGED:
                        for news in tuple(self._readers):
                            news.set()
                    elif word == SOMETHING_SENT:
                        self._sent()
            await self._clock.sleep(AGAIN_S)

    async def keep(self, read: Callable[[], Awaitable[None]], every_s: float, label: str) -> None:
        """Read again for ever: soon after a token or a trigger has changed anywhere, and at least that often."""
        news = asyncio.Event()
        self._readers.add(news)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every_s):  # `wait_for` of Python 3.11 may swallow a cancellation when there is news
                    await news.wait()
            news.clear()  # before it is read: what changes meanwhile is news again
            try:
                await read()
            except HubError as error:
                self._log.warning(f"{label}.store_away", error=error.message)
