"""The rules of one trigger, compiled when the project is loaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the bus does with the events of a trigger before it creates instances."""


NO_RULES = Rules()
