"""Which slots run and which are told as missed, from the cursor, the time and the policy alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.core.delivery import Occurrence
from triggers._calendar import Calendar, read_spread
from triggers._catch_up import COUNTED, ON_TIME, CatchUp, Passed, Plan, Policy, Slots
from triggers._expression import parse

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def slots(
    cron: str = "* * * * *", catch_up: CatchUp = CatchUp.LAST, spread: str | None = None, window: timedelta = DAY, max: int = 100
) -> Slots:
    calendar = Calendar(
        parse(cron, seconds=len(cron.split()) == 6), ZoneInfo("UTC"), spread=None if spread is None else read_spread(spread)
    )
    return Slots(calendar, "nightly", Policy(catch_up=catch_up, window=window, max=max))


def minutes(plan: Plan) -> list[str]:
    return [f"{slot.nominal:%H:%M}" for slot in plan.runs]


def told(plan: Plan) -> list[tuple[str, str, int, str]]:
    return [(f"{each.first:%H:%M}", f"{each.last:%H:%M}", each.count, each.code) for each in plan.passed]


def after(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def test_nothing_is_due_before_the_next_slot() -> None:
    assert slots().plan(NOON, after(0.99)) == Plan()


@pytest.mark.parametrize("catch_up", CatchUp)
def test_a_slot_that_comes_just_now_runs_whatever_the_policy(catch_up: CatchUp) -> None:
    plan = slots(catch_up=catch_up).plan(NOON, after(1) + ON_TIME)
    assert (minutes(plan), plan.passed) == (["12:01"], ())


@pytest.mark.parametrize(
    ("catch_up", "runs", "missed"),
    [
        (CatchUp.NONE, [], ["12:01", "12:02", "12:03"]),
        (CatchUp.LAST, ["12:03"], ["12:01", "12:02"]),
        (CatchUp.ALL, ["12:01", "12:02", "12:03"], []),
    ],
)
def test_the_policy_says_which_late_slots_are_made_up(catch_up: CatchUp, runs: list[str], missed: list[str]) -> None:
    plan = slots(catch_up=catch_up).plan(NOON, after(3.5))
    assert minutes(plan) == runs
    assert told(plan) == [(minute, minute, 1, f"catch_up.{catch_up}") for minute in missed]


def test_a_slot_in_time_runs_beside_the_late_one_that_is_made_up() -> None:
    assert minutes(slots(catch_up=CatchUp.NONE).plan(NOON, after(3))) == ["12:03"]
    assert minutes(slots("*/5 * * * * *", CatchUp.NONE).plan(NOON, after(1))) == ["12:00", "12:00", "12:01"]


def test_without_catch_up_a_slot_that_was_tried_in_time_is_not_late_before_the_next_one() -> None:
    none = slots(catch_up=CatchUp.NONE)
    assert minutes(none.plan(NOON, after(1.9), tried=after(1))) == ["12:01"]
    assert minutes(none.plan(NOON, after(2.1), tried=after(1))) == ["12:02"]


def test_a_slot_older_than_the_window_is_not_made_up() -> None:
    old = slots(catch_up=CatchUp.ALL, window=timedelta(minutes=2)).plan(NOON, after(4))
    assert minutes(old) == ["12:02", "12:03", "12:04"]
    assert told(old) == [("12:01", "12:01", 1, "catch_up.window")]
    gone = slots("0 12 * * *", window=timedelta(hours=1)).plan(NOON - timedelta(hours=1), after(61))
    assert (minutes(gone), told(gone)) == ([], [("12:00", "12:00", 1, "catch_up.window")])


def test_at_most_so_many_are_made_up_and_the_newest_of_them() -> None:
    plan = slots(catch_up=CatchUp.ALL, max=2).plan(NOON, after(4.5))
    assert minutes(plan) == ["12:03", "12:04"]
    assert told(plan) == [("12:01", "12:01", 1, "catch_up.max"), ("12:02", "12:02", 1, "catch_up.max")]


def test_a_long_outage_is_told_in_one_row_with_count_and_span() -> None:
    plan = slots(max=10).plan(NOON, NOON + timedelta(days=2, seconds=30))
    assert minutes(plan) == ["12:00"]
    first, last, window = NOON + timedelta(minutes=1), NOON + timedelta(days=2), timedelta(days=1)
    assert plan.passed == (
        Passed(first=first, last=last - window, code="catch_up.window", count=1440),
        Passed(first=last - window + timedelta(minutes=1), last=last - timedelta(minutes=1), code="catch_up.last", count=1439),
    )


def test_years_of_missed_seconds_are_not_counted_to_their_end() -> None:
    plan = slots("* * * * * *").plan(NOON - timedelta(days=3650), NOON)
    assert (plan.passed[0].count, plan.passed[0].uncounted, plan.passed[0].code) == (COUNTED, True, "catch_up.window")
    assert plan.runs[-1].nominal == NOON


def test_a_spread_slot_is_due_when_it_starts_and_late_from_then_on() -> None:
    spread = slots("0 */12 * * *", CatchUp.NONE, spread="100%", window=timedelta(hours=1))
    slot = next(spread.after(NOON - timedelta(hours=1)))
    cursor = NOON - timedelta(minutes=1)
    assert timedelta(hours=1) < slot.starts_at - slot.nominal < timedelta(hours=12)
    assert spread.plan(cursor, slot.starts_at - timedelta(seconds=1)) == Plan()
    assert spread.plan(cursor, slot.starts_at + ON_TIME) == Plan(runs=(slot,))
    late = spread.plan(cursor, slot.starts_at + ON_TIME * 2)
    assert (late.runs, [each.code for each in late.passed]) == ((), ["catch_up.none"])
    gone = spread.plan(cursor, slot.starts_at + timedelta(minutes=61))
    assert (gone.runs, [each.code for each in gone.passed]) == ((), ["catch_up.window"])


@settings(max_examples=80)
@given(
    st.sampled_from(["* * * * *", "*/15 * * * * *", "*/7 * * * *", "@every 50s"]),
    st.sampled_from(CatchUp),
    st.sampled_from([None, "50%", "20 seconds"]),
    st.integers(0, 7200),
    st.integers(0, 1200),
    st.sampled_from([10, 60, 600]),
    st.sampled_from([1, 3, 100]),
)
def test_every_slot_that_has_started_is_decided_exactly_once_and_what_runs_is_the_latest(
    cron: str, catch_up: CatchUp, spread: str | None, begin_s: int, length_s: int, window_s: int, limit: int
) -> None:
    cursor = NOON + timedelta(seconds=begin_s)
    now = cursor + timedelta(seconds=length_s)
    every = slots(cron, catch_up, spread, window=timedelta(seconds=window_s), max=limit)
    plan = every.plan(cursor, now)
    started = [slot for slot in iter_until(every, cursor, now) if slot.starts_at <= now]
    runs = [slot.nominal for slot in plan.runs]
    passed = [nominal for each in plan.passed for nominal in every.calendar.between(each.first - timedelta(microseconds=1), each.last)]
    assert passed + runs == [slot.nominal for slot in started]
    assert sum(each.count for each in plan.passed) == len(passed)
    assert all(now - slot.starts_at <= every.policy.window for slot in plan.runs)


def iter_until(every: Slots, cursor: datetime, now: datetime) -> list[Occurrence]:
    found: list[Occurrence] = []
    for slot in every.after(cursor):
        if slot.nominal > now:
            return found
        found.append(slot)
    return found
