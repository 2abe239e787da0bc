"""The hub is killed over and over while messages flow through its own queues: each has one instance, or has reached the handler.

Judged by what lies in the database and in a file that the handler writes, never by the hub's own word. A push that was not answered may or
may not have happened; it is never repeated, because that would be another message.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from .kills import chosen_seed
from .queues import Node, clock

KILLS = 6
BULK = 20
SETTINGS = """
name = "campaign"
main = "own_queue_flows.py"
[[workflows]]
name = "orders"
class_name = "Orders"
[[triggers]]
kind = "queue"
name = "orders"
workflow = "orders"
queue = "orders"
[[queues.consumers]]
queue = "clicks"
max_batch_size = 20
max_batch_timeout = 0
max_retries = 100
[server]
port = {port}
[log]
level = "warning"
"""
CODE = """
import asyncio
import os

from hub import WorkerEntrypoint, WorkflowEntrypoint

SEEN = os.open(os.path.join(os.path.dirname(__file__), "seen"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)


class Orders(WorkflowEntrypoint):
    async def run(self, event, step):
        return event.payload["n"]


class Default(WorkerEntrypoint):
    async def queue(self, batch):
        for message in batch.messages:
            os.write(SEEN, b"%d %d\\n" % (message.body["n"], message.attempts))
        await asyncio.sleep(0.005)
"""


class Sender:
    """Sends numbered messages, each once, and knows which the hub has answered."""

    def __init__(self, url: str, queue: str) -> None:
        self._url = f"{url}/client/v4/accounts/local/queues/{queue}/messages/batch"
        self._next = 0
        self.taken: set[int] = set()
        self.tried: set[int] = set()

    async def run(self) -> None:
        """Send for ever."""
        async with aiohttp.ClientSession() as session:
            while True:
                numbers = range(self._next, self._next + BULK)
                self._next += BULK
                self.tried |= set(numbers)
                try:
                    async with session.post(self._url, json={"messages": [{"body": {"n": n}} for n in numbers]}) as answer:
                        if answer.status == 200 and len((await answer.json())["result"]["ids"]) == BULK:
                            self.taken |= set(numbers)
                except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError):
                    await clock.sleep(0.02)


def in_queues(project: Path) -> int:
    with closing(sqlite3.connect(f"file:{project}/.hub/hub.sqlite?mode=ro", uri=True, timeout=10)) as database:
        return int(database.execute("SELECT count(*) FROM message").fetchone()[0])


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def until_listening(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await clock.sleep(0.02)
            else:
                writer.close()
                return


@pytest.mark.timeout(300)  # it starts hubs
async def test_no_message_of_the_hubs_own_queues_is_lost_or_doubled_by_kills(folder: Path) -> None:
    chance, port = random.Random(chosen_seed()), free_port()
    (folder / "hub.toml").write_text(SETTINGS.format(port=port))
    (folder / "own_queue_flows.py").write_text(CODE)
    node, url = Node(folder), f"http://127.0.0.1:{port}"
    orders, clicks = Sender(url, "orders"), Sender(url, "clicks")

    await node.start()
    try:
        await until_listening(port)
        sending = [asyncio.create_task(sender.run()) for sender in (orders, clicks, orders)]
        for _ in range(KILLS):
            await clock.sleep(chance.uniform(0.1, 0.8))
            await node.end(signal.SIGKILL)
            await node.start()
            await until_listening(port)
        await clock.sleep(0.3)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        async with asyncio.timeout(120):
            while in_queues(folder):
                await clock.sleep(0.05)
        assert await node.end(signal.SIGTERM) == 0
    finally:
        await node.end(signal.SIGKILL)

    assert node.deliveries() == 0
    instances = Counter(node.numbers())
    seen = [tuple(map(int, line.split())) for line in (folder / "seen").read_text().splitlines()]
    again = sum(attempts > 1 for _, attempts in seen)
    told = json.dumps({"orders": len(orders.taken), "clicks": len(clicks.taken), "handled": len(seen), "again": again})
    assert len(orders.taken) > 100 < len(clicks.taken), told
    assert orders.taken <= instances.keys() <= orders.tried, told
    assert [n for n, count in instances.items() if count > 1] == [], told
    assert clicks.taken <= {n for n, _ in seen} <= clicks.tried, told
    assert [pair for pair, count in Counter(seen).items() if count > 1] == [], "a delivery after a kill has a number of its own"
    assert max(attempts for _, attempts in seen) <= KILLS + 1, told
