"""When a schedule occurs. Pure: all moments that go in and come out are UTC, and nothing here reads a clock.

A `Pattern` is read on the wall clock of a zone. Where that clock is changed there are wall times that never come (a gap) and others that
come twice (a repeat). A job with fixed times follows the policies `gap` and `repeat`; a job with a `*` in hour or minute follows elapsed
time, which is the same as `skip` and `both`. Invariant: occurrences strictly increase, and do not depend on the moment one starts from.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from functools import cached_property
from itertools import takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from hub.core.delivery import Occurrence
from hub.core.duration import parse_duration
from triggers._expression import Interval, Pattern

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_TICK = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_YEAR = 9900  # the calendar of the machine ends a little later


class Gap(StrEnum):
    """What becomes of a fixed time that the clock skips."""

    RUN_AFTER = "run_after"  # at the first moment after the gap
    SKIP = "skip"


class Repeat(StrEnum):
    """At which pass a fixed time runs that comes twice."""

    FIRST = "first"
    BOTH = "both"
    LAST = "last"


def check_timezone(name: str) -> ZoneInfo:
    """Return the zone of an IANA name. Raises: ValueError."""
    try:
        if name == "UTC" or "/" in name:  # "EST" and its like are fixed offsets that people take for a zone
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # unknown; not a relative path; a folder of zones
        pass
    near = get_close_matches(name, (zone for zone in available_timezones() if "/" in zone), 1)
    hint = f"did you mean {near[0]}?" if near else "write UTC or an IANA name such as Europe/Berlin"
    raise ValueError(f"{name!r} is not a time zone; {hint}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Over how much time starts are spread: a duration, or a share of the time until the next occurrence."""

    window: timedelta | None = None
    share: float = 1.0

    def offset(self, trigger: str, nominal: datetime, following: datetime | None) -> timedelta:
        """Return how long after its nominal time an occurrence starts, to the millisecond; always the same, and before the next one."""
        room = _DAY if following is None else following - nominal
        room = room * self.share if self.window is None else min(room, self.window)
        digest = hashlib.sha256(f"{trigger}\n{nominal.isoformat()}".encode()).digest()
        return timedelta(milliseconds=int.from_bytes(digest[:8]) * (room // timedelta(milliseconds=1)) >> 64)


def read_spread(text: object) -> Spread:
    """Read "30 minutes" or "50%". Raises: ValueError."""
    if isinstance(text, Spread):
        return text
    if isinstance(text, str) and (match := re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]+)?) ?%", text.strip(), re.ASCII)):
        if not 0 < float(match[1]) <= 100:
            raise ValueError(f"{text!r} is not a share of the time until the next occurrence; write more than 0% and at most 100%")
        return Spread(share=float(match[1]) / 100)
    try:
        if isinstance(text, str | int | float | timedelta):
            return Spread(window=parse_duration(text))
    except ValueError:  # it may have been meant as a share
        pass
    raise ValueError(f'{text!r} is neither a duration such as "30 minutes" nor a share such as "50%"')


@dataclass(frozen=True)
class Calendar:
    """The occurrences of a schedule."""

    times: Pattern | Interval
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    gap: Gap = Gap.RUN_AFTER
    repeat: Repeat = Repeat.FIRST
    spread: Spread | None = None

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Iterate over the occurrences strictly after a moment. They end when no date fits for 50 years."""
        if moment.year > _LAST_YEAR:
            return iter(())
        found = _intervals(self.times, moment) if isinstance(self.times, Interval) else self._wall.after(moment)
        return (nominal for nominal in found if nominal > moment)

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first occurrence strictly after a moment."""
        return next(self.after(moment), None)

    def between(self, after: datetime, upto: datetime) -> Iterator[datetime]:
        """Iterate over the occurrences after one moment and not after another."""
        return takewhile(lambda nominal: nominal <= upto, self.after(after))

    def last(self, count: int, after: datetime, upto: datetime) -> list[datetime]:
        """Return the latest occurrences, at most `count`, after one moment and not after another, in their order.

        Looks back from the end in growing spans, so that a year of missed minutes costs no more than one.
        """
        span = timedelta(minutes=count)
        while True:
            start = max(after, upto - span)
            found = deque(self.between(start, upto), maxlen=count)
            if len(found) == count or start <= after:
                return list(found)
            span *= 4

    def occurrence(self, trigger: str, nominal: datetime) -> Occurrence:
        """Return an occurrence with the time at which it starts."""
        if self.spread is None:
            return Occurrence(nominal=nominal, starts_at=nominal)
        return Occurrence(nominal=nominal, starts_at=nominal + self.spread.offset(trigger, nominal, self.next_after(nominal)))

    @cached_property
    def _wall(self) -> _Wall:
        assert isinstance(self.times, Pattern)  # noqa: S101  # `after` has looked
        elapsed = self.times.elapsed
        return _Wall(self.times, self.zone, Gap.SKIP if elapsed else self.gap, Repeat.BOTH if elapsed else self.repeat)


def _intervals(times: Interval, moment: datetime) -> Iterator[datetime]:
    number = (moment - _EPOCH - times.phase) // times.interval
    while True:
        yield _EPOCH + times.phase + number * times.interval
        number += 1


class _Wall:
    """The times of a pattern on the wall clock of a zone. A wall time here is a naive datetime."""

    def __init__(self, pattern: Pattern, zone: ZoneInfo, gap: Gap, repeat: Repeat) -> None:
        self._pattern = pattern
        self._zone = zone
        self._gap = gap
        self._repeat = repeat
        self._in_hour = [timedelta(minutes=minute, seconds=second) for minute in pattern.minutes for second in pattern.seconds]

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Iterate over the occurrences from about an hour before a moment on."""
        pending: list[datetime] = []
        for hour in self._hours(self._earliest(moment)):
            offset = self._steady_offset(hour)
            if offset is not None and not pending:
                begin = hour.replace(tzinfo=UTC) - offset
                yield from (begin + time for time in self._in_hour)
                continue
            # The second pass of a repeat may begin in an hour, or a day, that comes before the first pass of the next one.
            pending = sorted({*pending, *(moment for time in self._in_hour for moment in self._moments(hour + time))})
            following = self._begin(hour + _HOUR)
            while pending and pending[0] < following:
                yield pending.pop(0)
        yield from pending

    def _earliest(self, moment: datetime) -> datetime:
        """Return the smallest wall time that can still come after a moment."""
        now, later = self._offset_at(moment), self._offset_at(moment + _DAY)
        return moment.replace(tzinfo=None) + min(now, later)

    def _hours(self, first: datetime) -> Iterator[datetime]:
        """Iterate over the wall hours of the pattern, beginning with that of `first`."""
        first = first.replace(minute=0, second=0, microsecond=0)
        for day in self._pattern.dates(first.date()):
            for hour in self._pattern.hours:
                if (wall := datetime(day.year, day.month, day.day, hour)) >= first:  # noqa: DTZ001  # a wall time
                    yield wall

    def _steady_offset(self, hour: datetime) -> timedelta | None:
        """Return the one offset of a whole hour; None = the clock is changed in it."""
        last = hour + _HOUR - _TICK
        offsets = {self._offset(wall, fold) for wall in (hour, last) for fold in (0, 1)}
        return offsets.pop() if len(offsets) == 1 else None

    def _moments(self, wall: datetime) -> list[datetime]:
        """Return the moments at which a wall time runs."""
        before, after = self._offset(wall, 0), self._offset(wall, 1)
        utc = wall.replace(tzinfo=UTC)
        if before < after:
            return [self._end_of_gap(utc - after, utc - before)] if self._gap is Gap.RUN_AFTER else []
        if before == after:
            return [utc - before]
        first, last = utc - before, utc - after
        return {Repeat.FIRST: [first], Repeat.LAST: [last], Repeat.BOTH: [first, last]}[self._repeat]

    def _begin(self, wall: datetime) -> datetime:
        """Return the first moment at which the clock has come to a wall time."""
        before, after = self._offset(wall, 0), self._offset(wall, 1)
        utc = wall.replace(tzinfo=UTC)
        return self._end_of_gap(utc - after, utc - before) if before < after else utc - before

    def _end_of_gap(self, before: datetime, after: datetime) -> datetime:
        """Return the moment between these two at which the clock is put forward, to the second."""
        late = self._offset_at(after)
        seconds, least = int((after - before).total_seconds()), 0
        while least + 1 < seconds:
            middle = (least + seconds) // 2
            least, seconds = (least, middle) if self._offset_at(before + timedelta(seconds=middle)) == late else (middle, seconds)
        return (before + timedelta(seconds=seconds)).replace(microsecond=0)

    def _offset(self, wall: datetime, fold: int) -> timedelta:
        return self._zone.utcoffset(wall.replace(tzinfo=self._zone, fold=fold)) or timedelta(0)

    def _offset_at(self, moment: datetime) -> timedelta:
        return moment.astimezone(self._zone).utcoffset() or timedelta(0)
