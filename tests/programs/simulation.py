"""One seed: a program, the faults that meet it, its real run, and everything in which that differs from the plain interpreter.

The judgement uses the ledger of the bodies, what lies on disk between two lives, and the final state. The invariant: a seed without
`Verdict.differences` has done exactly what its program says, however often its node died.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from hub import WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from hub.core import codec
from hub.core.errors import Conflict, NotFound
from hub.core.model import Instance, Status
from hub.core.ports import CreateRequest
from hub.core.workflow import Env
from hub.engine.embedded import Definition
from hub.engine.runner import RunnerOptions
from hub.testing import VirtualClock, VirtualLoop

from .node import AFTER, BEFORE, CIRCLE, STOP, Fault, Node, SeededLoop, holds_text, read_journal, unconsumed
from .plain import Downtime, End, Entry, Expected, Sent, World, expect, side_by_side
from .program import Actor, Block, Run, Strand, Wait, blocks, draw, every, run_block, shown, told

QUIET = timedelta(days=10_000)
WORKFLOW = "program"
LONGEST_S = 400 * 86_400.0
GRACE_S = 2.0
SLACK_S = 0.3  # a life adds at most that to a run, beside the time that it is down


@dataclass(slots=True)
class Verdict:
    """What came of a seed."""

    seed: int
    program: Block
    faults: list[Fault]
    differences: list[str] = field(default_factory=list)
    deaths: int = 0
    stops: int = 0
    bodies: int = 0
    doubtful: bool = False

    def __str__(self) -> str:
        lines = [f"seed {self.seed}", *(f"  fault {fault}" for fault in self.faults), shown(self.program)]
        return "\n".join([*lines, *(f"! {difference}" for difference in self.differences)])


@dataclass(slots=True)
class _Seen:
    """What a real run has shown."""

    runs: list[Run] = field(default_factory=list)
    ends: dict[str, tuple[Instance, End]] = field(default_factory=dict)
    world: World = field(default_factory=World)
    began: float = 0.0
    left: list[tuple[str, str]] = field(default_factory=list)


def judge(seed: int, empty: Path, folder: Path) -> Verdict:
    """Run one seed on a copy of an empty database and compare it with the plain interpreter."""
    rng = random.Random(seed)
    program = draw(rng)
    verdict = Verdict(seed, program, _faults(rng))
    programs = blocks(program)
    arrivals = {command.name: command.arrival for command in every(program) if isinstance(command, Wait)}
    plan = _mail(_in_virtual_time(VirtualLoop, lambda: expect(programs, World(arrivals=arrivals))), arrivals)
    with tempfile.TemporaryDirectory(dir=folder) as own:
        file = Path(shutil.copyfile(empty, Path(own) / "hub.sqlite"))
        simulation = _Simulation(file, programs, plan, verdict, _options(rng))
        seen = _in_virtual_time(lambda: SeededLoop(rng), simulation.run)
    if seen is not None:
        expected = _in_virtual_time(VirtualLoop, lambda: expect(programs, seen.world, seen.began))
        verdict.doubtful = expected.doubtful is not None
        verdict.bodies = len(seen.runs)
        verdict.differences += _against_the_disk(seen)
        if expected.doubtful is None:
            verdict.differences += _against_the_plan(seen, expected, verdict)
    return verdict


def _in_virtual_time(loop: Callable[[], asyncio.AbstractEventLoop], main: Callable[[], Any]) -> Any:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


def _faults(rng: random.Random) -> list[Fault]:
    return [
        Fault(
            rng.choice((rng.randint(1, 6), rng.randint(3, 25))),
            rng.choices((BEFORE, AFTER, STOP), (4, 4, 2))[0],
            rng.choice((0, 0, 1, 2, 3)),
            rng.choice((0.0, 0.0, 0.0, 50.0, 9000.0)),
        )
        for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4)))
    ]


def _options(rng: random.Random) -> RunnerOptions:
    resident = timedelta(seconds=rng.choice((0, 1, 1, 20_000)))
    return RunnerOptions(lease=QUIET, poll=QUIET, prune_every=QUIET, grace=timedelta(seconds=GRACE_S), resident=resident)


def _mail(expected: Expected, arrivals: Mapping[str, float | None]) -> list[Sent]:
    """Plan when which event is sent."""
    mail = []
    for number, (instance, name, type, began, timeout_s) in enumerate(expected.waits):
        arrival = arrivals[name]
        if arrival is not None:
            at = 0.0 if arrival < 0 else began + arrival * timeout_s
            mail.append(Sent(instance, type, f"mail {number}.", at))
    return sorted(mail, key=lambda sent: sent.at)


# ---- the real run


class _Simulation:
    """The lives of one file."""

    def __init__(self, file: Path, programs: Mapping[str, Block], mail: list[Sent], verdict: Verdict, options: RunnerOptions) -> None:
        self._file = file
        self._programs = programs
        self._mail = list(mail)
        self._verdict = verdict
        self._options = options
        self._seen = _Seen()
        self._life = 0
        self._nodes: list[Node] = []  # also dead ones: what hangs in them hangs until the end
        self._created = False
        self._sending: Sent | None = None
        self._ended = False

    async def run(self) -> _Seen | None:
        """Live until the program has ended and all mail is sent; None = it does not come to an end, which is a difference."""
        self._clock = VirtualClock()
        for fault in [*self._verdict.faults, None]:
            self._life += 1
            node = Node(self._file, self._clock, self._definitions(), self._options, fault)
            self._nodes.append(node)
            try:
                if await self._live(node, fault):
                    return self._seen
            finally:
                await node.vanish()
            if self._verdict.differences:
                return None
        return None

    async def _live(self, node: Node, fault: Fault | None) -> bool:
        """Run one life; returns whether it was the last one."""
        work = asyncio.create_task(self._work(node))
        waited: set[asyncio.Future[Any]] = {work, node.store.fate}
        await asyncio.wait(waited, timeout=LONGEST_S, return_when=asyncio.FIRST_COMPLETED)
        ending = self._clock.monotonic()
        if work.done() and not node.store.dead:
            work.result()
            node.store.spare()
            await node.engine.stop()
            self._seen.left = unconsumed(self._file)
            return True
        if not node.store.fate.done() or node.store.fate.result() == CIRCLE:
            self._verdict.differences.append(f"it does not end, or goes round in a circle: {sorted(read_journal(self._file).items())}")
        elif node.store.fate.result() == STOP and not node.store.dead:
            self._verdict.stops += 1
            work.cancel()
            ends = {asyncio.create_task(node.engine.stop()), asyncio.create_task(_death(node))}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        self._verdict.deaths += node.store.dead
        await node.vanish()
        ended, disk = self._clock.monotonic(), read_journal(self._file)
        if self._sending is not None and not holds_text(self._file, self._sending.payload):
            self._mail.insert(0, self._sending)
            self._seen.world.sent.remove(self._sending)
        self._sending = None
        await self._clock.sleep(0.0 if fault is None else fault.down_s)
        self._seen.world.downtimes.append(Downtime(ending, ended, self._clock.monotonic(), disk))
        return False

    async def _work(self, node: Node) -> None:
        await node.engine.start()
        await self._create(node)
        while self._mail:
            wait_s = self._seen.began + self._mail[0].at - self._clock.monotonic()
            if wait_s > 0:
                await self._clock.sleep(wait_s)
            await self._send(node, self._mail.pop(0))
        while (root := await node.engine.instance(WORKFLOW, "root")).status not in (Status.COMPLETE, Status.ERRORED):
            await node.store.over.wait()
            node.store.over.clear()
        self._seen.ends["root"] = root, _end_of(root)
        for id in self._programs:
            if id != "root":
                try:
                    child = await node.engine.instance(WORKFLOW, id)
                except NotFound:
                    continue
                self._seen.ends[id] = child, _end_of(child)

    async def _create(self, node: Node) -> None:
        if not self._created:
            with contextlib.suppress(Conflict):  # a life that died before it could tell has created it
                await node.engine.create(CreateRequest(workflow=WORKFLOW, id="root"))
            root = await node.engine.instance(WORKFLOW, "root")
            self._seen.began = (root.created_at - self._clock.now()).total_seconds() + self._clock.monotonic()
            self._created = True

    async def _send(self, node: Node, letter: Sent) -> None:
        sent = Sent(letter.instance, letter.type, letter.payload, self._clock.monotonic())
        self._sending = sent
        self._seen.world.sent.append(sent)
        try:
            await node.engine.send_event(WORKFLOW, sent.instance, sent.type, sent.payload)
        except (Conflict, NotFound):  # it has ended, or was never started
            self._seen.world.sent.remove(sent)
        self._sending = None

    def _definitions(self) -> list[Definition]:
        life, runs, programs = self._life, self._seen.runs, self._programs

        return [Definition(WORKFLOW, WORKFLOW, "test", "1", lambda: _Program(programs, life, runs))]


class _Program(WorkflowEntrypoint):
    """A workflow that runs the block with the id of its instance."""

    def __init__(self, programs: Mapping[str, Block], life: int, ledger: list[Run]) -> None:
        super().__init__(None, Env({}))
        self._programs = programs
        self._life = life
        self._ledger = ledger

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        """Run it."""
        return await run_block(self._programs[event.instance_id], step, Actor(event.instance_id, self._life, self._ledger.append))


async def _death(node: Node) -> None:
    while not node.store.dead:
        await node.store.over.wait()
        node.store.over.clear()


def _end_of(instance: Instance) -> End:
    error = instance.error
    return End(
        output=None if instance.output is None else codec.decode(instance.output),
        error=None if error is None else error.name if error.name == "WaitTimeout" else f"{error.name}: {error.message}",
        undone=None if instance.rollback is None else instance.rollback.complete,
    )


# ---- the judgement


def _against_the_disk(seen: _Seen) -> list[str]:
    """Return what ran again although the disk had it as done, or ran twice in one life."""
    found = []
    starts: set[tuple[int, Entry, int]] = set()
    for run in seen.runs:
        entry = (run.instance, run.kind, run.name, run.count)
        if (run.life, entry, run.attempt) in starts:
            found.append(f"ran twice in one life: {run}")
        starts.add((run.life, entry, run.attempt))
        if run.life > 1:
            kept = seen.world.downtimes[run.life - 2].disk.get(entry)
            if kept is not None and (kept.state in ("done", "failed") or kept.attempt >= run.attempt):
                found.append(f"ran although {kept} was on disk: {run}")
    return found


def _against_the_plan(seen: _Seen, expected: Expected, verdict: Verdict) -> list[str]:
    found = []
    for id in sorted(expected.ends.keys() | seen.ends.keys()):
        real, plain = seen.ends.get(id), expected.ends.get(id)
        if real is None or plain is None:
            found.append(f"{id}: only {'the plan' if real is None else 'the hub'} has it")
            continue
        instance, end = real
        if (end.output, end.error, end.undone) != (plain.output, plain.error, plain.undone):
            found.append(f"{id} ended with {end}, not {plain}")
        found += _late(seen, id, instance, plain, verdict)
    done, wanted = {_timeless(run) for run in seen.runs}, {_timeless(run) for run in expected.runs}
    found += [f"ran and should not: {run}" for run in sorted(done - wanted, key=str)]
    found += [f"should have run: {run}" for run in sorted(wanted - done, key=str)]
    found += _out_of_order(seen, expected)
    left = sorted((sent.instance, sent.payload) for sent in expected.left)
    if left != [(id, codec.decode(payload.encode())) for id, payload in seen.left]:
        found.append(f"unconsumed: {seen.left}, not {left}")
    return found


def _late(seen: _Seen, id: str, instance: Instance, plain: End, verdict: Verdict) -> list[str]:
    if instance.ended_at is None:
        return [f"{id} has no end"]
    slack = SLACK_S * (1 + verdict.deaths) + (GRACE_S + SLACK_S) * verdict.stops
    start = instance.created_at if id == "root" else seen.ends["root"][0].created_at
    ended = seen.began + (instance.ended_at - start).total_seconds()
    possible = [plain.at]
    for down in seen.world.downtimes:  # the end itself may have been lost, again and again
        if down.ending - slack <= possible[-1] <= down.risen:
            possible.append(down.risen)
    if any(-0.01 <= ended - at <= slack for at in possible):
        return []
    if any(down.risen == plain.at and down.ending - 0.01 <= ended <= down.ended for down in seen.world.downtimes):  # while it stopped
        return []
    return [f"{id} ended at {ended:.3f} s, not at {plain.at:.3f} s (slack {slack:.1f} s); downtimes {_times(seen)}"]


def _times(seen: _Seen) -> list[tuple[float, float, float]]:
    return [(round(down.ending, 3), round(down.ended, 3), round(down.risen, 3)) for down in seen.world.downtimes]


def _out_of_order(seen: _Seen, expected: Expected) -> list[str]:
    """Return starts that are not in the order of the program, and handlers that are not in the reverse order of their steps."""
    found = []
    order = {(run.instance, run.kind, run.name, run.count): number for number, run in reversed(list(enumerate(expected.runs)))}
    last: dict[Entry, Run] = {}
    for run in seen.runs:
        entry = (run.instance, run.kind, run.name, run.count)
        for other, before in last.items():
            if other[0] == entry[0] and other != entry and order.get(other, 0) > order.get(entry, 0) and _ordered(other, entry, expected):
                found.append(f"{before} came before {run}")
        last.setdefault(entry, run)
    return found


def _ordered(one: Entry, other: Entry, expected: Expected) -> bool:
    if one[1] != other[1] or not side_by_side(_strand(one[2]), _strand(other[2])):
        return True
    if one[1] == "step":
        return False
    began = [expected.begun.get((entry[0], "step", *entry[2:]), 0.0) for entry in (one, other)]
    return abs(began[0] - began[1]) > SLACK_S


def _strand(name: str) -> Strand:
    """Read the strand from a name like `g1.0.g2.3.a`."""
    parts = name.split(".")[:-1]
    return tuple((int(gather[1:]), int(branch)) for gather, branch in zip(parts[::2], parts[1::2], strict=True))


def _timeless(run: Run) -> tuple[Any, ...]:
    return run.instance, run.kind, run.name, run.count, run.attempt, run.seen


__all__ = ["Verdict", "judge", "told"]
