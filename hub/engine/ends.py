"""Waiting for the end of an instance that may run on any node: the store is asked, soon at first and then ever more seldom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from hub.core.clock import Clock
from hub.core.model import FINAL, Instance

_FIRST_LOOK_S, _LAST_LOOK_S = 0.01, 0.25  # a step or two take milliseconds; nobody notices a quarter of a second after many


async def end_of(look: Callable[[], Awaitable[Instance]], wait: timedelta, clock: Clock, stopping: asyncio.Event) -> Instance:
    """Return an instance as soon as it has ended, or else as it is after that time, or when whoever waits is stopping."""
    pause, deadline = _FIRST_LOOK_S, clock.monotonic() + wait.total_seconds()
    while True:
        instance = await look()
        left = deadline - clock.monotonic()
        if instance.status in FINAL or left <= 0 or stopping.is_set():
            return instance
        await clock.sleep(min(pause, left))
        pause = min(pause * 1.5, _LAST_LOOK_S)
