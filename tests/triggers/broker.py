"""A real broker as a test sees it: through `pika`, another client than the hub's, on queues that nobody else uses and that are deleted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker


class Broker:
    """One connection of a sender and reader."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel: BlockingChannel | None = None
        self._names: list[str] = []
        self._exchanges: list[str] = []

    @property
    def channel(self) -> BlockingChannel:
        """An open channel with publisher confirms."""
        if self._channel is None or not self._channel.is_open:
            self._channel = self._connection.channel()
            self._channel.confirm_delivery()
        return self._channel

    def name(self, *suffixes: str) -> str:
        """Return a new name; a queue of that name, and those with the suffixes behind it, are deleted at the end."""
        name = f"test-hub-{uuid4().hex[:12]}"
        self._names += [name, *(name + suffix for suffix in (".dead", *suffixes))]
        return name

    def queue(self, name: str = "", /, **arguments: Any) -> str:
        """Declare a durable quorum queue, or one with other arguments, and return its name."""
        name = name or self.name()
        self.channel.queue_declare(name, durable=True, arguments=arguments or {"x-queue-type": "quorum"})
        return name

    def exchange(self) -> str:
        """Declare a topic exchange and return its name."""
        name = f"test-hub-{uuid4().hex[:12]}"
        self._exchanges.append(name)
        self.channel.exchange_declare(name, "topic", durable=True)
        return name

    def publish(self, queue: str, body: Any = None, *, exchange: str = "", **properties: Any) -> None:
        """Publish one message, JSON unless it is bytes; the broker has it when this returns."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        if not isinstance(body, bytes):
            properties.setdefault("content_type", "application/json")
        self.channel.basic_publish(exchange, queue, raw, pika.BasicProperties(delivery_mode=2, **properties), mandatory=True)

    def publish_all(self, queue: str, bodies: Iterable[Any], prefix: str = "m") -> None:
        """Publish JSON messages with ids `{prefix}-{n}`; the broker has them when this returns. Does not wait for each."""
        channel = self._connection.channel()
        for number, body in enumerate(bodies):
            properties = pika.BasicProperties(delivery_mode=2, content_type="application/json", message_id=f"{prefix}-{number}")
            channel.basic_publish("", queue, json.dumps(body).encode(), properties)
        channel.confirm_delivery()  # what follows is answered after all of the above
        channel.close()

    def ready(self, queue: str) -> int:
        """Return how many messages wait in a queue, without those that somebody has in hand."""
        return int(self.channel.queue_declare(queue, passive=True).method.message_count)

    def consumers(self, queue: str) -> int:
        """Return how many consumers a queue has."""
        return int(self.channel.queue_declare(queue, passive=True).method.consumer_count)

    def exists(self, queue: str) -> bool:
        """Whether there is such a queue."""
        try:
            self.channel.queue_declare(queue, passive=True)
        except ChannelClosedByBroker:
            return False
        return True

    def get(self, queue: str) -> tuple[Any, pika.BasicProperties, Any] | None:
        """Take one message for good: how it was delivered, its properties, its body (JSON where it is)."""
        method, properties, body = self.channel.basic_get(queue, auto_ack=True)
        if method is None or properties is None or body is None:
            return None
        try:
            return method, properties, json.loads(body)
        except ValueError:
            return method, properties, body

    def left(self, queue: str) -> int:
        """Take all messages of a queue that nobody consumes, and return how many there were: counts come late, messages do not."""
        count = 0
        while self.get(queue) is not None:
            count += 1
        return count

    def delete(self, queue: str) -> None:
        """Delete a queue."""
        self.channel.queue_delete(queue)

    def close(self) -> None:
        """Delete everything that was declared or named, and close."""
        try:
            self._delete_all()
        except AMQPError:  # the connection was lost: the broker was restarted
            self._connection, self._channel = pika.BlockingConnection(pika.URLParameters(self.url)), None
            self._delete_all()
        self._connection.close()

    def _delete_all(self) -> None:
        for name in self._names:
            self.channel.queue_delete(name)
        for name in self._exchanges:
            self.channel.exchange_delete(name)
