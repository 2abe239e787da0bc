"""The calendar against cronsim, another author's reading of Debian's cron: `python -m tests.triggers.cron_oracle [--years 30]`.

Both tell all occurrences of an expression in a zone; every difference must be explained by one of the rules named in `RULES`. Prints the
report as JSON; the exit status is 1 when something is left unexplained. `make soak` runs it over thirty years.
"""

from __future__ import annotations

import argparse
import json
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from triggers._calendar import Calendar, Gap, Repeat
from triggers._expression import Pattern, parse

FIRST = datetime(2000, 1, 1, tzinfo=UTC)  # the years in which zones did the strangest things are known; those to come follow rules
EXPRESSIONS = (
    "*/30 * * * *",
    "7 * * * *",
    "0 */2 * * *",
    "*/20 1-3 * * *",
    "15 */3 * * MON-FRI",
    "30 2 * * *",
    "30 1 * * *",
    "0 0 * * *",
    "59 23 * * *",
    "30 23 * * *",
    "15 0,1,2,3,23 * * *",
    "5,35 0-3 * * *",
    "0 3 * * MON-FRI",
    "0 4 * * 7",
    "0 2 * 3,4,9,10,11 *",
    "0 0 L * *",
    "10 1 LW * *",
    "0 9 * * MON#2",
    "30 0 * * 5L",
    "0 12 29 2 *",
    "45 0 1 */3 *",
    "0 0 13 * FRI",
    "0 1 1,15 * SUN",
    "20 1 */2 * 1",
    "0 0 */10 * SAT,SUN",
    "0 30 2 * * *",
    "*/30 15 1 * * SUN",
)
ZONES = (
    "UTC",
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Pacific/Apia",
    "Pacific/Auckland",
    "Pacific/Chatham",
)
STAR, SECONDS, WHOLE_HOURS, CIRCLE = "star", "seconds", "whole hours", "circle"
RULES = {
    STAR: "Debian's cron wants both days to fit where one begins with a star (`*/2`); here either is enough unless both are asked for",
    SECONDS: "cronsim lets every expression with seconds follow elapsed time; here a fixed time stays one when it has seconds",
    WHOLE_HOURS: "in elapsed time cronsim goes by whole hours: after a change at midnight, within an hour or by half of it, some are lost",
    CIRCLE: "in elapsed time cronsim never gets beyond a midnight that comes twice; it is asked again three hours later",
}
_AWAY = timedelta(hours=3)
_SHOWN = 5


@dataclass(slots=True)
class Report:
    """What a comparison has found."""

    compared: int = 0
    explained: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)


def compare(cron: str, zone: str, start: datetime, end: datetime, report: Report) -> None:
    """Compare all occurrences after one moment and not after another."""
    fields = cron.split()
    times = parse(cron, seconds=len(fields) == 6)
    assert isinstance(times, Pattern)
    calendar = Calendar(times, ZoneInfo(zone))
    ours, (theirs, lost) = set(calendar.between(start, end)), cronsim(cron, zone, start, end)
    report.compared += len(ours | theirs)
    untold = {moment for moment in ours for since, until in lost if since < moment <= until}
    report.explained[CIRCLE] += len(untold)
    ours -= untold
    for rule, reading in _readings(calendar, fields):
        if ours != theirs:
            other = set(reading.between(start, end))
            report.explained[rule] += len((ours ^ theirs) - (other ^ theirs))
            ours = other
    for moment in sorted(ours ^ theirs):
        if moment in ours and (times.elapsed or len(fields) == 6) and _stepped_over(ZoneInfo(zone), moment):
            report.explained[WHOLE_HOURS] += 1
        else:
            side = "here" if moment in ours else "cronsim"
            report.unexplained.append(f"{cron} in {zone}: {moment.isoformat()} only {side}")


def cronsim(cron: str, zone: str, start: datetime, end: datetime) -> tuple[set[datetime], list[tuple[datetime, datetime]]]:
    """Return the occurrences that cronsim finds, and the spans of which it tells nothing, because it goes in circles."""
    found: set[datetime] = set()
    lost: list[tuple[datetime, datetime]] = []
    while start < end:
        last = start
        for each in CronSim(cron, start.astimezone(ZoneInfo(zone))):
            moment = each.astimezone(UTC)
            if moment > end:
                return found, lost
            if moment <= last:
                break
            found.add(moment)
            last = moment
        else:
            return found, lost
        start = last + _AWAY
        lost.append((last, start))
    return found, lost


def _readings(calendar: Calendar, fields: list[str]) -> Iterator[tuple[str, Calendar]]:
    """Iterate over our calendar in cronsim's reading, rule by rule."""
    day, weekday = fields[-3], fields[-1]
    assert isinstance(calendar.times, Pattern)
    if day != "*" and weekday != "*" and (day.startswith("*") or weekday.startswith("*")):
        calendar = replace(calendar, times=replace(calendar.times, both=True))
        yield STAR, calendar
    if len(fields) == 6:
        yield SECONDS, replace(calendar, gap=Gap.SKIP, repeat=Repeat.BOTH)


def _stepped_over(zone: ZoneInfo, moment: datetime) -> bool:
    """Whether the clock was changed not long before: by a part of an hour, at midnight, or at a time that is no full hour."""
    seconds = range(int(_AWAY.total_seconds()))
    after = bisect_left(
        seconds, True, key=lambda second: _offset(zone, moment - _AWAY + timedelta(seconds=second)) == _offset(zone, moment)
    )
    change = moment - _AWAY + timedelta(seconds=after)
    if after == 0:
        return False
    before = _offset(zone, change - timedelta(seconds=1))
    wall = change + before
    return bool((_offset(zone, moment) - before) % timedelta(hours=1)) or wall.hour == 0 or wall.minute > 0


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def main() -> int:
    """Compare every expression in every zone as the command line says."""
    parser = argparse.ArgumentParser("python -m tests.triggers.cron_oracle", description="Compare the calendar with cronsim.")
    parser.add_argument("--years", type=int, default=30, help="how many, from 2000 on (default: %(default)s)")
    order = parser.parse_args()
    report = Report()
    for cron in EXPRESSIONS:
        for zone in ZONES:
            compare(cron, zone, FIRST, FIRST.replace(year=FIRST.year + order.years), report)
        print(f"{cron}: {report.compared:,} compared, {len(report.unexplained)} unexplained", file=sys.stderr, flush=True)
    print(
        json.dumps(
            {
                "expressions": len(EXPRESSIONS),
                "zones": len(ZONES),
                "years": order.years,
                "compared": report.compared,
                "explained": {RULES[rule]: count for rule, count in report.explained.items()},
                "unexplained": len(report.unexplained),
                "examples": report.unexplained[:_SHOWN],
            },
            indent=2,
        )
    )
    return 1 if report.unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
