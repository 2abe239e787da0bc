"""An outside service; after each test nothing may still run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.connectors.outside import Outside


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    outside = Outside()
    await outside.start()
    yield outside
    await outside.stop()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, f"still running after the test: {left}"
