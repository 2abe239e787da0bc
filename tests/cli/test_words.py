"""Dates, durations and the words of statuses."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from hub.cli.words import STATUSES, Viewer, duration
from hub.core.model import Status

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 seconds"),
        (0.4, "0 seconds"),
        (0.5, "1 second"),
        (59.9, "60 seconds"),
        (60, "1 minute"),
        (122.5, "2 minutes"),
        (3_600, "1 hour"),
        (95_400, "1 day"),
        (86_400 * 29, "29 days"),
        (86_400 * 30, "1 month"),
        (86_400 * 350, "1 year"),
        (86_400 * 365, "1 year"),
        (86_400 * 800, "2 years"),
        (-61, "1 minute"),
    ],
)
def test_a_duration_is_told_in_its_largest_unit(seconds: float, told: str) -> None:
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("2026-11-22T06:00:00.000Z", "11/22/2026, 6:00:00 AM"),
        ("2026-01-02T00:05:09.999Z", "1/2/2026, 12:05:09 AM"),
        ("2026-01-02T12:00:00Z", "1/2/2026, 12:00:00 PM"),
        ("2026-01-02T23:59:59Z", "1/2/2026, 11:59:59 PM"),
        (None, ""),
    ],
)
def test_a_moment_is_told_on_a_clock_of_twelve_hours(when: str | None, told: str) -> None:
    assert Viewer(now=NOON, zone=UTC).moment(when) == told


def test_a_moment_is_told_in_the_zone_of_the_viewer() -> None:
    berlin = Viewer(now=NOON, zone=ZoneInfo("Europe/Berlin"))

    assert berlin.moment("2026-07-01T22:30:00Z") == "7/2/2026, 12:30:00 AM"


def test_something_without_an_end_lasts_until_now() -> None:
    viewer = Viewer(now=NOON, zone=UTC)

    assert viewer.span("2026-11-22T09:00:00Z", None) == "3 hours"
    assert viewer.span("2026-11-22T09:00:00Z", "2026-11-22T09:01:00Z") == "1 minute"
    assert viewer.span(None, None) == ""


def test_every_status_that_the_engine_can_store_has_a_word() -> None:
    assert set(STATUSES) == {status.value for status in Status if status is not Status.UNKNOWN}
