"""The step that is being executed here, for those whom it calls without knowing.

Owns one context variable: the engine sets it around a step's body; a connector asks it for an identity of what it sends, and the logging
tells it what is logged. Invariant: the n-th thing that a step sends has the same identity in every attempt, so that a receiver can tell a
repetition.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from uuid import UUID, uuid4, uuid5

from hub.core.logs import Logged, LogLimits, Notebook


def _utc_now() -> datetime:
    return datetime.now(UTC)


_SPACE = UUID("5f0c1f6e-4c0e-4d1f-9b53-6f2a7f1c9d10")  # of the names below; any constant would do


class CurrentStep:
    """One attempt of a step. `count` tells apart steps of the same name; without `limits` nothing that is logged is kept."""

    __slots__ = ("_limits", "_name", "_notebook", "_now", "_sent", "attempt")

    def __init__(  # noqa: PLR0913, PLR0917  # what names an attempt
        self,
        workflow: str,
        instance: str,
        kind: str,
        step: str,
        count: int,
        attempt: int = 1,
        limits: LogLimits | None = None,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._name = (workflow, instance, kind, step, count)
        self._sent = 0
        self.attempt = attempt
        self._limits = limits
        self._now = now
        self._notebook: Notebook | None = None

    @property
    def names(self) -> dict[str, str | int]:
        """What a line of the log says about where it comes from."""
        workflow, instance, _, step, count = self._name
        return {"workflow": workflow, "instance": instance, "step": f"{step}-{count}", "attempt": self.attempt}

    def note(self, level: str, message: str, logger: str | None = None) -> None:
        """Keep a line that the attempt logs, if there is room."""
        if self._limits is not None:
            if self._notebook is None:
                self._notebook = Notebook(self._limits, self._now)
            self._notebook.note(level, message, logger)

    def logged(self) -> Logged | None:
        """Return what the attempt has logged, once it is over; nothing is kept from then on."""
        self._limits = None
        return None if self._notebook is None else self._notebook.close()

    def next_id(self) -> str:
        """Return the identity of the next thing that this attempt sends: a UUID that depends on the step and on the order alone."""
        self._sent += 1
        return str(uuid5(_SPACE, "\n".join(map(str, (*self._name, self._sent)))))


CURRENT: ContextVar[CurrentStep | None] = ContextVar("hub_current_step", default=None)


def next_id() -> str:
    """Return an identity for something that is sent now; outside of a step it is a new one each time."""
    step = CURRENT.get()
    return str(uuid4()) if step is None else step.next_id()
