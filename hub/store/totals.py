"""Large totals, remembered for a moment: whoever turns pages, or looks at a dashboard, asks for the same one again and again.

The database counts every row each time, a quarter of a second for a million. A total that is remembered is as old as twenty times what it
took to count it, so that counting takes a twentieth of one core at most; and only a large one is, of which nobody sees that it is some
seconds old. Safe in threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import NamedTuple

from hub.store.program import Program, Row

LARGE = 10_000
_AS_OLD = 20  # times what it took to count
_OLDEST_S = 10.0
_MOST = 1000  # that are remembered


class _Counted(NamedTuple):
    rows: list[Row]
    until: float


class Totals:
    """What was counted of one database, by what was asked."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._counted: dict[Hashable, _Counted] = {}

    def of(self, asked: Hashable, count: Callable[[], Program[list[Row]]]) -> Program[list[Row]]:
        """Return rows that end with a number, remembered or counted now."""
        began = self._monotonic()
        known = self._counted.get(asked)
        if known is not None and began < known.until:
            return known.rows
        rows = yield from count()
        now = self._monotonic()
        if sum(row[-1] for row in rows) >= LARGE:
            if len(self._counted) >= _MOST:
                self._counted.clear()
            self._counted[asked] = _Counted(rows, now + min(_AS_OLD * (now - began), _OLDEST_S))
        return rows
