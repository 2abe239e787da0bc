"""The campaign of a cluster: load from clients, faults of nodes and of the database, and the judgement of it.

A seed repeats the plan of the faults; what a node is doing at that moment is the machine's choice.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import aiohttp
import asyncpg

from tests.postgres import PostgresServer

from .cluster import Cluster, Node, clock
from .cluster_client import Client, mixed
from .cluster_judge import Places, Witness, judge, look, unfinished
from .cluster_project import LEDGER, make_project
from .forks import Lives
from .ledger import Ledger, Reader

LEASE_S = 2.0
END_S = 60.0  # after the last fault everything has ended
RATE = 50.0  # instances a second that the clients ask for
_BACKLOG = 150  # unfinished instances at which they ask for little more
_SLOW_RATE = 2.0
_PAUSE_S = {"kill": (0.1, 0.6), "freeze": (0.1, 0.6), "restart": (1.5, 4.0), "crash": (1.5, 4.0)}  # before a fault
_AWAY_S = (0.0, 0.6)  # between a kill and the next life
_FROZEN_LEASES = (1.1, 2.5)  # how long a node is frozen: mostly long enough that the others go on with its instances
_LOOK_S = 0.1

KILL, FREEZE = "kill", "freeze"  # of a node
RESTART, CRASH = "restart", "crash"  # of the database
Progress = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Report:
    """What a campaign found. Everything in `faults` must not be."""

    seed: int
    kills: int = 0
    zombies: int = 0
    restarts: int = 0  # of the database
    acknowledged: int = 0
    acknowledged_events: int = 0
    unanswered: int = 0  # requests that were sent again
    refused: int = 0  # of those, how many were told 503
    bodies: int = 0
    repeats: int = 0  # attempts that had started before on a node that died, or lost its claim
    moved: int = 0  # instances that ran on several nodes
    caught: int = 0  # see `cluster_judge`
    stale: int = 0  # runs of bodies that were frozen and never committed
    samples: int = 0  # of limited instances: beginnings of bodies at which those beside it were counted
    most: int = 0  # of them at once
    unfinished_at_last_fault: int = 0
    finish_s: float = 0.0  # from the last fault until everything had ended
    duration_s: float = 0.0
    faults: list[str] = field(default_factory=list)


@asynccontextmanager
async def cluster_of(lives: Lives, folder: Path, url: str, *, size: int = 3, **project: str) -> AsyncIterator[Cluster]:
    """Make a project in a folder and start its nodes; they are killed in the end."""
    async with Cluster(lives=lives, folder=folder, project=make_project(folder, url, **project), size=size) as cluster:
        await cluster.start_all()
        yield cluster


class Campaign:
    """One cluster, its clients and its faults."""

    def __init__(self, cluster: Cluster, url: str, seed: int, *, server: PostgresServer | None = None, tell: Progress = lambda _: None):
        self.report = Report(seed=seed)
        self._cluster = cluster
        self._url = url
        self._server = server
        self._plan = random.Random(seed)
        self._tell = tell
        self._witness, self._places = Witness(), Places()
        self._lines = Reader(cluster.folder / LEDGER)
        self._ledger = Ledger(cluster.folder / LEDGER)
        self._looks = count(1)
        self._unfinished = 0
        self._closing = False
        self._away: set[asyncio.Task[None]] = set()

    async def run(self, faults: Sequence[str], workflow_of: Callable[[int], str] = mixed) -> Report:
        """Let these things happen in an order that the seed chooses, then let everything end, and judge."""
        began = clock.monotonic()
        order = self._plan.sample(faults, len(faults))
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            client = Client(self._cluster, session, random.Random(self.report.seed))
            watching = tasks.create_task(self._watch())
            loading = tasks.create_task(client.load(self._numbers(), workflow_of, self._rate))
            for number, fault in enumerate(order, 1):
                await self._do(fault)
                if number % 10 == 0 or number == len(order):
                    self._tell(f"{number} of {len(order)} faults, {len(client.created)} acknowledged, {self._unfinished} unfinished")
            await self._finish(loading)
            watching.cancel()
        for node in self._cluster.nodes:
            self.report.faults += await self._cluster.stop(node)
        self._ledger.close()
        self._hear()
        self._witness.close()
        self._sum_up(client)
        self.report.faults += [*await judge(self._url, client, self._witness), *self._places.faults, *client.faults]
        self.report.duration_s = round(clock.monotonic() - began, 1)
        return self.report

    # ---- faults

    async def _do(self, fault: str) -> None:
        await clock.sleep(self._plan.uniform(*_PAUSE_S[fault]))
        away_s, frozen_s = self._plan.uniform(*_AWAY_S), self._plan.uniform(*_FROZEN_LEASES) * LEASE_S
        at = self._plan.random()
        if fault in (RESTART, CRASH):
            assert self._server is not None
            await asyncio.to_thread(self._server.restart, kill=fault == CRASH)
            self.report.restarts += 1
            return
        while not (working := self._cluster.working) or (fault == FREEZE and len(working) < len(self._cluster.nodes)):
            await clock.sleep(_LOOK_S)
        node = working[int(at * len(working))]
        if fault == KILL:
            self._cluster.kill(node)
            self.report.kills += 1
            self._spawn(self._come_back(node, away_s))
        else:
            await self._cluster.ready(node)
            self._cluster.freeze(node)
            self.report.zombies += 1
            self._spawn(self._thaw(node, frozen_s))
        await self._look()

    async def _come_back(self, node: Node, away_s: float) -> None:
        await clock.sleep(away_s)
        self._cluster.start(node)

    async def _thaw(self, node: Node, frozen_s: float) -> None:
        await clock.sleep(frozen_s)
        await self._look()
        self._cluster.thaw(node)

    def _spawn(self, later: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(later)
        self._away.add(task)
        task.add_done_callback(self._away.discard)

    async def _look(self) -> None:
        """Let the witness know what is on disk now."""
        word = str(next(self._looks))
        self._witness.looks[word] = await look(self._url)
        self._ledger.note("looked", word)

    async def _finish(self, loading: asyncio.Task[None]) -> None:
        """Let everybody come back, ask for nothing new, and return when everything has ended, or when it is too late."""
        await asyncio.gather(*self._away)
        self._closing = True
        began = clock.monotonic()
        self.report.unfinished_at_last_fault = await unfinished(self._url)
        for node in self._cluster.nodes:
            await self._cluster.ready(node)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await asyncio.shield(loading)
                while await unfinished(self._url):
                    await clock.sleep(_LOOK_S)
        loading.cancel()
        self.report.finish_s = round(clock.monotonic() - began, 2)

    # ---- load

    def _numbers(self) -> Iterator[int]:
        for number in count():
            if self._closing:
                return
            yield number

    def _rate(self) -> float:
        return _SLOW_RATE if self._unfinished > _BACKLOG else RATE

    async def _watch(self) -> None:
        """Keep an eye on the backlog, and on the ledger."""
        while True:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # the database may be away
                self._unfinished = await unfinished(self._url)
            self._hear()
            await clock.sleep(_LOOK_S * 3)

    def _hear(self) -> None:
        lines = self._lines.news()
        self._witness.read(lines)
        self._places.read(lines)

    def _sum_up(self, client: Client) -> None:
        report, witness = self.report, self._witness
        report.acknowledged, report.acknowledged_events = len(client.created), sum(map(len, client.sent.values()))
        report.unanswered, report.refused = client.repeated, client.refused
        report.bodies, report.repeats, report.moved = witness.bodies, witness.repeats, witness.moved
        report.caught, report.stale = witness.caught, witness.refused
        report.samples, report.most = self._places.samples, self._places.most
