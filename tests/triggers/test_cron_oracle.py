"""A slice of the comparison with cronsim: seeded pairs of expression and zone over three years, and every zone over its clock changes."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest

from tests.triggers.cron_oracle import CIRCLE, EXPRESSIONS, FIRST, RULES, STAR, WHOLE_HOURS, ZONES, Report, compare
from triggers._calendar import Calendar
from triggers._expression import parse

PAIRS = 20
SEED = 20260301
CHANGES = (datetime(2011, 12, 30, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))


def test_seeded_pairs_of_expression_and_zone_agree_over_three_years() -> None:
    chosen = random.Random(SEED)
    report = Report()
    for cron, zone in chosen.sample([*product(EXPRESSIONS[3:], ZONES)], PAIRS):
        start = FIRST + timedelta(days=chosen.randrange(26 * 365))
        compare(cron, zone, start, start + timedelta(days=3 * 365), report)
    assert report.unexplained == []
    assert report.compared > 5_000


@pytest.mark.parametrize("zone", ZONES)
def test_every_expression_agrees_where_the_clock_is_changed(zone: str) -> None:
    report = Report()
    for cron, moment in product(EXPRESSIONS, CHANGES):
        for at in changes_of_clock(zone, moment, moment + timedelta(days=45)):
            compare(cron, zone, at - timedelta(hours=15), at + timedelta(hours=15), report)
    assert report.unexplained == []


def changes_of_clock(zone: str, start: datetime, end: datetime) -> list[datetime]:
    """Return the hours in which the zone's offset has become another."""
    hours = [start + timedelta(hours=number) for number in range(int((end - start) / timedelta(hours=1)))]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    return [hour for hour, before, after in zip(hours, offsets, offsets[1:], strict=False) if before != after]


@pytest.mark.parametrize(
    ("rule", "cron", "zone", "here"),
    [
        (STAR, "20 1 */2 * 1", "UTC", "2026-03-02T01:20:00+00:00"),  # a Monday with an even number
        (WHOLE_HOURS, "0 */2 * * *", "America/St_Johns", "2000-04-02T04:30:00+00:00"),  # 2:00, after 0:01 had become 1:01
        (CIRCLE, "0 */2 * * *", "America/St_Johns", "2000-10-29T03:30:00+00:00"),  # the second midnight, after 0:01 had become 23:01
        (WHOLE_HOURS, "0 */2 * * *", "Australia/Lord_Howe", "2026-04-04T15:30:00+00:00"),  # 2:00, half an hour after the second 1:30
        (WHOLE_HOURS, "*/15 1 * * SUN", "America/Havana", "2026-03-08T05:00:00+00:00"),  # 1:00, after the midnight that there was not
    ],
)
def test_a_rule_explains_what_only_this_calendar_has(rule: str, cron: str, zone: str, here: str) -> None:
    at = datetime.fromisoformat(here)
    report = Report()
    compare(cron, zone, at - timedelta(days=1), at, report)
    assert Calendar(parse(cron), ZoneInfo(zone)).next_after(at - timedelta(seconds=1)) == at
    assert (list(+report.explained), report.unexplained) == ([rule], []), RULES[rule]
