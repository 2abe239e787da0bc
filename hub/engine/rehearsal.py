"""How a test bends the operations of an execution: mocked results, errors and timeouts, waits that are over at once.

A shape only: the test kit implements it, and outside of tests there is none. It changes what an operation meets, never how it is recorded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from hub.core.model import Entry, Instance


class Rehearsal(Protocol):
    """What a test has prescribed, asked by instance and entry."""

    def skips_sleep(self, instance: Instance, name: str) -> bool:
        """Whether that sleep is over at once."""
        ...

    def skips_delay(self, instance: Instance, name: str) -> bool:
        """Whether the next attempt of that step begins at once."""
        ...

    def times_out(self, instance: Instance, name: str) -> bool:
        """Whether that wait for an event ends at once without one."""
        ...

    def body(self, instance: Instance, entry: Entry) -> Callable[[], Awaitable[Any]] | None:
        """Return what runs instead of the step's body in this attempt; None = the body itself."""
        ...
