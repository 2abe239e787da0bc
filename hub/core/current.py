"""The step that is being executed here, for those whom it calls without knowing.

Owns one context variable: the engine sets it around a step's body, and a connector asks it for an identity of what it sends. Invariant: the
n-th thing that a step sends has the same identity in every attempt, so that a receiver can tell a repetition.
"""

from __future__ import annotations

from contextvars import ContextVar
from uuid import UUID, uuid4, uuid5

_SPACE = UUID("5f0c1f6e-4c0e-4d1f-9b53-6f2a7f1c9d10")  # of the names below; any constant would do


class CurrentStep:
    """One attempt of a step. `count` tells apart steps of the same name."""

    __slots__ = ("_name", "_sent")

    def __init__(self, workflow: str, instance: str, kind: str, step: str, count: int) -> None:
        self._name = (workflow, instance, kind, step, str(count))
        self._sent = 0

    def next_id(self) -> str:
        """Return the identity of the next thing that this attempt sends: a UUID that depends on the step and on the order alone."""
        self._sent += 1
        return str(uuid5(_SPACE, "\n".join((*self._name, str(self._sent)))))


CURRENT: ContextVar[CurrentStep | None] = ContextVar("hub_current_step", default=None)


def next_id() -> str:
    """Return an identity for something that is sent now; outside of a step it is a new one each time."""
    step = CURRENT.get()
    return str(uuid4()) if step is None else step.next_id()
