"""Answers that wait for the end of an instance. Owns what sends them off when the server stops; changes nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from hub.core.clock import Clock
from hub.core.model import Instance
from hub.core.ports import Engine
from hub.engine.ends import end_of

LONGEST = timedelta(minutes=1)  # proxies give up on an answer soon after


class Patience:
    """Waits for ends until the server stops."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let nobody wait any more: each gets the instance as it is."""
        self._stopping.set()

    async def end_of(self, engine: Engine, workflow: str, id: str, wait: timedelta) -> Instance:
        """Return an instance as soon as it has ended, or else as it is after that time. Raises: NotFound, Unavailable."""
        return await end_of(lambda: engine.instance(workflow, id), wait, self._clock, self._stopping)
