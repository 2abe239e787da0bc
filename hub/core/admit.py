"""The rules of flow control as pure functions: what is known of a key goes in, a decision and what is to be known next come out.

No I/O, no clock, no state: `now` is an argument, and the store runs these functions inside its transaction. The invariant: equal input
gives equal decisions, so two databases, or a hub before and after a kill, cannot differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from hub.core.errors import ErrorInfo
from hub.core.flow import Batch, Concurrency, Debounce, DebounceMode, Flow, OnLimit, Overlap, Rate

BACKLOG_RETRY = timedelta(seconds=5)  # nobody knows when a backlog shrinks; senders that ask every five seconds cost nothing
QUEUED_PER_KEY = 10_000  # instances that may wait for their turn behind one of the same key, where no backlog says less

_DEADLINE = "StartDeadlineExceeded"
_CANCELLED = "Cancelled"

# ---- rate limit and throttle


class Pass(NamedTuple):
    """When the next one may pass, and the theoretical arrival time that is to be kept once it has."""

    at: datetime
    then: datetime


def next_pass(rate: Rate, arrival: datetime | None, now: datetime) -> Pass:
    """Apply the generic cell rate algorithm; `arrival` is the theoretical arrival time that is kept, None or past = nobody passed lately.

    The interval is rounded up to whole microseconds: rounded down, one more than `limit` would fit into a period. An arrival time that no
    passes can have led to is cut: the clock was put back, or the rate was another one.
    """
    interval = -(-rate.period // rate.limit)
    arrival = now if arrival is None else min(arrival, now + interval * rate.burst)
    at = max(now, arrival - interval * (rate.burst - 1))
    return Pass(at, max(arrival, at) + interval)


# ---- batch and debounce


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What an instance has collected so far. `newest_at` is the time of the event that it would run with in trailing mode."""

    opened_at: datetime
    newest_at: datetime
    number: int = 1
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """An event for a collecting instance: when it came, when it occurred, the size of its payload."""

    now: datetime
    occurred_at: datetime
    size_bytes: int


class Collecting(NamedTuple):
    """The state of a collecting instance with one event more."""

    collected: Collected
    due_at: datetime
    full: bool  # it takes no further event, and is due at once
    newest: bool  # the event is the newest one


def collects(flow: Flow) -> Batch | Debounce | None:
    """Return the rule by which events wait for others, if there is one. A leading debounce lets its first event run at once."""
    if flow.batch is not None:
        return flow.batch
    return flow.debounce if flow.debounce is not None and flow.debounce.mode is not DebounceMode.LEADING else None


def keeps_all(rule: Batch | Debounce) -> bool:
    """Whether the instance gets the list of all payloads, not one of them."""
    return isinstance(rule, Batch) or rule.mode is DebounceMode.COLLECT


def open_collection(rule: Batch | Debounce, event: Incoming) -> Collecting:
    """Begin to collect with a first event."""
    collected = Collected(opened_at=event.now, newest_at=event.occurred_at, size_bytes=event.size_bytes)
    return _collecting(rule, collected, event, newest=True)


def add_to_collection(rule: Batch | Debounce, collected: Collected, event: Incoming) -> Collecting | None:
    """Add an event; None = it does not fit any more: the collection is full without it, and the event begins another one."""
    if keeps_all(rule) and collected.size_bytes + event.size_bytes > rule.max_bytes:
        return None
    newest = event.occurred_at >= collected.newest_at
    added = replace(
        collected,
        number=collected.number + 1,
        size_bytes=collected.size_bytes + event.size_bytes,
        newest_at=max(collected.newest_at, event.occurred_at),
    )
    return _collecting(rule, added, event, newest=newest)


def _collecting(rule: Batch | Debounce, collected: Collected, event: Incoming, *, newest: bool) -> Collecting:
    full = keeps_all(rule) and (collected.number >= rule.max_size or collected.size_bytes >= rule.max_bytes)
    opened_at = collected.opened_at
    due_at = opened_at + rule.max_wait if isinstance(rule, Batch) else burst_ends(rule, opened_at, event.now)
    return Collecting(collected, event.now if full else due_at, full, newest)


def burst_ends(rule: Debounce, opened_at: datetime, now: datetime) -> datetime:
    """Return when a burst is over whose last event came now."""
    return min(now + rule.period, opened_at + rule.max_delay)


# ---- singleton


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """An instance of a singleton key that has not ended. `turn` = it may run, or runs; `claimed` = it has run at least for a moment."""

    instance: int
    id: str
    turn: bool
    claimed: bool


class Order(NamedTuple):
    """What a new instance of a singleton key means: it is refused because of one, or finds the line full, or others are terminated."""

    in_the_way: Live | None = None
    full: bool = False
    terminate: tuple[Live, ...] = ()
    roll_back: bool = False


def overlapping(overlap: Overlap, live: Sequence[Live], waiting: int, longest: int) -> Order:
    """Decide what happens to a new instance and to those of its key that have not ended, oldest first.

    `waiting` counts those that have not got their turn yet, of which there may be `longest`. Of `live` a rule reads no more than the first
    one (SKIP) or the first one that waits (QUEUE_ONE), so no more need be given; the rules that terminate read all.
    """
    if overlap is Overlap.SKIP:
        return Order(in_the_way=live[0] if live else None)
    if overlap is Overlap.QUEUE_ONE:
        return Order(in_the_way=next((each for each in live if not each.turn), None))
    if overlap is Overlap.QUEUE_ALL:
        return Order(full=waiting >= longest)
    if overlap is Overlap.ALLOW:
        return Order()
    return Order(terminate=tuple(live), roll_back=overlap is Overlap.CANCEL_RUNNING)


# ---- concurrency


def drops(rule: Concurrency, executing: int) -> bool:
    """Whether a concurrency rule drops a new instance; `executing` counts those of its key."""
    return rule.on_limit is OnLimit.DROP_NEW and executing >= rule.limit


# ---- starting


def starts_at(flow: Flow, created_at: datetime, asked: datetime | None) -> datetime:
    """Return when an instance that collects nothing is due for the first time."""
    return max(asked or created_at, created_at + flow.delay)


def lasting(flow: Flow, *, child: bool = False) -> Flow:
    """Return what of a flow holds for an instance after its creation. A child is never refused: it waits where others are dropped."""
    rules = flow.concurrency
    if child:
        rules = tuple(replace(rule, on_limit=OnLimit.QUEUE) for rule in rules)
    collecting = not child and collects(flow) is not None
    return Flow(
        batch=flow.batch if collecting else None,
        debounce=flow.debounce if collecting else None,
        singleton=None if child else flow.singleton,
        throttle=flow.throttle,
        concurrency=rules,
        priority=flow.priority,
        cancels=flow.cancels,
        start_deadline=flow.start_deadline,
    )


# ---- ends that nobody has asked for by hand


def too_late(deadline: datetime) -> ErrorInfo:
    """Return the error of an instance that could not start in time."""
    return ErrorInfo(name=_DEADLINE, message=f"it could not start before {deadline:%Y-%m-%d %H:%M:%S} UTC, the end of its start_deadline")


def replaced_by(id: str) -> ErrorInfo:
    """Return the error of an instance that had to make room for a newer one."""
    return ErrorInfo(name=_CANCELLED, message=f'the newer instance "{id}" took its place')


def cancelled_by(reason: str) -> ErrorInfo:
    """Return the error of an instance that an event has cancelled."""
    return ErrorInfo(name=_CANCELLED, message=reason)
