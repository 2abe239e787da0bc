"""The queue trigger on a real engine and virtual time: messages of the hub's own queues become instances, or batches for a handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from hub.core.current import CURRENT, CurrentStep
from hub.core.deliveries import decode_event
from hub.core.delivery import Delivery, DeliveryQuery, DeliveryStatus, Phase, Receipt, TriggerEvent, TriggerHealth
from hub.core.errors import ConfigError, Conflict, Overloaded, Rejected
from hub.core.model import InstanceQuery
from hub.core.ports import Handler, Store
from hub.core.queue import Message, MessageBatch
from hub.core.queues import QueueRecord, outgoing
from hub.core.writes import Outcome, Write
from hub.engine.context import TriggerSpec
from hub.engine.desk import TriggerDesk
from hub.engine.queue_binding import QueueBinding
from hub.plugins import parse_options
from tests.triggers.hosted import Hosted, settle
from triggers.queue import QueueTrigger

SECOND = timedelta(seconds=1)


def trigger(**options: Any) -> QueueTrigger:
    return QueueTrigger(parse_options(QueueTrigger, {"queue": "orders", **options}, "triggers.0"))


class Shop:
    """A hub with a queue `orders`, and a trigger that consumes it."""

    handler: Handles

    def __init__(self, hosted: Hosted) -> None:
        self.hosted = hosted

    async def consume(self, handler: Handler | None = None, **options: Any) -> None:
        workflow = "orders" if handler is None else None
        await self.hosted.host_specs(TriggerSpec("queue", workflow, trigger(**options), kind="queue", handler=handler))
        await settle()

    async def push(self, *bodies: Any, queue: str = "orders", **options: Any) -> None:
        await self.hosted.engine.queues.push(queue, [outgoing(body, **options) for body in bodies])
        await self.quiet()

    async def quiet(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(20):
            await settle()

    async def advance(self, seconds: float) -> None:
        await self.hosted.clock.advance(timedelta(seconds=seconds))
        await self.quiet()

    async def queue(self, name: str = "orders") -> QueueRecord:
        return (await self.hosted.engine.queues.queue(name)).record

    async def left(self, name: str = "orders") -> tuple[int, int]:
        """Return how many messages wait, and how many are held."""
        record = await self.queue(name)
        return record.waiting, record.held

    async def pause(self, paused: bool) -> None:
        await self.hosted.engine.ledger.steer("queue", paused=paused)
        await self.hosted.hosting.refresh()
        await self.quiet()

    async def instances(self) -> list[Any]:
        page = await self.hosted.engine.find(InstanceQuery(limit=100, heads=False, ascending=True))
        return [instance.params for instance in page.items]

    async def deliveries(self) -> list[Delivery]:
        return [*(await self.hosted.engine.ledger.deliveries(DeliveryQuery(limit=100, heads=False))).items]

    @property
    def health(self) -> TriggerHealth:
        return self.hosted.hosting.hosted["queue"].health

    @property
    def phase(self) -> Phase:
        return self.health.phase

    @property
    def payloads(self) -> list[Any]:
        return [event.payload for event in self.hosted.events]


@pytest.fixture
def shop(hosted: Hosted) -> Shop:
    return Shop(hosted)


class Handles:
    """A project's handler: it keeps the batches that it got, and does what it is told for each."""

    def __init__(self, act: Callable[[MessageBatch], Any] = lambda batch: None) -> None:
        self.batches: list[MessageBatch] = []
        self._act = act

    async def __call__(self, batch: MessageBatch) -> None:
        self.batches.append(batch)
        done = self._act(batch)
        if isinstance(done, Awaitable):
            await done

    @property
    def told(self) -> list[tuple[Any, int]]:
        return [(message.body, message.attempts) for batch in self.batches for message in batch.messages]


# ---- one message, one instance


async def test_each_message_becomes_an_instance_and_leaves_the_queue(shop: Shop) -> None:
    await shop.consume()
    await shop.push({"n": 1}, {"n": 2}, "text")

    assert shop.payloads == [{"n": 1}, {"n": 2}, "text"]
    assert len(await shop.instances()) == 3
    assert await shop.left() == (0, 0)
    assert shop.health.phase is Phase.CONSUMING


async def test_an_event_says_where_it_comes_from(shop: Shop) -> None:
    await shop.consume()
    sent_at = shop.hosted.clock.now()
    await shop.push("hello", message_id="m-1", content_type="text")

    (event,) = shop.hosted.events
    assert (event.key, event.occurred_at) == ("m-1", sent_at)
    assert event.metadata == {"queue": "orders", "content_type": "text", "attempts": 1}


async def test_the_same_message_again_creates_no_second_instance(shop: Shop) -> None:
    await shop.consume()
    await shop.push({"n": 1}, message_id="order-1")
    await shop.push({"n": 1}, message_id="order-1")

    assert len(await shop.instances()) == 1
    assert await shop.left() == (0, 0)


async def test_messages_wait_for_a_trigger_that_comes_later(shop: Shop) -> None:
    await shop.consume()
    await shop.hosted.stop()
    await shop.consume()
    await shop.push({"n": 1})
    await shop.hosted.stop()
    await shop.consume()

    assert len(await shop.instances()) == 1


async def test_a_delayed_message_comes_at_its_time(shop: Shop) -> None:
    await shop.consume()
    await shop.push("late", delay_seconds=60)
    await shop.advance(59)
    assert shop.payloads == []

    await shop.advance(1)

    assert shop.payloads == ["late"]


async def test_bytes_are_told_as_base64(shop: Shop) -> None:
    await shop.consume()
    await shop.push(b"\x00\xff")

    assert shop.payloads == [{"content_type": "application/octet-stream", "base64": "AP8="}]


async def test_a_message_that_the_hub_refuses_is_kept_as_a_delivery(shop: Shop) -> None:
    async def refuse(event: TriggerEvent) -> Receipt:
        raise Rejected("no amount", code="payload.schema")

    shop.hosted.answer = refuse
    await shop.consume()
    await shop.push({"n": 1})

    assert await shop.left() == (0, 0)


async def test_a_refused_message_goes_to_the_queue_of_dead_letters_too(shop: Shop) -> None:
    async def refuse(event: TriggerEvent) -> Receipt:
        raise Rejected("no amount", code="payload.schema")

    shop.hosted.answer = refuse
    await shop.consume(dead_letter_queue="dead")
    await shop.push({"n": 1})

    assert await shop.left() == (0, 0)
    assert await shop.left("dead") == (1, 0)


async def test_a_message_on_which_the_hub_fails_is_dead_after_its_tries(shop: Shop) -> None:
    async def fail(event: TriggerEvent) -> Receipt:
        raise ZeroDivisionError("a defect")

    shop.hosted.answer = fail
    await shop.consume(max_retries=2)
    await shop.push({"n": 1}, message_id="m-1")
    await shop.advance(10)

    (delivery,) = await shop.deliveries()
    assert (delivery.status, delivery.code, delivery.key) == (DeliveryStatus.DEAD, "queue.failed", "m-1")
    assert decode_event(delivery.event).payload == {"n": 1}
    assert await shop.left() == (0, 0)


async def test_nothing_more_is_taken_while_the_backlog_is_full(shop: Shop) -> None:
    full = True

    async def answer(event: TriggerEvent) -> Receipt:
        if full:
            raise Overloaded("the backlog is full", retry_after=timedelta(seconds=30))
        return await shop.hosted.accept(event)

    shop.hosted.answer = answer
    await shop.consume()
    await shop.push(1)
    assert (shop.phase, "the backlog is full" in shop.health.message) == (Phase.BLOCKED, True)
    await shop.push(2)
    assert await shop.left() == (1, 1)

    full = False
    await shop.advance(31)

    assert sorted(shop.payloads) == [1, 2]
    assert shop.phase is Phase.CONSUMING
    assert await shop.left() == (0, 0)


async def test_a_paused_trigger_takes_nothing_and_goes_on_when_it_is_resumed(shop: Shop) -> None:
    await shop.consume()
    await shop.pause(True)
    await shop.push(1)
    await shop.advance(60)
    assert (shop.health.phase, await shop.left()) == (Phase.PAUSED, (1, 0))

    await shop.pause(False)

    assert await shop.instances() == [b"1"]  # directly, or held for a moment: the release of what a pause has held may still be looking


async def test_what_waits_for_the_hub_goes_back_when_it_stops_and_does_not_count(shop: Shop) -> None:
    async def full(event: TriggerEvent) -> Receipt:
        raise Overloaded("the backlog is full")

    shop.hosted.answer = full
    await shop.consume()
    await shop.push(1)
    assert await shop.left() == (0, 1)
    await shop.pause(True)
    assert await shop.left() == (1, 0)

    shop.hosted.answer = shop.hosted.accept
    await shop.pause(False)
    await shop.advance(2)

    assert shop.hosted.events[0].metadata["attempts"] == 1


async def test_many_messages_share_few_transactions(shop: Shop) -> None:
    transactions = 0
    store_for_next_engine = shop.hosted.store

    def counting() -> Store:
        store = store_for_next_engine()
        apply = store.apply

        async def counted(writes: Sequence[Write]) -> list[Outcome]:
            nonlocal transactions
            transactions += 1
            return await apply(writes)

        store.apply = counted  # type: ignore[method-assign]
        return store

    shop.hosted.store = counting  # type: ignore[method-assign]
    await shop.consume()
    transactions = 0
    for _ in range(10):
        await shop.hosted.engine.queues.push("orders", [outgoing({"n": n}) for n in range(100)])
    await shop.advance(1)

    assert len(shop.payloads) == 1000
    assert await shop.left() == (0, 0)
    assert transactions < 100, "ten pushes, and the messages taken, created and settled in groups"


# ---- batches


async def test_a_full_batch_comes_at_once_and_the_rest_after_its_time(shop: Shop) -> None:
    handler = Handles()
    await shop.consume(handler, max_batch_size=3, max_batch_timeout=5)
    await shop.push(1, 2, 3, 4)
    assert [len(batch.messages) for batch in handler.batches] == [3]

    await shop.advance(5)

    assert handler.told == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert {batch.queue for batch in handler.batches} == {"orders"}
    assert await shop.left() == (0, 0)


async def test_a_message_of_a_batch_has_the_words_of_cloudflare(shop: Shop) -> None:
    handler = Handles()
    await shop.consume(handler, max_batch_timeout=0)
    sent_at = shop.hosted.clock.now()
    await shop.push(b"\x00", message_id="m-1")

    message: Message = handler.batches[0].messages[0]
    assert (message.id, message.body, message.attempts, message.timestamp) == ("m-1", b"\x00", 1, sent_at)


async def test_what_the_handler_acknowledges_survives_its_failure(shop: Shop) -> None:
    def act(batch: MessageBatch) -> None:
        if len(handler.batches) == 1:
            batch.messages[0].ack()
            raise ZeroDivisionError("a defect of the project")

    handler = Handles(act)
    await shop.consume(handler, max_batch_size=3, max_batch_timeout=1)
    await shop.push("a", "b", "c")
    await shop.advance(5)

    assert handler.told == [("a", 1), ("b", 1), ("c", 1), ("b", 2), ("c", 2)]
    assert await shop.left() == (0, 0)


async def test_a_retry_waits_as_long_as_was_asked_and_in_the_database(shop: Shop) -> None:
    def act(batch: MessageBatch) -> None:
        for message in batch.messages:
            if message.attempts == 1:
                message.retry(delay_seconds=3600)

    handler = Handles(act)
    await shop.consume(handler, max_batch_timeout=0, retry_delay=5)
    await shop.push("a")
    assert await shop.left() == (1, 0)
    await shop.hosted.stop()
    await shop.consume(handler, max_batch_timeout=0)

    await shop.advance(3590)
    assert handler.told == [("a", 1)]
    await shop.advance(10)

    assert handler.told == [("a", 1), ("a", 2)]


async def test_the_delay_of_the_settings_holds_where_the_handler_says_none_and_zero_cancels_it(shop: Shop) -> None:
    def act(batch: MessageBatch) -> None:
        for message in batch.messages:
            if message.attempts == 1:
                message.retry(**({"delay_seconds": 0} if message.body == "at once" else {}))

    handler = Handles(act)
    await shop.consume(handler, max_batch_timeout=0, retry_delay="1 minute")
    await shop.push("at once", "later")
    assert ("at once", 2) in handler.told
    assert ("later", 2) not in handler.told

    await shop.advance(60)

    assert ("later", 2) in handler.told


async def test_a_message_that_fails_too_often_is_kept_as_dead(shop: Shop) -> None:
    def act(batch: MessageBatch) -> None:
        raise ValueError("never")

    handler = Handles(act)
    await shop.consume(handler, max_batch_timeout=0, max_retries=3)
    await shop.push({"n": 1}, message_id="m-1")
    await shop.advance(10)

    assert [attempt for _, attempt in handler.told] == [1, 2, 3, 4]
    (delivery,) = await shop.deliveries()
    assert (delivery.status, delivery.code, delivery.key) == (DeliveryStatus.DEAD, "queue.max_retries", "m-1")
    assert "ValueError: never" in delivery.message
    assert decode_event(delivery.event).payload == {"n": 1}
    assert await shop.left() == (0, 0)


async def test_the_dead_letter_of_a_handler_is_not_replayed_and_stays_as_it_is(shop: Shop) -> None:
    await shop.consume(Handles(lambda batch: batch.retry_all()), max_batch_timeout=0, max_retries=0)
    await shop.push({"n": 1})
    (dead,) = await shop.deliveries()

    with pytest.raises(Conflict, match="send the payload there once more") as caught:
        await TriggerDesk(shop.hosted.hosting, shop.hosted.engine.services("local")).replay(dead.id)

    assert caught.value.code == "delivery.of_handler"
    assert await shop.deliveries() == [dead]


async def test_dead_letters_go_to_the_queue_that_is_named_and_nowhere_else(shop: Shop) -> None:
    handler = Handles(lambda batch: batch.retry_all())
    await shop.consume(handler, max_batch_timeout=0, max_retries=0, dead_letter_queue="orders-dead")
    await shop.push("a")

    assert await shop.left("orders-dead") == (1, 0)
    assert await shop.left() == (0, 0)
    assert await shop.deliveries() == []


async def test_a_handler_that_the_hub_could_not_serve_costs_no_attempt(shop: Shop) -> None:
    def act(batch: MessageBatch) -> None:
        if len(handler.batches) == 1:
            raise Overloaded("the backlog is full", retry_after=timedelta(seconds=10))

    handler = Handles(act)
    await shop.consume(handler, max_batch_timeout=0, max_retries=0)
    await shop.push("a")
    assert shop.health.phase is Phase.BLOCKED

    await shop.advance(11)

    assert handler.told == [("a", 1), ("a", 1)]
    assert await shop.left() == (0, 0)


async def test_no_more_calls_run_at_once_than_allowed(shop: Shop) -> None:
    running = most = 0

    async def act(batch: MessageBatch) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await shop.hosted.clock.sleep(1)
        running -= 1

    handler = Handles(act)
    await shop.consume(handler, max_batch_size=1, max_concurrency=2)
    await shop.push(*range(6))
    await shop.advance(10)

    assert (most, len(handler.batches)) == (2, 6)


async def test_a_batch_that_does_not_end_in_time_goes_back_when_the_trigger_is_paused(shop: Shop) -> None:
    async def act(batch: MessageBatch) -> None:
        if len(handler.batches) == 1:
            await shop.hosted.clock.sleep(10**6)

    handler = Handles(act)
    await shop.consume(handler, max_batch_timeout=0, grace=5)
    await shop.push("a")
    await shop.pause(True)
    await shop.advance(6)
    assert await shop.left() == (1, 0)

    await shop.pause(False)

    assert handler.told == [("a", 1), ("a", 1)]
    assert await shop.left() == (0, 0)


# ---- the state, and the desk


async def test_the_state_tells_how_many_messages_wait(shop: Shop) -> None:
    async def full(event: TriggerEvent) -> Receipt:
        raise Overloaded("full", retry_after=SECOND)

    await shop.consume()
    await shop.push("later", delay_seconds=3600)
    await shop.advance(6)

    assert shop.health.facts == {"queue": "orders", "ready": 1, "unacked": 0, "last_message_at": None}


async def test_the_desk_knows_the_consumers_of_a_queue(shop: Shop) -> None:
    await shop.consume(dead_letter_queue="dead", max_batch_size=100, retry_delay="1 minute")

    view = await shop.hosted.engine.queues.queue("orders")

    (consumer,) = view.consumers
    assert (consumer.trigger, consumer.workflow, consumer.dead_letter_queue) == ("queue", "orders", "dead")
    assert consumer.settings == {
        "batch_size": 100, "max_concurrency": 5, "max_retries": 3, "max_wait_time_ms": 5000, "retry_delay": 60.0,
    }  # fmt: skip


async def test_a_message_that_a_client_pulls_and_drops_comes_to_the_trigger_after_its_time(shop: Shop) -> None:
    await shop.consume()
    await shop.pause(True)
    await shop.push("a")
    (pulled,) = await shop.hosted.engine.queues.pull("orders", 10, timedelta(seconds=30))
    await shop.pause(False)
    await shop.advance(29)
    assert (shop.payloads, pulled.body) == ([], b'"a"')

    await shop.advance(1)

    assert shop.payloads == ["a"]
    assert await shop.hosted.engine.queues.settle("orders", [(pulled.key, pulled.lease)], []) == (0, 0)


# ---- settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_batch_size": 101}, "max_batch_size"),
        ({"max_batch_timeout": 61}, "to 1 minute"),
        ({"max_batch_timeout": True}, "max_batch_timeout"),
        ({"max_retries": 101}, "max_retries"),
        ({"retry_delay": 86_401}, "to 1 day"),
        ({"retry_delay": "soon"}, "not a duration"),
        ({"dead_letter_queue": "orders"}, "is the queue itself"),
        ({"queue": "or ders"}, "invalid name of a queue"),
        ({"max_batchsize": 3}, "max_batch_size"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trigger(**options)


def test_plain_numbers_are_seconds_as_in_wrangler() -> None:
    config = parse_options(QueueTrigger, {"queue": "orders", "max_batch_timeout": 2, "retry_delay": 1.5}, "triggers.0")

    assert (config.max_batch_timeout, config.retry_delay) == (timedelta(seconds=2), timedelta(seconds=1.5))




# ---- sending from code


async def bound(shop: Shop, delay: timedelta = timedelta(0)) -> QueueBinding:
    handler = shop.handler = Handles()
    await shop.consume(handler, max_batch_timeout=0)
    return QueueBinding(shop.hosted.engine.queues, "orders", delay)


async def test_code_sends_json_and_bytes_one_or_many_with_options(shop: Shop) -> None:
    queue = await bound(shop)

    await queue.send({"n": 1}, message_id="m-1")
    await queue.send(b"\x00")
    await queue.send("text", {"contentType": "text"})
    await queue.send_batch([{"body": 2}, {"body": 3, "delaySeconds": 60}])
    await queue.sendBatch([{"body": 4}, {"body": 5, "delay_seconds": 0}], delay_seconds=60)
    await shop.quiet()

    assert [body for body, _ in shop.handler.told] == [{"n": 1}, b"\x00", "text", 2, 5]
    await shop.advance(60)
    assert sorted(body for body, _ in shop.handler.told[5:]) == [3, 4]


async def test_the_delay_of_a_producer_holds_unless_the_message_has_its_own(shop: Shop) -> None:
    queue = await bound(shop, timedelta(seconds=60))

    await queue.send("later")
    await queue.send("now", delay_seconds=0)
    await shop.quiet()

    assert [body for body, _ in shop.handler.told] == ["now"]


@pytest.mark.parametrize(
    ("body", "options", "message"),
    [
        (object(), {}, "cannot be written"),
        (1, {"content_type": "text"}, "is a text, not int"),
        ("a", {"content_type": "bytes"}, "is bytes, not str"),
        ("a", {"content_type": "v8"}, "is not known"),
        ("a", {"delay_seconds": 86_401}, "from 0 to 86400"),
        ("a", {"delay_seconds": True}, "from 0 to 86400"),
        ("a", {"delay": 1}, "there is no option 'delay'"),
        ("a", {"message_id": 7}, "message_id is a text"),
        ("a" * 131_072, {}, "131,074 bytes"),
    ],
)
async def test_what_can_never_be_sent_is_refused(shop: Shop, body: Any, options: dict[str, Any], message: str) -> None:
    queue = await bound(shop)

    with pytest.raises(Rejected, match=message):
        await queue.send(body, **options)


async def test_a_step_sends_a_message_once_however_often_it_is_attempted(shop: Shop) -> None:
    queue = await bound(shop)
    await shop.pause(True)

    for _ in range(2):
        token = CURRENT.set(CurrentStep("orders", "i-1", "step", "tell", 1))
        await queue.send("a")
        await queue.send("b")
        CURRENT.reset(token)

    assert await shop.left() == (2, 0)
