"""The databases of the conformance suite. Every test that asks for `store` or `world` runs on each of them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.core.ports import Store
from hub.store import store_for
from tests.store.given import LEASE, World, at


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an empty file of the newest schema once: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "hub.sqlite"

    async def migrate() -> None:
        store = store_for(f"sqlite:///{path}")
        await store.open()
        await store.close()

    asyncio.run(migrate())
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file that is not there yet."""
    return tmp_path / "hub.sqlite"


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path, migrated: Path) -> str:
    """Return the address of an empty database."""
    shutil.copy(migrated, tmp_path / "hub.sqlite")
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
