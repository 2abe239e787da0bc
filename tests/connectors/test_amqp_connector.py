"""Publishing to a real broker: what arrives, what is refused, and what is worth another try."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.amqp import AmqpConnector, AmqpError, AmqpRefused
from hub.core.current import CURRENT, CurrentStep
from hub.core.errors import ConfigError
from hub.plugins import parse_options
from tests.triggers.broker import Broker
from tests.triggers.proxy import Proxy, proxied


@pytest.fixture
def broker(amqp_url: str) -> Iterator[Broker]:
    broker = Broker(amqp_url)
    yield broker
    broker.close()


@pytest.fixture
async def connect(amqp_url: str) -> AsyncIterator[Callable[..., AmqpConnector]]:
    """Make connectors that are closed after the test."""
    made: list[AmqpConnector] = []

    def make(**options: Any) -> AmqpConnector:
        made.append(AmqpConnector(parse_options(AmqpConnector, {"url": amqp_url, **options}, "connectors.0")))
        return made[-1]

    yield make
    for connector in made:
        await connector.close()


Connect = Callable[..., AmqpConnector]


async def test_a_sent_message_is_in_the_queue_for_good(broker: Broker, connect: Connect) -> None:
    queue = broker.queue()
    await connect(queue=queue).send({"n": 1, "at": datetime(2030, 1, 1, tzinfo=UTC)}, headers={"shop": "north"}, type="order")

    found = broker.get(queue)
    assert found is not None
    _, properties, body = found
    assert body == {"n": 1, "at": "2030-01-01T00:00:00+00:00"}
    assert (properties.content_type, properties.delivery_mode, properties.type) == ("application/json", 2, "order")
    assert properties.headers["shop"] == "north"
    assert properties.message_id


@pytest.mark.parametrize(
    ("body", "options", "content_type", "raw"),
    [
        (b"\x00\xff", {}, "application/octet-stream", b"\x00\xff"),
        ("grün", {}, "text/plain; charset=utf-8", "grün".encode()),
        ("<a/>", {"content_type": "application/xml"}, "application/xml", b"<a/>"),
        (b"x", {"contentType": "text"}, "text/plain", b"x"),
    ],
)
async def test_bytes_and_texts_are_sent_as_they_are(
    broker: Broker, connect: Connect, body: Any, options: dict[str, Any], content_type: str, raw: bytes
) -> None:
    queue = broker.queue()
    await connect(queue=queue).send(body, options)

    found = broker.get(queue)
    assert found is not None
    assert (found[1].content_type, found[2]) == (content_type, raw)


async def test_what_a_step_sends_has_the_same_ids_in_every_attempt(broker: Broker, connect: Connect) -> None:
    queue = broker.queue()
    connector = connect(queue=queue)

    async def attempt(step: str) -> list[str]:
        token = CURRENT.set(CurrentStep("orders", "i1", "do", step, 1))
        await connector.send({"n": 1})
        await connector.send_batch([{"body": 2}, {"body": 3}])
        CURRENT.reset(token)
        got = [broker.get(queue) for _ in range(3)]
        return sorted(found[1].message_id for found in got if found is not None)

    first, again, other = await attempt("charge"), await attempt("charge"), await attempt("refund")

    assert first == again
    assert len(set(first) | set(other)) == 6


async def test_outside_of_steps_every_message_has_an_id_of_its_own(broker: Broker, connect: Connect) -> None:
    queue = broker.queue()
    await connect(queue=queue).sendBatch([{"body": 1}, {"body": 1}, {"body": 1, "message_id": "mine"}])

    ids = {found[1].message_id for _ in range(3) if (found := broker.get(queue)) is not None}
    assert len(ids) == 3
    assert "mine" in ids


async def test_messages_go_through_an_exchange(broker: Broker, connect: Connect) -> None:
    queue, exchange = broker.queue(), broker.exchange()
    broker.channel.queue_bind(queue, exchange, "orders.*")
    await connect().publish("orders.new", {"n": 1}, exchange=exchange)
    await connect(exchange=exchange, queue="orders.old").send({"n": 2})

    assert [found[2]["n"] for _ in range(2) if (found := broker.get(queue)) is not None] == [1, 2]


async def test_a_message_that_nobody_would_get_is_refused_and_the_next_one_is_sent(broker: Broker, connect: Connect) -> None:
    queue, exchange = broker.queue(), broker.exchange()
    connector = connect(queue=queue)

    with pytest.raises(AmqpRefused, match="no queue takes it"):
        await connector.publish(broker.name(), {"n": 1})
    with pytest.raises(AmqpRefused, match="no queue takes it"):
        await connector.publish("orders.new", {"n": 1}, exchange=exchange)
    with pytest.raises(AmqpRefused, match="NOT_FOUND - no exchange"):
        await connector.publish("orders.new", {"n": 1}, exchange="no-such-exchange")
    await connector.send({"n": 2})

    assert broker.left(queue) == 1


async def test_of_a_batch_the_others_are_sent_when_one_is_refused(broker: Broker, connect: Connect) -> None:
    queue = broker.queue()

    with pytest.raises(AmqpRefused, match="cannot be written"):
        await connect(queue=queue).send_batch([{"body": 1}, {"body": object()}, {"body": 3}])

    assert broker.left(queue) == 2


async def test_a_full_queue_is_worth_another_try(broker: Broker, connect: Connect) -> None:
    queue = broker.queue("", **{"x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"})
    connector = connect(queue=queue)
    await connector.send(1)

    with pytest.raises(AmqpError, match="is the queue full"):
        await connector.send(2)


@pytest.mark.parametrize(
    ("body", "options", "words"),
    [
        ({"n": 1}, {"delay": 5}, "no option delay; there are"),
        (object(), {}, "cannot be written"),
        (1, {"priority": "high"}, "cannot be written"),
        (1, {"expiration": "soon"}, "expiration"),
    ],
)
async def test_a_message_that_cannot_be_written_is_refused(connect: Connect, body: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(AmqpRefused, match=words):
        await connect(queue="orders").send(body, options)


async def test_without_a_queue_there_is_nowhere_to_send(connect: Connect) -> None:
    with pytest.raises(AmqpRefused, match="no `queue` in hub.toml"):
        await connect().send(1)


# ---- links that break


@pytest.fixture
async def through(broker: Broker, amqp_url: str, connect: Connect) -> AsyncIterator[tuple[Proxy, str, AmqpConnector]]:
    """Make a connector whose way to the broker is a proxy, and connect it."""
    async with proxied(amqp_url) as (proxy, url):
        queue = broker.queue()
        connector = connect(url=url, queue=queue, timeout="500 ms")
        await connector.send({"n": 0})
        yield proxy, queue, connector
        await connector.close()


async def test_a_broker_that_is_away_is_worth_another_try(broker: Broker, through: tuple[Proxy, str, AmqpConnector]) -> None:
    proxy, queue, connector = through
    await proxy.refuse()
    for _ in range(2):
        with pytest.raises(AmqpError):
            await connector.send({"n": 1})
    await proxy.accept()
    await connector.send({"n": 2})

    assert broker.left(queue) == 2


async def test_a_half_open_link_is_left_at_the_deadline(broker: Broker, through: tuple[Proxy, str, AmqpConnector]) -> None:
    proxy, queue, connector = through
    proxy.stall()
    with pytest.raises(AmqpError, match="no answer within 500 milliseconds"):
        await connector.send({"n": 1})
    await proxy.cut()
    await proxy.accept()
    await connector.send({"n": 2})

    assert broker.left(queue) == 2


@pytest.mark.parametrize(("old", "new"), [("guest:guest@", "guest:wrong@"), ("guest:guest@", "nobody:guest@")])
async def test_a_wrong_password_is_told_and_not_shown(connect: Connect, amqp_url: str, old: str, new: str) -> None:
    connector = connect(url=amqp_url.replace(old, new, 1))

    with pytest.raises(AmqpRefused, match="ACCESS_REFUSED") as caught:
        await connector.ping()
    assert "wrong" not in str(caught.value)


async def test_ping_returns_when_the_broker_answers(connect: Connect) -> None:
    await connect().ping()


@pytest.mark.parametrize(
    ("options", "words"), [({"url": "http://x"}, "amqp://"), ({"timeout": "0 seconds"}, "zero"), ({"que": "x"}, "queue")]
)
def test_a_wrong_setting_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_options(AmqpConnector, {"url": "amqp://localhost", **options}, "connectors.0")
