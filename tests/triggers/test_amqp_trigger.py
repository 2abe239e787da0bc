"""A queue of a real broker: what is acknowledged and when, where hopeless messages go, and what an operator sees."""

from __future__ import annotations

import asyncio

from hub.core.delivery import DeliveryStatus, Phase, Receipt, TriggerEvent
from hub.core.errors import Overloaded, Rejected
from tests.triggers.broker import Broker
from tests.triggers.queues import Consuming, numbers, payload_of, until


async def test_each_message_becomes_an_instance_and_leaves_the_queue(broker: Broker, consuming: Consuming) -> None:
    queue = broker.queue()
    broker.publish_all(queue, numbers(20))
    await consuming.consume(queue)

    payloads = await consuming.payloads(20)
    await until(lambda: not consuming.health.facts["unacked"], "all acknowledged")
    await consuming.stop()

    assert sorted(payload["n"] for payload in payloads) == list(range(20))
    assert broker.left(queue) == 0


async def test_a_message_is_acknowledged_only_when_its_instance_is_on_disk(broker: Broker, consuming: Consuming) -> None:
    queue, commit = broker.queue(), asyncio.Event()

    async def slow(event: TriggerEvent) -> Receipt:
        await commit.wait()
        return await consuming.accept(event)

    consuming.answer = slow
    broker.publish(queue, {"n": 1}, message_id="m1")
    await consuming.consume(queue, grace="0 seconds")
    await until(lambda: broker.ready(queue) == 0, "the message is in hand")
    await consuming.stop()

    await until(lambda: broker.ready(queue) == 1, "nothing was committed, so it went back")
    consuming.answer = consuming.accept
    await consuming.consume(queue)
    assert await consuming.payloads(1) == [{"n": 1}]


async def test_no_more_messages_are_in_hand_than_the_prefetch_says(broker: Broker, consuming: Consuming) -> None:
    queue, commit = broker.queue(), asyncio.Event()
    at_once: list[int] = []

    async def slow(event: TriggerEvent) -> Receipt:
        at_once.append(int(consuming.health.facts["unacked"]))
        await commit.wait()
        return await consuming.accept(event)

    consuming.answer = slow
    broker.publish_all(queue, numbers(12))
    await consuming.consume(queue, prefetch=5)
    await consuming.fact("unacked", 5)
    await until(lambda: broker.ready(queue) == 7, "the others stay with the broker")
    commit.set()

    assert len(await consuming.payloads(12)) == 12


async def test_many_messages_share_a_commit(broker: Broker, consuming: Consuming) -> None:
    queue = broker.queue()
    broker.publish_all(queue, numbers(2000))
    await consuming.consume(queue)
    await consuming.payloads(2000)
    await consuming.stop()

    assert consuming.transactions < 2000 / 5


async def test_a_message_id_that_comes_again_creates_nothing(broker: Broker, consuming: Consuming) -> None:
    queue = broker.queue()
    for n in range(3):
        broker.publish(queue, {"n": n}, message_id="same")
    broker.publish(queue, {"n": 3}, message_id="other")
    await consuming.consume(queue)
    await until(lambda: consuming.health.facts["ready"] == 0 and not consuming.health.facts["unacked"])
    await consuming.payloads(2)

    assert await consuming.instances() == 2


async def test_messages_without_an_id_are_never_taken_for_duplicates(broker: Broker, consuming: Consuming) -> None:
    queue = broker.queue()
    for _ in range(3):
        broker.publish(queue, {"n": 1})
    await consuming.consume(queue)

    assert len(await consuming.payloads(3)) == 3
    assert await consuming.instances() == 3


async def test_what_the_message_says_beside_its_body_is_in_the_event(broker: Broker, consuming: Consuming) -> None:
    queue, exchange = broker.queue(), broker.exchange()
    broker.channel.queue_bind(queue, exchange, "orders.*")
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    broker.publish(
        "orders.new", {"n": 1}, exchange=exchange, message_id="m1", type="order", headers={"Shop": "north", "traceparent": trace}
    )
    await consuming.consume(queue)
    await consuming.payloads(1)

    event = consuming.events[0]
    assert event.key == "m1"
    assert event.headers == {"shop": "north"}
    assert event.metadata["exchange"] == exchange
    assert event.metadata["routing_key"] == "orders.new"
    assert event.metadata["properties"]["type"] == "order"
    assert event.metadata["traceparent"] == trace


# ---- hopeless messages


async def test_an_unreadable_message_goes_to_the_dead_letters_of_a_declared_queue_and_is_kept(broker: Broker, consuming: Consuming) -> None:
    queue = broker.name()
    await consuming.consume(queue, topology="declare")
    broker.publish(queue, b"{broken", content_type="application/json", message_id="bad")
    broker.publish(queue, {"n": 1}, message_id="good")

    [delivery] = await consuming.deliveries(1)
    await consuming.payloads(1)
    await until(lambda: broker.ready(f"{queue}.dead") == 1, "the dead letter")

    assert (delivery.status, delivery.code, delivery.key) == (DeliveryStatus.REJECTED, "payload.malformed", "bad")
    assert payload_of(delivery) == {"content_type": "application/json", "base64": "e2Jyb2tlbg=="}
    dead = broker.get(f"{queue}.dead")
    assert dead is not None
    assert dead[2] == b"{broken"


async def test_an_unreadable_message_of_a_queue_without_dead_letters_is_kept_and_acknowledged(broker: Broker, consuming: Consuming) -> None:
    queue = broker.queue()
    await consuming.consume(queue)
    broker.publish(queue, b"\xff\xfe", content_type="text/plain", message_id="bad")

    [delivery] = await consuming.deliveries(1)
    await until(lambda: consuming.health.facts["unacked"] == 0)
    await consuming.stop()

    assert (delivery.status, delivery.code) == (DeliveryStatus.REJECTED, "payload.malformed")
    assert broker.left(queue) == 0


async def test_hopeless_messages_go_to_the_named_queue_with_the_reason(broker: Broker, consuming: Consuming) -> None:
    queue, dead = broker.queue(), broker.queue()

    async def refuse(_event: TriggerEvent) -> Receipt:
        raise Rejected("amount: 5 is less than the minimum of 10", code="payload.schema")

    consuming.answer = refuse
    await consuming.consume(queue, dead_letter_queue=dead)
    broker.publish(queue, {"amount": 5}, message_id="m1", headers={"shop": "north"}, correlation_id="c1")
    await until(lambda: broker.ready(dead) == 1, "the dead letter")
    await consuming.stop()

    found = broker.get(dead)
    assert found is not None
    _, properties, body = found
    assert body == {"amount": 5}
    assert (properties.message_id, properties.correlation_id) == ("m1", "c1")
    added = {"x-hub-reason": "payload.schema", "x-hub-trigger": "queue"}
    assert properties.headers == {"shop": "north", **added, "x-delivery-count": 0}  # the last one is the broker's
    await consuming.stop()
    assert broker.left(queue) == 0


async def test_a_dead_letter_queue_that_is_missing_does_not_stop_the_others(broker: Broker, consuming: Consuming) -> None:
    queue, missing = broker.queue(), broker.name()
    await consuming.consume(queue, dead_letter_queue=missing)
    broker.publish(queue, b"{broken", content_type="application/json")
    broker.publish(queue, {"n": 1})

    assert await consuming.payloads(1) == [{"n": 1}]
    assert len(await consuming.deliveries(1)) == 1
    await until(lambda: consuming.health.facts["unacked"] == 0)
    assert broker.left(queue) == 0


async def test_what_no_store_can_hold_beside_the_body_is_left_out_of_the_delivery(broker: Broker, consuming: Consuming) -> None:
    queue = broker.queue()
    await consuming.consume(queue)
    broker.publish(queue, b"{broken", content_type="application/json", message_id="nul \0", headers={"nul": "\0", "half": b"\xed\xa0\x80"})

    [delivery] = await consuming.deliveries(1)
    await until(lambda: consuming.health.facts["unacked"] == 0)
    assert payload_of(delivery) == {"content_type": "application/json", "base64": "e2Jyb2tlbg=="}


async def test_a_message_that_came_back_too_often_is_given_up(broker: Broker, consuming: Consuming) -> None:
    queue = broker.queue()
    broker.publish(queue, {"n": 1}, message_id="poison")
    for _ in range(3):
        method, _, _ = broker.channel.basic_get(queue)
        assert method is not None
        broker.channel.basic_reject(method.delivery_tag, requeue=True)
    await consuming.consume(queue, delivery_limit=2)

    [delivery] = await consuming.deliveries(1)
    assert (delivery.status, delivery.code, delivery.key) == (DeliveryStatus.DEAD, "amqp.delivery_limit", "poison")
    assert consuming.events == []
    await until(lambda: consuming.health.facts["unacked"] == 0)
    await consuming.stop()
    assert broker.left(queue) == 0


async def test_an_event_that_the_hub_fails_on_is_given_up_without_spinning(broker: Broker, consuming: Consuming) -> None:
    queue, tries = broker.queue(), []

    async def fail(event: TriggerEvent) -> Receipt:
        tries.append(event)
        raise ZeroDivisionError("a defect")

    consuming.answer = fail
    await consuming.consume(queue, max_retries=1)
    broker.publish(queue, {"n": 1}, message_id="m1")

    [delivery] = await consuming.deliveries(1)
    assert (delivery.status, delivery.code, delivery.message) == (DeliveryStatus.DEAD, "queue.failed", "ZeroDivisionError: a defect")
    assert len(tries) == 2


# ---- back-pressure


async def test_a_hub_that_takes_nothing_stops_consuming_and_goes_on_where_it_was(broker: Broker, consuming: Consuming) -> None:
    queue, full = broker.queue(), True

    async def overloaded(event: TriggerEvent) -> Receipt:
        if full:
            raise Overloaded("10 instances wait")
        return await consuming.accept(event)

    consuming.answer = overloaded
    broker.publish_all(queue, numbers(3))
    await consuming.consume(queue, wait=False)
    health = await consuming.phase(Phase.BLOCKED)
    await consuming.fact("consuming", False)
    broker.publish_all(queue, numbers(2), "later")

    assert "10 instances wait; trying again in" in health.message
    await until(lambda: broker.ready(queue) == 2, "what comes later stays with the broker, what is in hand is not put back")
    full = False
    assert len(await consuming.payloads(5)) == 5
    assert not any(event.metadata["redelivered"] for event in consuming.events)
    await consuming.phase(Phase.CONSUMING)


async def test_a_paused_trigger_does_not_consume(broker: Broker, consuming: Consuming) -> None:
    queue = broker.queue()
    await consuming.consume(queue)
    await consuming.pause(True)
    await consuming.fact("consuming", False)
    broker.publish(queue, {"n": 1})
    await until(lambda: broker.consumers(queue) == 0 and broker.ready(queue) == 1, "nobody takes the message")
    assert consuming.health.phase is Phase.PAUSED

    await consuming.pause(False)

    assert await consuming.payloads(1) == [{"n": 1}]


# ---- the end


async def test_a_stop_lets_what_is_in_hand_come_to_its_end_and_gives_the_rest_back(broker: Broker, consuming: Consuming) -> None:
    queue, commit = broker.queue(), asyncio.Event()
    begun: list[int] = []

    async def slow(event: TriggerEvent) -> Receipt:
        begun.append(event.payload["n"])
        await commit.wait()
        return await consuming.accept(event)

    consuming.answer = slow
    broker.publish_all(queue, numbers(6))
    await consuming.consume(queue, prefetch=4)
    await until(lambda: len(begun) == 4)
    stopping = asyncio.create_task(consuming.hosting.stop())
    await consuming.fact("consuming", False)
    commit.set()
    await stopping

    assert sorted(event.payload["n"] for event in consuming.events) == sorted(begun)
    assert broker.left(queue) == 2


async def test_what_waits_for_the_hub_goes_back_at_a_stop_at_once(broker: Broker, consuming: Consuming) -> None:
    queue = broker.queue()

    async def overloaded(_event: TriggerEvent) -> Receipt:
        raise Overloaded

    consuming.answer = overloaded
    broker.publish(queue, {"n": 1})
    await consuming.consume(queue, wait=False, grace="1 hour")
    await consuming.phase(Phase.BLOCKED)
    await consuming.stop()

    assert broker.left(queue) == 1
