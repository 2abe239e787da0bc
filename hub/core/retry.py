"""Retry policies: reading what an author wrote, and the delay before the next attempt.

Owns the shape `{"retries": {"limit", "delay", "backoff", "jitter"}, "timeout", "sensitive"}` in both directions and the back-off
formula. Never sleeps and never counts attempts. A policy that reads without an error can be stored, loaded and applied for ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from hub.core.duration import parse_duration
from hub.core.model import Backoff, StepConfig

MAX_RETRIES = 10_000
MAX_DELAY = timedelta(days=365)  # the longest sleep; a longer back-off helps nobody

_MICROSECOND = timedelta(microseconds=1)
_MILLISECOND = timedelta(milliseconds=1)
_RARE = ("jitter", "dynamic", "sensitive")
_NO_MORE_DOUBLING = 64  # 1 microsecond doubled that often is already far above MAX_DELAY


def parse_config(
    config: Mapping[str, Any] | None,
    *,
    defaults: StepConfig,
    retries: Mapping[str, Any] | None = None,
    timeout: Any = None,
    sensitive: Any = None,
) -> StepConfig:
    """Read a step's configuration, given as one dict, as keywords, or both; what is absent comes from `defaults`.

    Raises: ValueError whose message begins with the path of the offending key.
    """
    if config is None and retries is None and timeout is None and sensitive is None:
        return defaults
    given = dict(_mapping(config, "config")) if config is not None else {}
    _refuse_unknown(given, ("retries", "timeout", "sensitive"), "")
    for key, value in (("retries", retries), ("timeout", timeout), ("sensitive", sensitive)):
        if value is not None:
            if key in given:
                raise ValueError(f"{key}: given twice, in the config and as a keyword; keep one")
            given[key] = value
    changes = _parse_retries(_mapping(given["retries"], "retries")) if "retries" in given else {}
    if "timeout" in given:
        changes["timeout"] = _parse_timeout(given["timeout"])
    if "sensitive" in given:
        changes["sensitive"] = _parse_sensitive(given["sensitive"])
    return replace(defaults, **changes)


def _parse_retries(retries: Mapping[str, Any]) -> dict[str, Any]:
    _refuse_unknown(retries, ("limit", "delay", "backoff", "jitter"), "retries.")
    changes: dict[str, Any] = {}
    if "limit" in retries:
        changes["limit"] = _parse_limit(retries["limit"])
    if "delay" in retries:
        changes["delay"] = parse_duration(retries["delay"], what="retries.delay")
    if "backoff" in retries:
        changes["backoff"] = _parse_backoff(retries["backoff"])
    if "jitter" in retries:
        changes["jitter"] = _parse_jitter(retries["jitter"])
    return changes


def _parse_limit(limit: object) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit <= MAX_RETRIES:
        raise ValueError(f"retries.limit: expected a whole number of retries from 0 to {MAX_RETRIES}, got {limit!r}")
    return limit


def _parse_backoff(backoff: object) -> Backoff:
    try:
        return Backoff(backoff)  # type: ignore[arg-type]  # anything unknown raises
    except ValueError:
        raise ValueError(f"retries.backoff: expected one of {', '.join(Backoff)}, got {backoff!r}") from None


def _parse_jitter(jitter: object) -> float:
    if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter <= 1:
        raise ValueError(f"retries.jitter: expected a number from 0 to 1, the part of a delay that chance may add, got {jitter!r}")
    return float(jitter)


def _parse_sensitive(sensitive: object) -> bool:
    if sensitive != "output":
        raise ValueError(f'sensitive: expected "output", got {sensitive!r}')
    return True


def _parse_timeout(timeout: Any) -> timedelta:
    parsed = parse_duration(timeout, what="timeout")
    if parsed <= timedelta():
        raise ValueError('timeout: must be more than zero; it is the longest that one attempt may take, such as "15 minutes"')
    return parsed


def _mapping(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{path}: expected a dict, got a value of type {type(value).__name__}")
    return value


def _refuse_unknown(given: Iterable[object], known: tuple[str, ...], prefix: str) -> None:
    for key in given:
        if key not in known:
            near = get_close_matches(str(key), known, n=1, cutoff=0.6)
            advice = f'did you mean "{near[0]}"?' if near else f"known keys: {', '.join(known)}"
            raise ValueError(f"{prefix}{key}: unknown key; {advice}")


def delay_after(config: StepConfig, attempt: int) -> timedelta:
    """Return the wait between the failure of an attempt (1 = the first) and the next one, at most `MAX_DELAY`."""
    base_us = config.delay // _MICROSECOND
    if config.backoff is Backoff.LINEAR:
        base_us *= attempt
    elif config.backoff is Backoff.EXPONENTIAL:
        base_us <<= min(attempt - 1, _NO_MORE_DOUBLING)
    return min(base_us, MAX_DELAY // _MICROSECOND) * _MICROSECOND


@lru_cache(maxsize=256)
def dump_config(config: StepConfig) -> str:
    """Write a policy as the compact JSON that the journal keeps; durations in microseconds, rare parts only where they are in use."""
    fields: dict[str, Any] = {
        "limit": config.limit,
        "delay_us": config.delay // _MICROSECOND,
        "backoff": config.backoff.value,
        "timeout_us": config.timeout // _MICROSECOND,
    }
    fields |= {name: getattr(config, name) for name in _RARE if getattr(config, name)}
    return json.dumps(fields, separators=(",", ":"))


@lru_cache(maxsize=256)
def load_config(text: str) -> StepConfig:
    """Read what `dump_config` wrote, now or in an older version, which knew none of the rare parts."""
    fields = json.loads(text)
    return StepConfig(
        limit=fields["limit"],
        delay=timedelta(microseconds=fields["delay_us"]),
        backoff=Backoff(fields["backoff"]),
        timeout=timedelta(microseconds=fields["timeout_us"]),
        **{name: fields[name] for name in _RARE if name in fields},
    )


def describe_config(config: StepConfig) -> dict[str, Any]:
    """Write a policy in the API's shape: durations in milliseconds, rare parts only where they are in use."""
    retries: dict[str, Any] = {
        "limit": config.limit,
        "delay": "[dynamic]" if config.dynamic else _in_ms(config.delay),
        "backoff": config.backoff.value,
    }
    if config.jitter:
        retries["jitter"] = config.jitter
    described = {"retries": retries, "timeout": _in_ms(config.timeout)}
    return {**described, "sensitive": "output"} if config.sensitive else described


def _in_ms(duration: timedelta) -> int | float:
    return duration // _MILLISECOND if duration % _MILLISECOND == timedelta() else duration / _MILLISECOND
