"""The resource of the hub's own queues: list, read, make, delete, push, pull, acknowledge, purge.

Shapes requests and results; every rule is the desk's. The id of a queue is its name. Invariant: a body is shown only to a caller that may
see payloads.
"""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta

from hub.api.envelope import result_info, timestamp
from hub.api.operation import Answer, Call
from hub.api.queue_shapes import (
    AckBody,
    Acked,
    ConsumerItem,
    MessageBody,
    MessagesBody,
    ProducerItem,
    PullBody,
    Pulled,
    PulledItem,
    PurgeBody,
    Purged,
    Pushed,
    QueueBody,
    QueueItem,
    QueueListQuery,
)
from hub.api.results import Done
from hub.core.access import Scope
from hub.core.clock import Clock
from hub.core.errors import Rejected
from hub.core.queues import ContentType, LeasedMessage, Outgoing, QueueDesk, QueueQuery, QueueView, outgoing
from hub.core.veil import HIDDEN


class Queues:
    """Handlers of `/queues`. `script` is the name of the project."""

    def __init__(self, desk: QueueDesk, clock: Clock, script: str) -> None:
        self._desk = desk
        self._clock = clock
        self._script = script

    async def list(self, call: Call[QueueListQuery, None]) -> Answer:
        """Return one page of queues, by name."""
        query = call.query
        page = await self._desk.queues(QueueQuery(name=query.name, limit=query.per_page, offset=query.offset))
        items = [self._item(view) for view in page.items]
        return Answer(
            result=items, info=result_info(count=len(items), per_page=query.per_page, page=query.page, total=page.total, cursor=None)
        )

    async def get(self, call: Call[None, None]) -> Answer:
        """Return one queue."""
        return Answer(result=self._item(await self._desk.queue(call.path["queue"])))

    async def create(self, call: Call[None, QueueBody]) -> Answer:
        """Make a queue."""
        return Answer(result=self._item(await self._desk.create(call.body.queue_name)))

    async def delete(self, call: Call[None, None]) -> Answer:
        """Forget a queue."""
        await self._desk.delete(call.path["queue"])
        return Answer(result=Done(status="ok", success=True))

    async def push(self, call: Call[None, MessageBody]) -> Answer:
        """Put one message into a queue."""
        return Answer(result=Pushed(ids=[*await self._desk.push(call.path["queue"], [_outgoing(call.body, None)])]))

    async def push_batch(self, call: Call[None, MessagesBody]) -> Answer:
        """Put several messages into a queue in one commit."""
        messages = [_outgoing(message, call.body.delay_seconds) for message in call.body.messages]
        return Answer(result=Pushed(ids=[*await self._desk.push(call.path["queue"], messages)]))

    async def pull(self, call: Call[None, PullBody]) -> Answer:
        """Take messages for a client."""
        name, body = call.path["queue"], call.body
        messages = await self._desk.pull(name, body.batch_size, timedelta(milliseconds=body.visibility_timeout_ms))
        shown = call.caller.may(Scope.PAYLOADS)
        waiting = (await self._desk.queue(name)).record.waiting
        items = [_pulled(message, shown=shown) for message in messages]
        return Answer(result=Pulled(messages=items, message_backlog_count=waiting))

    async def ack(self, call: Call[None, AckBody]) -> Answer:
        """Settle pulled messages."""
        acks, retries = call.body.acks, call.body.retries
        done = [_lease(each.lease_id) for each in acks]
        again = [(*_lease(each.lease_id), timedelta(seconds=each.delay_seconds)) for each in retries]
        acked, retried = await self._desk.settle(call.path["queue"], done, again)
        return Answer(result=Acked(ackCount=acked, retryCount=retried))

    async def purge(self, call: Call[None, PurgeBody]) -> Answer:
        """Delete all messages of a queue."""
        began = timestamp(self._clock.now())
        deleted = await self._desk.purge(call.path["queue"])
        return Answer(result=Purged(started_on=began, completed="true", deleted=deleted))

    def _item(self, view: QueueView) -> QueueItem:
        record = view.record
        created_on = timestamp(record.created_at)
        producers = [ProducerItem(type="worker", script=self._script, binding=binding) for binding in view.producers]
        consumers = [
            ConsumerItem(
                consumer_id=consumer.trigger,
                type="worker",
                queue_name=record.name,
                script_name=self._script,
                workflow_name=consumer.workflow,
                dead_letter_queue=consumer.dead_letter_queue or "",
                created_on=created_on,
                settings=consumer.settings,  # type: ignore[typeddict-item]  # the trigger says it in these words
            )
            for consumer in view.consumers
        ]
        return QueueItem(
            queue_id=record.name,
            queue_name=record.name,
            created_on=created_on,
            modified_on=created_on,
            producers=producers,
            producers_total_count=len(producers),
            consumers=consumers,
            consumers_total_count=len(consumers),
            messages_waiting=record.waiting,
            messages_held=record.held,
            oldest_due_on=timestamp(record.due_since),
        )


def _outgoing(message: MessageBody, delay_seconds: float | None) -> Outgoing:
    body = message.body
    if message.content_type is ContentType.BYTES:
        try:
            body = base64.b64decode(body if isinstance(body, str) else "?", validate=True)
        except (ValueError, binascii.Error):
            raise Rejected('body: a body of content_type "bytes" is a text in base64', code="queue.body") from None
    delay = delay_seconds if message.delay_seconds is None else message.delay_seconds
    return outgoing(body, content_type=message.content_type or ContentType.JSON, delay_seconds=delay)


def _pulled(message: LeasedMessage, *, shown: bool) -> PulledItem:
    is_text = message.content_type is ContentType.TEXT
    body = message.body.decode("utf-8", "replace") if is_text else base64.b64encode(message.body).decode()
    return PulledItem(
        id=message.id,
        body=body if shown else HIDDEN,
        attempts=message.attempts,
        timestamp_ms=int(message.sent_at.timestamp() * 1000),
        lease_id=f"{message.key}-{message.lease}",
        metadata={"CF-Content-Type": message.content_type.value},
    )


def _lease(id: str) -> tuple[int, int]:
    key, _, lease = id.partition("-")
    return min(int(key), _LARGEST), min(int(lease), _LARGEST)


_LARGEST = 2**63 - 1  # of a database's integers
