"""From the flow tables of hub.toml to what the engine evaluates: rules with compiled keys.

Every mistake in an expression is found here, when the project is loaded, and named by the path of its key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import timedelta
from typing import Any

from hub.core.duration import format_duration
from hub.core.flow import Batch, Concurrency, Debounce, DebounceMode, OnLimit, Rate, Singleton
from hub.engine.expressions import Expression
from hub.engine.flows import NO_FLOW, CancelRule, FlowRules, Key
from hub.flow_schema import (
    NO_RULES,
    BatchSettings,
    CancelSettings,
    ConcurrencySettings,
    DebounceSettings,
    FlowSettings,
    RateSettings,
    SingletonSettings,
)

_FIELDS = {"rate_limit": "rate"}  # where the engine's word for a rule is another one


def flow_rules(flow: FlowSettings, scope: str, path: str) -> FlowRules:
    """Return the rules of one table; `scope` is what their keys count in, `path` where the table stands. Raises: ConfigError."""
    if flow == NO_RULES:
        return NO_FLOW

    def key(own: Any, place: str) -> Key:
        return Key(scope, None if own.key is None else Expression.of_event(own.key, f"{path}.{place}.key"))

    rules: dict[str, Any] = {}
    keys: dict[str, Key | tuple[Key, ...]] = {}
    for name in ("rate_limit", "batch", "debounce", "singleton", "throttle"):
        own = getattr(flow, name)
        if own is not None:
            rules[_FIELDS.get(name, name)] = _RULES[type(own)](own)
            keys[_FIELDS.get(name, name)] = key(own, name)
    if flow.concurrency:
        rules["concurrency"] = tuple(_concurrency(own) for own in flow.concurrency)
        keys["concurrency"] = tuple(key(own, f"concurrency.{n}") for n, own in enumerate(flow.concurrency))
    plain = {"window": flow.idempotency_window, "delay": flow.delay, "start_deadline": flow.start_deadline, "backlog": flow.backlog}
    rules |= {name: value for name, value in plain.items() if value is not None}
    if isinstance(flow.priority, int):
        rules["priority"] = timedelta(seconds=flow.priority)
    priority = Expression.of_event(flow.priority, f"{path}.priority") if isinstance(flow.priority, str) else None
    return FlowRules(rules=rules, keys=keys, priority=priority)


def cancel_rules(workflow: str, declared: tuple[CancelSettings, ...], path: str) -> tuple[CancelRule, ...]:
    """Return which events cancel instances of a workflow. Raises: ConfigError."""
    return tuple(
        CancelRule(
            workflow=workflow,
            trigger=each.trigger,
            event=Expression.of_event(each.event, f"{path}.{n}.event"),
            params=Expression.compile(each.params, f"{path}.{n}.params"),
        )
        for n, each in enumerate(declared)
    )


def shown(flow: Any) -> Any:
    """Return declared rules as they would stand in the file, for operators."""
    if is_dataclass(flow) and not isinstance(flow, type):
        told = {each.name: getattr(flow, each.name) for each in fields(flow)}
        return {name: shown(value) for name, value in told.items() if value not in (None, ())}
    if isinstance(flow, tuple):
        return [shown(each) for each in flow]
    return format_duration(flow) if isinstance(flow, timedelta) else flow


def _rate(own: RateSettings) -> Rate:
    return Rate(key="", limit=own.limit, period=own.period, burst=own.burst)


def _batch(own: BatchSettings) -> Batch:
    return Batch(key="", max_size=own.max_size, max_wait=own.max_wait, max_bytes=own.max_bytes)


def _debounce(own: DebounceSettings) -> Debounce:
    return Debounce(
        key="",
        period=own.period,
        max_delay=own.max_delay,
        mode=DebounceMode(own.mode),
        max_size=own.max_size,
        max_bytes=own.max_bytes,
    )


def _singleton(own: SingletonSettings) -> Singleton:
    return Singleton(key="", overlap=own.overlap)


def _concurrency(own: ConcurrencySettings) -> Concurrency:
    return Concurrency(key="", limit=own.limit, on_limit=OnLimit(own.on_limit))


_RULES: dict[type, Callable[[Any], Any]] = {
    RateSettings: _rate,
    BatchSettings: _batch,
    DebounceSettings: _debounce,
    SingletonSettings: _singleton,
}
