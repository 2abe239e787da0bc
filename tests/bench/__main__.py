"""`python -m tests.bench [--quick]`: every workload beside its yardstick, three times, with medians and ranges.

Prints one JSON line a row, then a table; progress goes to stderr. QUICK=1 in the environment means --quick: three rows on SQLite. Rows that
need a server are left out where there is none. Ends with 1 when a run did not leave exactly what it was asked for on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from tests.bench import brokers, postgres
from tests.bench.measure import REPOSITORY, measured
from tests.bench.measurement import Measurement, Size
from tests.bench.others import watched
from tests.bench.report import Repeat, Row, summed_up, table

_FOLDER = REPOSITORY / ".hub-bench"
_PILOT_N = 1000
_QUICK_S = 3.1  # of three-step; more than fit into the slots run slower than the pilot, so it takes rather longer


class Case(NamedTuple):
    """What makes one row."""

    workload: str
    store: str = "sqlite"
    nodes: int = 1
    n: int = 0  # 0 = as the plan says
    yardstick: bool = True
    repeats: int = 0  # 0 = as the plan says; one is enough for what takes long and is no matter of milliseconds

    @property
    def measurement(self) -> str:
        """What `tests.bench.measure` calls it."""
        return self.workload if self.store == "sqlite" else f"{self.workload}-on-{self.store}"


_QUICK = (Case("three-step"), Case("latency"), Case("intake"))
_CASES = (
    Case("three-step"),
    *(Case("three-step", "postgres", nodes) for nodes in (1, 2, 3)),
    Case("latency"),
    Case("latency", "postgres"),
    Case("intake"),
    Case("amqp", n=10_000, yardstick=False),
    Case("sequential", n=10_000),
    Case("sleepers", n=100_000, yardstick=False, repeats=1),  # documented with 1,000,000
    Case("idle", n=1000, yardstick=False, repeats=1),
    Case("recovery", n=10_000, yardstick=False, repeats=1),
    Case("lists", n=50_000, yardstick=False, repeats=1),  # documented with 1,000,000
    Case("growth", n=100_000, yardstick=False, repeats=1),  # documented with 1,000,000
)
_WORKLOADS = tuple(dict.fromkeys(case.workload for case in _CASES))
_STORES = ("sqlite", "postgres")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to measure. Without `n` a pilot run finds how many instances take three seconds."""

    folder: Path
    asked_n: int | None
    n: int | None
    latency_n: int
    seconds: float
    repeats: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    given = _parser().parse_args(arguments)
    quick = given.quick or os.environ.get("QUICK", "0") not in ("", "0")
    cases = _chosen(given, quick)
    if not cases:
        return 1
    plan = Plan(
        folder=given.folder,
        asked_n=given.n,
        n=given.n or (None if quick else 10_000),
        latency_n=given.n or (200 if quick else 500),
        seconds=given.seconds or (1.0 if quick else 10.0),
        repeats=given.repeats,
    )
    try:
        with _folder(plan.folder) as folder:
            rows = [_row(case, replace(plan, folder=folder)) for case in cases]
    except subprocess.SubprocessError as error:
        _say(f"the measurement failed: {error}")
        return 1
    print(f"\n{table(rows)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the hub beside yardsticks.")
    parser.add_argument("workloads", nargs="*", type=_workload, metavar="WORKLOAD", help=f"of {', '.join(_WORKLOADS)}; default: all")
    parser.add_argument("--store", choices=_STORES, help="only the rows on this database")
    parser.add_argument("--quick", action="store_true", help="a minute's worth; also QUICK=1")
    parser.add_argument("--n", type=int, help="instances, messages or steps instead of the default of each workload")
    parser.add_argument("--seconds", type=float, help="how long to post to the webhook, to idle")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="where the files are written; the disk counts")
    return parser


def _chosen(given: argparse.Namespace, quick: bool) -> list[Case]:
    """Return what was asked for and can be measured here."""
    cases = [case for case in (_QUICK if quick else _CASES) if case.workload in (given.workloads or _WORKLOADS)]
    cases = [case for case in cases if case.store == (given.store or case.store)]
    for needs, why_missing in ((_needs_postgres, postgres.missing), (_needs_broker, brokers.missing)):
        if any(needs(case) for case in cases) and (reason := why_missing()):
            _say(f"left out: {reason}")
            cases = [case for case in cases if not needs(case)]
    return cases


def _needs_postgres(case: Case) -> bool:
    return case.store == "postgres"


def _needs_broker(case: Case) -> bool:
    return case.workload == "amqp"


def _workload(name: str) -> str:
    if name not in _WORKLOADS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(_WORKLOADS)}")
    return name


@contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    """Make a folder for the files, and leave nothing behind."""
    parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="run-", dir=parent) as folder:
            yield Path(folder)
    finally:
        if parent == _FOLDER:
            with suppress(OSError):  # another run may be using it
                parent.rmdir()


def _row(case: Case, plan: Plan) -> Row:
    size = Size(n=_instances(case, plan), seconds=plan.seconds, nodes=case.nodes)
    title = f"{case.measurement} ({case.nodes} nodes)" if case.nodes > 1 else case.measurement
    repeats = []
    count = min(case.repeats or plan.repeats, plan.repeats)
    for number in range(1, count + 1):
        with watched() as others:
            hub = _measure(case.measurement, plan.folder, size)
            yardstick = _measure(f"yardstick-of-{case.measurement}", plan.folder, size) if case.yardstick else None
        repeats.append(Repeat(hub=hub, yardstick=yardstick, others_cores=others.cores))
        beside = f"yardstick {yardstick.per_s:,.0f}/s, " if yardstick else ""
        _say(f"{title} {number}/{count}: {hub.per_s:,.0f}/s, {beside}others {others.cores:.2f} cores {hub.facts or ''}")
    row = summed_up(case.workload, case.store, case.nodes, repeats)
    print(json.dumps(asdict(row)), flush=True)
    return row


def _instances(case: Case, plan: Plan) -> int:
    if case.n:
        return plan.asked_n or case.n
    if case.workload != "three-step":
        return plan.latency_n
    if plan.n is not None:
        return plan.n
    pilot = _measure(case.measurement, plan.folder, Size(n=_PILOT_N, seconds=plan.seconds))
    return max(_PILOT_N, round(pilot.per_s * _QUICK_S))


def _measure(workload: str, parent: Path, size: Size) -> Measurement:
    """Run one measurement on an empty folder."""
    folder = parent / workload
    folder.mkdir()
    try:
        return measured(workload, folder, size)
    finally:
        shutil.rmtree(folder)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
