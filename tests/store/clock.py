"""A PostgreSQL store whose database has the time that the tests say.

The store asks its database for the time of leases. Here the database has a function of that name before the server's own in its search
path; it returns what the last `renew` or `claim` was told, so that a lease of ten seconds ends when a test is ten seconds further.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg

from hub.core.model import Snapshot
from hub.core.nodes import NodeAbout, Workflows
from hub.core.queues import LeaseMessages
from hub.core.writes import Outcome, Write
from hub.store.postgres import PostgresStore

_CLOCK = """
CREATE TABLE IF NOT EXISTS clock (at timestamptz);
INSERT INTO clock SELECT now() WHERE NOT EXISTS (SELECT 1 FROM clock);
CREATE OR REPLACE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM public.clock'
"""


class OnTime(PostgresStore):
    """The store, with the time of its database set before each question that depends on it."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url}?search_path=public,pg_catalog")
        self._plain = url

    async def open(self) -> None:
        """See `Store.open`."""
        await super().open()
        await self._do(_CLOCK)

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
        await self._do(f"UPDATE clock SET at = '{now.isoformat()}'")

    async def _do(self, text: str) -> None:
        db = await asyncpg.connect(self._plain)
        try:
            await db.execute(text)
        finally:
            await db.close()
