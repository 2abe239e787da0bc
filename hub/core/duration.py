"""Durations as people write them: "5 second", "1 hour 30 minutes", 500 (milliseconds), or a timedelta.

Owns the grammar and nothing else; the range that makes sense for a sleep or a timeout is its caller's business. An unknown unit is an
error, never a guess: what `format_duration` writes, `parse_duration` reads back to the microsecond.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta

_UNITS_MS = {
    "ms": 1,
    "millisecond": 1,
    "second": 1_000,
    "minute": 60_000,
    "hour": 3_600_000,
    "day": 86_400_000,
    "week": 604_800_000,
    "month": 2_592_000_000,  # 30 days
    "year": 31_557_600_000,  # 365.25 days
}
_SHORT_UNITS = {"ms": "ms", "s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "y": "year", "": "second"}
_KNOWN = "millisecond, second, minute, hour, day, week, month, year"
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_PLAIN = re.compile(_NUMBER)
_PART = re.compile(rf"({_NUMBER}) +(\S+)(?: +|$)")
_SHORT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|[smhdwy]|)")
_MICROSECOND = timedelta(microseconds=1)


def parse_duration(value: str | int | float | timedelta, *, what: str = "duration") -> timedelta:
    """Read a duration; plain numbers and numeric strings are milliseconds. `what` names the value in the message.

    Raises: ValueError (it can never be read; the message says why).
    """
    if isinstance(value, timedelta):
        return _checked(value, value, what)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f'{what}: expected a duration such as "10 seconds", got {_shown(value)}')
    if isinstance(value, str):
        return _parse_text(value, what)
    return _scaled(value, 1, value, what)


def parse_short(text: str, *, what: str = "duration") -> timedelta:
    """Read a duration as people type it at an option: "30s", "1.5h"; a plain number is seconds. What is not short is read as above.

    Raises: ValueError.
    """
    short = _SHORT.fullmatch(text.strip())
    return parse_duration(f"{short[1]} {_SHORT_UNITS[short[2]]}" if short else text, what=what)


def _parse_text(text: str, what: str) -> timedelta:
    if _PLAIN.fullmatch(text):
        return _scaled(_number(text), 1, text, what)
    total, position = timedelta(), 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            break
        total += _scaled(_number(part[1]), _factor(part[2], text, what), text, what)
        position = part.end()
    if position == 0 or position < len(text) or text.endswith(" "):
        raise ValueError(f'{what}: {_shown(text)} is not a duration; write it like "10 seconds" or "1 hour 30 minutes"')
    return _checked(total, text, what)


def _factor(unit: str, text: str, what: str) -> int:
    singular = unit[:-1] if unit.endswith("s") and unit != "ms" else unit
    factor = _UNITS_MS.get(singular)
    if factor is None or (singular == "ms" and unit != "ms"):
        raise ValueError(f'{what}: unknown unit "{unit[:40]}" in {_shown(text)}; known units: {_KNOWN}')
    return factor


def _number(text: str) -> int | float:
    """Keep whole numbers whole, so that large ones stay exact."""
    digits = text.lstrip("+-")
    return int(text) if digits.isdecimal() and len(digits) < 30 else float(text)


def _scaled(number: int | float, factor: int, source: object, what: str) -> timedelta:
    try:
        if math.isfinite(number):
            return _checked(timedelta(milliseconds=number * factor), source, what)
    except OverflowError:
        raise ValueError(f"{what}: {_shown(source)} is too long") from None
    raise ValueError(f"{what}: {_shown(source)} is not finite; a duration has an end")


def _checked(duration: timedelta, source: object, what: str) -> timedelta:
    if duration < timedelta():
        raise ValueError(f"{what}: {_shown(source)} is negative; a duration is zero or more")
    return duration


def _shown(value: object) -> str:
    if isinstance(value, str | int | float | timedelta):
        text = str(value) if isinstance(value, timedelta) else repr(value)
        return text if len(text) <= 60 else text[:57] + "…"
    return f"a value of type {type(value).__name__}"


def format_duration(duration: timedelta) -> str:
    """Write a duration in the same grammar: "1 hour 30 minutes", "1.5 seconds", "0 seconds"."""
    if duration < timedelta():
        return "-" + format_duration(-duration)
    minutes, rest_us = divmod(duration // _MICROSECOND, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [_counted(count, unit) for count, unit in ((days, "day"), (hours, "hour"), (minutes, "minute")) if count]
    if rest_us >= 1_000_000 or not (parts or rest_us):
        parts.append(_counted(rest_us / 1_000_000, "second"))
    elif rest_us:
        parts.append(_counted(rest_us / 1_000, "millisecond"))
    return " ".join(parts)


def _counted(count: float, unit: str) -> str:
    number = f"{count:.6f}".rstrip("0").rstrip(".") if isinstance(count, float) else str(count)
    return f"{number} {unit}" if count == 1 else f"{number} {unit}s"
