"""The duration grammar: what is read, what is refused, and that writing and reading are inverse."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.duration import format_duration, parse_duration, parse_short


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (500, timedelta(milliseconds=500)),
        (0, timedelta()),
        (1.5, timedelta(microseconds=1500)),
        ("500", timedelta(milliseconds=500)),
        ("1e3", timedelta(seconds=1)),
        ("250 ms", timedelta(milliseconds=250)),
        ("1 millisecond", timedelta(milliseconds=1)),
        ("5 second", timedelta(seconds=5)),
        ("5 seconds", timedelta(seconds=5)),
        ("10  minutes", timedelta(minutes=10)),
        ("0.5 hour", timedelta(minutes=30)),
        ("1 day", timedelta(days=1)),
        ("2 weeks", timedelta(days=14)),
        ("1 month", timedelta(days=30)),
        ("1 year", timedelta(days=365, hours=6)),
        ("1 hour 30 minutes", timedelta(minutes=90)),
        ("1 day 1 hour 1 second", timedelta(days=1, hours=1, seconds=1)),
        (timedelta(days=3), timedelta(days=3)),
    ],
)
def test_accepted_forms(text: str | int | float | timedelta, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["2 mins", "1 Hour", "3 fortnights", "1 mss", "1 hour 2 mins"])
def test_unknown_unit_is_refused_with_the_list_of_units(text: str) -> None:
    with pytest.raises(ValueError, match="unknown unit .* known units: .*second, minute, hour, day, week, month, year"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", " ", "hour", "1hour", "1 hour ", " 1 hour", "1 hour and 2 minutes", "ten seconds", "٣ seconds"])
def test_only_the_grammar_is_read(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("value", [-1, -0.5, "-1 second", "5 seconds -1 second", timedelta(microseconds=-1)])
def test_negative_is_refused(value: str | int | float | timedelta) -> None:
    with pytest.raises(ValueError, match="negative"):
        parse_duration(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), "1e999", "1e999 years"])
def test_not_finite_is_refused(value: str | float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        parse_duration(value)


@pytest.mark.parametrize("value", ["1e30 years", "9" * 25, 10**400])
def test_more_than_a_calendar_holds_is_refused(value: str | int) -> None:
    with pytest.raises(ValueError, match="too long"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("30", timedelta(seconds=30)),
        ("500ms", timedelta(milliseconds=500)),
        (" 1.5 h ", timedelta(minutes=90)),
        ("5m", timedelta(minutes=5)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(weeks=2)),
        ("1 hour 30 minutes", timedelta(minutes=90)),
    ],
)
def test_a_short_form_is_read_and_a_plain_number_of_it_is_seconds(text: str, duration: timedelta) -> None:
    assert parse_short(text) == duration


@pytest.mark.parametrize("text", ["", "soon", "-1s", "5 M", "h", "1h30m", "999999999y"])
def test_what_is_no_short_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="^wait: "):
        parse_short(text, what="wait")


@pytest.mark.parametrize("value", [True, None, [1], object])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(value)  # type: ignore[arg-type]


def test_the_message_begins_with_what_was_read() -> None:
    with pytest.raises(ValueError, match=r"^retries\.delay: "):
        parse_duration("soon", what="retries.delay")


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(), "0 seconds"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(seconds=1.5), "1.5 seconds"),
        (timedelta(milliseconds=20), "20 milliseconds"),
        (timedelta(microseconds=1), "0.001 milliseconds"),
        (timedelta(minutes=90), "1 hour 30 minutes"),
        (timedelta(days=365), "365 days"),
        (timedelta(hours=-1), "-1 hour"),
    ],
)
def test_written_form(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


@given(st.timedeltas(min_value=timedelta()))
def test_what_is_written_is_read_back_to_the_microsecond(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration
