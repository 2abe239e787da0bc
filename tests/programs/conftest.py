"""Programs run on a VirtualLoop: nothing here waits for real time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from hub.testing import VirtualLoop


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give every asynchronous test of this folder a loop whose time jumps."""
    return {"virtual": VirtualLoop}
