"""The tables of flow control in hub.toml: `[workflows.flow]`, `[triggers.flow]` and `cancel_on`; and which rules exclude each other.

Never reads a file. Values are frozen and checked one by one; `conflict` says what they cannot mean together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema

from hub.core.flow import Overlap
from hub.core.retention import DELIVERY_KEPT
from hub.values import A_MOMENT, MIB_25, NOT_BOOL, ONE_OR_LIST, STRICT, Duration, Jmespath, Name, between, one_or_list

LONGEST = timedelta(days=365)
_SECONDS = 600  # of a head start: with more an instance could wait for ever behind newer ones

Count = Annotated[int, Field(ge=1, le=1_000_000), NOT_BOOL]
Number = Annotated[int, Field(ge=1, le=10_000), NOT_BOOL]  # of events in one instance
Size = Annotated[int, Field(ge=1, le=MIB_25), NOT_BOOL]
Span = Annotated[Duration, between(A_MOMENT, LONGEST)]
Key = Annotated[Jmespath | None, Field(description="JMESPath; events with another value count apart.")]


def _check_priority(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError("expected a number of seconds, or an expression that gives one")
    if isinstance(value, int) and not 0 <= value <= _SECONDS:
        raise ValueError(f"must be 0 to {_SECONDS} seconds")
    return value


def _check_overlap(overlap: Overlap) -> Overlap:
    if overlap is Overlap.ALLOW:
        raise ValueError("allow is what happens without a singleton rule; leave it out")
    return overlap


_PRIORITY_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": _SECONDS}, {"type": "string", "minLength": 1}]}
Priority = Annotated[int | str, BeforeValidator(_check_priority), WithJsonSchema(_PRIORITY_SCHEMA)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSettings:
    """A rate: `limit` a `period`, evenly spaced."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    limit: Annotated[Count, Field(description="How many a period.")]
    period: Annotated[Span, Field(description="The period.")]
    burst: Annotated[Count, Field(description="So many of them may come at once.")] = 1
    key: Key = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """Events that become one instance."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    max_wait: Annotated[Span, Field(description="It starts so long after its first event.")]
    max_size: Annotated[Number, Field(description="… or with so many events.")] = 100
    max_bytes: Annotated[Size, Field(description="… or with so many bytes of payloads.")] = 1_048_576
    key: Key = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DebounceSettings:
    """A burst that becomes one instance."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    period: Annotated[Span, Field(description="A burst is over when nothing came for so long.")]
    max_delay: Annotated[Span, Field(description="It is over so long after its first event in any case.")]
    mode: Annotated[
        Literal["trailing", "leading", "collect"], Field(description="Which event counts: the last, the first, or all as a list.")
    ] = "trailing"
    max_size: Annotated[Number, Field(description="collect: it starts with so many events.")] = 1000
    max_bytes: Annotated[Size, Field(description="collect: it starts with so many bytes of payloads.")] = 1_048_576
    key: Key = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SingletonSettings:
    """At most one instance at a time."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    overlap: Annotated[
        Overlap, AfterValidator(_check_overlap), Field(description="What happens while an earlier instance of the key has not ended.")
    ]
    key: Key = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencySettings:
    """How many instances execute at once."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    limit: Annotated[Count, Field(description="So many; sleeping and waiting ones do not count.")]
    on_limit: Annotated[Literal["queue", "drop_new", "cancel_oldest"], Field(description="What happens to one more.")] = "queue"
    key: Key = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSettings:
    """A `flow` table, its keys in the order in which the rules are applied. None = not declared."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    idempotency_window: Annotated[
        Annotated[Duration, between(timedelta(seconds=1), DELIVERY_KEPT)] | None,
        Field(description="How long the key of an event is remembered; default as long as its instance, and 30 days after."),
    ] = None
    rate_limit: Annotated[RateSettings | None, Field(description="More events are dropped, visibly.")] = None
    batch: Annotated[BatchSettings | None, Field(description="Events become one instance with the list of their payloads.")] = None
    debounce: Annotated[DebounceSettings | None, Field(description="A burst of events becomes one instance.")] = None
    singleton: Annotated[SingletonSettings | None, Field(description="At most one instance of the key that has not ended.")] = None
    delay: Annotated[Span | None, Field(description="Instances start so much later.")] = None
    start_deadline: Annotated[Span | None, Field(description="What has not started so long after its time ends as terminated.")] = None
    throttle: Annotated[RateSettings | None, Field(description="More instances start later.")] = None
    concurrency: Annotated[
        tuple[ConcurrencySettings, ...],
        ONE_OR_LIST,
        Field(
            description="At most so many instances of the key execute at once; a table, or a list of them.", json_schema_extra=one_or_list
        ),
    ] = ()
    priority: Annotated[Priority | None, Field(description="Head start in seconds, 0 to 600, or an expression of them.")] = None
    backlog: Annotated[Count | None, Field(description="With so many instances waiting nothing more is accepted.")] = None

    def under(self, own: FlowSettings) -> FlowSettings:
        """Return these rules with those of a trigger over them, rule by rule."""
        declared = {name: value for name in (each.name for each in fields(own)) if (value := getattr(own, name)) not in (None, ())}
        return replace(self, **declared)


NO_RULES = FlowSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelSettings:
    """One entry of `cancel_on`."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    trigger: Annotated[Name, Field(description="Events of this trigger cancel instances of the workflow:")]
    event: Annotated[Jmespath, Field(description="… those where this value of the event")]
    params: Annotated[Jmespath, Field(description="… equals this value of the instance's payload. Both are JMESPath.")]


# ---- what rules cannot mean together


class Conflict(NamedTuple):
    """Rules that exclude each other: in words, the key that is told, when they meet, and why."""

    words: str
    key: str
    meet: Callable[[FlowSettings], bool]
    reason: str


_WAITS_FOR_TURN = (Overlap.QUEUE_ONE, Overlap.QUEUE_ALL, Overlap.CANCEL_RUNNING)
_ACTS_AT_ONCE = (Overlap.SKIP, Overlap.CANCEL_RUNNING, Overlap.TERMINATE_RUNNING)


def _overlap(flow: FlowSettings) -> Overlap:
    return Overlap.ALLOW if flow.singleton is None else flow.singleton.overlap


def _collects(flow: FlowSettings) -> bool:
    return flow.batch is not None or (flow.debounce is not None and flow.debounce.mode != "leading")


def _drops(flow: FlowSettings) -> bool:
    return any(each.on_limit == "drop_new" for each in flow.concurrency)


def _same_key(flow: FlowSettings) -> bool:
    return flow.singleton is not None and any(each.key == flow.singleton.key for each in flow.concurrency)


def _bursts(rate: RateSettings | None) -> bool:
    return rate is not None and rate.burst > rate.limit


CONFLICTS = (
    Conflict(
        "`batch` with `debounce`", "debounce", lambda flow: flow.batch is not None and flow.debounce is not None,
        "an event can wait for others in one way only; a debounce in the mode collect hands over all events, too",
    ),
    Conflict(
        "`debounce.period` not shorter than `debounce.max_delay`", "debounce.period",
        lambda flow: flow.debounce is not None and flow.debounce.period >= flow.debounce.max_delay,
        "the first event of a burst would already wait for all of max_delay, so no other could put it off",
    ),
    Conflict(
        "`delay` with `batch` or `debounce` (trailing, collect)", "delay", lambda flow: flow.delay is not None and _collects(flow),
        "the events wait for others already; make max_wait or period longer",
    ),
    Conflict(
        "`singleton` skip, cancel_running or terminate_running with `batch` or `debounce` (trailing, collect)", "singleton.overlap",
        lambda flow: _collects(flow) and _overlap(flow) in _ACTS_AT_ONCE,
        "it would act when the first event comes, long before the instance starts; queue_one and queue_all wait with it",
    ),
    Conflict(
        "`singleton` skip with `concurrency` drop_new", "concurrency", lambda flow: _overlap(flow) is Overlap.SKIP and _drops(flow),
        "both drop events, and singleton also counts instances that sleep or wait; declare the one that is meant",
    ),
    Conflict(
        "`singleton` with a `concurrency` of the same key", "concurrency", _same_key,
        "with at most one instance that has not ended no limit is ever reached",
    ),
    Conflict(
        "`concurrency` drop_new with `batch`, `debounce` (trailing, collect), `delay`, `throttle`, or a waiting `singleton`", "concurrency",
        lambda flow: _drops(flow)
        and (_collects(flow) or flow.delay is not None or flow.throttle is not None or _overlap(flow) in _WAITS_FOR_TURN),
        "it drops what cannot start at once, and these are meant to start later, when their event has long been accepted",
    ),
    Conflict(
        "several `concurrency` rules with the same key", "concurrency",
        lambda flow: len({each.key for each in flow.concurrency}) < len(flow.concurrency),
        "only the smallest limit would count",
    ),
    Conflict(
        "`rate_limit.burst` greater than `rate_limit.limit`", "rate_limit.burst", lambda flow: _bursts(flow.rate_limit),
        "more would come at once than a whole period allows; raise limit",
    ),
    Conflict(
        "`throttle.burst` greater than `throttle.limit`", "throttle.burst", lambda flow: _bursts(flow.throttle),
        "more would start at once than a whole period allows; raise limit",
    ),
)  # fmt: skip


def conflict(flow: FlowSettings) -> Conflict | None:
    """Return the first rules that exclude each other; None = all can be applied."""
    return next((each for each in CONFLICTS if each.meet(flow)), None)
