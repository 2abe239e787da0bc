"""A node whose PostgreSQL server goes away: what it cannot keep it does not acknowledge; it goes on by itself when the server is back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from hub.engine.context import TriggerSpec
from hub.store.postgres import PostgresStore
from tests.api.node import ROOT, Node, running
from tests.databases import asked
from tests.postgres import PostgresServer
from triggers.cron import CronConfig, CronTrigger

EACH_SECOND = CronConfig(cron="* * * * * *", seconds=True)
TICKS = TriggerSpec("ticks", "greet", CronTrigger(EACH_SECOND), kind="cron", settings={"cron": EACH_SECOND.cron, "seconds": True})
MANY = 60
SLOTS = "SELECT count(*) FROM instance WHERE status = 'complete' AND id NOT LIKE 'n%'"


async def create(node: Node, id: str, workflow: str = "greet") -> int:
    """Ask for an instance over HTTP; return the status."""
    async with node.client.post(f"{ROOT}/{workflow}/instances", json={"instance_id": id}) as answer:
        if answer.status == 503:
            assert int(answer.headers["Retry-After"]) > 0
        return answer.status


async def status(node: Node, method: str, path: str, **more: Any) -> int:
    """Ask for anything, within bounds; return the status."""
    async with asyncio.timeout(5), node.client.request(method, path, **more) as answer:
        return answer.status


async def until(url: str, question: str, least: int) -> None:
    """Return when the database counts that many."""
    while (await asked(url, question))[0][0] < least:
        pass


async def test_an_outage_of_the_database_loses_nothing_acknowledged(tmp_path: Path, postgres_server: PostgresServer) -> None:
    url = postgres_server.url
    async with running(tmp_path, store=PostgresStore(url), triggers=[TICKS]) as node, asyncio.timeout(45):
        assert await create(node, "n-waits", "approve") == 200
        going = asyncio.create_task(asyncio.to_thread(postgres_server.kill))
        asked_for = [asyncio.create_task(create(node, f"n{n}")) for n in range(MANY)]  # one whose fate is unknown waits for its answer
        await going

        try:
            assert await create(node, "n-away") == 503
            assert await status(node, "POST", "/hooks/greetings", json={}) == 503
            assert await status(node, "GET", f"{ROOT}/greet/instances") == 503
            assert await status(node, "GET", f"{ROOT}/approve/instances/n-waits") == 503
            assert await status(node, "POST", f"{ROOT}/approve/instances/n-waits/events/approved", json={}) == 503
        finally:
            await asyncio.to_thread(postgres_server.start)

        answers = [(f"n{n}", await answer) for n, answer in enumerate(asked_for)]
        ((slots,),) = await asked(url, SLOTS)
        await until(url, SLOTS, slots + 2)
        assert await status(node, "POST", f"{ROOT}/approve/instances/n-waits/events/approved", json={}) == 200
        await until(url, "SELECT count(*) FROM instance WHERE id = 'n-waits' AND status = 'complete'", 1)
        kept = {id for (id,) in await asked(url, "SELECT id FROM instance WHERE id LIKE 'n%'")}

        assert {said for _, said in answers} <= {200, 503}
        assert kept == {"n-waits", *(id for id, said in answers if said == 200)}  # what was refused is not there
        assert await create(node, "n-away") == 200
