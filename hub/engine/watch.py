"""The watch over attempts: what lasts becomes visible in the store, and gets a timeout; what is over soon costs neither.

Looks only as long as something is young. Never decides what becomes of an attempt.
"""

from __future__ import annotations

import asyncio
from collections import deque

from hub.core.clock import Clock
from hub.core.model import Entry
from hub.engine.attempt import Announcer, Running

WATCH_S = 0.02  # an attempt that outlives this gets a start record; shorter ones cost nothing
_REST_S = 0.005  # between two looks, however many attempts begin
BUSY_S = 1.0  # … and so does an instance that is kept only by its writes: what is over sooner is not worth another one


class Watch:
    """Looks at attempts, and at executions that have not begun, once they are no longer young."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._young: deque[tuple[float, Announcer, Running | None]] = deque()
        self._busy: dict[Announcer, float] = {}  # executions whose writes were under way at the first look, the oldest first
        self._timer: asyncio.TimerHandle | None = None

    def over(self, running: Running) -> None:
        """Look at an attempt that begins."""
        self._young.append((running.since, running.execution, running))
        if self._timer is None:
            self._arm()

    def start_of(self, execution: Announcer) -> None:
        """Look at an execution whose instance has not been shown as running yet."""
        self._young.append((self._clock.monotonic(), execution, None))
        if self._timer is None:
            self._arm()

    def end_of(self, execution: Announcer) -> None:
        """Look no more at an execution that is over."""
        self._busy.pop(execution, None)

    def close(self) -> None:
        """Look at nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, delay_s: float = WATCH_S) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        """Make attempts visible that have outlived the watch, and start the clock of their timeouts."""
        self._timer = None
        now = self._clock.monotonic()
        begun: dict[Announcer, list[Entry]] = {}
        while self._young and self._young[0][0] <= now - WATCH_S:
            since, execution, running = self._young.popleft()
            if running is None:
                if not execution.begun and execution.committing:
                    self._busy[execution] = since
                elif not execution.begun:
                    begun.setdefault(execution, [])
            elif running.live:
                running.arm(now)
                begun.setdefault(execution, []).append(running.entry)
        for execution, since in self._busy.items():
            if since > now - BUSY_S:
                break
            begun.setdefault(execution, [])
        for execution, entries in begun.items():
            self._busy.pop(execution, None)
            execution.begin(tuple(entries))
        if self._young:
            self._arm(max(_REST_S, self._young[0][0] + WATCH_S - now))
        elif self._busy:
            self._arm()
