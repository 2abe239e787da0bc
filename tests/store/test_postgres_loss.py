"""What a store does when the line to its PostgreSQL server, or the server, is lost: it never guesses, and it goes on by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from hub.core.errors import Unavailable
from hub.core.model import InstanceQuery
from hub.core.nodes import SOMETHING_CHANGED, SOMETHING_DUE
from hub.core.writes import CreateInstance, Verdict
from hub.store.postgres import PostgresStore
from tests.databases import asked
from tests.store.given import World, new, send
from tests.store.proxy import ANSWER, REQUEST, Proxy

LEASE = timedelta(minutes=1)
PATIENCE_S = 1.0
BOUND_S = 8 * PATIENCE_S  # of anything that fails: a busy machine, too
pytestmark = pytest.mark.parametrize("database", ["postgres"])


@pytest.fixture
async def wire(url: str) -> AsyncIterator[Proxy]:
    """Return the wire to an empty database."""
    async with Proxy(url) as wire:
        yield wire


@pytest.fixture
async def world(wire: Proxy) -> AsyncIterator[World]:
    """Return a world behind the wire."""
    store = PostgresStore(wire.url, patience_s=PATIENCE_S)
    await store.open()
    world = World(store, await store.renew(None, LEASE, datetime.now(UTC)))
    await world.register("orders")
    yield world
    wire.flow()
    await store.close()


async def ids(url: str) -> list[str]:
    """Return the instances of a database, asked past the wire."""
    return sorted(row[0] for row in await asked(url, "SELECT id FROM instance"))


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[Any]:
    """Let nobody write instances."""
    holder: Any = await asyncpg.connect(url)
    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE instance IN SHARE ROW EXCLUSIVE MODE")
            yield holder
    finally:
        await holder.close()


async def until(url: str, question: str) -> None:
    """Return when the database says yes."""
    while await asked(url, f"SELECT {question}") != [(True,)]:
        pass


async def heard(signals: AsyncIterator[int], *keys: int) -> None:
    """Return when all these keys were signalled."""
    missing = set(keys)
    while missing:
        missing.discard(await signals.__anext__())


async def soon(call: Callable[[], Coroutine[Any, Any, Any]]) -> float:
    """Fail unless the call says Unavailable within bounds; return the time it took."""
    began = time.monotonic()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(call(), BOUND_S)
    return time.monotonic() - began


async def test_a_commit_whose_answer_is_lost_is_answered_and_not_applied_twice(world: World, wire: Proxy, url: str) -> None:
    signals = world.store.signals()
    wire.lose = ANSWER

    await world.create("a")

    assert wire.lost.is_set()
    assert await ids(url) == ["a"]
    assert await signals.__anext__() == SOMETHING_DUE
    await world.create("b")


async def test_a_commit_that_never_arrives_is_unavailable_and_leaves_nothing(world: World, wire: Proxy, url: str) -> None:
    wire.lose = REQUEST

    await soon(lambda: world.create("a"))

    assert wire.lost.is_set()
    assert await ids(url) == []
    await world.create("a")


async def test_a_group_in_whose_middle_the_line_is_cut_leaves_nothing(world: World, wire: Proxy, url: str) -> None:
    key = await world.born("z")
    async with locked(url):
        group = asyncio.create_task(world.verdicts(send(key), CreateInstance(new=new("a"))))
        await until(url, "EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")
        wire.cut()
        with pytest.raises(Unavailable):
            await asyncio.wait_for(group, BOUND_S)

    assert await ids(url) == ["z"]
    await world.create("a")


async def test_a_server_that_lets_nobody_in_is_told_at_once_and_found_again(world: World, wire: Proxy, url: str) -> None:
    wire.away()

    for _ in range(3):
        assert await soon(lambda: world.store.find(InstanceQuery())) < PATIENCE_S
        assert await soon(lambda: world.create("a")) < PATIENCE_S
    await wire.let_in()

    await world.create("b")
    assert len((await world.store.find(InstanceQuery())).items) == 1
    assert await ids(url) == ["b"]


async def test_a_line_that_swallows_everything_is_noticed_within_bounds(world: World, wire: Proxy, url: str) -> None:
    await world.store.find(InstanceQuery())
    wire.swallow()

    await asyncio.gather(soon(lambda: world.create("a")), soon(lambda: world.store.find(InstanceQuery())))
    wire.flow()

    assert await ids(url) == []
    await world.create("b")


async def test_groups_behind_a_commit_of_unknown_outcome_are_refused_within_bounds(world: World, wire: Proxy, url: str) -> None:
    wire.lose, wire.then_away = ANSWER, True
    first = asyncio.create_task(world.create("a"))
    await wire.lost.wait()

    await soon(lambda: world.create("b"))
    assert not first.done()
    await wire.let_in()

    await asyncio.wait_for(first, BOUND_S)
    assert await ids(url) == ["a"]


@pytest.mark.parametrize("gone", ["refuses", "swallows", "unknown"])
async def test_closing_during_an_outage_ends_within_bounds(world: World, wire: Proxy, gone: str) -> None:
    await world.create("z")
    if gone == "swallows":
        wire.swallow()
    elif gone == "refuses":
        wire.away()
    else:
        wire.lose, wire.then_away = ANSWER, True
    write = asyncio.create_task(world.create("a"))
    if gone == "unknown":
        await wire.lost.wait()
    else:
        await asyncio.sleep(0)  # handed in

    await asyncio.wait_for(world.store.close(), 3 * BOUND_S)

    with pytest.raises(Unavailable):
        await asyncio.wait_for(write, BOUND_S)


async def test_a_statement_that_takes_too_long_is_unavailable(world: World, url: str) -> None:
    async with locked(url):
        await soon(lambda: world.create("a"))

    assert await ids(url) == []
    await world.create("a")


async def test_readers_wait_for_a_connection_within_bounds(world: World, wire: Proxy) -> None:
    wire.swallow()

    took = await asyncio.gather(*[soon(lambda: world.store.find(InstanceQuery())) for _ in range(20)])

    assert len(took) == 20


async def test_two_stores_that_write_the_same_rows_both_succeed(world: World, wire: Proxy, url: str) -> None:
    other = PostgresStore(url)
    await other.open()
    try:
        keys = [await world.born(f"i{n}") for n in range(6)]
        groups = [[send(key) for key in order] for order in (keys, keys[::-1]) for _ in range(10)]

        outcomes = await asyncio.gather(*[(world.store, other)[n % 2].apply(group) for n, group in enumerate(groups)])

        assert {outcome.verdict for group in outcomes for outcome in group} == {Verdict.APPLIED}
        assert await asked(url, "SELECT count(*) FROM inbox") == [(120,)]
    finally:
        await other.close()


@pytest.mark.parametrize("notify", [True, False])
async def test_what_another_store_sent_is_signalled(world: World, url: str, notify: bool) -> None:
    node = PostgresStore(url, notify=notify)
    signals = node.signals()
    await node.open()
    try:
        key = await World(node, await node.renew(None, LEASE, datetime.now(UTC))).born()
        await asyncio.wait_for(heard(signals, SOMETHING_CHANGED), BOUND_S)  # it listens
        began = time.monotonic()

        await world.do(send(key))

        await asyncio.wait_for(heard(signals, key), BOUND_S)
        assert time.monotonic() - began < (1.5 if notify else BOUND_S)  # polling alone would take two seconds
    finally:
        await node.close()


async def test_news_that_came_while_the_line_was_cut_are_found(world: World, wire: Proxy, url: str) -> None:
    other = PostgresStore(url)
    await other.open()
    try:
        key = await world.born()
        signals = world.store.signals()
        wire.away()
        await World(other, 1).do(send(key))
        await wire.let_in()

        await asyncio.wait_for(heard(signals, SOMETHING_DUE, SOMETHING_CHANGED, key), BOUND_S)
    finally:
        await other.close()
