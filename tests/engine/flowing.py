"""Rules of flow control as a project declares them, for tests of the engine."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hub.core.flow import Batch, Concurrency, Debounce, DebounceMode, OnLimit, Overlap, Rate, Singleton
from hub.engine.expressions import Expression
from hub.engine.flows import CancelRule, FlowRules, Key

WORKFLOW = "workflow/program"


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def rules(scope: str = WORKFLOW, *, priority: str | None = None, **declared: Any) -> FlowRules:
    """Return compiled rules: `rate=(Rate(…), "payload.user")` where a rule has a key, else `delay=timedelta(…)`."""
    values: dict[str, Any] = {}
    keys: dict[str, Any] = {}
    for name, value in declared.items():
        if name == "concurrency":
            values[name] = tuple(rule for rule, _ in value)
            keys[name] = tuple(_key(scope, text) for _, text in value)
        elif isinstance(value, tuple):
            values[name], text = value
            keys[name] = _key(scope, text)
        else:
            values[name] = value
    return FlowRules(rules=values, keys=keys, priority=None if priority is None else Expression.compile(priority))


def _key(scope: str, text: str | None) -> Key:
    return Key(scope, None if text is None else Expression.compile(text))


def rate(limit: int = 1, period: float = 60, burst: int = 1) -> Rate:
    return Rate(key="", limit=limit, period=seconds(period), burst=burst)


def batch(size: int = 3, wait: float = 10) -> Batch:
    return Batch(key="", max_size=size, max_wait=seconds(wait), max_bytes=10_000)


def debounce(mode: str = "trailing", period: float = 5, longest: float = 12) -> Debounce:
    return Debounce(key="", period=seconds(period), max_delay=seconds(longest), mode=DebounceMode(mode))


def singleton(overlap: str) -> Singleton:
    return Singleton(key="", overlap=Overlap(overlap))


def limit(number: int = 1, on_limit: str = "queue") -> Concurrency:
    return Concurrency(key="", limit=number, on_limit=OnLimit(on_limit))


def cancel_rule(trigger: str, event: str, params: str, workflow: str = "program") -> CancelRule:
    return CancelRule(workflow=workflow, trigger=trigger, event=Expression.compile(event), params=Expression.compile(params))
