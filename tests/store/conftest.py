"""The databases of the conformance suite. Every test that asks for `store` or `world` runs on each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.core.ports import Store
from hub.store import store_for
from tests.databases import empty_database
from tests.store.given import LEASE, World, at


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file that is not there yet."""
    return tmp_path / "hub.sqlite"


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of an empty database."""
    empty_database(tmp_path / "hub.sqlite")
    return {"sqlite": f"sqlite:///{tmp_path}/hub.sqlite"}[request.param]


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """Open an empty store."""
    store = store_for(url)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def world(store: Store) -> World:
    """Give a store with workflow `orders` and one node whose lease ends at second 10."""
    world = World(store, await store.renew(None, LEASE, at(0)))
    await world.register("orders")
    return world
