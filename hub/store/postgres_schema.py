"""The schema of a PostgreSQL database: which one it has, and bringing it to the newest.

Many hubs may start at the same time: one of them migrates, the others wait for it. A migration is one transaction.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import asyncpg

from hub.core.errors import ConfigError
from hub.store.postgres_driver import Connection
from hub.store.schema import NEWEST, config_of

_LOCK = 0x68756264  # any number that no other program takes: the one who has it migrates
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"


async def bring_to_newest(db: Connection, url: str) -> None:
    """Migrate a database, when it needs that. Raises: ConfigError when it is not a hub's, or of a newer hub."""
    if await _is_newest(db):
        return
    await db.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        if not await _is_newest(db):
            await _migrate(url)
    finally:
        await db.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def _is_newest(db: Connection) -> bool:
    tables = {row[0] for row in await db.fetch(_TABLES)}
    if "alembic_version" in tables:
        return {row[0] for row in await db.fetch("SELECT version_num FROM alembic_version")} == {NEWEST}
    if tables:
        other = f"the database holds tables of another program ({min(tables)})"
        raise ConfigError(f"{other}; name one of the hub's own: createdb hub", path="store.url")
    return False


async def _migrate(url: str) -> None:
    from alembic import command  # as slow to import as in `schema`
    from alembic.util import CommandError
    from sqlalchemy import Connection as Synchronous
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    def upgrade(connection: Synchronous) -> None:
        config = config_of(connection)
        command.upgrade(config, "head")

    async def connect() -> Connection:
        return await asyncpg.connect(url)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)
    except CommandError as error:
        name = urlsplit(url).path.lstrip("/")
        newer = f"the database {name} was brought to its schema by a newer version of the hub ({error})"
        raise ConfigError(f"{newer}; install that version, or name another database", path="store.url") from error
    finally:
        await engine.dispose()
