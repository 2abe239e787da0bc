"""Schedules on wall clocks: pure functions of two moments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers._calendar import Calendar, Gap, Repeat, Spread, check_timezone, read_spread
from triggers._expression import parse

ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Asia/Kathmandu", "Africa/Cairo"]
CRONS = [
    "* * * * *",
    "*/7 * * * *",
    "30 2 * * *",
    "30 1 * * *",
    "0 */2 * * *",
    "15 1,2,3 * * *",
    "0 0 L * *",
    "0 9 * * MON#2",
    "0 12 29 2 *",
    "@every 7h",
]
NEW_YORK = "America/New_York"  # 2026: 2:00 → 3:00 on 8 March at 07:00Z, 2:00 → 1:00 on 1 November at 06:00Z
YEAR_2026 = st.integers(0, 365 * 24 * 3600).map(lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def calendar(cron: str, zone: str = "UTC", gap: Gap = Gap.RUN_AFTER, repeat: Repeat = Repeat.FIRST, *, seconds: bool = False) -> Calendar:
    return Calendar(parse(cron, seconds=seconds), ZoneInfo(zone), gap, repeat)


def times(found: Calendar, after: str, upto: str) -> list[str]:
    return [f"{nominal:%m-%dT%H:%M:%S}".removesuffix(":00") for nominal in found.between(moment(after), moment(upto))]


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("*/5 * * * *", "UTC", "2026-03-01T12:00:30Z", "2026-03-01T12:05:00Z"),
        ("*/5 * * * *", "UTC", "2026-03-01T12:05:00Z", "2026-03-01T12:10:00Z"),
        ("0 9 * * *", "Europe/Berlin", "2026-01-10T12:00:00Z", "2026-01-11T08:00:00Z"),
        ("0 9 * * *", "Europe/Berlin", "2026-07-10T12:00:00Z", "2026-07-11T07:00:00Z"),
        ("0 0 * * 1", "UTC", "2026-03-01T12:00:00Z", "2026-03-02T00:00:00Z"),
        ("0 0 13 * FRI", "UTC", "2026-03-01T12:00:00Z", "2026-03-06T00:00:00Z"),
        ("0 0 29 2 *", "UTC", "2026-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("30 23 31 12 *", "Asia/Kathmandu", "2026-03-01T00:00:00Z", "2026-12-31T17:45:00Z"),
        ("@every 15m", "UTC", "2026-03-01T12:07:00Z", "2026-03-01T12:15:00Z"),
        ("@every 15m", "UTC", "2026-03-01T12:15:00Z", "2026-03-01T12:30:00Z"),
    ],
)
def test_next_occurrence_is_read_on_the_wall_clock_of_the_zone(cron: str, zone: str, after: str, expected: str) -> None:
    assert calendar(cron, zone).next_after(moment(after)) == moment(expected)


def test_seconds_of_a_minute_are_occurrences_of_their_own() -> None:
    found = calendar("*/20 30 7 * * *", "Europe/Berlin", seconds=True)
    assert times(found, "2026-03-01T06:30:00Z", "2026-03-02T06:30:20Z") == [
        "03-01T06:30:20",
        "03-01T06:30:40",
        "03-02T06:30",
        "03-02T06:30:20",
    ]


def test_an_interval_keeps_its_phase_whatever_the_moment_one_starts_from() -> None:
    found = Calendar(parse("@every 7h", phase=timedelta(minutes=5)))
    begin = moment("2026-03-01T00:00:00Z")
    series = list(islice(found.after(begin), 5))
    assert {later - earlier for earlier, later in pairwise(series)} == {timedelta(hours=7)}
    assert all((nominal.timestamp() - 300) % (7 * 3600) == 0 for nominal in series)


# ---- where the clock is changed


def test_a_daily_job_keeps_its_wall_clock_time_across_both_clock_changes() -> None:
    nine = calendar("0 9 * * *", NEW_YORK)
    for start in ("2026-03-05T00:00:00Z", "2026-10-29T00:00:00Z"):
        days = list(islice(nine.after(moment(start)), 10))
        assert {day.astimezone(ZoneInfo(NEW_YORK)).strftime("%H:%M") for day in days} == {"09:00"}


def test_hourly_job_ticks_once_an_elapsed_hour_across_both_clock_changes() -> None:
    hourly = calendar("0 * * * *", NEW_YORK)
    for start in ("2026-03-08T00:00:00Z", "2026-11-01T00:00:00Z"):
        series = list(islice(hourly.after(moment(start)), 24))
        assert {later - earlier for earlier, later in pairwise(series)} == {timedelta(hours=1)}


@pytest.mark.parametrize(
    ("cron", "gap", "expected"),
    [
        ("30 2 * * *", Gap.RUN_AFTER, ["03-08T07:00"]),
        ("30 2 * * *", Gap.SKIP, []),
        ("0,15,30 2 * * *", Gap.RUN_AFTER, ["03-08T07:00"]),
        ("15 1,2,3 * * *", Gap.RUN_AFTER, ["03-08T06:15", "03-08T07:00", "03-08T07:15"]),
        ("15 1,2,3 * * *", Gap.SKIP, ["03-08T06:15", "03-08T07:15"]),
        ("0 2,3 * * *", Gap.RUN_AFTER, ["03-08T07:00"]),
        ("*/30 2 * * *", Gap.RUN_AFTER, []),
        ("0 */2 * * *", Gap.RUN_AFTER, ["03-08T08:00"]),
        ("30 * * * *", Gap.RUN_AFTER, ["03-08T05:30", "03-08T06:30", "03-08T07:30"]),
    ],
)
def test_a_fixed_time_in_a_gap_runs_after_it_or_not_at_all(cron: str, gap: Gap, expected: list[str]) -> None:
    assert times(calendar(cron, NEW_YORK, gap), "2026-03-08T05:00:00Z", "2026-03-08T08:00:00Z") == expected


@pytest.mark.parametrize(
    ("cron", "repeat", "expected"),
    [
        ("30 1 * * *", Repeat.FIRST, ["11-01T05:30"]),
        ("30 1 * * *", Repeat.LAST, ["11-01T06:30"]),
        ("30 1 * * *", Repeat.BOTH, ["11-01T05:30", "11-01T06:30"]),
        ("0,30 0-2 * * *", Repeat.FIRST, ["11-01T04:30", "11-01T05:00", "11-01T05:30", "11-01T07:00"]),
        ("0,30 0-2 * * *", Repeat.BOTH, ["11-01T04:30", "11-01T05:00", "11-01T05:30", "11-01T06:00", "11-01T06:30", "11-01T07:00"]),
        ("*/30 1 * * *", Repeat.FIRST, ["11-01T05:00", "11-01T05:30", "11-01T06:00", "11-01T06:30"]),
        ("30 * * * *", Repeat.LAST, ["11-01T04:30", "11-01T05:30", "11-01T06:30"]),
    ],
)
def test_a_fixed_time_that_comes_twice_runs_at_the_chosen_pass(cron: str, repeat: Repeat, expected: list[str]) -> None:
    found = calendar(cron, NEW_YORK, repeat=repeat)
    assert times(found, "2026-11-01T04:00:00Z", "2026-11-01T07:00:00Z") == expected


def test_the_second_pass_is_found_from_any_moment_of_the_first() -> None:
    found = calendar("10 1 * * *", NEW_YORK, repeat=Repeat.LAST)
    assert found.next_after(moment("2026-11-01T05:50:00Z")) == moment("2026-11-01T06:10:00Z")
    assert found.next_after(moment("2026-11-01T06:10:00Z")) == moment("2026-11-02T06:10:00Z")


def test_a_gap_of_half_an_hour_ends_at_half_past_two() -> None:
    """Lord Howe goes from 2:00 to 2:30."""
    found = calendar("10 2 * * *", "Australia/Lord_Howe")
    assert found.next_after(moment("2026-10-03T12:00:00Z")) == moment("2026-10-03T15:30:00Z")


def test_a_whole_day_that_a_zone_left_out_is_a_gap() -> None:
    """Samoa had no 30 December 2011; what was due then is due when the 31st begins."""
    fixed = calendar("0 9 * * *", "Pacific/Apia")
    assert times(fixed, "2011-12-28T20:00:00Z", "2011-12-31T10:00:00Z") == ["12-29T19:00", "12-30T10:00", "12-30T19:00"]
    skipping = calendar("0 9 * * *", "Pacific/Apia", Gap.SKIP)
    assert times(skipping, "2011-12-28T20:00:00Z", "2011-12-31T10:00:00Z") == ["12-29T19:00", "12-30T19:00"]


def test_both_passes_of_an_hour_around_midnight_are_in_the_order_of_time() -> None:
    """St. John's went from 0:01 back to 23:01 in 2010: midnight came before the second 23:30."""
    found = calendar("0,30 0,23 * * *", "America/St_Johns", repeat=Repeat.BOTH)
    expected = ["11-07T01:30", "11-07T02:00", "11-07T02:30", "11-07T03:00", "11-07T03:30", "11-07T04:00"]
    assert times(found, "2010-11-07T01:00:00Z", "2010-11-07T04:30:00Z") == expected


@settings(max_examples=40)
@given(st.sampled_from(CRONS), st.sampled_from(ZONES), st.sampled_from(Gap), st.sampled_from(Repeat), YEAR_2026)
def test_occurrences_increase_and_do_not_depend_on_where_one_starts(
    cron: str, zone: str, gap: Gap, repeat: Repeat, start: datetime
) -> None:
    found = calendar(cron, zone, gap, repeat)
    series = list(islice(found.after(start), 6))
    assert series == sorted(set(series))
    assert all(nominal > start and nominal.tzinfo is UTC for nominal in series)
    assert [found.next_after(nominal) for nominal in series[:-1]] == series[1:]


# ---- looking back


@settings(max_examples=40)
@given(st.sampled_from(CRONS), st.sampled_from(ZONES), YEAR_2026, YEAR_2026, st.integers(1, 5))
def test_the_last_ones_are_the_end_of_all_between(cron: str, zone: str, one: datetime, other: datetime, count: int) -> None:
    after, upto = min(one, other), min(max(one, other), min(one, other) + timedelta(days=1))
    found = calendar(cron, zone)
    assert found.last(count, after, upto) == list(found.between(after, upto))[-count:]


def test_looking_back_over_years_of_missed_minutes_finds_the_last_at_once() -> None:
    """A list of them all would have five million members; the test's own time limit is the proof."""
    found = calendar("* * * * *")
    assert found.last(1, moment("2016-01-01T00:00:00Z"), moment("2026-01-01T00:00:30Z")) == [moment("2026-01-01T00:00:00Z")]


def test_a_calendar_ends_where_that_of_the_machine_does() -> None:
    assert calendar("0 0 * * *").next_after(datetime(9999, 12, 31, tzinfo=UTC)) is None


# ---- spread


def test_a_spread_start_is_always_the_same_and_differs_between_triggers() -> None:
    found = Calendar(parse("0 3 * * *"), spread=read_spread("30 minutes"))
    nominal = moment("2026-03-01T03:00:00Z")
    one = found.occurrence("one", nominal)
    assert one == found.occurrence("one", nominal)
    assert one.nominal == nominal
    assert len({found.occurrence(f"trigger-{number}", nominal).starts_at for number in range(50)}) == 50


def test_spread_starts_cover_the_window_evenly_and_never_leave_it() -> None:
    found = Calendar(parse("0 3 * * *"), spread=read_spread("30 minutes"))
    nominal = moment("2026-03-01T03:00:00Z")
    late = [found.occurrence(f"trigger-{number}", nominal).starts_at - nominal for number in range(300)]
    assert timedelta(0) <= min(late) < timedelta(minutes=1)
    assert timedelta(minutes=29) < max(late) < timedelta(minutes=30)
    assert timedelta(minutes=14) < sorted(late)[150] < timedelta(minutes=16, seconds=30)


@settings(max_examples=40)
@given(st.sampled_from(CRONS), st.sampled_from(["1 hour", "10 days", "100%", "50%"]), st.sampled_from(ZONES), YEAR_2026)
def test_a_spread_start_comes_before_the_next_occurrence(cron: str, spread: str, zone: str, start: datetime) -> None:
    found = Calendar(parse(cron), ZoneInfo(zone), spread=read_spread(spread))
    nominal, following = islice(found.after(start), 2)
    assert nominal <= found.occurrence("nightly", nominal).starts_at < following


def test_a_spread_is_a_duration_or_a_share() -> None:
    assert read_spread("30 minutes") == Spread(window=timedelta(minutes=30))
    assert read_spread("50%") == Spread(share=0.5)
    for share in ("0%", "101%"):
        with pytest.raises(ValueError, match="at most 100%"):
            read_spread(share)
    for wrong in ("half", "5 %%", "", True, None):
        with pytest.raises(ValueError, match='neither a duration such as "30 minutes" nor a share such as "50%"'):
            read_spread(wrong)


# ---- zones


@pytest.mark.parametrize("name", ["", "EST", "Europe", "Europe/Atlantis", "+02:00", "../etc/passwd", "/etc/localtime", "utc"])
def test_only_iana_names_are_time_zones(name: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone"):
        check_timezone(name)


@pytest.mark.parametrize(
    ("name", "near"), [("Europe/Berln", "Europe/Berlin"), ("america/new york", "America/New_York"), ("Kolkata", "Asia/Kolkata")]
)
def test_a_time_zone_that_is_nearly_right_is_named(name: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean {near}"):
        check_timezone(name)


def test_time_zone_is_looked_up_by_its_name() -> None:
    assert check_timezone("America/Argentina/Buenos_Aires").key == "America/Argentina/Buenos_Aires"
