"""The process that a node lives in: its event loop, its signals, its garbage collector. Knows nothing of the node."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hub.cli import screen

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def tune_garbage_collection() -> None:
    """Let the collector look seldom: a hub makes many short-lived values and hardly any circles. Measured: a third less CPU a step."""
    gc.freeze()  # what has been imported stays for ever
    gc.set_threshold(100_000, 20, 50)  # more than a thousand instances under way hold, which no look would find to be garbage


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the fastest event loop of this platform; None = Python's own."""
    try:
        import uvloop
    except ImportError:  # not on this platform
        return None
    return uvloop.new_event_loop


class Signals:
    """SIGINT and SIGTERM: the first sets `stop` and says what happens now, the second ends the process at once."""

    def __init__(self, told: str = "stopping; once more to stop at once") -> None:
        self.stop = asyncio.Event()
        self._told = told

    def __enter__(self) -> Signals:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._receive, number)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    def _receive(self, number: int) -> None:
        if self.stop.is_set():
            os._exit(128 + number)  # the user means it; the store recovers from a kill
        self.stop.set()
        screen.note(self._told)

    async def unless_stopped(self, action: Coroutine[Any, Any, T]) -> bool:
        """Run something to its end, or cancel it when a signal comes; say whether it ended. Raises what it raises."""
        running, stopped = asyncio.create_task(action), asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            running.cancel()
            stopped.cancel()
            await asyncio.wait({running, stopped})
        if running.cancelled():
            return False
        running.result()
        return True
