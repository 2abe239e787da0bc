"""Durations among the settings of triggers: how they are read, and the bounds that they are held to."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from hub.core.duration import format_duration, parse_duration


def _read(value: Any) -> timedelta:
    try:
        return parse_duration(value, what="-")
    except ValueError as error:
        raise ValueError(str(error).removeprefix("-: ")) from None  # the key is named beside it


Duration = Annotated[timedelta, BeforeValidator(_read)]


def between(low: timedelta, high: timedelta) -> AfterValidator:
    """Return the validator that refuses a duration out of bounds, which are allowed themselves."""

    def check(duration: timedelta) -> timedelta:
        if not low <= duration <= high:
            raise ValueError(f"must be from {format_duration(low)} to {format_duration(high)}")
        return duration

    return AfterValidator(check)
