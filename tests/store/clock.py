"""A PostgreSQL store whose database has the time that the tests say.

The store asks its database for the time of leases. Here the database has a function of that name before the server's own in its search
path, in a schema of its own; it returns what the last `renew` or `claim` was told, so that a lease of ten seconds ends when a test is ten
seconds further.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from hub.core.model import Snapshot
from hub.core.nodes import NodeAbout, Workflows
from hub.core.queues import LeaseMessages
from hub.core.writes import Outcome, Write
from hub.store.postgres import PostgresStore

CLOCK = """
CREATE SCHEMA clock;
CREATE TABLE clock.now (at timestamptz);
INSERT INTO clock.now SELECT now();
CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM clock.now'
"""  # what the database of an `OnTime` needs
_SEARCH = "search_path=public,clock,pg_catalog"
_UNSYNCED = "synchronous_commit=off"  # nothing here is about a server that dies


class OnTime(PostgresStore):
    """The store, with the time of its database set before each question that depends on it."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url}?{_SEARCH}&{_UNSYNCED}")
        self._plain = url
        self._hand: Any = None  # that sets the clock
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """See `Store.open`."""
        await super().open()
        self._hand = await asyncpg.connect(self._plain, server_settings={"synchronous_commit": "off"})

    async def close(self) -> None:
        """See `Store.close`."""
        await super().close()
        if self._hand is not None:
            await self._hand.close()
            self._hand = None

    async def renew(self, node: int | None, ttl: timedelta, now: datetime, about: NodeAbout | None = None) -> int:
        """See `Store.renew`."""
        await self._set(now)
        return await super().renew(node, ttl, now, about)

    async def claim(self, node: int, limit: int, now: datetime, workflows: Workflows = None) -> list[Snapshot]:
        """See `Store.claim`."""
        await self._set(now)
        return await super().claim(node, limit, now, workflows)

    async def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """See `Store.apply`."""
        for write in writes:
            if isinstance(write, LeaseMessages):
                await self._set(write.at)
        return await super().apply(writes)

    async def _set(self, now: datetime) -> None:
        async with self._turn:
            await self._hand.execute("UPDATE clock.now SET at = $1", now)
