"""From single measurements to what is read: one row a workload, as JSON and in a table.

The ratio is taken within each repeat, against the yardstick that ran right beside it, and only then its median: a machine that is slow
for a minute is slow for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.measurement import Measurement

_COLUMNS = ("workload", "store", "nodes", "per s", "range", "ratio", "p50 ms", "p99 ms", "CPU ms each", "peak MB", "n", "yardstick per s")
_BUSY_CORES = 0.25  # others that use more than this make a figure doubtful; a server on the same machine is one of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A workload and its yardstick, if it has one, measured one after the other.

    `others_cores` is the CPU that other programs used meanwhile, a database server among them.
    """

    hub: Measurement
    yardstick: Measurement | None
    others_cores: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One workload over all its repeats: medians, and the range of the rate."""

    workload: str
    store: str
    nodes: int
    instances_per_s: float
    ratio_to_yardstick: float | None
    p50_ms: float | None
    p99_ms: float | None
    cpu_s: float
    rss_mb: float
    n: int
    lowest_per_s: float
    highest_per_s: float
    yardstick_per_s: float | None
    yardstick_p50_ms: float | None
    others_cores: float
    repeats: int
    facts: dict[str, float]


def summed_up(workload: str, store: str, nodes: int, repeats: Sequence[Repeat]) -> Row:
    """Return the row of a workload."""
    hub = [repeat.hub for repeat in repeats]
    yardsticks = [repeat.yardstick for repeat in repeats if repeat.yardstick is not None]
    rates = [one.per_s for one in hub]
    return Row(
        workload=workload,
        store=store,
        nodes=nodes,
        instances_per_s=round(median(rates), 1),
        ratio_to_yardstick=_median(repeat.hub.per_s / repeat.yardstick.per_s for repeat in repeats if repeat.yardstick is not None),
        p50_ms=_median(one.p50_ms for one in hub),
        p99_ms=_median(one.p99_ms for one in hub),
        cpu_s=round(median(one.cpu_s for one in hub), 3),
        rss_mb=round(median(one.rss_mb for one in hub), 1),
        n=round(median(one.n for one in hub)),
        lowest_per_s=round(min(rates), 1),
        highest_per_s=round(max(rates), 1),
        yardstick_per_s=_median((one.per_s for one in yardsticks), 1),
        yardstick_p50_ms=_median(one.p50_ms for one in yardsticks),
        others_cores=round(max(repeat.others_cores for repeat in repeats), 2),
        repeats=len(repeats),
        facts={name: round(median(one.facts[name] for one in hub), 3) for name in hub[0].facts},
    )


def _median(values: Iterable[float | None], digits: int = 3) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), digits) if known else None


def table(rows: Sequence[Row]) -> str:
    """Return the rows as people read them."""
    lines = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    text = "\n".join("  ".join(_aligned(cell, widths[n], left=n < 2) for n, cell in enumerate(line)) for line in lines)
    for row in rows:
        if row.facts:
            text += f"\n\n{row.workload}: " + ", ".join(f"{name} {value:,.10g}" for name, value in row.facts.items())
    busy = max(row.others_cores for row in rows)
    if busy > _BUSY_CORES:
        text += f"\n\nOther programs used up to {busy:.1f} cores meanwhile: measure again on a quiet machine."
    return text


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.workload,
        row.store,
        f"{row.nodes}",
        f"{row.instances_per_s:,.0f}",
        f"{row.lowest_per_s:,.0f} to {row.highest_per_s:,.0f}",
        "" if row.ratio_to_yardstick is None else f"{row.ratio_to_yardstick:.2f}",
        "" if row.p50_ms is None else f"{row.p50_ms:.2f}",
        "" if row.p99_ms is None else f"{row.p99_ms:.2f}",
        f"{1000 * row.cpu_s / row.n:.2f}",
        f"{row.rss_mb:.0f}",
        f"{row.n:,}",
        "" if row.yardstick_per_s is None else f"{row.yardstick_per_s:,.0f}",
    )


def _aligned(cell: str, width: int, *, left: bool) -> str:
    return cell.ljust(width) if left else cell.rjust(width)
