"""How long instances are kept after their end, and their deliveries after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hub.core.duration import parse_duration
from hub.core.errors import Rejected
from hub.core.model import Retention

DELIVERY_KEPT = timedelta(days=30)  # no source repeats an event later: queues hold a message for two weeks, webhooks give up in days
FOREVER = "forever"  # how people write that nothing is deleted by itself
LONGEST = timedelta(days=365_250)  # a thousand years: the calendar ends in the year 9999

_SUCCESS = ("success_retention", "successRetention")
_ERROR = ("error_retention", "errorRetention")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionWish:
    """What a request or a settings table says of retention. None = nothing of its own, `timedelta.max` = for ever."""

    success: timedelta | None = None
    error: timedelta | None = None

    def over(self, common: Retention) -> Retention:
        """Return what holds, key by key: the wish where it says something, else what is common."""
        if self.success is None and self.error is None:
            return common
        return Retention(success=_over(self.success, common.success), error=_over(self.error, common.error))


AS_THE_WORKFLOW = RetentionWish()


def read_retention(given: Mapping[str, Any]) -> RetentionWish:
    """Read `{"success_retention", "error_retention"}`, durations or "forever", also in camelCase. Raises: Rejected."""
    if not isinstance(given, Mapping):
        raise Rejected(f"retention: expected an object, got {type(given).__name__}", code="instance.invalid_retention")
    unknown = sorted(set(given) - {*_SUCCESS, *_ERROR})
    if unknown:
        raise Rejected(
            f'retention.{unknown[0]}: unknown key; known keys: {", ".join((_SUCCESS[0], _ERROR[0]))}', code="instance.invalid_retention"
        )
    return RetentionWish(success=_duration(given, _SUCCESS), error=_duration(given, _ERROR))


def read_keep(value: Any, *, what: str = "retention") -> timedelta:
    """Read one duration longer than nothing, or "forever", which is `timedelta.max`. Raises: ValueError."""
    if value == FOREVER:
        return timedelta.max
    try:
        keep = parse_duration(value, what=what)
    except ValueError as error:
        raise ValueError(f'{error}; or write "{FOREVER}"') from None
    if keep <= timedelta(0):
        raise ValueError(f'{what}: must be longer than nothing, or "{FOREVER}"')
    if keep > LONGEST:
        raise ValueError(f'{what}: must be at most 1000 years, or "{FOREVER}"')
    return keep


def _duration(given: Mapping[str, Any], names: tuple[str, str]) -> timedelta | None:
    value = given.get(names[0], given.get(names[1]))
    if value is None:
        return None
    try:
        return read_keep(value, what=f"retention.{names[0]}")
    except ValueError as error:
        raise Rejected(str(error), code="instance.invalid_retention") from None


def _over(own: timedelta | None, common: timedelta | None) -> timedelta | None:
    if own is None:
        return common
    return None if own == timedelta.max else own
