"""The yardstick of durable execution: a bare group-commit journal, the least that keeps every step of an instance on disk.

One writer thread takes whatever has come, writes it into two tables in one transaction (WAL, synchronous=FULL) and resolves the futures of
the whole batch in one call of the loop. Five rows an instance: start, three steps, finish. No fencing, retries, replay, timeouts or
recovery: the distance to it is the price of these. It shares no code with the hub.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
import uuid
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from tests.bench.measurement import STARTERS, WARM_UP, Measurement, Size, each, metered
from tests.bench.project.three_steps import STEPS, result

_SCHEMA = """
CREATE TABLE instance (key INTEGER PRIMARY KEY, id TEXT, status TEXT, params BLOB, output BLOB, created_at REAL, ended_at REAL);
CREATE TABLE step (instance INTEGER, name TEXT, output BLOB, at REAL, PRIMARY KEY (instance, name)) WITHOUT ROWID;
"""
_START = "INSERT INTO instance (key, id, status, params, created_at) VALUES (?, ?, 'running', ?, ?)"
_STEP = "INSERT INTO step (instance, name, output, at) VALUES (?, ?, ?, ?)"
_FINISH = "UPDATE instance SET status = 'complete', output = ?, ended_at = ? WHERE key = ?"


class _Item(NamedTuple):
    statement: str
    row: tuple[Any, ...]
    future: asyncio.Future[None]


class Journal:
    """Two tables and a thread that writes them."""

    def __init__(self, file: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._db = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)
        self._waiting: deque[_Item] = deque()
        self._news = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="yardstick-writer")
        self._thread.start()

    async def run(self, key: int) -> None:
        """Run one instance from its start to its durable end."""
        id = str(uuid.uuid4())
        await self._add(_START, (key, id, b'{"number":1}', time.time()))
        output = b""
        for name in STEPS:
            output = orjson.dumps(result(id, name))
            await self._add(_STEP, (key, name, output, time.time()))
        await self._add(_FINISH, (output, time.time(), key))

    async def step(self, key: int, name: str) -> None:
        """Write one step."""
        await self._add(_STEP, (key, name, orjson.dumps(result(str(key), name)), time.time()))

    def close(self) -> None:
        """Write what waits and close the file."""
        self._closed = True
        self._news.set()
        self._thread.join()
        self._db.close()

    def _add(self, statement: str, row: tuple[Any, ...]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(_Item(statement, row, future))
        if not self._news.is_set():
            self._news.set()
        return future

    def _write(self) -> None:
        while not self._closed or self._waiting:
            self._news.wait()
            self._news.clear()
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if batch:
                self._commit(batch)
                self._loop.call_soon_threadsafe(_resolve, batch)

    def _commit(self, batch: list[_Item]) -> None:
        rows: dict[str, list[tuple[Any, ...]]] = {_START: [], _STEP: [], _FINISH: []}
        for item in batch:
            rows[item.statement].append(item.row)
        self._db.execute("BEGIN IMMEDIATE")
        for statement, values in rows.items():
            if values:
                self._db.executemany(statement, values)
        self._db.execute("COMMIT")


def _resolve(batch: list[_Item]) -> None:
    for item in batch:
        item.future.set_result(None)


async def three_step(folder: Path, size: Size) -> Measurement:
    """Run `n` instances, as many at once as the workload starts."""
    file = folder / "yardstick.sqlite"
    with closing(Journal(file)) as journal, metered() as span:
        await each(size.n, journal.run, at_once=STARTERS)
    _check(file, size.n)
    return span.measurement(size.n)


async def latency(folder: Path, size: Size) -> Measurement:
    """Run `n` instances one after the other."""
    file, times = folder / "yardstick.sqlite", list[float]()
    with closing(Journal(file)) as journal:
        for key in range(WARM_UP):
            await journal.run(key)
        with metered() as span:
            for key in range(WARM_UP, WARM_UP + size.n):
                began = time.perf_counter()
                await journal.run(key)
                times.append(time.perf_counter() - began)
    _check(file, WARM_UP + size.n)
    return span.measurement(size.n, times)


async def sequential(folder: Path, size: Size) -> Measurement:
    """Write `n` steps one after the other, each on disk before the next."""
    file = folder / "yardstick.sqlite"
    with closing(Journal(file)) as journal, metered() as span:
        for number in range(size.n):
            await journal.step(1, f"step {number}")
    return span.measurement(size.n)


def _check(file: Path, n: int) -> None:
    with closing(sqlite3.connect(file)) as db:
        (complete,) = db.execute("SELECT count(*) FROM instance WHERE status = 'complete'").fetchone()
        (steps,) = db.execute("SELECT count(*) FROM step").fetchone()
    if (complete, steps) != (n, n * len(STEPS)):
        raise AssertionError(f"{file} has {complete} complete instances with {steps} steps; {n} were run")
