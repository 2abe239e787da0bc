"""Empty databases of the newest schema, ready-made: migrating each time would take longer than most tests."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

import hub.store
from hub.store import store_for

_TEMPLATE = "hub_template_"  # and a digest of what makes it
_TURN = 0x6875625F74  # of the lock that one process holds while it makes the template


def empty_database(file: Path) -> Path:
    """Put one in place, unless something is there already; return the same path."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_migrated())
    return file


@asynccontextmanager
async def postgres_database(server: str) -> AsyncIterator[str]:
    """Make one on a PostgreSQL server, and return its address; at the end it is dropped, whoever is still connected."""
    name = f"hub_test_{os.getpid()}_{secrets.token_hex(6)}"
    async with _connected(server) as connection:
        while True:  # until no session with another schema has removed the template in between
            template = await _template(connection, server)
            with contextlib.suppress(asyncpg.InvalidCatalogNameError):
                await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
                break
    try:
        yield database_of(server, name)
    finally:
        async with _connected(server) as connection:
            await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def database_of(server: str, name: str) -> str:
    """Return the address of another database on the same server."""
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


async def _template(connection: Any, server: str) -> str:
    """Return the name of the migrated database that the others are copies of; make it if there is none of this schema.

    It gets its name when it is complete; processes that share the server wait for each other. Those of older schemas are removed.
    """
    name = _TEMPLATE + _schema_digest()
    exists = "SELECT 1 FROM pg_database WHERE datname = $1"
    if await connection.fetchval(exists, name):
        return name
    await connection.execute("SELECT pg_advisory_lock($1)", _TURN)
    try:
        if await connection.fetchval(exists, name):
            return name
        for (old,) in await connection.fetch("SELECT datname FROM pg_database WHERE starts_with(datname, $1)", _TEMPLATE):
            await connection.execute(f"DROP DATABASE {old} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}_unfinished TEMPLATE template0")
        await _migrate(database_of(server, f"{name}_unfinished"))
        await connection.execute(f"ALTER DATABASE {name}_unfinished RENAME TO {name}")
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _TURN)
    return name


@cache
def _schema_digest() -> str:
    digest = hashlib.sha256()
    for file in sorted(Path(hub.store.__path__[0]).rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@asynccontextmanager
async def _connected(server: str) -> AsyncIterator[Any]:
    connection: Any = await asyncpg.connect(server)
    try:
        yield connection
    finally:
        await connection.close()


async def _migrate(url: str) -> None:
    store = store_for(url)
    await store.open()
    await store.close()


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:  # a thread: the caller may be on an event loop
        file = Path(folder) / "hub.sqlite"
        pool.submit(asyncio.run, _migrate(f"sqlite:///{file}")).result()
        return file.read_bytes()


REFUSED = (sqlite3.IntegrityError, asyncpg.RaiseError)  # what a guard of a database raises


async def execute(url: str, text: str) -> None:
    """Run a statement on a database from outside, as somebody with a shell might."""
    if url.startswith("sqlite:///"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as db:
            db.execute(text)
        return
    async with _connected(url) as connection:
        await connection.execute(text)
