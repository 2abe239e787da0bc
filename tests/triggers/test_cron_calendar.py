"""Cron expressions on wall clocks: pure functions of two moments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from triggers.cron import Calendar, CronConfig, CronTrigger, check_cron, check_timezone, occurrence_id

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
]
YEAR_2026 = st.integers(0, 365 * 24 * 3600).map(lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("*/5 * * * *", "UTC", "2026-03-01T12:00:30Z", "2026-03-01T12:05:00Z"),
        ("*/5 * * * *", "UTC", "2026-03-01T12:05:00Z", "2026-03-01T12:10:00Z"),
        ("0 9 * * *", "Europe/Berlin", "2026-01-10T12:00:00Z", "2026-01-11T08:00:00Z"),
        ("0 9 * * *", "Europe/Berlin", "2026-07-10T12:00:00Z", "2026-07-11T07:00:00Z"),
        ("0 0 * * 1", "UTC", "2026-03-01T12:00:00Z", "2026-03-02T00:00:00Z"),
        ("0 0 * * 7", "UTC", "2026-03-01T12:00:00Z", "2026-03-08T00:00:00Z"),
        ("0 0 * * SUN", "UTC", "2026-03-01T12:00:00Z", "2026-03-08T00:00:00Z"),
        ("0 0 13 * FRI", "UTC", "2026-03-01T12:00:00Z", "2026-03-06T00:00:00Z"),
        ("0 0 L * *", "UTC", "2028-02-10T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 29 2 *", "UTC", "2026-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("30 23 31 12 *", "Asia/Kathmandu", "2026-03-01T00:00:00Z", "2026-12-31T17:45:00Z"),
    ],
)
def test_next_occurrence_is_read_on_the_wall_clock_of_the_zone(cron: str, zone: str, after: str, expected: str) -> None:
    assert Calendar(cron, ZoneInfo(zone)).next_after(moment(after)) == moment(expected)


def test_a_daily_job_keeps_its_wall_clock_time_across_both_clock_changes() -> None:
    nine = Calendar("0 9 * * *", ZoneInfo("America/New_York"))
    for start in ("2026-03-05T00:00:00Z", "2026-10-29T00:00:00Z"):
        days = list(islice(nine.after(moment(start)), 10))
        assert {day.astimezone(ZoneInfo("America/New_York")).strftime("%H:%M") for day in days} == {"09:00"}
        assert {later - earlier for earlier, later in pairwise(days)} >= {timedelta(days=1)}


def test_hourly_job_ticks_once_an_elapsed_hour_across_both_clock_changes() -> None:
    hourly = Calendar("0 * * * *", ZoneInfo("America/New_York"))
    for start in ("2026-03-08T00:00:00Z", "2026-11-01T00:00:00Z"):
        times = list(islice(hourly.after(moment(start)), 24))
        assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(hours=1)}


@settings(max_examples=60)
@given(st.sampled_from(CRONS), st.sampled_from(ZONES), YEAR_2026, YEAR_2026)
def test_last_between_is_the_last_of_all_occurrences_between(cron: str, zone: str, one: datetime, other: datetime) -> None:
    after, upto = min(one, other), min(max(one, other), min(one, other) + timedelta(days=1))
    calendar = Calendar(cron, ZoneInfo(zone))
    every = list(takewhile(lambda nominal: nominal <= upto, calendar.after(after)))
    assert calendar.last_between(after, upto) == (every[-1] if every else None)


@settings(max_examples=60)
@given(st.sampled_from(CRONS), st.sampled_from(ZONES), YEAR_2026)
def test_occurrences_increase_and_do_not_depend_on_where_one_starts(cron: str, zone: str, start: datetime) -> None:
    calendar = Calendar(cron, ZoneInfo(zone))
    times = list(islice(calendar.after(start), 6))
    assert times == sorted(set(times))
    assert all(time > start and time.tzinfo is UTC for time in times)
    assert [calendar.next_after(time) for time in times[:-1]] == times[1:]


def test_looking_back_over_years_of_missed_minutes_finds_the_last_at_once() -> None:
    """A list of them all would have five million members; the test's own time limit is the proof."""
    calendar = Calendar("* * * * *", ZoneInfo("UTC"))
    assert calendar.last_between(moment("2016-01-01T00:00:00Z"), moment("2026-01-01T00:00:30Z")) == moment("2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("cron", "word"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("* * * * * *", "6 fields"),
        ("@hourly", "1 field; a cron"),
        ("61 * * * *", "minute '61'"),
        ("* 24 * * *", "hour '24'"),
        ("* * 32 * *", "day of the month '32'"),
        ("* * 0 * *", "day of the month '0'"),
        ("* * * 13 *", "month '13'"),
        ("* * * * 8", "day of the week '8'"),
        ("* * * * XYZ", "day of the week 'XYZ'"),
        ("*/0 * * * *", "minute '\\*/0'"),
        ("1,,2 * * * *", "minute '1,,2'"),
        ("-1 * * * *", "minute '-1'"),
        ("R * * * *", "minute 'R'"),
        ("* H(0-5) * * *", r"hour 'H\(0-5\)'"),
        ("٣ * * * *", "minute"),
        ("0 0 30 2 *", "never occurs"),
        ("0 0 31 4,6,9,11 *", "never occurs"),
        (" ".join(["0"] * 4 + [",".join(["1"] * 200)]), "longer than 256"),
    ],
)
def test_wrong_expression_is_refused_when_the_project_loads_and_the_fault_is_named(cron: str, word: str) -> None:
    with pytest.raises(ValidationError, match=word) as caught:
        CronConfig(cron=cron)
    assert caught.value.errors()[0]["loc"] == ("cron",)


@pytest.mark.parametrize("cron", ["0 0 31 2 1", "*/15 8-18 * * mon-fri", "0 0 1 JAN *", "5,10 0 L * *", "0 0 15W * *", "0 0 * * 5#3"])
def test_expressions_that_occur_are_accepted(cron: str) -> None:
    assert check_cron(cron) == cron


def test_expression_is_kept_with_single_spaces() -> None:
    assert check_cron("  0\t9  * * * ") == "0 9 * * *"


@pytest.mark.parametrize("name", ["", "EST", "Europe", "Europe/Atlantis", "+02:00", "../etc/passwd", "/etc/localtime", "utc"])
def test_only_iana_names_are_time_zones(name: str) -> None:
    with pytest.raises(ValidationError, match="is not a time zone") as caught:
        CronConfig(cron="* * * * *", timezone=name)
    assert caught.value.errors()[0]["loc"] == ("timezone",)


def test_time_zone_is_looked_up_by_its_name() -> None:
    assert check_timezone("America/Argentina/Buenos_Aires").key == "America/Argentina/Buenos_Aires"


@pytest.mark.parametrize("payload", [{}, None, 1, "x", [1, {"a": None}]])
def test_any_json_value_is_a_payload(payload: Any) -> None:
    assert CronConfig(cron="* * * * *", payload=payload).payload == payload


def test_preview_lists_the_next_times() -> None:
    trigger = CronTrigger(CronConfig(cron="0 9 * * *", timezone="Europe/Berlin"))
    times = trigger.next_times(3, after=moment("2026-03-27T12:00:00Z"))
    assert [time.isoformat() for time in times] == ["2026-03-28T08:00:00+00:00", "2026-03-29T07:00:00+00:00", "2026-03-30T07:00:00+00:00"]


def test_instance_id_of_an_occurrence_is_the_expression_and_its_time() -> None:
    nominal = moment("2026-08-06T06:50:00Z")
    assert occurrence_id("*/30 * * * *", nominal) == "*/30 * * * *-1785999000000"
    assert occurrence_id("0 0 ? * 1", nominal, "-berlin@night") == "0 0 _ * 1-1785999000000-berlin_night"
