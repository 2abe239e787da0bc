"""The real run of one program: life after life of the hub on one file, until the program has ended and all mail is sent.

Tells what was seen and judges nothing but what nobody needs a plan for: it ends, it stops, no error is logged, and no task is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
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
from hub.testing import VirtualClock

from .node import CIRCLE, STOP, Fault, Node, holds_text, read_journal, unconsumed
from .plain import Downtime, End, Entry, OnDisk, Sent, World
from .program import Actor, Block, Run, run_block

QUIET = timedelta(days=10_000)
WORKFLOW = "program"
LONGEST_S = 400 * 86_400.0
GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be run: the block of each instance, when which event is sent, how the lives end, how long waits stay in memory."""

    programs: Mapping[str, Block]
    mail: Sequence[Sent]
    faults: Sequence[Fault]
    resident: timedelta


@dataclass(slots=True)
class Seen:
    """What a real run has shown."""

    whole: bool = False  # it came to its end
    faults: list[str] = field(default_factory=list)  # of the hub, whatever the program says
    runs: list[Run] = field(default_factory=list)
    ends: dict[str, tuple[Instance, End]] = field(default_factory=dict)
    world: World = field(default_factory=World)
    began: float = 0.0
    left: list[tuple[str, str]] = field(default_factory=list)
    journal: Mapping[Entry, OnDisk] = field(default_factory=dict)
    deaths: int = 0
    stops: int = 0
    crashes: Counter[str] = field(default_factory=Counter)  # see `MortalStore.met`


async def simulate(case: Case, file: Path) -> Seen:
    """Run a case on an empty database; on a loop whose time jumps."""
    return await _Simulation(case, file).run()


class _Simulation:
    """The lives of one file."""

    def __init__(self, case: Case, file: Path) -> None:
        self._case = case
        self._file = file
        self._mail = list(case.mail)
        self._seen = Seen()
        self._life = 0
        self._clock = VirtualClock()
        self._nodes: list[Node] = []  # also dead ones: what hangs in them hangs until the end
        self._created = False
        self._sending: Sent | None = None

    async def run(self) -> Seen:
        """Live until the program has ended and all mail is sent."""
        asyncio.get_running_loop().set_exception_handler(self._hear)
        try:
            async with asyncio.timeout((len(self._case.faults) + 2) * LONGEST_S):  # a loop with a timer never stands still for ever
                await self._live_on()
        except TimeoutError:
            self._seen.faults.append("it hangs while it stops")
        return self._seen

    async def _live_on(self) -> None:
        for fault in [*self._case.faults, None]:
            self._life += 1
            node = Node(self._file, self._clock, self._definitions(), self._options(), fault)
            self._nodes.append(node)
            try:
                self._seen.whole = await self._live(node, fault)
            finally:
                await node.vanish()
                self._seen.faults += [f"life {self._life} logged {error}" for error in node.log.errors]
                self._seen.crashes += node.store.met
            if self._seen.whole or self._seen.faults:
                return

    async def _live(self, node: Node, fault: Fault | None) -> bool:
        """Run one life; returns whether it was the last one."""
        work = asyncio.create_task(self._work(node))
        awaited: set[asyncio.Future[Any]] = {work, node.store.fate}
        await asyncio.wait(awaited, timeout=LONGEST_S, return_when=asyncio.FIRST_COMPLETED)
        ending = self._clock.monotonic()
        if work.done() and not node.store.dead:
            work.result()
            node.store.spare()
            await node.engine.stop()
            self._seen.left, self._seen.journal = unconsumed(self._file), read_journal(self._file)
            return True
        if not node.store.fate.done() or node.store.fate.result() == CIRCLE:
            self._seen.faults.append(f"it does not end, or goes round in a circle: {sorted(read_journal(self._file).items())}")
        elif node.store.fate.result() == STOP and not node.store.dead:
            self._seen.stops += 1
            work.cancel()
            stop, death = asyncio.create_task(node.engine.stop()), asyncio.create_task(_death(node))
            await asyncio.wait({stop, death}, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                stop.result()
        self._seen.deaths += node.store.dead
        await node.vanish()
        await self._be_down(ending, 0.0 if fault is None else fault.down_s)
        return False

    async def _be_down(self, ending: float, seconds: float) -> None:
        """Note what a life has left behind, and let time pass until the next one."""
        ended, disk = self._clock.monotonic(), read_journal(self._file)
        if self._sending is not None and not holds_text(self._file, self._sending.payload):
            self._mail.insert(0, self._sending)
            self._seen.world.sent.remove(self._sending)
        self._sending = None
        await self._clock.sleep(seconds)
        self._seen.world.downtimes.append(Downtime(ending, ended, self._clock.monotonic(), disk))

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
        for id in self._case.programs:
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
        return [Definition(WORKFLOW, WORKFLOW, "test", "1", partial(_Program, self._case.programs, self._life, self._seen.runs))]

    def _options(self) -> RunnerOptions:
        grace = timedelta(seconds=GRACE_S)
        return RunnerOptions(lease=QUIET, poll=QUIET, prune_every=QUIET, grace=grace, resident=self._case.resident)

    def _hear(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """Take down an error that nobody has caught."""
        self._seen.faults.append(f"life {self._life}: {context['message']}: {context.get('exception')!r}")


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
