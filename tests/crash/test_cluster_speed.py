"""How fast a cluster reacts with the default lease: to a death, to a stop, and to what reaches an instance through another node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import pytest

from tests.databases import postgres_database

from .cluster import Cluster, Node, clock
from .cluster_judge import rows
from .cluster_kills import cluster_of
from .cluster_project import LEDGER
from .forks import Lives
from .ledger import Reader

LEASE = "10 seconds"
TAKE_OVER_S = 15.0
HAND_OVER_S = 1.0
REACH_S = 0.25  # with notifications on
_TRIES = 7
_INSTANCES = 10
_LOOK_S = 0.003
_PATIENCE_S = 20.0
_ROOT = "/client/v4/accounts/local/workflows"


class Desk:
    """Requests to chosen nodes, and what the ledger says of what came of them."""

    def __init__(self, cluster: Cluster, url: str, session: aiohttp.ClientSession) -> None:
        self.cluster = cluster
        self.url = url
        self._session = session
        self._reader = Reader(cluster.folder / LEDGER)
        self._lines: list[list[str]] = []

    async def join(self) -> None:
        """Let the second node work, too."""
        await self.cluster.start_all()

    async def request(self, method: str, node: Node, path: str, body: Any) -> Any:
        """Send a request; return the result."""
        async with self._session.request(method, node.url + _ROOT + path, json=body) as answer:
            assert answer.status in (200, 202), await answer.text()
            return (await answer.json())["result"]

    async def create(self, node: Node, workflow: str, id: str, **params: Any) -> None:
        """Create an instance through a node; with a free slot it runs there."""
        await self.request("POST", node, f"/{workflow}/instances", {"instance_id": id, "params": {"n": 0, **params}})

    def heard(self) -> int:
        """Return how many lines there are in the ledger now."""
        self._lines += self._reader.news()
        return len(self._lines)

    async def seen(self, *words: str, life: str = "", after: int = 0) -> None:
        """Return when the ledger has a line with these words, of a life whose name begins so, beyond the first `after` lines."""
        async with asyncio.timeout(_PATIENCE_S):
            while not any(set(words) <= set(line) and line[1].startswith(life) for line in self._lines[after : self.heard()]):
                await clock.sleep(_LOOK_S)


@asynccontextmanager
async def desk(lives: Lives, folder: Path, postgres_url: str, *, resident: str = "20 ms") -> AsyncIterator[Desk]:
    """Serve with two nodes, of which only the first one works: what is created now runs there."""
    async with (
        postgres_database(postgres_url) as url,
        cluster_of(lives, folder, url, size=2, lease=LEASE, resident=resident) as cluster,
        aiohttp.ClientSession() as session,
    ):
        assert await cluster.stop(cluster.nodes[1]) == []
        yield Desk(cluster, url, session)


async def test_instances_of_a_dead_node_go_on_elsewhere(lives: Lives, folder: Path, postgres_url: str) -> None:
    async with desk(lives, folder, postgres_url) as two:
        dead, other = two.cluster.nodes
        for number in range(_INSTANCES):
            await two.create(dead, "chain", f"c-{number}", steps=1000)
        for number in range(_INSTANCES):
            await two.seen("start", f"c-{number}", life=dead.name)
        await two.join()
        two.cluster.kill(dead)
        died = clock.monotonic()
        for number in range(_INSTANCES):
            await two.seen("start", f"c-{number}", life=other.name)
        assert clock.monotonic() - died <= TAKE_OVER_S


async def test_a_node_that_stops_hands_its_instances_over(lives: Lives, folder: Path, postgres_url: str) -> None:
    async with desk(lives, folder, postgres_url) as two:
        leaving, other = two.cluster.nodes
        for number in range(_INSTANCES):
            await two.create(leaving, "chain", f"c-{number}", steps=1000)
        for number in range(_INSTANCES):
            await two.seen("start", f"c-{number}", life=leaving.name)
        await two.join()
        asked = clock.monotonic()
        stopping = asyncio.create_task(two.cluster.stop(leaving))
        for number in range(_INSTANCES):
            await two.seen("start", f"c-{number}", life=other.name)
        took_s = clock.monotonic() - asked
        assert await stopping == []
        assert took_s <= HAND_OVER_S
        assert (await rows(two.url, "SELECT sum(recoveries) FROM instance"))[0][0] == 0


@pytest.mark.parametrize("resident", ["2 hours", "20 ms"], ids=["in memory", "parked"])
async def test_an_event_reaches_an_instance_through_another_node(lives: Lives, folder: Path, postgres_url: str, resident: str) -> None:
    async with desk(lives, folder, postgres_url, resident=resident) as two:
        home, other = two.cluster.nodes
        await two.create(home, "listener", "it")
        await _waiting(two, 1)
        await two.join()
        took_s = []
        for number in range(1, _TRIES + 1):
            began = clock.monotonic()
            await two.request("POST", other, "/listener/instances/it/events/signal", {"tag": "x", "close": False})
            await two.seen("start", "it", f"take-{number}")
            took_s.append(clock.monotonic() - began)
            await _waiting(two, number + 1)
        assert median(took_s) <= REACH_S, took_s


async def test_a_termination_reaches_a_running_body_through_another_node(lives: Lives, folder: Path, postgres_url: str) -> None:
    async with desk(lives, folder, postgres_url) as two:
        home, other = two.cluster.nodes
        for number in range(_TRIES):
            await two.create(home, "endless", f"e-{number}")
            await two.seen("start", f"e-{number}", life=home.name)
        await two.join()
        took_s = []
        for number in range(_TRIES):
            began = clock.monotonic()
            await two.request("PATCH", other, f"/endless/instances/e-{number}/status", {"status": "terminate"})
            await two.seen("cancelled", f"e-{number}", life=home.name)
            took_s.append(clock.monotonic() - began)
        assert median(took_s) <= REACH_S, took_s


async def test_pause_and_resume_reach_an_instance_through_another_node(lives: Lives, folder: Path, postgres_url: str) -> None:
    async with desk(lives, folder, postgres_url) as two:
        home, other = two.cluster.nodes
        await two.create(home, "chain", "it", steps=1000)
        await two.seen("start", "it", life=home.name)
        await two.join()
        paused_s, resumed_s = [], []
        for _ in range(_TRIES):
            await two.seen("start", "it", after=two.heard())
            began = clock.monotonic()
            await two.request("PATCH", other, "/chain/instances/it/status", {"status": "pause"})
            await _until(two, "SELECT count(*) FROM instance WHERE status = 'paused'", lambda number: number == 1)
            paused_s.append(clock.monotonic() - began)
            stood, began = two.heard(), clock.monotonic()
            await two.request("PATCH", other, "/chain/instances/it/status", {"status": "resume"})
            await two.seen("start", "it", after=stood)
            resumed_s.append(clock.monotonic() - began)
        assert median(paused_s) <= REACH_S, paused_s
        assert median(resumed_s) <= REACH_S, resumed_s


async def _waiting(two: Desk, waits: int) -> None:
    await _until(two, "SELECT count(*) FROM step WHERE kind = 'waitForEvent'", lambda number: number == waits)


async def _until(two: Desk, query: str, enough: Callable[[int], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not enough((await rows(two.url, query))[0][0]):
            await clock.sleep(_LOOK_S)
