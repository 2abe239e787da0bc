"""How long instances are kept after their end, and their deliveries after them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from hub.core.duration import parse_duration
from hub.core.errors import Rejected
from hub.core.model import Retention

DELIVERY_KEPT = timedelta(days=30)  # no source repeats an event later: queues hold a message for two weeks, webhooks give up in days

_SUCCESS = ("success_retention", "successRetention")
_ERROR = ("error_retention", "errorRetention")


def read_retention(given: Mapping[str, Any]) -> Retention:
    """Read `{"success_retention", "error_retention"}`, durations, also in camelCase; an absent one means for ever. Raises: Rejected."""
    if not isinstance(given, Mapping):
        raise Rejected(f"retention: expected an object, got {type(given).__name__}", code="instance.invalid_retention")
    unknown = sorted(set(given) - {*_SUCCESS, *_ERROR})
    if unknown:
        raise Rejected(
            f'retention.{unknown[0]}: unknown key; known keys: {", ".join((_SUCCESS[0], _ERROR[0]))}', code="instance.invalid_retention"
        )
    return Retention(success=_duration(given, _SUCCESS), error=_duration(given, _ERROR))


def _duration(given: Mapping[str, Any], names: tuple[str, str]) -> timedelta | None:
    value = given.get(names[0], given.get(names[1]))
    if value is None:
        return None
    try:
        duration = parse_duration(value, what=f"retention.{names[0]}")
    except (TypeError, ValueError) as error:
        raise Rejected(str(error), code="instance.invalid_retention") from None
    if duration <= timedelta(0):
        raise Rejected(f"retention.{names[0]}: must be longer than nothing", code="instance.invalid_retention")
    return duration
