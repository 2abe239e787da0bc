"""The schema of a PostgreSQL database: which one it has, and bringing it further while other hubs may be at work.

Many hubs may start at the same time: one of them migrates, the others wait for it. A migration is one transaction. Invariant: no hub
becomes a node or stays one that is older than `oldest_hub` allows: a removal holds the table of nodes, and every lease is asked for there.
"""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import asyncpg

from hub.core.errors import ConfigError
from hub.store.postgres_driver import CLOCK, Connection
from hub.store.schema import FOUND, OURS, LivingNode, Moved, Schema, upgrade

_LOCK = 0x68756264  # any number that no other program takes: the one who has it migrates
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
_PATIENCE = {"lock_timeout": "10s"}  # whoever waits for a table lets nobody else have it either
_HOLD = "LOCK TABLE node IN SHARE ROW EXCLUSIVE MODE"  # no lease begins, none is renewed
_LIVING = f"SELECT key, info FROM node WHERE lease_until > {CLOCK} ORDER BY key"


async def bring_to_newest(db: Connection, url: str, schema: Schema = OURS, *, finish: bool = False) -> Moved:
    """Migrate a database, when it needs that, as far as living nodes allow; `finish` demands the whole way.

    Raises: ConfigError when it is not a hub's, of a newer hub, or nodes that are too old for this hub are alive: nothing was changed.
    """
    name = f"the database {urlsplit(url).path.lstrip('/')}"
    revision = await _revision(db)
    if revision is not None and not await _is_behind(db, schema, name):
        return revision, revision
    await db.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        revision = await _revision(db)
        if revision is not None and not await _is_behind(db, schema, name):
            return revision, revision
        return revision, await _migrate(url, schema, finish=finish)
    finally:
        await db.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def _revision(db: Connection) -> str | None:
    tables = {row[0] for row in await db.fetch(_TABLES)}
    if "oldest_hub" in tables:
        return str(await db.fetchval("SELECT version_num FROM alembic_version"))
    if tables:
        other = f"the database holds tables of another program ({min(tables)})"
        raise ConfigError(f"{other}; name one of the hub's own: createdb hub", path="store.url")
    return None


async def _is_behind(db: Connection, schema: Schema, name: str) -> bool:
    return schema.is_behind(tuple(await db.fetchrow(FOUND)), name)


async def _migrate(url: str, schema: Schema, *, finish: bool) -> str:
    from sqlalchemy import Connection as Synchronous  # as slow to import as in `schema`
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    def run(connection: Synchronous) -> str:
        def living(hold: bool) -> list[LivingNode]:
            if hold:
                connection.exec_driver_sql(_HOLD)
            return [_living(key, info) for key, info in connection.exec_driver_sql(_LIVING)]

        return upgrade(connection, schema, living, finish=finish)

    async def connect() -> Connection:
        return await asyncpg.connect(url, server_settings=_PATIENCE)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(run)
    except DBAPIError as error:
        failed = f"the database cannot be brought to schema {schema.number}: {error.orig}. Nothing was changed"
        raise ConfigError(f"{failed}; where a lock was waited for, try again when the database is less busy", path="store.url") from error
    finally:
        await engine.dispose()


def _living(key: int, info: str) -> LivingNode:
    said = json.loads(info)
    return LivingNode(said["schema"], f"node {key} (version {said['version'] or 'unknown'}, process {said['pid']} on {said['host']})")
