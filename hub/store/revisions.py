"""Revisions: the numbers that put all that happens to an instance in one order.

Every row of a journal carries the revision of its last change, so that a subscriber can ask for all that is newer than what it has seen.
No I/O here: the store keeps a limit below which every number may have been used, and begins there when it is opened again; so the numbers
never repeat, whatever clocks do, and the price is one small write a million. Invariant: a revision that is on disk is below the limit on
disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

BLOCK = 1_000_000  # that many are skipped by each new start; 2 to the power of 51 are enough for two thousand million of them


class Revisions:
    """Gives out growing numbers, in one thread. `numbers` is an iterator of the standard library: one is taken for every row."""

    def __init__(self, limit: int) -> None:
        self.numbers: Iterator[int] = count(limit)
        self._limit = limit

    def exceeds(self) -> int | None:
        """Return the limit that must be on disk together with the numbers given out, or None when the one that is there will do."""
        given = next(self.numbers)
        return None if given <= self._limit else given + BLOCK

    def kept(self, limit: int) -> None:
        """Take note that a limit is on disk."""
        self._limit = limit
