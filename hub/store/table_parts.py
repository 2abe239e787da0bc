"""What the table classes share: the type of keys, partial indexes, and the triggers that guard rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import DDL, BigInteger, Integer, Table, event, text
from sqlalchemy.schema import DDLElement

NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts only INTEGER PRIMARY KEY by itself


def where(condition: str) -> dict[str, Any]:
    """Return what makes an index hold only the rows that meet a condition."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


def guard(table: Table, trigger: str, *elsewhere: str) -> None:
    """Let a table come with a trigger: its text for SQLite, and what makes it on PostgreSQL."""
    for dialect, texts in (("sqlite", (trigger,)), ("postgresql", elsewhere)):
        for each in texts:
            made: DDLElement = DDL(each)  # type: ignore[no-untyped-call]  # SQLAlchemy has no type for it
            event.listen(table, "after_create", made.execute_if(dialect=dialect))
