"""Time as a dependency. Nothing in the hub reads the system's clock except through a `Clock`."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """Where time comes from; tests pass one that jumps."""

    def now(self) -> datetime:
        """Return the wall clock as an aware UTC datetime."""
        ...

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds of this clock, never earlier."""
        ...


class SystemClock:
    """The machine's own clock. It is read several times a step: what reads it are the functions of the library themselves."""

    now = staticmethod(partial(datetime.now, UTC))
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds, never earlier."""
        await asyncio.sleep(seconds)
