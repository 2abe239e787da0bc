"""Whether an instance costs the same however many are stored: three steps among 10,000 that have ended, and then among `n`.

The stored ones are real up to the first thousand; the others are copies of their rows under other keys and ids, made while the hub is down.
Rate and CPU of the row are those among `n`; the facts have those among the first 10,000, and the bytes that a stored one takes.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.bench.engine import Node
from tests.bench.measurement import STARTERS, WARM_UP, Measurement, Size, Span, each, metered

_FIRST = 1000
_FEW = 10_000
_MEASURED = 5000
_TO_BE_COPIED = {"instance": "key", "step": "instance"}  # the tables of an instance that has ended, and where they have its key


async def growth(folder: Path, size: Size) -> Measurement:
    """Measure among few, fill the file until `n` are stored, and measure again."""
    file, measured = folder / "hub.sqlite", min(_MEASURED, size.n)
    await _run(file, min(_FIRST, size.n))
    fill(file, min(_FEW, size.n))
    few = await _run(file, measured)
    fill(file, size.n)
    many = await _run(file, measured)
    facts = {
        "among_10000_per_s": measured / few.wall_s,
        "among_10000_cpu_ms_each": few.cpu_s / measured * 1000,
        "among_n_cpu_ms_each": many.cpu_s / measured * 1000,
        "stored": stored(file),
        "bytes_each": file.stat().st_size / stored(file),
    }
    return many.measurement(measured, facts=facts)


async def _run(file: Path, count: int) -> Span:
    async with Node(f"sqlite:///{file}").running() as node:
        await each(WARM_UP, node.run, at_once=1)
        with metered() as span:
            await each(count, node.create, at_once=STARTERS)
            await node.ends.reach(WARM_UP + count)
    return span


def fill(file: Path, count: int) -> None:
    """Copy ended instances of a database that no hub has open, until so many are stored."""
    with closing(sqlite3.connect(file)) as db:
        while (there := _count(db)) < count:
            for table, key in _TO_BE_COPIED.items():
                _copy(db, table, key, there, min(there, count - there))
            db.commit()


def stored(file: Path) -> int:
    """Return how many instances a database has."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        return _count(db)


def _count(db: sqlite3.Connection) -> int:
    (count,) = db.execute("SELECT count(*) FROM instance").fetchone()
    return int(count)


def _copy(db: sqlite3.Connection, table: str, key: str, by: int, limit: int) -> None:
    columns = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")]
    values = ", ".join({key: f"{key} + {by}", "id": f"id || '-{by}'"}.get(name, name) for name in columns)
    db.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} WHERE {key} <= {limit}")
