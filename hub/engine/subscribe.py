"""Subscriptions: the story of an instance from its history, and then live, until it has ended.

Reads only. A subscriber asks the store for what is newer than what it has seen, at most four times a second: every change of an instance
has a revision, so nothing can be missed between two questions, and other nodes need not tell anybody anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection

from hub.core.history import HistoryEvent, HistoryQuery
from hub.core.model import Instance, InstanceQuery
from hub.core.ports import Store
from hub.core.stream import InstanceEvent, Stream, check_options

POLL_S = 0.25  # soon enough for a person who watches, seldom enough for a store with many subscribers
PAGE = 500


class Subscriptions:
    """Makes event streams, and ends them all when the engine stops."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let every stream end at once."""
        self._stopping.set()

    async def follow(
        self, instance: Instance, cursor: int | None = None, filter: Collection[str] | None = None
    ) -> AsyncIterator[InstanceEvent]:
        """Tell what happened after event `cursor`, then what happens; ends with the instance, when it is deleted, or when the hub stops.

        Raises: Rejected (`subscription.invalid_options`), Unavailable (subscribe again from the last event).
        """
        stream, after = Stream(*check_options(cursor, filter)), 0
        while not self._stopping.is_set():
            news = await self._news(instance.key, after)
            if news:
                head = await self._store.find(InstanceQuery(key=instance.key, limit=1, heads=False))  # after the news: at least as new
                if not head.items:
                    return
                for event in stream.tell(head.items[0], news):
                    yield event
                after = news[-1].rev
            elif stream.ended or not await self._exists(instance.key):
                return
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), POLL_S)

    async def _news(self, key: int, after: int) -> tuple[HistoryEvent, ...]:
        page = await self._store.find(HistoryQuery(instance=key, after=after, limit=PAGE))
        return page.items

    async def _exists(self, key: int) -> bool:
        return bool((await self._store.find(InstanceQuery(key=key, limit=1))).items)
