"""What is done about the slots that have passed since the last one that was decided: pure, from the calendar, a cursor and the time.

A slot is one occurrence of a trigger. Invariant: the slots of a `Plan` are all those between the cursor and the last one that has started,
each exactly once, in order; those that do not run come first, because what runs is always the latest of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice

from hub.core.delivery import Occurrence
from triggers._calendar import Calendar

ON_TIME = timedelta(seconds=10)  # a restart, or a machine that was busy for a moment, makes no slot late
COUNTED = 100_000  # a longer row of slots is not counted to its end
_TICK = timedelta(microseconds=1)


class CatchUp(StrEnum):
    """Which slots are made up that passed while nobody could run them."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How slots are made up: none older than `window`, and at most `max` of them. So many are also told one by one when they are not."""

    catch_up: CatchUp = CatchUp.LAST
    window: timedelta = timedelta(hours=24)
    max: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """One slot that does not run, or several in a row. `uncounted` = there are more than `count`."""

    first: datetime
    last: datetime
    code: str
    count: int = 1
    uncounted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done now."""

    passed: tuple[Passed, ...] = ()
    runs: tuple[Occurrence, ...] = ()


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots of one trigger."""

    calendar: Calendar
    trigger: str
    policy: Policy

    def after(self, moment: datetime) -> Iterator[Occurrence]:
        """Iterate over the slots whose nominal time is strictly after a moment."""
        return map(self._slot, self.calendar.after(moment))

    def plan(self, cursor: datetime, now: datetime, tried: datetime | None = None) -> Plan:
        """Return what is to be done about the slots after the cursor.

        `tried` is a slot that somebody has tried to run in time, and could not: it is not late before the next one comes.
        """
        upto = self._started(cursor, now)
        if upto is None:
            return Plan()
        oldest = self._before(cursor, now - self.policy.window)
        runs = self._runs(oldest, upto, now, tried)
        last = runs[0].nominal - _TICK if runs else upto
        code = f"catch_up.{'max' if self.policy.catch_up is CatchUp.ALL else self.policy.catch_up.value}"
        passed = [*self.passed(cursor, min(last, oldest), "catch_up.window"), *self.passed(oldest, last, code)]
        return Plan(passed=tuple(passed), runs=tuple(runs))

    def passed(self, after: datetime, upto: datetime, code: str) -> list[Passed]:
        """Return the slots after one moment and not after another: each for itself, or all in one when there are more than `max`."""
        if upto <= after:
            return []
        found = list(islice(self.calendar.between(after, upto), self.policy.max + 1))
        if len(found) <= self.policy.max:
            return [Passed(first=nominal, last=nominal, code=code) for nominal in found]
        count = sum(1 for _ in islice(self.calendar.between(after, upto), COUNTED + 1))
        [last] = self.calendar.last(1, after, upto)
        return [Passed(first=found[0], last=last, code=code, count=min(count, COUNTED), uncounted=count > COUNTED)]

    def _started(self, cursor: datetime, now: datetime) -> datetime | None:
        """Return the nominal time of the last slot after the cursor that has started. Only the very last one can be too young."""
        latest = self.calendar.last(2, cursor, now)
        if latest and self._slot(latest[-1]).starts_at > now:
            latest.pop()
        return latest[-1] if latest else None

    def _runs(self, oldest: datetime, upto: datetime, now: datetime, tried: datetime | None) -> list[Occurrence]:
        """Return the slots that run: those that have started just now, and of the late ones those that the policy makes up."""
        late = self.calendar.last(self.policy.max if self.policy.catch_up is CatchUp.ALL else 1, oldest, upto)
        if self.policy.catch_up is CatchUp.NONE and late != [tried]:
            late = []
        in_time = list(self.calendar.between(self._before(oldest, now - ON_TIME), upto))
        begin = in_time[0] if in_time else upto + _TICK
        return [self._slot(nominal) for nominal in (*(nominal for nominal in late if nominal < begin), *in_time)]

    def _before(self, after: datetime, start: datetime) -> datetime:
        """Return a moment that lies between the slots which start before another one and those which start then or later."""
        last = self.calendar.last(1, after, start)  # the only one whose start can be on the other side than its nominal time
        return last[0] - _TICK if last and self._slot(last[0]).starts_at >= start else max(after, start)

    def _slot(self, nominal: datetime) -> Occurrence:
        return self.calendar.occurrence(self.trigger, nominal)
