"""Over REST: one verb for many instances."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import structlog

from hub.api.bulk import Action, BulkJobs, BulkOrder, JobPhase
from hub.core.clock import SystemClock
from hub.core.errors import Conflict, Unavailable
from hub.core.model import InstanceQuery, Page, Status
from tests.api.node import ROOT, Node


async def some(node: Node, number: int, **body: Any) -> list[str]:
    """Create instances that wait, and return their ids when all do."""
    batch = [{"instance_id": f"i{n}", **body} for n in range(number)]
    for start in range(0, number, 100):
        await node.post("/approve/instances/batch", json=batch[start : start + 100])
    ids = [item["instance_id"] for item in batch]
    await all_are(node, Status.WAITING, number)
    return ids


async def all_are(node: Node, status: Status, number: int) -> None:
    async with asyncio.timeout(60):
        while (await node.engine.workflow("approve")).counts.get(status) != number:  # noqa: ASYNC110  # executions end one by one
            await asyncio.sleep(0)


async def job(node: Node, **body: Any) -> Any:
    """Start a job and return it when it has ended."""
    started = (await node.post("/approve/jobs", json=body)).result
    async with asyncio.timeout(60):
        while True:
            found = (await node.get(f"/approve/jobs/{started['id']}")).result
            if found["state"] != "running":
                return found


async def statuses(node: Node) -> dict[str, str]:
    return {item["id"]: item["status"] for item in (await node.get("/approve/instances?per_page=100")).result}


async def test_a_dry_run_counts_and_changes_nothing(node: Node) -> None:
    await some(node, 3, tags=["eu"])
    await node.create("approve", "other")

    answer = await node.post("/approve/jobs", json={"action": "terminate", "filter": {"tags": ["eu"]}, "dry_run": True})

    assert answer.result == {"action": "terminate", "state": "dry_run", "total": 3, "done": 0, "failed": 0, "errors": []}
    assert "terminated" not in (await statuses(node)).values()
    assert (await node.get("/approve/jobs")).result == []


async def test_a_life_in_jobs(node: Node) -> None:
    await some(node, 250)

    paused = await job(node, action="pause", filter={"status": ["waiting"]})
    assert (paused["state"], paused["total"], paused["done"], paused["failed"]) == ("done", 250, 250, 0)
    await all_are(node, Status.PAUSED, 250)
    assert (await job(node, action="resume", filter={}))["done"] == 250
    await all_are(node, Status.WAITING, 250)
    assert (await job(node, action="terminate", filter={}))["done"] == 250
    assert (await job(node, action="restart", filter={"status": "terminated"}))["done"] == 250
    await all_are(node, Status.WAITING, 250)
    assert (await job(node, action="delete", filter={}))["total"] == 0  # only what has ended, unless somebody says otherwise
    assert (await job(node, action="delete", filter={"status": "waiting"}))["done"] == 250
    assert await statuses(node) == {}
    assert len((await node.get("/approve/jobs")).result) == 6


async def test_only_what_matches_the_filter_is_touched(node: Node) -> None:
    for id, tag in (("a", "eu"), ("b", "us"), ("c", "eu")):
        await node.post("/approve/instances", json={"instance_id": id, "tags": [tag], "metadata": {"n": ord(id)}})

    await job(node, action="terminate", filter={"tags": ["eu"], "metadata": {"n": "97"}})

    found = await statuses(node)
    assert [id for id, status in found.items() if status == "terminated"] == ["a"]


async def test_what_is_refused_is_told_and_holds_up_nothing(node: Node) -> None:
    await some(node, 2)
    await node.call("PATCH", f"{ROOT}/approve/instances/i0/status", json={"status": "terminate"})

    ended = await job(node, action="pause", filter={"status": ["waiting", "terminated"]})

    assert (ended["state"], ended["total"], ended["done"], ended["failed"]) == ("done", 2, 1, 1)
    assert [(error["id"], error["code"]) for error in ended["errors"]] == [("i0", 10912)]


async def test_a_job_can_be_stopped_and_is_known_afterwards(node: Node) -> None:
    await some(node, 1)
    ended = await job(node, action="pause", filter={})

    stopped = (await node.call("DELETE", f"{ROOT}/approve/jobs/{ended['id']}")).result

    assert stopped == ended
    assert (await node.get("/greet/jobs")).result == []
    assert (await node.get(f"/greet/jobs/{ended['id']}")).failure[:2] == (404, 10972)
    assert (await node.get("/approve/jobs/nobody")).failure[:2] == (404, 10972)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"action": "terminate"}, "filter: field required"),
        ({"action": "explode", "filter": {}}, "action"),
        ({"action": "pause", "filter": {"stauts": "waiting"}}, 'did you mean "status"?'),
        ({"action": "pause", "filter": {"status": "wating"}}, '"wating" is not a status'),
        ({"action": "pause", "filter": {}, "rollback": True}, "only a termination runs the rollback handlers"),
        ({"action": "delete", "filter": {}, "cascade": True}, "a delete does not reach"),
        ({"action": "pause", "filter": {"tags": ["a,b"]}}, "no comma"),
    ],
)
async def test_a_job_that_makes_no_sense_is_400(node: Node, body: dict[str, Any], told: str) -> None:
    status, _, message = (await node.post("/approve/jobs", json=body)).failure

    assert status == 400
    assert told in message


# ---- without a server


class Flaky:
    """An engine whose store is away every other time that it is asked for a page, and for the first try on each instance."""

    def __init__(self, node: Node) -> None:
        self._engine = node.engine
        self._asked = 0
        self._tried: set[str] = set()
        self.steered: list[str] = []

    async def find(self, query: InstanceQuery) -> Page[Any]:
        """Answer, or not."""
        self._asked += 1
        if not query.total and self._asked % 2 == 0:
            raise Unavailable("away")
        return await self._engine.find(query)

    async def steer(self, workflow: str, id: str, verb: Any, **wishes: Any) -> Any:
        """Steer, or not."""
        if id not in self._tried:
            self._tried.add(id)
            raise Unavailable("away")
        self.steered.append(id)
        return await self._engine.steer(workflow, id, verb, **wishes)


class Hasty(SystemClock):
    """A clock that does not wait."""

    async def sleep(self, seconds: float) -> None:
        """Give the others a turn."""
        await asyncio.sleep(0)


def order(statuses: Sequence[Status] = ()) -> BulkOrder:
    return BulkOrder(action=Action.TERMINATE, filter=InstanceQuery(workflow="approve", statuses=frozenset(statuses)))


async def test_a_store_that_is_away_holds_a_job_up_and_nothing_is_done_twice(node: Node) -> None:
    ids = await some(node, 150)
    engine: Any = Flaky(node)
    jobs = BulkJobs(engine, Hasty(), structlog.get_logger())

    started = await jobs.start(order())
    async with asyncio.timeout(60):
        while started.phase is JobPhase.RUNNING:  # noqa: ASYNC110  # a job tells nobody
            await asyncio.sleep(0)

    assert (started.phase, started.total, started.done, started.failed) == (JobPhase.DONE, 150, 150, 0)
    assert sorted(engine.steered) == sorted(ids)


async def test_a_stopped_job_does_nothing_any_more_and_the_same_order_carries_on(node: Node) -> None:
    await some(node, 300)
    jobs = BulkJobs(node.engine, SystemClock(), structlog.get_logger())
    first = await jobs.start(order())
    await jobs.stop()
    left = await jobs.count(order())

    second = await jobs.start(order())
    assert (first.phase, second.total) == (JobPhase.STOPPED, left)
    async with asyncio.timeout(60):
        while second.phase is JobPhase.RUNNING:  # noqa: ASYNC110  # a job tells nobody
            await asyncio.sleep(0)
    assert await jobs.count(order()) == 0
    await jobs.stop()


async def test_a_few_jobs_run_at_once(node: Node) -> None:
    await some(node, 100)
    jobs = BulkJobs(node.engine, SystemClock(), structlog.get_logger())
    with pytest.raises(Conflict, match="4 jobs run already"):
        await asyncio.gather(*(jobs.start(order()) for _ in range(5)))
    await jobs.stop()
