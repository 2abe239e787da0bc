"""Cron expressions as text: what is read, what is refused with which words, and what an expression is called in a sentence."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers._expression import Interval, Pattern, parse
from triggers._words import sentence


def pattern(cron: str, *, seconds: bool = False, both: bool = False) -> Pattern:
    times = parse(cron, seconds=seconds, both=both)
    assert isinstance(times, Pattern)
    return times


def dates(cron: str, first: str, count: int, *, both: bool = False) -> list[str]:
    return [day.isoformat() for day in islice(pattern(cron, both=both).dates(date.fromisoformat(first)), count)]


# ---- what is read


@pytest.mark.parametrize(
    ("cron", "minutes", "hours"),
    [
        ("5 4 * * *", [5], [4]),
        ("0,30 8-10 * * *", [0, 30], [8, 9, 10]),
        ("*/20 */8 * * *", [0, 20, 40], [0, 8, 16]),
        ("10-50/15 22-23 * * *", [10, 25, 40], [22, 23]),
        ("50/5 0 * * *", [50, 55], [0]),
        ("59/15 0 * * *", [59], [0]),
        ("7-7 5-5 * * *", [7], [5]),
        ("@hourly", [0], list(range(24))),
        ("@midnight", [0], [0]),
    ],
)
def test_times_of_the_day_are_read(cron: str, minutes: list[int], hours: list[int]) -> None:
    times = pattern(cron)
    assert (list(times.minutes), list(times.hours), times.seconds) == (minutes, hours, (0,))


def test_seconds_stand_first_when_they_are_declared() -> None:
    times = pattern("*/10 30 7 * * *", seconds=True)
    assert (times.seconds, times.minutes, times.hours) == ((0, 10, 20, 30, 40, 50), (30,), (7,))


@pytest.mark.parametrize(
    ("cron", "first", "expected"),
    [
        ("@yearly", "2026-03-01", ["2027-01-01", "2028-01-01"]),
        ("@annually", "2026-03-01", ["2027-01-01"]),
        ("@monthly", "2026-03-02", ["2026-04-01", "2026-05-01"]),
        ("@weekly", "2026-03-02", ["2026-03-08", "2026-03-15"]),
        ("@daily", "2026-03-02", ["2026-03-02", "2026-03-03"]),
        ("0 0 * * 7", "2026-03-02", ["2026-03-08"]),
        ("0 0 * * sun", "2026-03-02", ["2026-03-08"]),
        ("0 0 * * FRI-SUN", "2026-03-02", ["2026-03-06", "2026-03-07", "2026-03-08", "2026-03-13"]),
        ("0 0 * * 5-7", "2026-03-02", ["2026-03-06", "2026-03-07", "2026-03-08", "2026-03-13"]),
        ("0 0 * * MON-MON", "2026-03-02", ["2026-03-02", "2026-03-09"]),
        ("0 0 1 jan-jan *", "2026-03-02", ["2027-01-01", "2028-01-01"]),
        ("0 0 ? * 1", "2026-03-02", ["2026-03-02", "2026-03-09"]),
        ("0 0 L * *", "2028-02-10", ["2028-02-29", "2028-03-31", "2028-04-30"]),
        ("0 0 1,L * *", "2026-02-10", ["2026-02-28", "2026-03-01", "2026-03-31"]),
        ("0 0 15W * *", "2026-02-01", ["2026-02-16", "2026-03-16", "2026-04-15"]),
        ("0 0 1W * *", "2026-08-01", ["2026-08-03", "2026-09-01"]),
        ("0 0 1W,15W,20 * *", "2026-08-01", ["2026-08-03", "2026-08-14", "2026-08-20", "2026-09-01"]),
        ("0 0 LW * *", "2026-01-01", ["2026-01-30", "2026-02-27", "2026-03-31"]),
        ("0 0 * * MON#2", "2026-03-01", ["2026-03-09", "2026-04-13"]),
        ("0 0 * * 2#1,4#3", "2026-03-01", ["2026-03-03", "2026-03-19", "2026-04-07"]),
        ("0 0 * * 1,TUE#2", "2026-03-01", ["2026-03-02", "2026-03-09", "2026-03-10", "2026-03-16"]),
        ("0 0 * * FRI#5", "2026-03-01", ["2026-05-29", "2026-07-31"]),
        ("0 0 * * 5L", "2026-03-01", ["2026-03-27", "2026-04-24"]),
        ("0 0 29 2 *", "2026-03-01", ["2028-02-29", "2032-02-29"]),
        ("0 0 31 * *", "2026-03-01", ["2026-03-31", "2026-05-31", "2026-07-31"]),
    ],
)
def test_dates_are_read(cron: str, first: str, expected: list[str]) -> None:
    assert dates(cron, first, len(expected)) == expected


@pytest.mark.parametrize(
    ("cron", "first", "either", "both"),
    [
        ("0 0 13 * FRI", "2026-03-01", ["2026-03-06", "2026-03-13", "2026-03-20"], ["2026-03-13", "2026-11-13", "2027-08-13"]),
        ("0 0 1 * MON#2", "2026-03-01", ["2026-03-01", "2026-03-09", "2026-04-01"], None),
        ("0 0 15W * 5L", "2026-03-01", ["2026-03-16", "2026-03-27", "2026-04-15"], None),
        ("0 0 1-7 * MON", "2026-03-03", ["2026-03-03", "2026-03-04", "2026-03-05"], ["2026-04-06", "2026-05-04", "2026-06-01"]),
        ("0 0 */2 * 1", "2026-11-01", ["2026-11-01", "2026-11-02", "2026-11-03"], ["2026-11-09", "2026-11-23", "2026-12-07"]),
        ("0 0 31 2 1", "2026-01-01", ["2026-02-02", "2026-02-09", "2026-02-16"], None),
    ],
)
def test_where_both_days_are_given_either_is_enough_unless_both_are_asked_for(
    cron: str, first: str, either: list[str], both: list[str] | None
) -> None:
    assert dates(cron, first, 3) == either
    if both is not None:
        assert dates(cron, first, 3, both=True) == both
    else:
        with pytest.raises(ValueError, match="never occurs"):
            parse(cron, both=True)


@pytest.mark.parametrize(
    ("cron", "elapsed"),
    [
        ("* * * * *", True),
        ("*/5 3 * * *", True),
        ("0 * * * *", True),
        ("0 */2 * * *", True),
        ("5,*/20 3 * * *", True),
        ("30 2 * * *", False),
        ("0-59/5 0-23 * * *", False),
        ("30 2 */2 */3 *", False),
        ("@hourly", True),
        ("@daily", False),
    ],
)
def test_a_star_in_hour_or_minute_makes_a_job_of_elapsed_time(cron: str, elapsed: bool) -> None:
    assert pattern(cron).elapsed is elapsed


@pytest.mark.parametrize(
    ("cron", "interval"),
    [
        ("@every 15m", timedelta(minutes=15)),
        ("@every 1h30m", timedelta(minutes=90)),
        ("@every 2 hours", timedelta(hours=2)),
        ("@EVERY 90 seconds", timedelta(seconds=90)),
        ("@every 1w", timedelta(days=7)),
    ],
)
def test_an_interval_is_read(cron: str, interval: timedelta) -> None:
    assert parse(cron) == Interval(interval=interval)


def test_an_interval_has_a_phase() -> None:
    assert parse("@every 1h", phase=timedelta(minutes=5)) == Interval(interval=timedelta(hours=1), phase=timedelta(minutes=5))


# ---- a plain reading of the day fields, as a second opinion


FIELDS = st.sampled_from(["*", "1", "13", "29", "31", "L", "15W", "1W", "LW", "1-7", "*/10", "2,20,L", "30,31"])
MONTHS = st.sampled_from(["*", "2", "4,6", "1-3", "*/5", "FEB,DEC"])
WEEKDAYS = st.sampled_from(["*", "MON", "0", "7", "1-5", "SAT,SUN", "MON#1", "FRI#5", "5L", "0L", "2,3#4"])


def fits_month_day(field: str, day: date) -> bool:
    last = monthrange(day.year, day.month)[1]
    working = [number for number in range(1, last + 1) if day.replace(day=number).weekday() < 5]
    for item in field.split(","):
        if item == "L" and day.day == last:
            return True
        if item.endswith("W"):
            wanted = last if item == "LW" else int(item[:-1])
            if day.day == min(working, key=lambda number: abs(number - wanted)):
                return True
        elif item != "L" and day.day in values(item, 1, 31):
            return True
    return False


def fits_weekday(field: str, day: date) -> bool:
    names = {"SUN": 0, "MON": 1, "SAT": 6, "FRI": 5}
    for item in field.split(","):
        name, _, number = item.partition("#")
        last = name.endswith("L")
        wanted = values(str(names.get(name, name)).removesuffix("L"), 0, 6)
        if (day.isoweekday() % 7) not in {value % 7 for value in wanted}:
            continue
        if number and (day.day + 6) // 7 != int(number):
            continue
        if last and (day + timedelta(days=7)).month == day.month:
            continue
        return True
    return False


def values(item: str, low: int, high: int) -> range:
    span, _, step = item.partition("/")
    first, _, last = span.partition("-")
    if span == "*":
        return range(low, high + 1, int(step or 1))
    return range(int(first), int(last or first) + 1, int(step or 1))


def fits(day_field: str, months: str, weekday_field: str, day: date, *, both: bool) -> bool:
    known = {"FEB": 2, "DEC": 12}
    if not any(day.month in values(str(known.get(item, item)), 1, 12) for item in months.split(",")):
        return False
    one, other = fits_month_day(day_field, day), fits_weekday(weekday_field, day)
    limited = day_field != "*" and weekday_field != "*"
    return (one or other) if limited and not both else (one and other)


@settings(max_examples=60)
@given(FIELDS, MONTHS, WEEKDAYS, st.booleans(), st.integers(0, 4000))
def test_dates_are_those_that_a_plain_reading_of_the_fields_gives(
    day_field: str, months: str, weekday_field: str, both: bool, start: int
) -> None:
    cron, first = f"0 0 {day_field} {months} {weekday_field}", date(2024, 1, 1) + timedelta(days=start)
    every = [first + timedelta(days=number) for number in range(500)]
    expected = [day for day in every if fits(day_field, months, weekday_field, day, both=both)]
    try:
        times = pattern(cron, both=both)
    except ValueError:
        assert expected == []
        return
    found: list[date] = []
    for day in times.dates(first):
        if day > every[-1]:
            break
        found.append(day)
    assert found == expected


# ---- what is refused


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("", "'' has 0 fields"),
        ("* * * *", "4 fields"),
        ("* * * * * *", r"6 fields; a cron expression has 5: minute, .*needs `seconds = true` in a \[\[triggers\]\] table"),
        ("TZ=Europe/Berlin 0 3 * * *", r"the zone stands in a key of its own, `timezone`, of a \[\[triggers\]\] table"),
        ("CRON_TZ=UTC @daily", "the zone stands in a key of its own"),
        ("* * * * * * *", "7 fields"),
        ("hourly", "1 field; a cron"),
        ("@reboot", "'@reboot' is not known; there are @yearly"),
        ("@every", "write a duration with its unit"),
        ("@every 15", "write a duration with its unit"),
        ("@every 15 parsecs", 'unknown unit "parsecs"'),
        ("@every 0s", "1 second at least"),
        ("@every 500 ms", "1 second at least"),
        ("@every 3 years", "366 days at most"),
        ("61 * * * *", "the minute '61' is not valid: '61' is not from 0 to 59"),
        ("* 24 * * *", "the hour '24'"),
        ("* * 32 * *", "the day of the month '32'"),
        ("* * 0 * *", "the day of the month '0'"),
        ("* * * 13 *", "the month '13' is not valid: '13' is not from 1 to 12 or a name such as FEB"),
        ("* * * 0 *", "the month '0'"),
        ("* * * * 8", "the day of the week '8'"),
        ("* * * * XYZ", "the day of the week 'XYZ'"),
        ("* * * * MONDAY", "the day of the week 'MONDAY'"),
        ("*/0 * * * *", r"the minute '\*/0' is not valid: a step of 0"),
        ("*/90 * * * *", "a step of 90 does not fit into it; for an interval write @every"),
        ("1,,2 * * * *", "the minute '1,,2'"),
        ("-1 * * * *", "the minute '-1'"),
        ("50-10 * * * *", "the minute '50-10' is not valid: the range '50-10' runs backwards; write it as two ranges"),
        ("* 22-4 * * *", "the hour '22-4' .*runs backwards"),
        ("* * * NOV-FEB *", "the month 'NOV-FEB' .*runs backwards"),
        ("* * * * SAT-MON", "the day of the week 'SAT-MON' .*runs backwards"),
        ("R * * * *", "the minute 'R' is not valid: R stands for a time that nobody can foretell"),
        ("* H(0-5) * * *", r"the hour 'H\(0-5\)'"),
        ("H/5 * * * *", "the minute 'H/5'"),
        ("٣ * * * *", "the minute '٣'"),
        ("1_0 * * * *", "the minute '1_0'"),
        ("* * 5L * *", "the day of the month '5L'"),
        ("* * L-3 * *", "the day of the month 'L-3'"),
        ("* * 32W * *", "the day of the month '32W'"),
        ("* * W * *", "the day of the month 'W'"),
        ("* * 1-5W * *", "the day of the month '1-5W'"),
        ("* * * * L", "the day of the week 'L'"),
        ("* * * * 1#6", "the day of the week '1#6' is not valid: after # stands which one of the month, 1 to 5"),
        ("* * * * 1#", "the day of the week '1#'"),
        ("* * * * 9#1", "the day of the week '9#1'"),
        ("0 0 30 2 *", "never occurs: no date in 50 years fits the day of the month '30' and the month '2'"),
        ("0 0 31 4,6,9,11 *", "never occurs"),
        (" ".join(["0"] * 4 + [",".join(["1"] * 200)]), "longer than 256"),
    ],
)
def test_wrong_expression_is_refused_and_the_fault_is_named(cron: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(cron)


def test_a_phase_belongs_to_an_interval_and_lies_within_it() -> None:
    with pytest.raises(ValueError, match="has no phase; only @every has one"):
        parse("0 * * * *", phase=timedelta(minutes=1))
    with pytest.raises(ValueError, match="the phase is as long as the interval"):
        parse("@every 15m", phase=timedelta(minutes=15))


# ---- in words


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("* * * * *", "Every minute, UTC"),
        ("*/5 * * * *", "Every 5 minutes, UTC"),
        ("*/7 8-18 * * *", "At minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 from 08:00 to 18:59, UTC"),
        ("7 * * * *", "At minute 7 of every hour, UTC"),
        ("* 3 * * *", "Every minute from 03:00 to 03:59, UTC"),
        ("* 1,2,5 * * *", "Every minute of the hours 1, 2 and 5, UTC"),
        ("0 */2 * * *", "Every 2 hours from midnight, UTC"),
        ("30 */3 * * *", "At minute 30 of every 3rd hour from midnight, UTC"),
        ("0 8-18 * * MON,WED", "Every hour from 08:00 to 18:00 on Monday and Wednesday, UTC"),
        ("0 1-4,6,8,20 * * *", "At minute 0 of the hours 1 to 4, 6, 8 and 20, UTC"),
        ("30 7 * * MON-FRI", "At 07:30 from Monday to Friday, UTC"),
        ("15 1,2,3 * * *", "At 01:15, 02:15 and 03:15 every day, UTC"),
        ("0 0 13 * FRI", "At 00:00 on day 13 of the month or on Friday, UTC"),
        ("0 0 1,15 * 1-5", "At 00:00 on days 1 and 15 of the month or from Monday to Friday, UTC"),
        ("0 0 L * *", "At 00:00 on the last day of the month, UTC"),
        ("0 0 1,L 3 *", "At 00:00 on day 1 and the last day of the month in March, UTC"),
        ("0 0 15W * *", "At 00:00 on the working day (Monday to Friday) nearest to day 15 of the month, UTC"),
        ("0 0 LW * *", "At 00:00 on the last working day of the month, UTC"),
        ("0 9 * * MON#2", "At 09:00 on the second Monday of the month, UTC"),
        ("0 9 * * 1,2#3", "At 09:00 on Monday and the third Tuesday of the month, UTC"),
        ("0 9 * * 5L", "At 09:00 on the last Friday of the month, UTC"),
        ("0 9 * * 6,7", "At 09:00 on Saturday and Sunday, UTC"),
        ("5 4 29 2 *", "At 04:05 on day 29 of the month in February, UTC"),
        ("0 0 * APR-OCT *", "At 00:00 every day from April to October, UTC"),
        ("59/15 0 * JAN,MAY *", "At 00:59 every day in January and May, UTC"),
        ("@yearly", "At 00:00 on day 1 of the month in January, UTC"),
        ("@hourly", "Every hour, UTC"),
        ("@every 1h", "Every hour"),
        ("@every 90m", "Every 1 hour 30 minutes"),
    ],
)
def test_a_schedule_is_said_in_words(cron: str, words: str) -> None:
    assert sentence(parse(cron), "UTC") == words


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("*/10 * * * * *", "Every 10 seconds, Europe/Berlin time"),
        ("0 30 7 * * *", "At 07:30 every day, Europe/Berlin time"),
        ("15 30 7 * * *", "At 07:30:15 every day, Europe/Berlin time"),
        ("5 */5 * * * *", "At second 5, every 5 minutes, Europe/Berlin time"),
        ("* 5 8-10 * * MON", "Every second of minute 5 from 08:00 to 10:59 on Monday, Europe/Berlin time"),
    ],
)
def test_a_schedule_with_seconds_is_said_in_words(cron: str, words: str) -> None:
    assert sentence(parse(cron, seconds=True), "Europe/Berlin") == words


def test_a_schedule_on_days_that_must_fit_twice_is_said_in_words() -> None:
    assert sentence(parse("0 0 1-7 * MON", both=True), "UTC") == "At 00:00 on Monday, where that is days 1 to 7 of the month, UTC"
    shifted = parse("@every 1h", phase=timedelta(minutes=5))
    assert sentence(shifted, "UTC") == "Every hour, shifted by 5 minutes"
