"""A database with many instances that have ended, made in seconds: a few are real, the others copies of their rows.

A copy has another key, another id and earlier times; it is made while no hub has the file.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

FIRST = 1000  # real ones to begin with
_TO_BE_COPIED = {"instance": "key", "step": "instance"}  # the tables of an instance that has ended, and where they have its key
_TIMES = ("created_at", "modified_at", "started_at", "ended_at")
_APART_US = 1000  # so much earlier for each instance that is there already


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
    other = {key: f"{key} + {by}", "id": f"id || '-{by}'", **{name: f"{name} - {by * _APART_US}" for name in _TIMES}}
    values = ", ".join(other.get(name, name) for name in columns)
    db.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} WHERE {key} <= {limit}")
