"""Time that jumps.

`VirtualLoop` is an event loop whose clock moves to the next timer as soon as nobody has anything to do, and `VirtualClock` is the wall
clock that goes with it: a workflow that sleeps for a month is over in milliseconds, with real SQLite underneath.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2030, 1, 1, tzinfo=UTC)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with virtual time.

    Time stands still while anything can run: a callback, a thread of `run_in_executor`, a socket that is ready. Otherwise it jumps to the
    next timer.
    """

    def __init__(self) -> None:
        self._virtual_s = 0.0
        self._in_threads = 0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Return the virtual time in seconds, from 0."""
        return self._virtual_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._virtual_s += seconds

    @property
    def _clock_resolution(self) -> float:
        """How much earlier than its time a timer may run: asyncio's own billionth of a second is lost in the sum after 97 days."""
        return max(1e-9, math.ulp(self._virtual_s))

    @_clock_resolution.setter
    def _clock_resolution(self, _of_the_machine: float) -> None:
        """Heed the virtual clock only."""

    @property
    def busy_elsewhere(self) -> bool:
        """Whether a thread works for this loop."""
        return self._in_threads > 0

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads for as long as they take; virtual time would outrun any timeout."""
        await super().shutdown_default_executor()

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """Run a call in a thread; time stands still until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._in_threads += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _future: Any) -> None:
        self._in_threads -= 1


class VirtualClock:
    """The wall clock of a `VirtualLoop`: it starts at `start` and moves with the loop."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._loop: asyncio.AbstractEventLoop | None = None

    def now(self) -> datetime:
        """Return the virtual wall clock."""
        return self._start + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Return the virtual seconds since the loop began."""
        if self._loop is None:  # the first caller is on the loop; later ones may be step bodies in threads
            self._loop = asyncio.get_running_loop()
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Return after that many virtual seconds."""
        await asyncio.sleep(seconds)


class _Jumping(selectors.DefaultSelector):  # the platform decides which class it is
    """A selector that lets virtual time pass instead of waiting."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        """Return what is ready; with nothing ready and no thread at work, move the time on by `timeout`."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self._loop.busy_elsewhere:
            return super().select(timeout if timeout is None else None)
        self._loop.advance(timeout)
        return ready
