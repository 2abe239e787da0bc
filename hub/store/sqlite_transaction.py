"""Transactions of the embedded store's writer, and the revisions that are given inside them.

What a transaction has done is on disk when its block ends; when the block raises, all is undone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from hub.store import statements as sql
from hub.store.revisions import Revisions

FIRST_REVISION = 1  # 0 is the cursor of who has seen nothing


def is_failure_of_storage(error: BaseException) -> bool:
    """Whether the database could not be written at all, as against a value that it does not take."""
    return isinstance(error, sqlite3.OperationalError | sqlite3.InternalError | MemoryError) or type(error) is sqlite3.DatabaseError


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Run the body in one write transaction: committed when it ends, undone when it raises."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk may have ended it already
            db.execute("ROLLBACK")
        raise


# ---- revisions


def open_revisions(db: sqlite3.Connection) -> Revisions:
    """Return the numbers that no row has yet."""
    found = db.execute(sql.REVISIONS).fetchone()
    if found is not None:
        return Revisions(found[0])
    with transaction(db):
        db.execute(sql.FIRST_REVISIONS, (FIRST_REVISION,))
    return Revisions(FIRST_REVISION)


@contextmanager
def numbered(db: sqlite3.Connection, revs: Revisions) -> Iterator[None]:
    """Run the body in one write transaction that keeps the revisions which the body gives to rows from being given again."""
    with transaction(db):
        yield
        used_below = revs.exceeds()
        if used_below is not None:
            db.execute(sql.MORE_REVISIONS, (used_below,))
    if used_below is not None:
        revs.kept(used_below)
