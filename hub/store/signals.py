"""Signals: which instances somebody other than their execution has changed, told to whoever subscribes.

Keeps no order and no count: a subscriber holds the set of keys that it has not yet seen, so its memory is bounded by the number of
instances, and many signals of one instance become one. Everything here runs on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from weakref import WeakSet


class Signals:
    """The place that subscribers hang on."""

    def __init__(self) -> None:
        self._subscriptions: WeakSet[Subscription] = WeakSet()  # one that is simply dropped takes no more signals

    def subscribe(self) -> Subscription:
        """Return a new subscription, which gets every signal from now on."""
        subscription = Subscription()
        self._subscriptions.add(subscription)
        return subscription

    def feed(self, keys: Iterable[int]) -> None:
        """Tell all subscribers."""
        for subscription in tuple(self._subscriptions):
            subscription.feed(keys)

    def close(self) -> None:
        """End all subscriptions."""
        for subscription in tuple(self._subscriptions):
            subscription.end()
        self._subscriptions.clear()


class Subscription(AsyncIterator[int]):
    """Iterates over signalled keys until the store closes; nothing is lost between the subscription and the first step."""

    def __init__(self) -> None:
        self._unseen: dict[int, None] = {}  # a set in order of arrival
        self._news = asyncio.Event()
        self._ended = False

    def feed(self, keys: Iterable[int]) -> None:
        """Add keys that the iteration will yield, each once."""
        self._unseen.update(dict.fromkeys(keys))
        if self._unseen:
            self._news.set()

    def end(self) -> None:
        """Let the iteration end after what it has not yet seen."""
        self._ended = True
        self._news.set()

    async def __anext__(self) -> int:
        """Return the next key, waiting for one."""
        while not self._unseen:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        key = next(iter(self._unseen))
        del self._unseen[key]
        return key
