"""Which totals are remembered, and for how long."""

from __future__ import annotations

import pytest

from hub.store.program import Program, Row
from hub.store.totals import LARGE, Totals


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def asked(totals: Totals, clock: Clock, what: str, number: int, took: float) -> int:
    """Ask for a total that would be `number` now, and takes so long to count."""

    def count() -> Program[list[Row]]:
        clock.now += took
        yield from ()
        return [("complete", number - 1), ("errored", 1)]

    program = totals.of(what, count)
    with pytest.raises(StopIteration) as end:
        next(program)
    return sum(number for _, number in end.value.value)


@pytest.mark.parametrize(
    ("number", "took", "later", "told"),
    [
        (LARGE, 0.25, 4.9, LARGE),  # twenty times what it took
        (LARGE, 0.25, 5.1, LARGE + 1),
        (LARGE, 60.0, 9.9, LARGE),  # ten seconds at most
        (LARGE, 60.0, 10.1, LARGE + 1),
        (LARGE - 1, 0.25, 0.0, LARGE),  # small ones are always exact
    ],
)
def test_a_large_total_is_remembered_as_long_as_it_was_dear(number: int, took: float, later: float, told: int) -> None:
    clock = Clock()
    totals = Totals(clock)
    assert asked(totals, clock, "all", number, took) == number

    clock.now += later

    assert asked(totals, clock, "all", number + 1, took) == told
    assert asked(totals, clock, "others", number + 2, took) == number + 2
