"""The rules of flow control, without a database: tables of cases, and models that are too slow to be used and too simple to be wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.admit import (
    Collected,
    Incoming,
    Live,
    Order,
    Pass,
    add_to_collection,
    burst_ends,
    collects,
    drops,
    keeps_all,
    lasting,
    next_pass,
    open_collection,
    overlapping,
    starts_at,
)
from hub.core.flow import NONE, Batch, Concurrency, Debounce, DebounceMode, Flow, OnLimit, Overlap, Rate, Singleton

START = datetime(2026, 3, 29, 1, 59, 59, 999_999, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


# ---- rate limit and throttle


def passed(rate: Rate, arrivals: list[datetime]) -> list[datetime]:
    """Return the arrivals that a rate limit lets pass."""
    known: datetime | None = None
    through = []
    for now in arrivals:
        may_pass = next_pass(rate, known, now)
        if may_pass.at <= now:
            through.append(now)
            known = may_pass.then
    return through


rates = st.builds(
    Rate,
    key=st.just("k"),
    limit=st.integers(1, 7),
    burst=st.integers(1, 7),
    period=st.integers(1, 10_000).map(lambda us: timedelta(microseconds=us)),
)
gaps = st.lists(st.integers(0, 5_000), min_size=1, max_size=80)


def times(gaps: list[int]) -> list[datetime]:
    now, found = START, []
    for gap in gaps:
        now += timedelta(microseconds=gap)
        found.append(now)
    return found


@given(rate=rates, gaps=gaps)
def test_no_period_of_any_beginning_has_more_than_limit_and_burst_allow(rate: Rate, gaps: list[int]) -> None:
    through = passed(rate, times(gaps))

    for first in through:
        in_period = [each for each in through if first <= each < first + rate.period]
        assert len(in_period) <= rate.limit + rate.burst - 1


@given(rate=rates, gaps=gaps)
def test_an_arrival_passes_exactly_when_a_bucket_of_burst_tokens_that_fills_evenly_has_one(rate: Rate, gaps: list[int]) -> None:
    interval = -(-rate.period // rate.limit) // timedelta(microseconds=1)
    level, last, through = rate.burst * interval, START, []
    for now in times(gaps):
        level = min(rate.burst * interval, level + (now - last) // timedelta(microseconds=1))
        last = now
        if level >= interval:
            level -= interval
            through.append(now)

    assert passed(rate, times(gaps)) == through


@given(rate=rates, count=st.integers(1, 40))
def test_who_waits_for_the_time_it_was_told_passes_then_and_not_a_microsecond_earlier(rate: Rate, count: int) -> None:
    known, now = None, START
    for _ in range(count):
        may_pass = next_pass(rate, known, now)
        if may_pass.at > now:
            assert next_pass(rate, known, may_pass.at - timedelta(microseconds=1)).at > may_pass.at - timedelta(microseconds=1)
        now = max(now, may_pass.at)
        assert next_pass(rate, known, now).at == now
        known = next_pass(rate, known, now).then


@pytest.mark.parametrize(
    ("limit", "burst", "seconds"),
    [
        (1, 1, [0, 60, 120, 180]),
        (2, 1, [0, 30, 60, 90]),
        (3, 3, [0, 0, 0, 20, 40]),
        (60, 10, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]),
    ],
)
def test_who_all_come_at_once_pass_a_burst_and_then_evenly(limit: int, burst: int, seconds: list[float]) -> None:
    rate = Rate(key="k", limit=limit, period=MINUTE, burst=burst)
    known: datetime | None = None
    now, found = START, []
    for _ in seconds:
        now = next_pass(rate, known, now).at
        known = next_pass(rate, known, now).then
        found.append((now - START).total_seconds())

    assert found == seconds


def test_three_a_second_never_are_four_in_one_second() -> None:
    rate = Rate(key="k", limit=3, period=timedelta(seconds=1))

    through = passed(rate, [START + timedelta(microseconds=us) for us in range(0, 1_000_000, 111)])

    assert len(through) == 3


def test_what_was_known_long_ago_counts_no_more() -> None:
    rate = Rate(key="k", limit=1, period=MINUTE, burst=5)

    assert next_pass(rate, at(-3600), at(0)) == Pass(at(0), at(60))
    assert next_pass(rate, None, at(0)) == Pass(at(0), at(60))


def test_a_clock_that_is_put_back_or_a_smaller_rate_shuts_nobody_out_for_longer_than_a_burst_takes() -> None:
    rate = Rate(key="k", limit=2, period=MINUTE, burst=3)

    assert next_pass(rate, at(86_400), at(0)).at == at(30)
    assert next_pass(rate, at(90), at(0)) == Pass(at(30), at(120))


# ---- batch and debounce

BATCH = Batch(key="k", max_size=3, max_wait=timedelta(seconds=10), max_bytes=100)
TRAILING = Debounce(key="k", period=timedelta(seconds=5), max_delay=timedelta(seconds=12))
COLLECT = Debounce(
    key="k", period=timedelta(seconds=5), max_delay=timedelta(seconds=12), mode=DebounceMode.COLLECT, max_size=3, max_bytes=100
)
LEADING = Debounce(key="k", period=timedelta(seconds=5), max_delay=timedelta(seconds=12), mode=DebounceMode.LEADING)


def event(seconds: float, size_bytes: int = 10, occurred: float | None = None) -> Incoming:
    return Incoming(now=at(seconds), occurred_at=at(seconds if occurred is None else occurred), size_bytes=size_bytes)


def collected(seconds: float = 0, **fields: Any) -> Collected:
    return Collected(**{"opened_at": at(0), "newest_at": at(seconds), "number": 1, "size_bytes": 10, **fields})


def test_a_batch_is_due_so_long_after_its_first_event_whenever_the_others_come() -> None:
    first = open_collection(BATCH, event(0))
    second = add_to_collection(BATCH, first.collected, event(9))

    assert (first.due_at, first.full) == (at(10), False)
    assert second is not None
    assert (second.due_at, second.full, second.collected.number, second.collected.size_bytes) == (at(10), False, 2, 20)


@pytest.mark.parametrize("rule", [BATCH, COLLECT])
def test_a_collection_is_due_at_once_when_it_is_full_by_number_or_by_bytes(rule: Batch | Debounce) -> None:
    by_number = add_to_collection(rule, collected(number=2), event(3))
    by_bytes = add_to_collection(rule, collected(size_bytes=60), event(3, 40))

    assert by_number is not None
    assert by_bytes is not None
    assert (by_number.full, by_number.due_at) == (True, at(3))
    assert (by_bytes.full, by_bytes.due_at) == (True, at(3))


@pytest.mark.parametrize("rule", [BATCH, COLLECT])
def test_an_event_that_does_not_fit_any_more_begins_another_collection(rule: Batch | Debounce) -> None:
    assert add_to_collection(rule, collected(size_bytes=60), event(3, 41)) is None
    assert open_collection(rule, event(3, 41)).full is False
    assert open_collection(rule, event(3, 1000)).full is True


def test_each_event_puts_a_debounced_start_off_but_never_beyond_the_longest_delay() -> None:
    starts = [add_to_collection(TRAILING, collected(), event(seconds)) for seconds in (1, 4, 8, 11)]

    assert [each.due_at for each in starts if each is not None] == [at(6), at(9), at(12), at(12)]
    assert burst_ends(TRAILING, at(0), at(6.999)) == at(11.999)


def test_a_trailing_burst_has_no_size() -> None:
    added = add_to_collection(TRAILING, collected(number=1_000_000, size_bytes=1 << 40), event(1, 1 << 30))

    assert added is not None
    assert not added.full


def test_an_older_event_does_not_count_as_the_newest_and_an_equal_one_does() -> None:
    older = add_to_collection(TRAILING, collected(3), event(4, occurred=2.9))
    equal = add_to_collection(TRAILING, collected(3), event(4, occurred=3))

    assert older is not None
    assert equal is not None
    assert (older.newest, older.collected.newest_at) == (False, at(3))
    assert (equal.newest, equal.collected.newest_at) == (True, at(3))


def test_which_rules_collect_and_which_hand_over_all_events() -> None:
    flows = {
        rule: collects(Flow(batch=rule) if isinstance(rule, Batch) else Flow(debounce=rule)) for rule in (BATCH, TRAILING, COLLECT, LEADING)
    }

    assert flows == {BATCH: BATCH, TRAILING: TRAILING, COLLECT: COLLECT, LEADING: None}
    assert collects(NONE) is None
    assert [keeps_all(rule) for rule in (BATCH, TRAILING, COLLECT)] == [True, False, True]


# ---- singleton

RUNS = Live(instance=1, id="runs", turn=True, claimed=True)
WAITS = Live(instance=2, id="waits", turn=False, claimed=False)
WAITS_TOO = Live(instance=3, id="waits too", turn=False, claimed=False)
ALONE: list[Live] = []


@pytest.mark.parametrize(
    ("overlap", "live", "order"),
    [
        (Overlap.ALLOW, [RUNS, WAITS], Order()),
        (Overlap.SKIP, ALONE, Order()),
        (Overlap.SKIP, [RUNS], Order(in_the_way=RUNS)),
        (Overlap.SKIP, [WAITS], Order(in_the_way=WAITS)),
        (Overlap.QUEUE_ONE, ALONE, Order()),
        (Overlap.QUEUE_ONE, [RUNS], Order()),
        (Overlap.QUEUE_ONE, [RUNS, WAITS], Order(in_the_way=WAITS)),
        (Overlap.QUEUE_ALL, [RUNS, WAITS], Order()),
        (Overlap.QUEUE_ALL, [RUNS, WAITS, WAITS_TOO], Order(full=True)),
        (Overlap.CANCEL_RUNNING, ALONE, Order(roll_back=True)),
        (Overlap.CANCEL_RUNNING, [RUNS, WAITS], Order(terminate=(RUNS, WAITS), roll_back=True)),
        (Overlap.TERMINATE_RUNNING, [RUNS, WAITS], Order(terminate=(RUNS, WAITS))),
    ],
)
def test_what_a_new_instance_means_for_those_of_its_key_that_have_not_ended(overlap: Overlap, live: list[Live], order: Order) -> None:
    assert overlapping(overlap, live, waiting=sum(not each.turn for each in live), longest=2) == order


# ---- concurrency, start


@pytest.mark.parametrize(
    ("on_limit", "executing", "dropped"),
    [
        (OnLimit.DROP_NEW, 1, False),
        (OnLimit.DROP_NEW, 2, True),
        (OnLimit.DROP_NEW, 3, True),
        (OnLimit.QUEUE, 3, False),
        (OnLimit.CANCEL_OLDEST, 3, False),
    ],
)
def test_only_drop_new_drops_and_only_at_the_limit(on_limit: OnLimit, executing: int, dropped: bool) -> None:
    assert drops(Concurrency(key="k", limit=2, on_limit=on_limit), executing) is dropped


@pytest.mark.parametrize(("delay", "asked", "start"), [(0, None, 0), (60, None, 60), (60, 30, 60), (60, 90, 90), (0, 90, 90), (0, -5, 0)])
def test_a_delay_counts_from_the_creation_and_never_makes_a_start_earlier(delay: float, asked: float | None, start: float) -> None:
    flow = Flow(delay=timedelta(seconds=delay))

    assert starts_at(flow, at(0), None if asked is None else at(asked)) == at(start)


def test_a_child_keeps_what_makes_it_wait_and_nothing_that_could_refuse_it() -> None:
    limits = (Concurrency(key="a", limit=1, on_limit=OnLimit.DROP_NEW), Concurrency(key="b", limit=2))
    throttle = Rate(key="t", limit=1, period=MINUTE)
    flow = Flow(
        window=MINUTE, rate=throttle, batch=BATCH, singleton=Singleton(key="s", overlap=Overlap.SKIP), delay=MINUTE, throttle=throttle,
        concurrency=limits, priority=MINUTE, backlog=3, cancels=("c",), start_deadline=MINUTE,
    )  # fmt: skip

    kept = lasting(flow, child=True)

    assert kept == Flow(
        throttle=throttle, concurrency=(Concurrency(key="a", limit=1), limits[1]), priority=MINUTE, cancels=("c",), start_deadline=MINUTE
    )
    assert lasting(flow).concurrency == limits
