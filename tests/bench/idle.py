"""A hub that has nothing to do but keep `n` cron schedules, none of which is due while it is measured: percent of a core.

The whole hub, as `hub serve` runs it. The rate of the row says nothing here; the percentage is the figure.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from hub.core.clock import SystemClock
from tests.bench.apps import app_with
from tests.bench.measurement import Measurement, Size, metered, peak_rss_mb

_clock = SystemClock()
_TRIGGER = """
[[triggers]]
kind = "cron"
name = "night-{number}"
workflow = "three-steps"
cron = "{minute} {hour} 29 2 *"
"""


async def idle(folder: Path, size: Size) -> Measurement:
    """Idle with `n` schedules for `seconds`."""
    triggers = (_TRIGGER.format(number=number, minute=number % 60, hour=number // 60 % 24) for number in range(size.n))
    async with app_with(folder, "".join(triggers)):
        await _clock.sleep(size.seconds / 2)  # what is only done once is no idling
        with metered() as span:
            await _clock.sleep(size.seconds)
    with closing(sqlite3.connect(folder / "hub.sqlite")) as db:
        (instances,) = db.execute("SELECT count(*) FROM instance").fetchone()
        (schedules,) = db.execute("SELECT count(*) FROM trigger").fetchone()
    if (instances, schedules) != (0, size.n):
        raise AssertionError(f"{instances} instances of {schedules} schedules; it should have idled with {size.n}")
    facts = {"percent_of_a_core": 100 * span.cpu_s / span.wall_s}
    return Measurement(n=size.n, per_s=size.n / span.wall_s, cpu_s=span.cpu_s, rss_mb=peak_rss_mb(), facts=facts)
