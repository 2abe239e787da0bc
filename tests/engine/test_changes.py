"""What one node changes counts on the others: tokens, and messages in the hub's own queues. Two nodes on one store in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import structlog

from hub.core.access import ANYBODY, NewToken, Scope, TokenQuery
from hub.core.errors import Conflict, Rejected, Unavailable
from hub.core.ports import Store
from hub.core.queues import ContentType, Outgoing
from hub.engine.access import LOOK_EVERY_S
from hub.engine.embedded import EmbeddedEngine
from hub.engine.queues import POLL_S, STIR_S
from hub.engine.runner import RunnerOptions
from hub.store.sqlite import SqliteStore
from hub.testing import VirtualClock

POLL = timedelta(seconds=5)
Start = Callable[..., Awaitable["Node"]]


class Way:
    """The way of one node to the store that both share: it counts questions for tokens, may be away, and loses signals if it is deaf."""

    def __init__(self, store: SqliteStore, *, deaf: bool) -> None:
        self._store = store
        self._deaf = deaf
        self.away = False
        self.asked = 0

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    async def find(self, query: Any) -> Any:
        self.asked += isinstance(query, TokenQuery)
        if self.away:
            raise Unavailable("nobody answers")
        return await self._store.find(query)

    async def signals(self) -> Any:
        async for word in self._store.signals():
            if not self._deaf:
                yield word

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Node:
    """One node."""

    def __init__(self, way: Way, engine: EmbeddedEngine) -> None:
        self.way = way
        self.engine = engine
        self.access = engine.access

    async def token(self, name: str = "ops", scope: Scope = Scope.ADMIN) -> NewToken:
        return await self.access.create(name, frozenset({scope}), account="local", by=ANYBODY)

    async def refused(self, secret: str | None) -> str:
        with pytest.raises(Rejected) as caught:
            await self.access.admit(secret)
        return caught.value.code


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def start(tmp_path: Path, clock: VirtualClock) -> Any:
    """Return what starts a node on the store."""
    store = SqliteStore(tmp_path / "hub.sqlite")
    async with AsyncExitStack() as stack:

        async def begin(*, deaf: bool = False) -> Node:
            await store.open()
            way = Way(store, deaf=deaf)
            options = RunnerOptions(poll=POLL)
            node = Node(way, EmbeddedEngine(cast("Store", way), clock, structlog.get_logger(), [], options))
            await node.engine.start()
            stack.push_async_callback(node.engine.stop)
            return node

        stack.push_async_callback(store.close)
        yield begin


async def until(clock: VirtualClock, seen: Callable[[], bool], within: float) -> None:
    """Return when something is seen, at most so many seconds later."""
    deadline = clock.monotonic() + within
    while not seen():
        assert clock.monotonic() < deadline, f"not within {within} s"
        await clock.sleep(0.01)


# ---- tokens


async def test_the_first_token_closes_the_other_nodes_as_soon_as_they_hear_of_it(start: Start, clock: VirtualClock) -> None:
    one, other = await start(), await start()
    await one.token()
    await until(clock, lambda: not other.access.open, within=1)
    assert await other.refused(None) == "unauthorized"


async def test_the_first_token_closes_a_node_that_hears_nothing_within_a_poll(start: Start, clock: VirtualClock) -> None:
    one, other = await start(), await start(deaf=True)
    await one.token()
    await until(clock, lambda: not other.access.open, within=POLL.total_seconds() + 1)


async def test_a_token_of_another_node_opens_at_once(start: Start) -> None:
    one, other = await start(), await start(deaf=True)
    await one.token()
    await other.access.refresh()
    made = await one.token("reader", Scope.READ)
    assert (await other.access.admit(made.secret)).name == "reader"


async def test_a_token_that_another_node_revokes_opens_nothing_soon(start: Start, clock: VirtualClock) -> None:
    one, other = await start(), await start()
    made = await one.token()
    await other.access.refresh()
    assert (await other.access.admit(made.secret)).name == "ops"
    await one.access.revoke(made.token.id)
    await until(clock, lambda: other.access.token(made.token.id).revoked_at is not None, within=1)
    assert await other.refused(made.secret) == "token.expired"
    assert not other.access.open


async def test_a_revoked_token_opens_nothing_within_a_poll_where_no_signal_comes(start: Start, clock: VirtualClock) -> None:
    one, other = await start(), await start(deaf=True)
    made = await one.token()
    await other.access.refresh()
    await one.access.revoke(made.token.id)
    await until(clock, lambda: other.access.token(made.token.id).revoked_at is not None, within=POLL.total_seconds() + 1)


async def test_a_flood_of_wrong_tokens_is_no_flood_of_questions(start: Start, clock: VirtualClock) -> None:
    node = await start(deaf=True)
    await node.token()
    before = node.way.asked
    codes = await asyncio.gather(*(node.refused(f"hub_{n:012d}_wrong") for n in range(200)))
    assert set(codes) == {"unauthorized"}
    assert [await node.refused(f"hub_{n:012d}_wrong") for n in range(200)] == ["unauthorized"] * 200
    assert node.way.asked == before + 1
    await clock.sleep(LOOK_EVERY_S)
    await node.refused("hub_another_wrong")
    assert node.way.asked == before + 2


async def test_nobody_asks_the_store_for_what_is_no_token_of_a_hub(start: Start) -> None:
    node = await start(deaf=True)
    made = await node.token()
    before = node.way.asked
    for wrong in (None, "", "Basic", "hub_", made.secret + "x"):
        assert await node.refused(wrong) == "unauthorized"
    assert node.way.asked == before


async def test_an_unknown_token_is_refused_and_a_known_one_opens_while_the_store_is_away(start: Start) -> None:
    node = await start(deaf=True)
    made = await node.token()
    node.way.away = True
    assert await node.refused("hub_unknown_token") == "unauthorized"
    assert (await node.access.admit(made.secret)).name == "ops"
    assert not node.access.open
    node.way.away = False


async def test_a_second_node_knows_that_the_first_token_is_made_already(start: Start, clock: VirtualClock) -> None:
    one, other = await start(), await start(deaf=True)
    with pytest.raises(Conflict):
        await other.token("reader", Scope.READ)
    await one.token()
    await clock.sleep(1)
    assert (await other.token("reader", Scope.READ)).token.name == "reader"
    assert [token.name for token in other.access.tokens()] == ["reader", "ops"]


# ---- the hub's own queues


async def test_a_consumer_finds_what_another_node_has_sent(start: Start, clock: VirtualClock) -> None:
    one, other = await start(), await start()
    await one.engine.queues.declare("mail")
    feed = other.engine.queues.feed("mail")
    assert not await feed.lease(10, 1000)
    await one.engine.queues.push("mail", [Outgoing(body=b"1", content_type=ContentType.JSON)])
    await feed.news()
    assert [message.body for message in await feed.lease(10, 1000)] == [b"1"]


async def test_stirred_consumers_look_soon_and_not_at_once(start: Start, clock: VirtualClock) -> None:
    node = await start()
    await node.engine.queues.declare("mail")
    feed = node.engine.queues.feed("mail")
    await feed.lease(10, 1000)
    began = clock.monotonic()
    node.engine.queues.stir()
    node.engine.queues.stir()
    await feed.news()
    assert STIR_S <= clock.monotonic() - began < POLL_S / 2


