"""Messages of a real broker in the project's `queue(batch)` handler: how they become batches, and what becomes of each decision."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub.core.delivery import DeliveryStatus, Phase
from hub.core.errors import Overloaded
from hub.core.queue import Message, MessageBatch
from tests.triggers.broker import Broker
from tests.triggers.queues import Consuming, clock, numbers, payload_of, until


class Handler:
    """A project's handler: it keeps the batches that it got, and does what `act` says."""

    def __init__(self) -> None:
        self.batches: list[MessageBatch] = []
        self.at_once = self.most_at_once = 0

    async def __call__(self, batch: MessageBatch) -> None:
        self.batches.append(batch)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self.act(batch)
        finally:
            self.at_once -= 1

    async def act(self, batch: MessageBatch) -> None:
        """Settle everything."""

    @property
    def messages(self) -> list[Message]:
        return [message for batch in self.batches for message in batch.messages]

    async def had(self, count: int) -> None:
        await until(lambda: len(self.messages) >= count, f"{count} messages")


async def settled(broker: Broker, consuming: Consuming, queue: str) -> None:
    """Return when nothing is in hand and nothing waits."""
    await until(lambda: consuming.health.facts["unacked"] == 0 and broker.ready(queue) == 0, "all settled")


async def test_a_full_batch_is_handed_over_at_once(broker: Broker, consuming: Consuming) -> None:
    queue, handler = broker.queue(), Handler()
    broker.publish_all(queue, numbers(6))
    await consuming.consume(queue, handler, max_batch_size=3, max_batch_timeout="1 minute")
    await handler.had(6)

    assert [len(batch.messages) for batch in handler.batches] == [3, 3]
    assert {batch.queue for batch in handler.batches} == {queue}
    assert [message.body["n"] for message in handler.messages] == list(range(6))
    await settled(broker, consuming, queue)


async def test_a_batch_that_does_not_fill_is_handed_over_after_its_time(broker: Broker, consuming: Consuming) -> None:
    queue, handler = broker.queue(), Handler()
    broker.publish(queue, {"n": 1}, message_id="m1")
    began = clock.monotonic()
    await consuming.consume(queue, handler, max_batch_timeout="500 ms")
    await handler.had(1)

    assert clock.monotonic() - began >= 0.5
    [message] = handler.messages
    assert (message.id, message.body, message.attempts) == ("m1", {"n": 1}, 1)
    assert message.metadata["queue"] == queue


async def test_bytes_of_an_unknown_type_stay_bytes(broker: Broker, consuming: Consuming) -> None:
    queue, handler = broker.queue(), Handler()
    broker.publish(queue, b"\x00\xff", content_type="image/png")
    await consuming.consume(queue, handler, max_batch_timeout="0 seconds")
    await handler.had(1)

    assert handler.messages[0].body == b"\x00\xff"


async def test_messages_of_a_failed_handler_come_again_but_not_the_acknowledged_ones(broker: Broker, consuming: Consuming) -> None:
    class AcksTheFirst(Handler):
        async def act(self, batch: MessageBatch) -> None:
            if len(self.batches) == 1:
                batch.messages[0].ack()
                raise ZeroDivisionError("a defect of the project")

    queue, handler = broker.queue(), AcksTheFirst()
    broker.publish_all(queue, numbers(3))
    await consuming.consume(queue, handler, max_batch_size=3, max_batch_timeout="200 ms")
    await handler.had(5)
    await settled(broker, consuming, queue)

    again = handler.batches[1].messages
    assert [(message.id, message.attempts) for message in again] == [("m-1", 2), ("m-2", 2)]


async def test_a_retry_waits_as_long_as_it_was_asked_to(broker: Broker, consuming: Consuming) -> None:
    times: list[float] = []

    class RetriesOnce(Handler):
        async def act(self, batch: MessageBatch) -> None:
            times.append(clock.monotonic())
            for message in batch.messages:
                if message.attempts == 1:
                    message.retry(delay_seconds=0.7)

    queue, handler = broker.queue(), RetriesOnce()
    broker.publish(queue, {"n": 1})
    await consuming.consume(queue, handler, max_batch_timeout="0 seconds")
    await handler.had(2)
    await settled(broker, consuming, queue)

    assert times[1] - times[0] >= 0.7
    assert handler.messages[0].id == handler.messages[1].id


async def test_a_delayed_retry_of_a_declared_queue_waits_in_the_broker_and_survives_the_hub(broker: Broker, consuming: Consuming) -> None:
    class Retries(Handler):
        async def act(self, batch: MessageBatch) -> None:
            if batch.messages[0].attempts < 3:
                batch.retry_all(delay_seconds=1)

    queue, handler = broker.name(".retry.1"), Retries()
    await consuming.consume(queue, handler, topology="declare", max_batch_timeout="0 seconds")
    broker.publish(queue, {"n": 1}, message_id="m1", headers={"shop": "north"})
    await handler.had(1)
    await until(lambda: broker.exists(f"{queue}.retry.1") and broker.ready(f"{queue}.retry.1") == 1, "it waits in the broker")
    await consuming.stop()
    await consuming.consume(queue, handler, topology="declare", max_batch_timeout="0 seconds")
    await handler.had(3)
    await settled(broker, consuming, queue)

    assert [(message.id, message.attempts, message.body) for message in handler.messages] == [("m1", n, {"n": 1}) for n in (1, 2, 3)]
    assert all(message.metadata["headers"]["shop"] == "north" for message in handler.messages)


async def test_a_message_that_fails_too_often_goes_to_the_dead_letters(broker: Broker, consuming: Consuming) -> None:
    class Fails(Handler):
        async def act(self, batch: MessageBatch) -> None:
            raise ZeroDivisionError("no page")

    queue, handler = broker.name(), Fails()
    await consuming.consume(queue, handler, topology="declare", max_batch_timeout="0 seconds", max_retries=2)
    broker.publish(queue, {"n": 1}, message_id="m1")

    [delivery] = await consuming.deliveries(1)
    await until(lambda: broker.ready(f"{queue}.dead") == 1, "the dead letter")

    assert [message.attempts for message in handler.messages] == [1, 2, 3]
    assert (delivery.status, delivery.code, delivery.key) == (DeliveryStatus.DEAD, "queue.max_retries", "m1")
    assert delivery.message == "it was tried 3 times, at last with ZeroDivisionError: no page; max_retries is 2"
    assert payload_of(delivery) == {"n": 1}
    dead = broker.get(f"{queue}.dead")
    assert dead is not None
    assert dead[2] == {"n": 1}


async def test_without_retries_the_first_failure_is_the_last(broker: Broker, consuming: Consuming) -> None:
    class Retries(Handler):
        async def act(self, batch: MessageBatch) -> None:
            batch.retry_all()

    queue, handler = broker.queue(), Retries()
    broker.publish(queue, b"\x00", content_type="image/png", message_id="m1")
    await consuming.consume(queue, handler, max_batch_timeout="0 seconds", max_retries=0)

    [delivery] = await consuming.deliveries(1)
    await settled(broker, consuming, queue)
    assert payload_of(delivery) == {"content_type": "image/png", "base64": "AA=="}
    assert len(handler.messages) == 1


async def test_an_unreadable_message_never_reaches_the_handler(broker: Broker, consuming: Consuming) -> None:
    queue, handler = broker.queue(), Handler()
    broker.publish(queue, b"{broken", content_type="application/json")
    broker.publish(queue, {"n": 1})
    await consuming.consume(queue, handler, max_batch_timeout="0 seconds")

    [delivery] = await consuming.deliveries(1)
    await handler.had(1)
    await settled(broker, consuming, queue)
    assert delivery.code == "payload.malformed"
    assert [message.body for message in handler.messages] == [{"n": 1}]


async def test_a_hub_that_takes_nothing_is_not_the_fault_of_the_message(broker: Broker, consuming: Consuming) -> None:
    class Overloads(Handler):
        async def act(self, batch: MessageBatch) -> None:
            if len(self.batches) <= 2:
                raise Overloaded("10 instances wait")

    queue, handler = broker.queue(), Overloads()
    broker.publish(queue, {"n": 1})
    await consuming.consume(queue, handler, wait=False, max_batch_timeout="0 seconds", max_retries=0)
    await consuming.phase(Phase.BLOCKED)
    await handler.had(3)
    await settled(broker, consuming, queue)

    assert [message.attempts for message in handler.messages] == [1, 1, 1]
    await consuming.phase(Phase.CONSUMING)


async def test_no_more_handlers_run_at_once_than_allowed(broker: Broker, consuming: Consuming) -> None:
    go_on = asyncio.Event()

    class Waits(Handler):
        async def act(self, batch: MessageBatch) -> None:
            await go_on.wait()

    queue, handler = broker.queue(), Waits()
    broker.publish_all(queue, numbers(10))
    await consuming.consume(queue, handler, max_batch_size=1, max_concurrency=2)
    await consuming.fact("unacked", 10)
    go_on.set()
    await handler.had(10)

    assert handler.most_at_once == 2


async def test_a_stop_waits_for_handlers_that_run_and_gives_back_what_waits(broker: Broker, consuming: Consuming) -> None:
    go_on = asyncio.Event()

    class Waits(Handler):
        async def act(self, batch: MessageBatch) -> None:
            await go_on.wait()

    queue, handler = broker.queue(), Waits()
    broker.publish_all(queue, numbers(5))
    await consuming.consume(queue, handler, max_batch_size=2, max_batch_timeout="0 seconds", max_concurrency=1)
    await handler.had(2)
    await consuming.fact("unacked", 5)
    stopping = asyncio.create_task(consuming.hosting.stop())
    await until(lambda: broker.ready(queue) == 3, "what waits for a batch is back")
    go_on.set()
    await stopping

    assert broker.left(queue) == 3
    assert len(handler.messages) == 2


@pytest.mark.parametrize("options", [{}, {"topology": "declare"}])
async def test_a_handler_that_is_too_slow_for_the_stop_gets_its_messages_again(
    broker: Broker, consuming: Consuming, options: dict[str, Any]
) -> None:
    class Hangs(Handler):
        async def act(self, batch: MessageBatch) -> None:
            if len(self.batches) == 1:
                await asyncio.Event().wait()

    queue, handler = broker.name(), Hangs()
    if not options:
        broker.queue(queue)
    await consuming.consume(queue, handler, grace="100 ms", max_batch_timeout="0 seconds", **options)
    broker.publish(queue, {"n": 1}, message_id="m1")
    await handler.had(1)
    await consuming.stop()
    await until(lambda: broker.ready(queue) == 1, "it went back")

    await consuming.consume(queue, handler, max_batch_timeout="0 seconds", **options)
    await handler.had(2)
    await settled(broker, consuming, queue)
