"""A host for triggers; a test that asks for it runs on virtual time, all others (brokers, servers) on real time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hub.testing import VirtualLoop
from tests.triggers.broker import Broker
from tests.triggers.hosted import Hosted
from tests.triggers.queues import Consuming


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give the tests on virtual time a loop whose time jumps."""
    virtual = "hosted" in getattr(item, "fixturenames", ())
    return {"virtual": VirtualLoop} if virtual else {"real": asyncio.new_event_loop}


@pytest.fixture
async def hosted(tmp_path: Path) -> AsyncIterator[Hosted]:
    hosted = Hosted(tmp_path / "hub.sqlite", datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC))
    yield hosted
    await hosted.stop()


@pytest.fixture
def broker(amqp_url: str) -> Iterator[Broker]:
    broker = Broker(amqp_url)
    yield broker
    broker.close()


@pytest.fixture
async def consuming(tmp_path: Path, amqp_url: str) -> AsyncIterator[Consuming]:
    consuming = Consuming(tmp_path / "hub.sqlite", amqp_url)
    yield consuming
    await consuming.stop()
