"""Cron expressions as text: owns their grammar, and says which field is at fault.

Knows no clock and no zone. What comes out is either a `Pattern` (fields of a wall clock) or an `Interval` (`@every`). Everything is written
out to plain values before croniter sees it, because croniter guesses where a mistake is likelier: it takes `5-5` for the whole field, lets
`50-10` wrap around, puts the seconds last, draws `R` at random, and narrows "the 13th or a Friday" to both where `#` or `W` is involved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from heapq import merge
from itertools import count, groupby, product

from croniter import croniter

from hub.core.duration import parse_duration

SEARCH_YEARS = 50  # 29 February on one weekday comes every 28 years, and once every 40 around 2100
_MAX_CHARS = 256
_LONGEST_INTERVAL = timedelta(days=366)
_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name in messages, its smallest and largest value, and the names of values."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


SECOND = Field("second", 0, 59)
MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY = Field("day of the month", 1, 31)
MONTH = Field("month", 1, 12, _MONTHS)
WEEKDAY = Field("day of the week", 0, 6, _WEEKDAYS)
_FIELDS = (SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY)
_ANY = ("*", "?")
EVERY = ("*",)
_NUMBERS_OF_WEEKDAYS = "12345"
_ITEM = re.compile(r"(?:(?P<star>[*])|(?P<first>[^-/]+)(?:-(?P<last>[^-/]+))?)(?:/(?P<step>[0-9]{1,4}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """Which wall-clock times a cron expression names.

    `month_days` and `weekdays` are texts of croniter, each with one rule at most that it treats apart; a date that fits one of them fits.
    With `both` it must fit one of each, where both are limited. `elapsed` = there is a `*` in hour or minute: such a job follows elapsed
    time where the clock is changed.
    """

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    month_days: tuple[str, ...]
    months: tuple[int, ...]
    weekdays: tuple[str, ...]
    both: bool
    elapsed: bool

    def dates(self, first: date) -> Iterator[date]:
        """Iterate over the dates from `first` on that fit; they end when none fits for `SEARCH_YEARS`."""
        if self.month_days == self.weekdays == EVERY and len(self.months) == MONTH.high:
            return (first + timedelta(days=number) for number in count())  # most schedules, and ten times as fast
        before = datetime(first.year, first.month, first.day) - timedelta(minutes=1)  # noqa: DTZ001  # a wall clock
        midnights = (
            croniter(text, before, ret_type=datetime, day_or=False, max_years_between_matches=SEARCH_YEARS).all_next()
            for text in self._midnights()
        )
        return (midnight.date() for midnight, _ in groupby(merge(*midnights)))

    def _midnights(self) -> list[str]:
        """Return the expressions that give all dates together."""
        either = EVERY not in (self.month_days, self.weekdays) and not self.both
        days = [*product(self.month_days, EVERY), *product(EVERY, self.weekdays)] if either else [*product(self.month_days, self.weekdays)]
        months = ",".join(map(str, self.months))
        return [f"0 0 {month_day} {months} {weekday}" for month_day, weekday in days]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """`@every`: a time for each whole number of intervals since 1970-01-01T00:00Z plus `phase`."""

    interval: timedelta
    phase: timedelta = timedelta(0)


def parse(cron: str, *, seconds: bool = False, both: bool = False, phase: timedelta = timedelta(0)) -> Pattern | Interval:
    """Read an expression. With `both` a date must fit the day of the month and the day of the week, else one of them is enough.

    Raises: ValueError that names the field at fault.
    """
    cron = spaced(cron)
    if cron.upper().startswith(("TZ=", "CRON_TZ=")):
        raise ValueError(f"{cron!r}: the zone stands in a key of its own, `timezone`, of a [[triggers]] table")
    if cron.lower().startswith("@every"):
        return _interval(cron, phase)
    if phase:
        raise ValueError(f"{cron!r} has no phase; only @every has one")
    return _pattern(cron, _split(cron, seconds), both=both)


def spaced(cron: str) -> str:
    """Return the expression with single spaces. Raises: ValueError when it is too long."""
    if len(cron) > _MAX_CHARS:
        raise ValueError(f"the cron expression is longer than {_MAX_CHARS} characters")
    return " ".join(cron.split())


# ---- @every


_SHORT = re.compile(r"(?:[0-9]+[wdhms])+", re.ASCII)
_SHORT_PART = re.compile(r"([0-9]+)([wdhms])", re.ASCII)
_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def _interval(cron: str, phase: timedelta) -> Interval:
    text = cron[len("@every") :].strip()
    if _SHORT.fullmatch(text):
        parts = [timedelta(**{_UNITS[unit]: int(number)}) for number, unit in _SHORT_PART.findall(text)]
        interval = sum(parts, timedelta(0))
    elif text.replace(".", "").isdigit() or not text:
        raise ValueError(f'{cron!r}: write a duration with its unit, such as "@every 15m" or "@every 1 hour 30 minutes"')
    else:
        interval = parse_duration(text, what=repr(cron))
    if not timedelta(seconds=1) <= interval <= _LONGEST_INTERVAL:
        raise ValueError(f"{cron!r}: an interval has 1 second at least and {_LONGEST_INTERVAL.days} days at most")
    if phase >= interval:
        raise ValueError(f"{cron!r}: the phase is as long as the interval or longer; it moves the times within one interval")
    return Interval(interval=interval, phase=phase)


# ---- fields


def _split(cron: str, seconds: bool) -> tuple[str, ...]:
    """Return the texts of the six fields."""
    if cron.startswith("@"):
        alias = _ALIASES.get(cron.lower())
        if alias is None:
            raise ValueError(f"{cron!r} is not known; there are {', '.join(_ALIASES)}, and @every followed by a duration")
        return ("0", *alias.split())
    fields = tuple(cron.upper().split())
    wanted = _FIELDS if seconds else _FIELDS[1:]
    if len(fields) != len(wanted):
        count = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
        hint = "; a field for the second needs `seconds = true` in a [[triggers]] table" if len(fields) == len(_FIELDS) else ""
        kind = "a cron expression with seconds" if seconds else "a cron expression"
        raise ValueError(f"{cron!r} has {count}; {kind} has {len(wanted)}: {', '.join(field.name for field in wanted)}{hint}")
    return fields if seconds else ("0", *fields)


def _pattern(cron: str, texts: tuple[str, ...], *, both: bool) -> Pattern:
    second, minute, hour, day, month, weekday = (_Reader(cron, field, text) for field, text in zip(_FIELDS, texts, strict=True))
    pattern = Pattern(
        seconds=second.values(),
        minutes=minute.values(),
        hours=hour.values(),
        month_days=day.days(),
        months=month.values(),
        weekdays=weekday.days(),
        both=both,
        elapsed=minute.starred or hour.starred,
    )
    if next(pattern.dates(date(2000, 1, 1)), None) is None:
        limits = [f"the {field.name} {text!r}" for field, text in zip(_FIELDS[3:], texts[3:], strict=True) if text not in _ANY]
        raise ValueError(f"{cron!r} never occurs: no date in {SEARCH_YEARS} years fits {' and '.join(limits)}")
    return pattern


class _Reader:
    """Reads the text of one field."""

    def __init__(self, cron: str, field: Field, text: str) -> None:
        self._cron = cron
        self._field = field
        self._text = text
        self._items = text.split(",")

    @property
    def starred(self) -> bool:
        """Whether it has `*` or `*/n`."""
        return any(item.startswith("*") for item in self._items)

    def values(self) -> tuple[int, ...]:
        """Return all values of a field of plain values."""
        return tuple(sorted({value for item in self._items for value in self._range(item)}))

    def days(self) -> tuple[str, ...]:
        """Return croniter's texts for a day field: one for all plain values, and one for each item with a rule of its own."""
        if self._text in _ANY:
            return EVERY
        plain: list[str] = []
        others: list[str] = []
        for item in self._items:
            rule = self._weekday_rule(item) if self._field is WEEKDAY else self._day_rule(item)
            if rule is not None:
                others.append(rule)
            else:
                plain.extend(["L"] if item == "L" and self._field is DAY else [str(value) for value in self._range(item)])
        return (",".join(plain), *others) if plain else tuple(others)

    def _day_rule(self, item: str) -> str | None:
        if item == "LW":
            return "31W"  # croniter takes the last day where a month is shorter
        return f"{self._value(item[:-1])}W" if item.endswith("W") else None

    def _weekday_rule(self, item: str) -> str | None:
        weekday, hash_, number = item.partition("#")
        if hash_:
            if number not in tuple(_NUMBERS_OF_WEEKDAYS):
                raise self._fault(f"after # stands which one of the month, 1 to {len(_NUMBERS_OF_WEEKDAYS)}")
            return f"{self._value(weekday) % 7}#{number}"
        return f"L{self._value(item[:-1]) % 7}" if item.endswith("L") and item != "L" else None

    def _range(self, item: str) -> list[int]:
        """Return the values of `*`, `a`, `a-b`, `*/n`, `a/n` or `a-b/n`, in their order. Sunday at the end of a range is 7."""
        match, field = _ITEM.fullmatch(item), self._field
        if match is None:
            raise self._fault(f"{item!r} is none of a, a-b, a-b/n, * and */n")
        first = field.low if match["star"] else self._value(match["first"])
        last = field.high if match["star"] or match["step"] else first
        if match["last"] is not None:
            last = self._value(match["last"])
            last = 7 if field is WEEKDAY and last == 0 and first > 0 else last
        step = int(match["step"] or 1)
        if not 1 <= step <= field.high - field.low + 1:
            raise self._fault(f"a step of {step} does not fit into it{'; for an interval write @every' if step else ''}")
        if last < first:
            raise self._fault(f"the range {item!r} runs backwards; write it as two ranges")
        return [value % 7 if field is WEEKDAY else value for value in range(first, last + 1, step)]

    def _value(self, word: str) -> int:
        """Return the number of a value that is written as number or name; 7 for a Sunday that is written so."""
        field = self._field
        if word in field.names:
            return field.names.index(word) + field.low
        if re.fullmatch(r"[0-9]{1,4}", word, re.ASCII) and field.low <= int(word) <= (7 if field is WEEKDAY else field.high):
            return int(word)
        if re.match(r"[RH](\(|$)", word):
            raise self._fault(f"{word} stands for a time that nobody can foretell; write the time, and let `spread` share out the load")
        names = f" or a name such as {field.names[1]}" if field.names else ""
        raise self._fault(f"{word!r} is not from {field.low} to {field.high}{names}")

    def _fault(self, why: str) -> ValueError:
        return ValueError(f"{self._cron!r}: the {self._field.name} {self._text!r} is not valid: {why}")
