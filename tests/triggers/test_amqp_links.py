"""A queue trigger against a real broker and broken networks: what it declares, what it says of a refusal, and that it always comes back."""

from __future__ import annotations

import asyncio
from binascii import b2a_base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from hub.core.delivery import DeliveryStatus, Phase, Receipt, TriggerEvent
from hub.core.errors import Overloaded
from tests.triggers.broker import Broker
from tests.triggers.proxy import Proxy, proxied
from tests.triggers.queues import Consuming, clock, numbers, payload_of, until
from triggers.amqp import AmqpTrigger


@pytest.fixture
async def through(tmp_path: Path, amqp_url: str) -> AsyncIterator[tuple[Proxy, Consuming]]:
    """Make a hub whose way to the broker is a proxy."""
    async with proxied(amqp_url) as (proxy, url):
        consuming = Consuming(tmp_path / "hub.sqlite", url)
        yield proxy, consuming
        await consuming.stop()


# ---- topology


async def test_declare_makes_a_quorum_queue_whose_dead_letters_are_never_lost(broker: Broker, consuming: Consuming) -> None:
    queue, exchange = broker.name(), broker.exchange()
    bindings = [{"exchange": exchange, "routing_key": "orders.*"}]
    await consuming.consume(queue, topology="declare", delivery_limit=7, single_active_consumer=True, bindings=bindings)

    promised = {
        "x-queue-type": "quorum",
        "x-delivery-limit": 7,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": f"{queue}.dead",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-single-active-consumer": True,
    }
    broker.queue(queue, **promised)  # the broker refuses this for a queue with other arguments
    broker.queue(f"{queue}.dead", **{"x-queue-type": "quorum"})
    broker.publish("orders.new", {"n": 1}, exchange=exchange)
    assert await consuming.payloads(1) == [{"n": 1}]


async def test_a_queue_that_is_missing_is_told_and_consumed_once_it_is_there(broker: Broker, consuming: Consuming) -> None:
    queue = broker.name()
    await consuming.consume(queue, wait=False)
    health = await consuming.phase(Phase.ERROR)
    assert not broker.exists(queue), "passive means that nothing is made"
    broker.queue(queue)
    broker.publish(queue, {"n": 1})

    assert f'queue "{queue}"' in health.message
    assert 'create it, or set topology = "declare"' in health.message
    assert await consuming.payloads(1) == [{"n": 1}]


async def test_a_queue_with_other_arguments_is_told_and_left_alone(broker: Broker, consuming: Consuming) -> None:
    queue = broker.name()
    broker.queue(queue, **{"x-queue-type": "classic"})
    await consuming.consume(queue, topology="declare", wait=False)

    health = await consuming.phase(Phase.ERROR)

    assert "PRECONDITION_FAILED" in health.message
    assert 'delete it, name another one, or set topology = "passive"' in health.message
    assert broker.exists(queue)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("guest:guest@", "guest:wrong@", "check user and password"), ("/", "/no-such-host", "refuses the virtual host")],
)
async def test_a_broker_that_lets_nobody_in_is_told(broker: Broker, amqp_url: str, tmp_path: Path, old: str, new: str, words: str) -> None:
    url = amqp_url.replace(old, new, 1) if old != "/" else amqp_url.rstrip("/") + new
    refused = Consuming(tmp_path / "hub.sqlite", url)
    await refused.consume(broker.queue(), wait=False)

    health = await refused.phase(Phase.ERROR)
    await refused.stop()

    assert words in health.message
    assert "wrong" not in health.message


async def test_without_topology_nothing_is_asked_of_the_queue(broker: Broker, consuming: Consuming) -> None:
    queue = broker.queue()
    await consuming.consume(queue, topology="none")
    broker.publish(queue, {"n": 1})

    assert await consuming.payloads(1) == [{"n": 1}]
    assert consuming.health.facts["ready"] is None


# ---- links that break


def _cut(proxy: Proxy) -> Any:
    return proxy.cut()


async def _silence(proxy: Proxy) -> None:
    proxy.stall()


async def _silence_in_a_frame(proxy: Proxy) -> None:
    proxy.stall(after_bytes=11)  # a frame has 8 bytes beside its content


async def _nobody_there(proxy: Proxy) -> None:
    await proxy.refuse()


@pytest.mark.parametrize("fault", [_cut, _silence, _silence_in_a_frame, _nobody_there])
async def test_a_broken_link_is_noticed_and_made_anew_and_no_message_is_lost_or_doubled(
    broker: Broker, through: tuple[Proxy, Consuming], fault: Callable[[Proxy], Any]
) -> None:
    proxy, consuming = through
    queue = broker.queue()
    await consuming.consume(queue)
    broker.publish_all(queue, numbers(50), "before")
    await fault(proxy)
    broker.publish_all(queue, numbers(50), "after")
    await consuming.phase(Phase.CONNECTING)
    await proxy.cut()  # what hangs in a half-open link
    await proxy.accept()

    await consuming.payloads(100)
    await until(lambda: consuming.health.facts["unacked"] == 0)
    assert await consuming.instances() == 100
    await until(lambda: broker.ready(queue) == 0)


async def test_a_message_whose_link_broke_before_its_acknowledgement_creates_one_instance(
    broker: Broker, through: tuple[Proxy, Consuming]
) -> None:
    proxy, consuming = through
    queue, commit = broker.queue(), asyncio.Event()

    async def slow(event: TriggerEvent) -> Receipt:
        receipt = await consuming.accept(event)
        await commit.wait()
        return receipt

    consuming.answer = slow
    broker.publish(queue, {"n": 1}, message_id="m1")
    await consuming.consume(queue)
    await consuming.payloads(1)
    await proxy.cut()
    commit.set()
    await until(lambda: broker.consumers(queue) == 1 and consuming.health.facts["connections"] == 2)
    await consuming.phase(Phase.CONSUMING)
    await until(lambda: consuming.health.facts["unacked"] == 0 and broker.ready(queue) == 0)

    assert await consuming.instances() == 1


async def test_a_link_that_breaks_while_the_hub_takes_nothing_does_not_block_it_for_ever(
    broker: Broker, through: tuple[Proxy, Consuming]
) -> None:
    proxy, consuming = through
    queue, full = broker.queue(), True

    async def overloaded(event: TriggerEvent) -> Receipt:
        if full:
            raise Overloaded
        return await consuming.accept(event)

    consuming.answer = overloaded
    broker.publish_all(queue, numbers(3))
    await consuming.consume(queue, wait=False)
    await consuming.phase(Phase.BLOCKED)
    await proxy.cut()
    await until(lambda: consuming.health.facts["connections"] == 2)
    full = False

    assert len(await consuming.payloads(3)) == 3
    await consuming.phase(Phase.CONSUMING)


async def test_a_broker_that_is_away_at_the_start_is_waited_for(broker: Broker, through: tuple[Proxy, Consuming]) -> None:
    proxy, consuming = through
    queue = broker.queue()
    broker.publish(queue, {"n": 1})
    await proxy.refuse()
    await consuming.consume(queue, wait=False)
    await until(lambda: "trying again in" in consuming.health.message)
    await proxy.accept()

    assert await consuming.payloads(1) == [{"n": 1}]


@pytest.mark.parametrize("kind", ["classic", "quorum"])
@pytest.mark.parametrize("properties", [{"timestamp": 1_700_000_000_000_000_000}, {"timestamp": 2**63}], ids=["far away", "out of range"])
async def test_a_message_that_the_client_library_cannot_read_is_kept_and_holds_up_no_other(
    broker: Broker, consuming: Consuming, kind: str, properties: dict[str, Any]
) -> None:
    queue, dead = broker.name(), broker.queue()
    to_the_dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    broker.queue(queue, **{"x-queue-type": kind, **to_the_dead})
    broker.publish(queue, {"n": 1}, message_id="odd", **properties)  # moments that Python does not have
    broker.publish_all(queue, numbers(3))
    await consuming.consume(queue, dead_letters="broker")

    assert await consuming.payloads(3) == list(numbers(3))
    (kept,) = await consuming.deliveries(1)
    assert (kept.status, kept.code) == (DeliveryStatus.REJECTED, "payload.properties")
    assert payload_of(kept)["base64"] == b2a_base64(b'{"n": 1}', newline=False).decode()
    await until(lambda: broker.ready(dead) == 1, "the dead letter, with all that it had")
    assert consuming.health.facts["connections"] == 1


async def test_a_deleted_queue_is_told_and_consumed_again_when_it_is_back(broker: Broker, consuming: Consuming) -> None:
    queue = broker.queue()
    await consuming.consume(queue)
    broker.delete(queue)
    health = await consuming.phase(Phase.ERROR)
    broker.queue(queue)
    broker.publish(queue, {"n": 1})

    assert "NOT_FOUND" in health.message
    assert await consuming.payloads(1) == [{"n": 1}]


async def test_a_hub_stops_while_the_broker_is_silent(broker: Broker, through: tuple[Proxy, Consuming]) -> None:
    proxy, consuming = through
    await consuming.consume(broker.queue(), watch="10 minutes")
    proxy.stall()

    await consuming.stop()  # that no socket is left is looked at after every test


async def test_a_consumer_that_gets_nothing_although_messages_are_ready_is_made_anew(broker: Broker, consuming: Consuming) -> None:
    queue = broker.queue("", **{"x-queue-type": "quorum", "x-single-active-consumer": True})
    broker.channel.basic_qos(prefetch_count=1)
    broker.channel.basic_consume(queue, lambda *_: None)  # the active consumer, which settles nothing
    broker.publish_all(queue, numbers(3))
    await consuming.consume(queue)

    await until(lambda: consuming.health.facts["connections"] > 1, "connected anew")
    broker.delete(queue)


async def test_one_of_several_consumers_of_an_ordered_queue_waits_for_its_turn(broker: Broker, consuming: Consuming) -> None:
    queue = broker.queue("", **{"x-queue-type": "quorum", "x-single-active-consumer": True})
    broker.channel.basic_qos(prefetch_count=1)
    tag = broker.channel.basic_consume(queue, lambda *_: None)
    broker.publish_all(queue, numbers(3))
    await consuming.consume(queue, single_active_consumer=True, watch="100 ms")
    began = clock.monotonic()
    await until(lambda: clock.monotonic() - began > 1.5)  # twice the time after which it would be taken for dead
    assert consuming.health.facts["connections"] == 1
    broker.channel.basic_cancel(tag)
    broker.channel.close()

    assert len(await consuming.payloads(3)) == 3


async def test_a_link_on_which_nothing_gets_done_is_made_anew(broker: Broker, consuming: Consuming) -> None:
    queue, hangs = broker.queue(), True

    async def hang(event: TriggerEvent) -> Receipt:
        if hangs:
            await asyncio.Event().wait()
        return await consuming.accept(event)

    consuming.answer = hang
    broker.publish_all(queue, numbers(3))
    await consuming.consume(queue, prefetch=2)
    await until(lambda: consuming.health.facts["connections"] > 1, "connected anew")
    hangs = False

    assert len(await consuming.payloads(3)) == 3


async def test_a_trigger_that_never_started_stops(amqp_url: str) -> None:
    trigger = AmqpTrigger(AmqpTrigger.Config(url=amqp_url, queue="orders"))

    await trigger.stop()
    await trigger.stop()
