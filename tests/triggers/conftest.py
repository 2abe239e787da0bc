"""A host for one trigger; after each test nothing may still run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from tests.triggers.hosted import HandClock, Hosted


@pytest.fixture
async def hosted() -> AsyncIterator[Hosted]:
    hosted = Hosted(HandClock(datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)))
    yield hosted
    await hosted.stop()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, f"still running after the test: {left}"
