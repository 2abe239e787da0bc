"""A schedule as a sentence. Says what the expression means, not how it is written; never guesses: what has no short form is listed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from hub.core.duration import format_duration
from triggers._expression import EVERY, Interval, Pattern

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_ORDINALS = {"1": "first", "2": "second", "3": "third", "4": "fourth", "5": "fifth"}
_MANY = 6  # more times of the day than that are told by their rule


def sentence(times: Pattern | Interval, zone: str) -> str:
    """Say when a schedule occurs, such as "At 07:30 from Monday to Friday, Europe/Berlin time"."""
    if isinstance(times, Interval):
        shift = f", shifted by {format_duration(times.phase)}" if times.phase else ""
        return f"Every {_one(format_duration(times.interval))}{shift}"
    words = " ".join(part for part in (_time(times), _days(times), _months(times.months)) if part)
    return f"{words[0].upper()}{words[1:].rstrip(',')}, {zone if zone == 'UTC' else f'{zone} time'}"


def _one(duration: str) -> str:
    return duration.removeprefix("1 ") if duration.startswith("1 ") and duration.count(" ") == 1 else duration


# ---- the time of the day


def _time(times: Pattern) -> str:
    if len(times.hours) * len(times.minutes) * len(times.seconds) <= _MANY:
        seconds = [""] if times.seconds == (0,) else [f":{second:02}" for second in times.seconds]
        return "at " + _listed([f"{hour:02}:{minute:02}{second}" for hour in times.hours for minute in times.minutes for second in seconds])
    hour, minute, second = _hours(times.hours), _unit("minute", times.minutes, 60), _unit("second", times.seconds, 60)
    if times.seconds == (0,):
        if times.minutes == (0,):
            return _on_the_hour(times.hours)
        return f"{minute} {hour or 'of every hour'}" if minute.startswith("at ") else f"{minute} {hour}".rstrip()
    if len(times.minutes) == 60:
        return f"{second} {hour}".rstrip()
    joint = " of " if minute.startswith("at ") else ", "
    return f"{second}{joint}{minute.removeprefix('at ')} {hour}".rstrip()


def _on_the_hour(hours: Sequence[int]) -> str:
    step = _step(hours, 24)
    if step is not None:
        return "every hour" if step == 1 else f"every {step} hours from midnight"
    if hours[-1] - hours[0] + 1 == len(hours):
        return f"every hour from {hours[0]:02}:00 to {hours[-1]:02}:00"
    return f"at minute 0 of the hours {_spans(hours)}"


def _unit(name: str, values: Sequence[int], count: int) -> str:
    """Say which minutes of the hour, or seconds of the minute."""
    step = _step(values, count)
    if step is not None:
        return f"every {name}" if step == 1 else f"every {step} {name}s"
    return f"at {name}{'s' if len(values) > 1 else ''} {_spans(values)}"


def _hours(values: Sequence[int]) -> str:
    """Say which hours of the day; nothing when it is all of them."""
    step = _step(values, 24)
    if step is not None:
        return "" if step == 1 else f"of every {_nth(step)} hour from midnight"
    if values[-1] - values[0] + 1 == len(values):
        return f"from {values[0]:02}:00 to {values[-1]:02}:59"
    return f"of the hours {_spans(values)}"


def _step(values: Sequence[int], count: int) -> int | None:
    """Return the step when the values go round the whole dial in even steps from 0."""
    step = count // len(values)
    return step if count % len(values) == 0 and len(values) > 1 and list(values) == list(range(0, count, step)) else None


# ---- the day


def _days(times: Pattern) -> str:
    month_days = [_month_day(rule) for rule in times.month_days] if times.month_days != EVERY else []
    weekdays = [_weekday(rule) for rule in times.weekdays] if times.weekdays != EVERY else []
    if not month_days and not weekdays:
        return "every day" if len(times.hours) * len(times.minutes) * len(times.seconds) <= _MANY else ""
    on_month_day = f"on {_listed(month_days)} of the month" if month_days else ""
    plain = weekdays[0].startswith("from ") if len(weekdays) == 1 else False
    on_weekday = (weekdays[0] if plain else f"on {_listed(weekdays)}") if weekdays else ""
    if not (on_month_day and on_weekday):
        return on_month_day or on_weekday
    return f"{on_weekday}, where that is {_listed(month_days)} of the month," if times.both else f"{on_month_day} or {on_weekday}"


def _month_day(rule: str) -> str:
    if rule == "31W":
        return "the last working day"
    if rule.endswith("W"):
        return f"the working day (Monday to Friday) nearest to day {rule[:-1]}"
    items = rule.split(",")
    values = [int(item) for item in items if item != "L"]
    days = [f"day{'s' if len(values) > 1 else ''} {_spans(values)}"] if values else []
    return _listed([*days, *(["the last day"] if "L" in items else [])])


def _weekday(rule: str) -> str:
    if rule.startswith("L"):
        return f"the last {_WEEKDAYS[int(rule[1:])]} of the month"
    weekday, hash_, number = rule.partition("#")
    if hash_:
        return f"the {_ORDINALS[number]} {_WEEKDAYS[int(weekday)]} of the month"
    numbers = sorted({int(value) or 7 for value in rule.split(",")})  # a week begins on Monday
    if len(numbers) > 2 and numbers[-1] - numbers[0] + 1 == len(numbers):
        return f"from {_WEEKDAYS[numbers[0]]} to {_WEEKDAYS[numbers[-1] % 7]}"
    return _listed([_WEEKDAYS[number % 7] for number in numbers])


def _months(values: Sequence[int]) -> str:
    if len(values) == 12:
        return ""
    if len(values) > 2 and values[-1] - values[0] + 1 == len(values):
        return f"from {_MONTHS[values[0] - 1]} to {_MONTHS[values[-1] - 1]}"
    return f"in {_listed([_MONTHS[value - 1] for value in values])}"


# ---- lists


def _spans(values: Sequence[int]) -> str:
    """Say numbers, those in a row as a span."""
    parts: list[str] = []
    for _, run in groupby(enumerate(sorted(set(values))), lambda pair: pair[1] - pair[0]):
        row = [value for _, value in run]
        parts.extend([f"{row[0]} to {row[-1]}"] if len(row) > 2 else map(str, row))
    return _listed(parts)


def _listed(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def _nth(number: int) -> str:
    return f"{number}{ {2: 'nd', 3: 'rd'}.get(number, 'th') }"
