"""Flow control: how many instances are created and executed when, as rules that are already evaluated for one event. Pure.

The bus applies them in this order: idempotency window → rate limit → batch / debounce → singleton → delay / start deadline → throttle →
concurrency → priority. Every `key` is complete: the scope, a newline and the JSON of the evaluated expression, such as
`workflow/orders` and `"customer-7"`; equal keys share a limit. All state is in the database and is decided on in the transaction that
creates the instance.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Overlap(StrEnum):
    """What happens when an instance is to start while an earlier one of the same key has not ended."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE_ONE = "queue_one"  # at most one waits
    QUEUE_ALL = "queue_all"  # each waits for its predecessor
    CANCEL_RUNNING = "cancel_running"  # terminate it with its rollback handlers; the new one starts after its end
    TERMINATE_RUNNING = "terminate_running"  # terminate it at once


class OnLimit(StrEnum):
    """What happens to an instance that would exceed a concurrency limit."""

    QUEUE = "queue"
    DROP_NEW = "drop_new"
    CANCEL_OLDEST = "cancel_oldest"


class DebounceMode(StrEnum):
    """Which event of a burst counts."""

    TRAILING = "trailing"  # the last one
    LEADING = "leading"  # the first one
    COLLECT = "collect"  # all: the payload is their list


class Refusal(StrEnum):
    """Which rule knowingly leaves an event without an instance."""

    RATE_LIMIT = "rate_limit"
    DEBOUNCE = "debounce"  # it belongs to a burst whose first event has run already
    SINGLETON = "singleton"
    CONCURRENCY = "concurrency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`limit` a `period`, evenly spaced (GCRA), of which `burst` may come at once: at most `limit + burst - 1` in any one period."""

    key: str
    limit: int
    period: timedelta
    burst: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Events become one instance whose payload is their list: at `max_size` events, `max_bytes`, or `max_wait` after the first."""

    key: str
    max_size: int
    max_wait: timedelta
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Debounce:
    """A burst of events becomes one instance: `period` after its last event, and at most `max_delay` after its first.

    What is collected is handed over early when it reaches `max_size` events or `max_bytes`.
    """

    key: str
    period: timedelta
    max_delay: timedelta
    mode: DebounceMode = DebounceMode.TRAILING
    max_size: int = 1000
    max_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Singleton:
    """At most one instance of the key that has not ended, or an orderly queue of them.

    With ALLOW the instance waits for nobody, and yet it is one of those that the next one may meet.
    """

    key: str
    overlap: Overlap


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """At most `limit` instances of the key execute at once; sleeping and waiting ones do not count."""

    key: str
    limit: int
    on_limit: OnLimit = OnLimit.QUEUE


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """All rules for one new instance."""

    window: timedelta | None = None  # how long a key is remembered; None = as long as deliveries are
    rate: Rate | None = None
    batch: Batch | None = None
    debounce: Debounce | None = None
    singleton: Singleton | None = None
    delay: timedelta = timedelta(0)
    start_deadline: timedelta | None = None  # after the delay; a later start is none: the instance ends as terminated
    throttle: Rate | None = None
    concurrency: tuple[Concurrency, ...] = ()
    priority: timedelta = timedelta(0)  # head start over others that are due, 0 to 10 minutes
    backlog: int | None = None  # instances of the workflow that have never been claimed, at which nothing more is accepted
    cancels: tuple[str, ...] = ()  # keys under which an event can cancel this instance
    occurred_at: datetime | None = None  # of the event at its source: in a burst an older one does not replace a newer one


NONE = Flow()
