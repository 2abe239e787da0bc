"""The yardstick on PostgreSQL: the same bare journal as `tests.bench.yardstick`, through one connection.

A group is whatever has come while the last one was on its way: one statement with arrays, so one round trip and one commit, with the same
five rows an instance. It shares no code with the hub. The server's own CPU time is not counted here either.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import orjson

from tests.bench.measurement import STARTERS, WARM_UP, Measurement, Size, each, metered
from tests.bench.postgres import server
from tests.bench.project.three_steps import STEPS, result
from tests.databases import asked, postgres_database

_SCHEMA = """
CREATE SCHEMA yardstick;
CREATE TABLE yardstick.instance (
    key bigint PRIMARY KEY, id text, status text, params bytea, output bytea, created_at float8, ended_at float8);
CREATE TABLE yardstick.step (instance bigint, name text, output bytea, at float8, PRIMARY KEY (instance, name));
"""
_GROUP = """
WITH started AS (
    INSERT INTO yardstick.instance (key, id, status, params, created_at)
    SELECT key, id, 'running', params, at FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::float8[]) AS t (key, id, params, at)
), stepped AS (
    INSERT INTO yardstick.step SELECT * FROM unnest($5::bigint[], $6::text[], $7::bytea[], $8::float8[])
)
UPDATE yardstick.instance SET status = 'complete', output = t.output, ended_at = t.at
FROM unnest($9::bytea[], $10::float8[], $11::bigint[]) AS t (output, at, key) WHERE instance.key = t.key
"""
_START, _STEP, _FINISH = 4, 4, 3  # columns


class _Item(NamedTuple):
    kind: int
    row: tuple[Any, ...]
    future: asyncio.Future[None]


class Journal:
    """Two tables, and a task that writes them."""

    def __init__(self, statement: Any) -> None:
        self._statement = statement
        self._waiting: list[_Item] = []
        self._news = asyncio.Event()

    async def run(self, key: int) -> None:
        """Run one instance from its start to its durable end."""
        id = str(uuid.uuid4())
        await self._add(0, (key, id, b'{"number":1}', time.time()))
        output = b""
        for name in STEPS:
            output = orjson.dumps(result(id, name))
            await self._add(1, (key, name, output, time.time()))
        await self._add(2, (output, time.time(), key))

    async def write(self) -> None:
        """Write what comes, for ever."""
        while True:
            await self._news.wait()
            self._news.clear()
            group, self._waiting = self._waiting, []
            rows: tuple[list[Any], ...] = ([], [], [])
            for item in group:
                rows[item.kind].append(item.row)
            columns = [_columns(rows[kind], width) for kind, width in enumerate((_START, _STEP, _FINISH))]
            await self._statement.fetch(*(column for each in columns for column in each))
            for item in group:
                item.future.set_result(None)

    def _add(self, kind: int, row: tuple[Any, ...]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Item(kind, row, future))
        self._news.set()
        return future


def _columns(rows: list[tuple[Any, ...]], width: int) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True)) if rows else [()] * width


@asynccontextmanager
async def _journal(url: str) -> AsyncIterator[Journal]:
    connection: Any = await asyncpg.connect(url)
    try:
        await connection.execute(_SCHEMA)
        journal = Journal(await connection.prepare(_GROUP))
        writer = asyncio.create_task(journal.write())
        yield journal
        writer.cancel()
        await asyncio.wait([writer])
    finally:
        await connection.close()


async def three_step(_folder: Path, size: Size) -> Measurement:
    """Run `n` instances, as many at once as one node of the workload starts."""
    async with postgres_database(server()) as url:
        async with _journal(url) as journal:
            with metered() as span:
                await each(size.n, journal.run, at_once=STARTERS)
        await _check(url, size.n)
    return span.measurement(size.n)


async def latency(_folder: Path, size: Size) -> Measurement:
    """Run `n` instances one after the other."""
    times: list[float] = []
    async with postgres_database(server()) as url:
        async with _journal(url) as journal:
            for key in range(WARM_UP):
                await journal.run(key)
            with metered() as span:
                for key in range(WARM_UP, WARM_UP + size.n):
                    began = time.perf_counter()
                    await journal.run(key)
                    times.append(time.perf_counter() - began)
        await _check(url, WARM_UP + size.n)
    return span.measurement(size.n, times)


async def _check(url: str, n: int) -> None:
    ((complete,),) = await asked(url, "SELECT count(*) FROM yardstick.instance WHERE status = 'complete'")
    ((steps,),) = await asked(url, "SELECT count(*) FROM yardstick.step")
    if (complete, steps) != (n, n * len(STEPS)):
        raise AssertionError(f"the database has {complete} complete instances with {steps} steps; {n} were run")
