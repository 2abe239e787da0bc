"""Flow control as it lies in rows: the names of the gates, and what lasts of an instance's flow as one JSON text.

No SQL here; the same for every database.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum

from hub.core.flow import Concurrency, Flow, OnLimit, Overlap, Rate, Singleton
from hub.store.columns import length_or_none, length_or_null

_SLOTS = "slots"


class Rule(StrEnum):
    """What a gate stands for. `place` orders the line of a singleton, a throttle and a lane."""

    COLLECT = "collect"  # it takes more events of that key
    SINGLETON = "singleton"
    THROTTLE = "throttle"  # it has not passed it yet
    SLOT = "slot"  # a key of a concurrency limit
    LANE = "lane"  # it stands in the line of the instances with the same slots
    DEADLINE = "deadline"  # `place` is the time until which it must have started
    CANCEL = "cancel"  # an event with that key cancels it


class Bucket(StrEnum):
    """What a bucket counts."""

    RATE = "rate"
    THROTTLE = "throttle"
    BURST = "burst"


def flow_text(flow: Flow) -> str | None:
    """Return what lasts of a flow; None = nothing."""
    kept: dict[str, object] = {}
    if flow.singleton is not None:
        kept["singleton"] = [flow.singleton.key, flow.singleton.overlap.value]
    if flow.throttle is not None:
        kept["throttle"] = [flow.throttle.key, flow.throttle.limit, length_or_null(flow.throttle.period), flow.throttle.burst]
    if flow.concurrency:
        kept[_SLOTS] = [[rule.key, rule.limit, rule.on_limit.value] for rule in flow.concurrency]
    if flow.cancels:
        kept["cancels"] = list(flow.cancels)
    if flow.start_deadline is not None or flow.batch is not None or flow.debounce is not None:
        kept["waits"] = 1  # a deadline or a collection: something must be looked at before it starts
    return json.dumps(kept) if kept else None


def flow_of(text: str | None) -> Flow:
    """Return what lasts of a flow."""
    kept = json.loads(text or "{}")
    turn, throttle = kept.get("singleton"), kept.get("throttle")
    return Flow(
        singleton=None if turn is None else Singleton(key=turn[0], overlap=Overlap(turn[1])),
        throttle=None if throttle is None else _rate(*throttle),
        concurrency=tuple(Concurrency(key=key, limit=limit, on_limit=OnLimit(on)) for key, limit, on in kept.get(_SLOTS, ())),
        cancels=tuple(kept.get("cancels", ())),
    )


def is_limited(text: str | None) -> bool:
    """Whether a concurrency limit counts an instance with that text while it executes."""
    return text is not None and _SLOTS in json.loads(text)


def lane_of(slots: Iterable[str]) -> str:
    """Return the name of the line of all instances with these concurrency keys."""
    return json.dumps(sorted(slots))


def _rate(key: str, limit: int, period: int, burst: int) -> Rate:
    return Rate(key=key, limit=limit, period=length_or_none(period) or timedelta(0), burst=burst)
