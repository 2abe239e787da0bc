"""`n` sleeping instances: created, parked, and woken together; and how late 1,000 others wake meanwhile that are due one by one.

Rate of the row: instances created and asleep on disk a second. `parked_mb` is what the process has in hand when all are parked, not its
peak. The sleepers sleep for a day; then the engine is started again on a clock that is a day ahead, so all are due at once, and the clock
of the bench runs from that start until the last end is on disk. Between the two, 1,000 wakes are spread over half of `seconds`: how late is
measured in the program, from the moment it asked for. The size of the database is read when all are parked, without what 0 instances take.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from hub.core.clock import SystemClock
from tests.bench.engine import Node
from tests.bench.measurement import STARTERS, Measurement, Size, each, metered, peak_rss_mb, percentile
from tests.bench.programs import LATEST, Sleeper

_clock = SystemClock()
_DAY_S = 86_400.0
_SPREAD = LATEST
_AHEAD_S = 3.0  # the first of them is due so long after the first is created: longer than the creation of all takes
_LOOK_S = 0.25  # between two looks at the file
_AWAKE = """
SELECT EXISTS (SELECT 1 FROM instance WHERE ended_at IS NULL AND node IS NOT NULL)
OR EXISTS (SELECT 1 FROM instance WHERE ended_at IS NULL AND node IS NULL AND wake_at < ?)
"""  # two looks into an index: to count a million again and again would be the load


class _Tomorrow(SystemClock):
    """The system's clock, a day ahead."""

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=_DAY_S)


async def sleepers(folder: Path, size: Size) -> Measurement:
    """Put `n` instances to sleep and wake them."""
    file = folder / "hub.sqlite"
    url, until = f"sqlite:///{file}", time.time() + _DAY_S
    async with Node(url, program=Sleeper).running():
        empty_bytes = _bytes(file)
    async with Node(url, program=Sleeper).running() as node:
        with metered() as span:
            await each(size.n, lambda _: node.create_with({"until": until}), at_once=STARTERS)
            while not _all_asleep(file, until):
                await _clock.sleep(_LOOK_S)
        parked_mb = _rss_mb()
        bytes_each = (_bytes(file) - empty_bytes) / size.n - len(json.dumps({"until": until}))
        late_s = await _spread(node, size.seconds / 2)
    with metered() as waking:
        node = Node(url, program=Sleeper, clock=_Tomorrow())
        async with node.running():
            await node.ends.reach(size.n)
    _check(file, size.n + _SPREAD)
    facts = {
        "parked_mb": parked_mb,
        "woken_per_s": size.n / waking.wall_s,
        "late_p50_ms": percentile(late_s, 50) * 1000,
        "late_p99_ms": percentile(late_s, 99) * 1000,
        "bytes_each_beyond_payload": bytes_each,
        "woken_cpu_s": waking.cpu_s,
    }
    return Measurement(n=size.n, per_s=size.n / span.wall_s, cpu_s=span.cpu_s, rss_mb=peak_rss_mb(), facts=facts)


async def _spread(node: Node, seconds: float) -> list[float]:
    """Let 1,000 instances wake one after the other; how late each was."""
    first = time.time() + _AHEAD_S
    moments = [first + seconds * number / _SPREAD for number in range(_SPREAD)]
    await each(_SPREAD, lambda number: node.create_with({"until": moments[number]}), at_once=STARTERS)
    await node.ends.reach(_SPREAD)
    return list(node.stage.late_s)


def _all_asleep(file: Path, until: float) -> bool:
    """Return whether all that have been created are parked: no node has one, and none is due sooner."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        (awake,) = db.execute(_AWAKE, (int(until * 1_000_000),)).fetchone()
    return not awake


def _bytes(file: Path) -> int:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        (pages,), (page_bytes,) = db.execute("PRAGMA page_count").fetchone(), db.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(page_bytes)


def _rss_mb() -> float:
    """Return the memory in hand now; the peak where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return peak_rss_mb()
    return int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmRSS:"))) / 1024


def _check(file: Path, n: int) -> None:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        statuses = dict(db.execute("SELECT status, count(*) FROM instance GROUP BY status").fetchall())
        (slept,) = db.execute("SELECT count(*) FROM step WHERE kind = 'sleep' AND state = 'done'").fetchone()
    if statuses != {"complete": n} or slept != n:
        raise AssertionError(f"{file} has {statuses} and {slept} sleeps that are over; {n} instances were put to sleep")
