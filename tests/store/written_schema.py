"""What the migrations make of an empty SQLite database, as the script that new files are made with: `python -m tests.store.written_schema`.

Writes the script of the newest revision beside the migrations; the one of the revision before is removed by hand.
"""

from __future__ import annotations

import contextlib
import sqlite3

from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from hub.store.schema import OURS, upgrade


def migrated_schema() -> str:
    """Run all migrations in memory; return statements that make the same tables with the same rows in one transaction."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        engine = create_engine("sqlite://", creator=lambda: db, poolclass=StaticPool)
        with engine.begin() as connection:
            upgrade(connection, OURS, lambda _: [], finish=True)
        made = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid")
        texts = [text for (text,) in made]
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid").fetchall():
            columns = ", ".join(f'quote("{column[1]}")' for column in db.execute(f'PRAGMA table_info("{table}")'))
            texts += [f"INSERT INTO {table} VALUES ({', '.join(row)})" for row in db.execute(f'SELECT {columns} FROM "{table}"')]
    return "\n".join(["BEGIN IMMEDIATE;", *(f"{_tidy(text)};" for text in texts), "COMMIT;", ""])


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.expandtabs(4).splitlines())


if __name__ == "__main__":
    OURS.script.write_text(migrated_schema())
