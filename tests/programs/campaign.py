"""Seeds: one is a program, a plan of its events and the faults that meet it; many are shared between processes.

The invariant: a seed that is not told as different has come to its end and has done exactly what its program says, however often its
node died.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from hub.testing import VirtualLoop
from tests.databases import empty_database
from tests.memory import in_memory

from .judgement import against_the_disk, against_the_plan
from .node import AFTER, BEFORE, STOP, Fault, SeededLoop
from .plain import Expected, OnDisk, Sent, World, expect
from .program import Block, Wait, blocks, draw, every, shown
from .simulation import Case, Seen, simulate

SEED = "HUB_PROGRAM_SEED"
SEED_S = 60.0  # of real time, a thousand times what a seed takes: one that is not over then hangs
AGAIN_S = 10.0  # what hangs may hang again while it is cleared away
CHUNK = 50  # seeds a task: long enough to cost nothing, short enough that all processes end at about the same time
AIMED = 0.3  # of the faults wait for a kind of write, the others for a number of transactions


class Overdue(KeyboardInterrupt):
    """A seed took too long. Its base is the one that no event loop keeps to itself."""


@dataclass(slots=True)
class Verdict:
    """What came of a seed."""

    seed: int
    program: Block
    met: Counter[str]
    faults: Sequence[Fault] = ()
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"seed {self.seed}", *(f"  fault {fault}" for fault in self.faults), shown(self.program)]
        return "\n".join([*lines, *(f"! {difference}" for difference in self.differences), f"run it again with {SEED}={self.seed}"])


def judge_all(seeds: range, processes: int | None = None) -> Iterator[tuple[list[Verdict], Counter[str]]]:
    """Judge seeds in processes of their own (None = one a processor); give the verdicts that differ and what was met, part by part."""
    parts = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(processes or os.cpu_count(), get_context("spawn")) as pool:  # a fork could inherit locks that are held
        try:
            for done in as_completed([pool.submit(judge_some, part) for part in parts]):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)  # who stops listening does not wait for the rest


def judge_some(seeds: Iterable[int], limit_s: float = SEED_S) -> tuple[list[Verdict], Counter[str]]:
    """Judge seeds one after the other, each within a limit of real time; in the main thread of a process."""
    met: Counter[str] = Counter()
    different = []
    for seed in seeds:
        verdict = judge(seed, limit_s)
        met += verdict.met
        if verdict.differences:
            different.append(verdict)
    return different, met


def judge(seed: int, limit_s: float = SEED_S) -> Verdict:
    """Run one seed on a new database and compare it with the plain interpreter; what it raises is a difference too."""
    rng = random.Random(seed)
    verdict = Verdict(seed, draw(rng), Counter(seeds=1))
    try:
        with _limit(limit_s):
            _judge(rng, verdict)
    except Overdue:
        verdict.differences.append(f"it hangs: not over after {limit_s} s of real time\n{traceback.format_exc()}")
    except Exception:
        verdict.differences.append(traceback.format_exc())
    return verdict


def _judge(rng: random.Random, verdict: Verdict) -> None:
    programs = blocks(verdict.program)
    arrivals = {command.name: command.arrival for command in every(verdict.program) if isinstance(command, Wait)}
    planned = _in_virtual_time(VirtualLoop, lambda: expect(programs, World(arrivals=arrivals)))
    verdict.faults = _faults(rng, planned)
    case = Case(programs, _mail(planned, arrivals), verdict.faults, timedelta(seconds=rng.choice((0, 1, 1, 20_000))))
    with tempfile.TemporaryDirectory(prefix="hub-programs-", dir=in_memory()) as folder:
        file = Path(folder) / "hub.sqlite"
        empty_database(file)
        seen = _in_virtual_time(lambda: SeededLoop(rng), lambda: simulate(case, file))
    verdict.differences += [*seen.faults, *against_the_disk(seen)]
    if seen.whole:
        seen.world.undone = [(run.instance, run.kind, run.name, run.count) for run in seen.runs if run.kind == "rollback"]
        expected = _in_virtual_time(VirtualLoop, lambda: expect(programs, seen.world, seen.began))
        verdict.met += _met(seen, expected)
        if expected.doubtful is None:
            verdict.differences += against_the_plan(seen, expected)
    elif not verdict.differences:
        verdict.differences.append("it did not come to its end")


def _faults(rng: random.Random, planned: Expected) -> list[Fault]:
    seldom = _seldom(planned)
    return [_fault(rng, rng.choice(seldom) if rng.random() < AIMED else "") for _ in range(rng.choice((0, 1, 1, 2, 3, 3, 4, 5)))]


def _fault(rng: random.Random, aim: str) -> Fault:
    return Fault(
        at=rng.choice((1, 1, 1, 2, 4)) if aim else rng.choice((rng.randint(1, 6), rng.randint(3, 25))),
        how=rng.choices((BEFORE, AFTER, STOP), (4, 4, 2))[0],
        of=aim,
        then=rng.choice((0, 0, 1, 2, 3)),
        down_s=rng.choice((0.0, 0.0, 0.0, 50.0, 9000.0)),
    )


def _seldom(planned: Expected) -> list[str]:
    """Return the writes of a run at which chance alone would bring few deaths."""
    seldom = ["Begin", "Finish"]
    if planned.waits:
        seldom += ["StartWait sleep", "StartWait waitForEvent", "SendEvent", "SettleStep waitForEvent"]
    if len(planned.ends) > 1:
        seldom += ["StartChild workflow", "SettleStep workflow"]
    if any(run.kind == "rollback" for run in planned.runs):
        seldom += ["RollBack", "SettleStep rollback", "FailAttempt rollback"]
    return seldom


def _mail(expected: Expected, arrivals: Mapping[str, float | None]) -> list[Sent]:
    """Plan when which event is sent."""
    mail = []
    for number, (instance, name, type, began, timeout_s) in enumerate(expected.waits):
        arrival = arrivals[name]
        if arrival is not None:
            at = 0.0 if arrival < 0 else began + arrival * timeout_s
            mail.append(Sent(instance, type, f"mail {number}.", at))
    return sorted(mail, key=lambda sent: sent.at)


def _met(seen: Seen, expected: Expected) -> Counter[str]:
    """Count what a whole run was made of: the journal tells it, not the program, of which errors may have left out a part."""
    met = Counter(deaths=seen.deaths, stops=seen.stops, doubtful=expected.doubtful is not None)
    met += seen.crashes
    gathers = set()
    for (instance, kind, name, _), entry in seen.journal.items():
        met += _met_of(kind, entry)
        gathers |= {(instance, part) for part in name.split(".") if part.startswith("g")}
    met["gather"] += len(gathers)
    return met


def _met_of(kind: str, entry: OnDisk) -> Counter[str]:
    again = Counter({f"{kind} retried": entry.attempt - 1}) if kind in ("step", "rollback") else Counter()
    return again + Counter({f"{kind} {entry.state}": 1})


def _in_virtual_time(loop: Callable[[], asyncio.AbstractEventLoop], main: Callable[[], Any]) -> Any:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raise Overdue in the body when it takes longer, whatever it hangs in. An alarm that was set before is set again."""

    def ring(number: int, frame: object) -> None:
        raise Overdue

    before = signal.signal(signal.SIGALRM, ring)
    alarm = (0.0, 0.0)
    try:
        alarm = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *alarm)
