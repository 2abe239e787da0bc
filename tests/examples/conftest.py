"""The example projects run as whole hubs, on virtual time: their sleeps and schedules take no time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping

import pika
import pytest
from pika.exceptions import AMQPError

from hub.testing import VirtualLoop

QUEUES = ("hub-example-orders", "hub-example-clicks")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give every test of this folder a loop whose time jumps."""
    return {"virtual": VirtualLoop}


@pytest.fixture(scope="session", autouse=True)
def no_queue_left() -> Iterator[None]:
    """Delete what the queue example declares where a broker listens on this machine."""
    yield
    with contextlib.suppress(AMQPError):
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1"))
        channel = connection.channel()
        for name in QUEUES:
            channel.queue_delete(name)
            channel.queue_delete(f"{name}.dead")
        connection.close()
