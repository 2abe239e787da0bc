"""The lease of this node: one row in the store that says it lives, renewed three times before it would end.

Knows nothing of instances. The invariant: whenever others may have taken the node for dead, `lapsed` is called after the next renewal, and
again until it has succeeded, because what this node holds may be somebody else's by now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from hub.core.clock import Clock
from hub.core.nodes import NodeAbout
from hub.core.ports import Store

T = TypeVar("T")
_RENEWALS = 3  # in one lease: two may fail
_LONG_AGO = (float("-inf"), datetime.min.replace(tzinfo=UTC))


class Lease:
    """Registers the node and keeps its lease. `lapsed` looks after what the node held meanwhile."""

    def __init__(self, store: Store, clock: Clock, ttl: timedelta, lapsed: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._clock = clock
        self._ttl = ttl
        self._lapsed = lapsed
        self._about: NodeAbout | None = None
        self._ends = _LONG_AGO  # on both clocks: one stands still while a machine sleeps, the other can be set
        self._in_doubt = False
        self._lapsed_at: datetime | None = None  # when it was last found that the lease had ended; each time another object
        self._certain = asyncio.Event()
        self.node: int | None = None  # the number of this node, once it has a lease

    async def take(self, about: NodeAbout) -> None:
        """Register the node; the lease is on disk when this returns. Raises: Unavailable."""
        ends = self._next_end()
        self.node = await self._store.renew(None, self._ttl, self._clock.now(), about)
        self._about, self._ends = about, ends

    async def keep(self) -> None:
        """Renew for ever. Raises: Unavailable; then call it again soon, and it renews at once."""
        while True:
            rest_s = self._left_s() - self._ttl.total_seconds() * (_RENEWALS - 1) / _RENEWALS
            if rest_s > 0:
                await self._clock.sleep(rest_s)
            await self._renew()

    def over_at(self, monotonic: float, now: datetime) -> bool:
        """Whether others may have taken this node for dead, by its own clocks, and it does not know yet what they have left it.

        Asked before each attempt, with what both clocks say.
        """
        return monotonic >= self._ends[0] or now >= self._ends[1] or self._in_doubt

    @property
    def over(self) -> bool:
        """Whether it is so now."""
        return self.over_at(self._clock.monotonic(), self._clock.now())

    def over_since(self, moment: datetime) -> bool:
        """Whether others may have taken this node for dead at any time since that moment: what it was given then may be theirs by now."""
        return self.over or (self._lapsed_at is not None and moment <= self._lapsed_at)

    async def certain(self) -> None:
        """Return as soon as this node knows what is its own: at once, as long as its lease lasts."""
        while self.over:
            self._certain.clear()
            await self._certain.wait()

    async def surely(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what the store says of what is this node's own, asked anew when others may have taken the node for dead meanwhile.

        The answer of before may be older than what they have done since. Raises: Unavailable.
        """
        while True:
            await self.certain()
            lapsed_at = self._lapsed_at
            answer = await ask()
            if not self.over and self._lapsed_at is lapsed_at:
                return answer

    async def give_back(self) -> None:
        """End the lease: others need not wait for what this node still holds. Raises: Unavailable."""
        if self.node is not None:
            await self._store.renew(self.node, timedelta(0), self._clock.now(), self._about)

    async def _renew(self) -> None:
        ends = self._next_end()
        node = await self._store.renew(self.node, self._ttl, self._clock.now(), self._about)
        if node != self.node or self.over:
            self._in_doubt = True
        self.node, self._ends = node, ends
        if self._in_doubt:
            self._lapsed_at = self._clock.now()
            await self._lapsed()
            self._in_doubt = False
        self._certain.set()

    def _left_s(self) -> float:
        """Return how much is left of the lease by that clock which gives less."""
        monotonic, wall = self._ends
        return min(monotonic - self._clock.monotonic(), (wall - self._clock.now()).total_seconds())

    def _next_end(self) -> tuple[float, datetime]:
        """Return when a lease ends that is renewed from now on."""
        return self._clock.monotonic() + self._ttl.total_seconds(), self._clock.now() + self._ttl
