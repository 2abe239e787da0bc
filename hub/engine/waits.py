"""What an execution waits for in memory: sleeps, back-offs and events, with one timer for all of them.

Never ends a wait before its time. Knows nothing of parking or of the store; it only remembers which waits are not on disk yet.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from datetime import datetime

from hub.core.clock import Clock, SystemClock
from hub.core.model import Entry
from hub.core.replay import EntryId, Take, entry_id


class _Wait:
    __slots__ = ("entry", "future")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.future: asyncio.Future[Take | None] = asyncio.get_running_loop().create_future()


class Waits:
    """The waits of one execution. `woken` is called after the timer has ended some of them."""

    def __init__(self, clock: Clock, woken: Callable[[], None]) -> None:
        self._clock = clock
        self._woken = woken
        self._waits: dict[EntryId, _Wait] = {}
        self._due: list[tuple[datetime, int, _Wait]] = []  # a heap; ended waits are removed lazily
        self._fresh: list[_Wait] = []
        self._count = 0
        self._ended = 0  # waits that are over and not removed yet
        self._timer: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        return bool(self._waits)

    def add(self, entry: Entry, *, fresh: bool) -> asyncio.Future[Take | None]:
        """Begin a wait; the future is the event that ended it, or None when its time has come. `fresh` = not on disk yet."""
        wait = self._waits[entry_id(entry)] = _Wait(entry)
        self._count += 1
        if fresh:
            self._fresh.append(wait)
        if entry.wake_at is not None:
            heapq.heappush(self._due, (entry.wake_at, self._count, wait))
        return wait.future

    def remove(self, entry: Entry) -> None:
        """Forget a wait that has ended."""
        wait = self._waits.pop(entry_id(entry), None)
        if wait is not None and wait.future.done() and not wait.future.cancelled():
            self._ended -= 1

    @property
    def ended(self) -> bool:
        """Whether a wait is over whose part of the program has not gone on yet."""
        return self._ended > 0

    def end(self, take: Take) -> bool:
        """End the wait that an event satisfies; False = its time had come first."""
        wait = self._waits.get(entry_id(take.entry))
        if wait is None or wait.future.done():
            return False
        wait.future.set_result(take)
        self._ended += 1
        return True

    def take_fresh(self) -> tuple[Entry, ...]:
        """Return the entries that are not on disk yet; the caller writes them."""
        fresh, self._fresh = self._fresh, []
        return tuple(wait.entry for wait in fresh if not wait.future.done())

    def earliest(self) -> datetime | None:
        """Return when the next wait ends by itself."""
        while self._due and self._due[0][2].future.done():
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def arm(self) -> None:
        """Set the timer for the next wait that ends by itself."""
        self._disarm()
        earliest = self.earliest()
        if earliest is not None:
            delay_s = max(0.0, (earliest - self._clock.now()).total_seconds())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._fire)

    def cancel(self) -> None:
        """Cancel everything that waits."""
        self._disarm()
        for wait in self._waits.values():
            wait.future.cancel()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        """End the waits whose time has come; a timer may be a little early, a wait never is."""
        self._timer = None
        now = self._clock.now()
        while self._due and self._due[0][0] <= now:
            future = heapq.heappop(self._due)[2].future
            if not future.done():
                future.set_result(None)
                self._ended += 1
        self._woken()


def release(futures: list[asyncio.Future[None]]) -> None:
    """Let everybody go on who waits for one of these futures and has not been cancelled."""
    for future in futures:
        if not future.done():
            future.set_result(None)


NO_WAITS = Waits(SystemClock(), lambda: None)  # of all executions that have not waited yet: nothing is ever added to it
