"""Cloudflare's Python SDK feeds the hub's own queues, unchanged: what it pushes creates instances and reaches the handler in batches."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub.app import App
from hub.core.clock import SystemClock
from hub.project import forget
from hub.settings import load_settings
from tests.clients.test_sdk import AT, package

SETTINGS = """
name = "shop"
main = "shop_of_the_sdk.py"
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
max_batch_size = 50
max_batch_timeout = 0
max_retries = 1
dead_letter_queue = "dead"
[[queues.producers]]
binding = "PARKED"
queue = "parked"
[server]
port = 0
"""
CODE = """
from hub import WorkerEntrypoint, WorkflowEntrypoint

SEEN = []


class Orders(WorkflowEntrypoint):
    async def run(self, event, step):
        return event.payload


class Default(WorkerEntrypoint):
    async def queue(self, batch):
        for message in batch.messages:
            SEEN.append((message.body, message.attempts))
            if message.body == "never":
                message.retry()
"""
clock = SystemClock()


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[App]:
    """Run a project with queues of its own."""
    (tmp_path / "hub.toml").write_text(SETTINGS)
    (tmp_path / "shop_of_the_sdk.py").write_text(CODE)
    app = App(load_settings(tmp_path, environ={}))
    await app.start()
    yield app
    await app.stop()
    forget(tmp_path)


@pytest.fixture
async def client(shop: App) -> AsyncIterator[Any]:
    """Return the SDK's asynchronous client."""
    async with package().AsyncCloudflare(api_token="any", base_url=f"{shop.url}/client/v4") as client:
        yield client


def seen() -> list[tuple[Any, int]]:
    """Return what the handler of the project got."""
    import shop_of_the_sdk  # type: ignore[import-not-found]  # the hub has put the project on the path

    found: list[tuple[Any, int]] = shop_of_the_sdk.SEEN
    return found


async def outputs(client: Any, count: int) -> list[Any]:
    """Return the outputs of all instances, as soon as so many are complete."""
    async with asyncio.timeout(30):
        while True:
            page = [item async for item in client.workflows.instances.list("orders", **AT, status="complete", per_page=100)]
            if len(page) >= count:
                return [(await client.workflows.instances.get(item.id, **AT, workflow_name="orders")).output for item in page]
            await clock.sleep(0.05)


async def until_left(client: Any, queue: str, count: int) -> None:
    async with asyncio.timeout(30):
        while (await client.queues.get(queue, **AT)).model_extra["messages_waiting"] != count:
            await clock.sleep(0.05)


async def test_what_is_pushed_creates_an_instance(client: Any) -> None:
    await client.queues.messages.push("orders", **AT, body={"n": 1}, content_type="json")
    await client.queues.messages.push("orders", **AT, body="two", content_type="text")
    await client.queues.messages.push("orders", **AT, body={"n": 3})

    found = await outputs(client, 3)

    assert sorted(found, key=str) == sorted(["two", {"n": 1}, {"n": 3}], key=str)


async def test_a_bulk_push_creates_one_instance_for_each_message(client: Any) -> None:
    messages = [{"body": {"n": n}, "content_type": "json"} for n in range(100)]
    await client.queues.messages.bulk_push("orders", **AT, messages=messages)

    found = await outputs(client, 100)

    assert len(found) == 100
    await until_left(client, "orders", 0)


async def test_the_handler_gets_batches_with_the_rules_of_cloudflare(client: Any) -> None:
    await client.queues.messages.bulk_push("clicks", **AT, messages=[{"body": body, "content_type": "text"} for body in ("a", "never")])
    await until_left(client, "dead", 1)

    assert Counter(seen()) == Counter([("a", 1), ("never", 1), ("never", 2)])
    dead = (await client.queues.messages.pull("dead", **AT, batch_size=10)).messages
    assert [(message.body, message.attempts) for message in dead] == [("never", 1)]


async def test_a_queue_without_consumer_is_pulled_and_acknowledged(client: Any) -> None:
    messages = [{"body": body, "content_type": "text"} for body in ("a", "b")]
    await client.queues.messages.bulk_push("parked", **AT, messages=messages)
    pulled = await client.queues.messages.pull("parked", **AT, batch_size=10, visibility_timeout_ms=60_000)
    first, second = pulled.messages

    answer = await client.queues.messages.ack(
        "parked", **AT, acks=[{"lease_id": first.lease_id}], retries=[{"lease_id": second.lease_id, "delay_seconds": 0}]
    )

    assert (answer.ack_count, answer.retry_count) == (1, 1)
    (again,) = (await client.queues.messages.pull("parked", **AT)).messages
    assert (again.id, again.body, again.attempts) == (second.id, "b", 2)


async def test_queues_are_listed_read_made_purged_and_deleted(client: Any) -> None:
    assert [queue.queue_name async for queue in client.queues.list(**AT)] == ["clicks", "dead", "orders", "parked"]
    clicks, parked = await client.queues.get("clicks", **AT), await client.queues.get("parked", **AT)
    (consumer,), (producer,) = clicks.consumers, parked.producers
    assert (consumer.type, consumer.dead_letter_queue) == ("worker", "dead")
    assert (consumer.settings.batch_size, consumer.settings.max_retries) == (50, 1)
    assert (producer.script, producer.type) == ("shop", "worker")

    made = await client.queues.create(**AT, queue_name="extra")
    await client.queues.messages.push("extra", **AT, body=1)
    await client.queues.purge.start("extra", **AT, delete_messages_permanently=True)
    assert (await client.queues.get(made.queue_id, **AT)).model_extra["messages_waiting"] == 0
    await client.queues.delete("extra", **AT)
    with pytest.raises(package().NotFoundError, match="queue.not_found"):
        await client.queues.get("extra", **AT)
    with pytest.raises(package().ConflictError, match="queue.in_use"):
        await client.queues.delete("orders", **AT)
