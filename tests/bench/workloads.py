"""What the hub is measured with inside one process, on a file of SQLite: the engine as `hub serve` runs it (`tests.bench.engine`).

Three steps: all instances are started as fast as `Engine.create` takes them, by 1,000 callers that each go on when theirs is on disk; the
clock stops when the last end is on disk.
Latency: one instance at a time, from the call of `create` until its end is on disk.

After the run the file is read: instances that are not complete in it are an error, not a figure.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from tests.bench.engine import Node
from tests.bench.measurement import STARTERS, WARM_UP, Measurement, Size, each, metered
from tests.bench.project.three_steps import STEPS

STATUSES = "SELECT status, count(*) FROM instance GROUP BY status"
RESULTS = "SELECT count(*) FROM instance WHERE output IS NOT NULL AND ended_at IS NOT NULL"
DONE = "SELECT count(*) FROM step WHERE state = 'done' AND output IS NOT NULL"


async def three_step(folder: Path, size: Size) -> Measurement:
    """Start `n` instances at once and measure until all have ended."""
    file = folder / "hub.sqlite"
    async with Node(f"sqlite:///{file}").running() as node:
        await each(WARM_UP, node.run, at_once=1)
        with metered() as span:
            await each(size.n, node.create, at_once=STARTERS)
            await node.ends.reach(WARM_UP + size.n)
    check(file, WARM_UP + size.n)
    return span.measurement(size.n)


async def latency(folder: Path, size: Size) -> Measurement:
    """Run `n` instances one after the other and measure each."""
    file = folder / "hub.sqlite"
    measurement = await one_at_a_time(f"sqlite:///{file}", size.n)
    check(file, WARM_UP + size.n)
    return measurement


async def one_at_a_time(url: str, n: int) -> Measurement:
    """Run instances one after the other on a database, WARM_UP and then `n`, and measure each of these."""
    times: list[float] = []
    async with Node(url).running() as node:
        await each(WARM_UP, node.run, at_once=1)
        with metered() as span:
            for number in range(n):
                began = time.perf_counter()
                await node.run(number)
                times.append(time.perf_counter() - began)
    return span.measurement(n, times)


def check(file: Path, n: int) -> None:
    """Read what is on disk. Raises: AssertionError unless it is exactly `n` complete instances with all their steps."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        statuses = dict(db.execute(STATUSES).fetchall())
        (results,) = db.execute(RESULTS).fetchone()
        (steps,) = db.execute(DONE).fetchone()
    judge(str(file), statuses, results, steps, n)


def judge(place: str, statuses: Mapping[str, int], results: int, steps: int, n: int) -> None:
    """Compare what was read with what was asked for. Raises: AssertionError."""
    if statuses != {"complete": n} or results != n or steps != n * len(STEPS):
        raise AssertionError(f"{place} has {statuses} with {results} results and {steps} steps done; {n} instances were run")
