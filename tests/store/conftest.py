"""The databases of the conformance suite. Every test that asks for `store` or `world` runs on each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hub.core.ports import Store
from hub.store import store_for
from tests.databases import Reused, empty_database
from tests.remembered import compared
from tests.store.clock import CLOCK, OnTime
from tests.store.given import LEASE, World, at


@pytest.fixture(autouse=True)
def remembered_heads_are_true(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """See that nothing else is remembered than what is stored."""
    with compared(monkeypatch):
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file that is not there yet."""
    return tmp_path / "hub.sqlite"


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    """Return the kind of database; each in turn, unless a module is about one."""
    return str(request.param)


@pytest.fixture(scope="session")
def reused(postgres_url: str) -> Iterator[Reused]:
    """Return the database that the tests of this process use one after the other."""
    database = Reused(postgres_url, CLOCK)
    yield database
    with ThreadPoolExecutor(1) as pool:  # a thread: an event loop may still be set here
        pool.submit(asyncio.run, database.drop()).result()


@pytest.fixture
async def url(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of an empty database."""
    if database == "sqlite":
        return f"sqlite:///{empty_database(tmp_path / 'hub.sqlite')}"
    reused: Reused = request.getfixturevalue("reused")
    return await reused.emptied()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """Open an empty store, to whose database it is as late as the tests say."""
    store: Store = OnTime(url) if url.startswith("postgresql") else store_for(url)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def world(store: Store) -> World:
    """Give a store with workflow `orders` and one node whose lease ends at second 10."""
    world = World(store, await store.renew(None, LEASE, at(0)))
    await world.register("orders")
    return world
