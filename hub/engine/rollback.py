"""Rollback handlers (the saga pattern): what the steps of one run have registered, and in which order it is undone.

Knows nothing of how a handler is run. A step is undone when it has begun at all: what it did before it failed is not known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from hub.core.model import Entry, Kind, State, StepConfig
from hub.core.replay import Replay


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """A handler and its policy. It is called by name with what it asks for of `ctx`, `error`, `output` and `step_name`."""

    handler: Callable[..., Any]
    config: StepConfig | None
    value_of: Callable[[bytes], Any]


class Undoing(NamedTuple):
    """One handler whose turn has come."""

    name: str
    number: int
    undo: Undo
    output: Any  # of the step, None unless it succeeded


class Rollbacks:
    """The handlers of one run, by step."""

    def __init__(self) -> None:
        self.undos: dict[tuple[str, int], Undo] = {}
        self._begun: dict[tuple[str, int], int] = {}

    def register(self, name: str, number: int, undo: Undo) -> None:
        """Remember the handler of a step that the program has asked for."""
        self.undos[name, number] = undo

    def begun(self, entry: Entry) -> None:
        """Take note that an attempt of a step begins now."""
        self._begun[entry.name, entry.count] = entry.ordinal

    def in_reverse(self, replay: Replay) -> list[Undoing]:
        """Return the handlers of all steps that have begun, the latest step first."""
        due: list[tuple[int, Undoing]] = []
        for (name, number), undo in self.undos.items():
            entry = replay.known(Kind.STEP, name, number)
            ordinal = self._begun.get((name, number)) if entry is None else entry.ordinal
            if ordinal is not None:
                due.append((ordinal, Undoing(name, number, undo, _output(entry, undo))))
        return [undoing for _, undoing in sorted(due, key=lambda item: item[0], reverse=True)]


def _output(entry: Entry | None, undo: Undo) -> Any:
    if entry is None or entry.state is not State.DONE or entry.output is None:
        return None
    return undo.value_of(entry.output)
