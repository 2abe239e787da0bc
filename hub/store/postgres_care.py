"""Care of a PostgreSQL database, from outside: what it holds, how its server stands, and whether it holds together. Also while hubs work.

Everything here reads, in one transaction that sees one moment and can write nothing. Copies are not made here: `pg_dump` makes them.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from hub.core.errors import ConfigError
from hub.store.address import shown
from hub.store.care import Finding, Progress
from hub.store.contents import Contents, filled
from hub.store.invariants import RULES
from hub.store.postgres_address import visited
from hub.store.postgres_driver import BLOCK, CLOCK, PostgresTransaction
from hub.store.schema import NEWEST

CONNECTIONS = 8  # that a node takes at most: 3 that write, 4 that read, 1 that listens
_SHOWN = 5  # broken rows a rule, as in a file
_ONLY_OF_FILES = frozenset({"integrity", "reference"})  # PostgreSQL sees to both by itself
_WORDS = (
    ("SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = '", "SELECT 1 FROM pg_trigger WHERE tgenabled <> 'D' AND tgname = '"),
    ("SELECT used_below FROM revision", f"SELECT last_value + {BLOCK} FROM revision_number"),
)
_JSON = "SELECT id, params, output FROM instance"
_SERVER = """
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') - 1,
current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'), pg_is_in_recovery()
"""
_NODES = f"SELECT info, lease_until > {CLOCK} FROM node WHERE lease_until > 0 ORDER BY key"  # 0 = it has stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """How a PostgreSQL server stands at one moment. `ahead` is how much its clock is before that of this machine."""

    version: str
    major: int
    ahead: timedelta
    round_trip: timedelta
    connections: int  # that ordinary users may have together
    taken: int  # by others
    durable: dict[str, str]  # fsync, full_page_writes, synchronous_commit
    replica: bool
    alive: tuple[str, ...] = ()  # nodes: their process and host
    lost: tuple[str, ...] = ()


async def look(url: str, now: datetime) -> tuple[Server, Contents]:
    """Look at a server and into its database. Raises: ConfigError."""
    async with visited(url) as db:
        server = await _server(db)
        async with _one_moment(db):
            contents = await _contents(db, now)
            if contents.current:
                nodes = [(_name(info), alive) for info, alive in await db.fetch(_NODES)]
                server = replace(
                    server,
                    alive=tuple(name for name, alive in nodes if alive),
                    lost=tuple(name for name, alive in nodes if not alive),
                )
        return server, contents


async def check(url: str, progress: Progress) -> list[Finding]:
    """Return every rule of the hub that a database breaks; those of `RULES` that are about a file are left out. Raises: ConfigError."""
    found: list[Finding] = []
    rules = [rule for rule in RULES if rule.name not in _ONLY_OF_FILES]
    async with visited(url) as db, _one_moment(db):
        schema = await _schema(db)
        if not schema.current:
            other = f"{shown(url)} has the schema {schema.schema}, this hub checks {NEWEST}"
            raise ConfigError(f"{other}; bring it there with `hub db upgrade`")
        for number, rule in enumerate(rules):
            progress(rule.words, number, len(rules))
            rows = await _no_json(db) if rule.name == "json" else await _broken(db, rule.broken)
            if rows:
                found.append(Finding(rule=rule.name, words=rule.words, rows=rows))
        progress("checked", len(rules), len(rules))
    return found


def number_of_rules() -> int:
    """Return how many rules `check` looks at."""
    return len(RULES) - len(_ONLY_OF_FILES)


@asynccontextmanager
async def _one_moment(db: Any) -> AsyncIterator[None]:
    async with db.transaction(isolation="repeatable_read", readonly=True):
        yield


async def _broken(db: Any, text: str) -> tuple[str, ...]:
    for files, ours in _WORDS:
        text = text.replace(files, ours)
    return tuple(str(row[0]) for row in await db.fetch(f"SELECT * FROM ({text}) AS broken LIMIT {_SHOWN}"))


async def _no_json(db: Any) -> tuple[str, ...]:
    """Return the instances with values that are no JSON: here a database of version 15 cannot be asked."""
    rows: list[str] = []
    async for id, *values in db.cursor(_JSON, prefetch=500):
        if len(rows) < _SHOWN and not all(value is None or _is_json(value) for value in values):
            rows.append(id)
    return tuple(rows)


def _is_json(value: bytes) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


async def _server(db: Any) -> Server:
    before = datetime.now(UTC)
    there = await db.fetchval("SELECT clock_timestamp()")
    after = datetime.now(UTC)
    connections, taken, *durable, replica = await db.fetchrow(_SERVER)
    version = db.get_server_version()
    return Server(
        version=await db.fetchval("SHOW server_version"),
        major=version.major,
        ahead=there - (before + (after - before) / 2),
        round_trip=after - before,
        connections=connections,
        taken=taken,
        durable=dict(zip(("fsync", "full_page_writes", "synchronous_commit"), durable, strict=True)),
        replica=replica,
    )


async def _schema(db: Any) -> Contents:
    """Return the schema, as contents that say nothing else."""
    size = await db.fetchval("SELECT pg_database_size(current_database())")
    if not await db.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL"):
        return Contents(schema=None, bytes=size)
    oldest: dict[str, Any] = {}
    if await db.fetchval("SELECT to_regclass('oldest_hub') IS NOT NULL"):
        oldest["oldest"] = await db.fetchval("SELECT schema FROM oldest_hub")
    return Contents(schema=await db.fetchval("SELECT version_num FROM alembic_version"), bytes=size, **oldest)


async def _contents(db: Any, now: datetime) -> Contents:
    found = await _schema(db)
    try:
        return await PostgresTransaction(db, deque()).run(filled(found, now)) if found.current else found
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigError(f"the tables cannot be read: {error}; take the user that the hub has", path="store.url") from error


def _name(info: str) -> str:
    about = json.loads(info)
    return f"{about.get('pid')} on {about.get('host')}"
