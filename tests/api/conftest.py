"""Fixtures of the API's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.node import Node, running


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """Run a real node without token and fetch handler."""
    async with running(tmp_path) as node:
        yield node
