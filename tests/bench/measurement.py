"""One measurement: the figures of one workload in one process of its own, and how they are taken.

CPU time is that of the whole process with all its threads, memory the most that it ever had. Nothing here knows what is measured.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

STARTERS = 1000  # callers at once: as many as the engine has slots, so that neither waits for the other at the start
WARM_UP = 50  # instances before the clock starts: first imports, prepared statements, first pages of the file
WARM_UP_S = 0.2  # of requests, for the same reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much to measure: `n` instances, or `seconds` of requests; on how many nodes where there may be several."""

    n: int
    seconds: float
    nodes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The figures of one run. Times of single instances are None where many run at once: they would only tell of the queue."""

    n: int
    per_s: float
    cpu_s: float
    rss_mb: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    facts: dict[str, float] = field(default_factory=dict)  # what only this workload has, with the unit in the name


class Span:
    """What a stretch of the program took, once it is over."""

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.cpu_s = 0.0

    def measurement(self, n: int, times_s: Sequence[float] = (), *, facts: Mapping[str, float] | None = None) -> Measurement:
        """Return the figures for `n` instances, with the times of each where they are known."""
        return Measurement(
            n=n,
            per_s=n / self.wall_s,
            cpu_s=self.cpu_s,
            rss_mb=peak_rss_mb(),
            p50_ms=percentile(times_s, 50) * 1000 if times_s else None,
            p99_ms=percentile(times_s, 99) * 1000 if times_s else None,
            facts=dict(facts or {}),
        )


@contextmanager
def metered() -> Iterator[Span]:
    """Measure the time and the CPU time of the body."""
    span = Span()
    cpu, wall = time.process_time(), time.perf_counter()
    yield span
    span.wall_s, span.cpu_s = time.perf_counter() - wall, time.process_time() - cpu


async def each(n: int, call: Callable[[int], Awaitable[object]], *, at_once: int) -> None:
    """Call with every number below `n`, so many at once."""
    numbers = iter(range(n))

    async def caller() -> None:
        for number in numbers:
            await call(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, n)):
            group.create_task(caller())


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that `percent` of the values do not exceed."""
    if len(values) < 2:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def peak_rss_mb() -> float:
    """Return the most memory that this process has had."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would also count the parent, in whose memory the process began
        kib = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(kib) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024) if sys.platform == "darwin" else peak / 1024
