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
    url = await _made(server)
    try:
        yield url
    finally:
        await _drop(server, url)


async def _made(server: str) -> str:
    name = f"hub_test_{os.getpid()}_{secrets.token_hex(6)}"
    async with _connected(server) as connection:
        while True:  # until no session with another schema has removed the template in between
            template = await _template(connection, server)
            with contextlib.suppress(asyncpg.InvalidCatalogNameError):
                await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
                return database_of(server, name)


async def _drop(server: str, url: str) -> None:
    async with _connected(server) as connection:
        await connection.execute(f"DROP DATABASE IF EXISTS {urlsplit(url).path.lstrip('/')} WITH (FORCE)")


class Reused:
    """One database for many tests, which is emptied before each: that takes a hundredth of the time that a new one does.

    A test that has changed more than rows, or whose connections hold what it has changed, costs the next one a new database.
    """

    def __init__(self, server: str, also: str = "") -> None:
        """`also` are statements that each new database gets."""
        self._server = server
        self._also = also
        self._url: str | None = None
        self._shape: Any = None
        self._empty = ""

    async def emptied(self) -> str:
        """Return its address; it is as a new one is."""
        if self._url is not None:
            async with _connected(self._url) as connection:
                with contextlib.suppress(asyncpg.PostgresError):
                    if await connection.fetchrow(_SHAPE) == self._shape:
                        await connection.execute(self._empty)
                        return self._url
        await self.drop()
        self._url = url = await _made(self._server)
        async with _connected(url) as connection:
            await connection.execute(self._also)
            self._shape = await connection.fetchrow(_SHAPE)
            self._empty = await _emptying(connection)
        return url

    async def drop(self) -> None:
        """Remove it; safe twice."""
        if self._url is not None:
            await _drop(self._server, self._url)
            self._url = None


_SHAPE = "SELECT " + ", ".join(
    f"(SELECT (count(*), max(xmin::text::bigint))::text FROM {catalog} WHERE {key} >= 16384)"  # smaller ones are the server's own
    for catalog, key in (("pg_attribute", "attrelid"), ("pg_trigger", "tgrelid"), ("pg_constraint", "oid"), ("pg_proc", "oid"))
)


async def _emptying(connection: Any) -> str:
    """Return what makes a database as it is now again: rows and numbers."""
    steps = ["BEGIN", "SET LOCAL lock_timeout = '5s'", "SET LOCAL session_replication_role = 'replica'"]  # no guards, in any order
    tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    for (table,) in await connection.fetch(tables):
        steps.append(f"DELETE FROM {table}")
        rows = await connection.fetchval(f"SELECT quote_literal(json_agg(t)) FROM {table} t")
        if rows is not None:
            steps.append(f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, {rows})")
    again = "SELECT format('SELECT setval(%L, %s, false)', format('%I.%I', schemaname, sequencename), start_value) FROM pg_sequences"
    steps += [step for (step,) in await connection.fetch(again)]
    return "; ".join([*steps, "COMMIT"])


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


async def asked(url: str, text: str) -> list[tuple[Any, ...]]:
    """Return what a database answers to somebody with a shell."""
    if url.startswith("sqlite:///"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db:
            return db.execute(text).fetchall()
    async with _connected(url) as connection:
        return [tuple(row) for row in await connection.fetch(text)]
