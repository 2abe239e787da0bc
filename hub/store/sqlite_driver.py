"""How SQLite runs programs: it says their texts in its own words, and gives numbers and turns in its own way.

One thread, the only one that writes, runs one program after the other, each in one transaction: what it has done is on disk when `commit`
returns, and when it raises, all is undone. So a turn needs no lock, and numbers are counted in memory. Readers run programs, too, in
transactions of their own.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from typing import Any, TypeVar

from hub.store.program import Change, Each, Fetch, Many, Numbers, Program, Row, Try, Turn
from hub.store.revisions import Revisions

T = TypeVar("T")
_Answers = dict[type, Callable[[Any], Any]]  # to statements that are no SQL text

FIRST_REVISION = 1  # 0 is the cursor of who has seen nothing

_WORDS = (
    (" FOR UPDATE SKIP LOCKED", ""),
    (" FOR UPDATE", ""),
    (" IS NOT DISTINCT FROM ", " IS "),
    (" IS DISTINCT FROM ", " IS NOT "),
    ("greatest(", "max("),
    ("least(", "min("),
    ("strpos(", "instr("),
    ("lease_clock(?)", "?"),
    ("/*+ ", ""),
    (" */", ""),
)
_LAST_KEY = "SELECT seq FROM sqlite_sequence WHERE name = 'instance'"
_REVISIONS = "SELECT used_below FROM revision"
_FIRST_REVISIONS = "INSERT INTO revision (used_below) VALUES (?)"
_MORE_REVISIONS = "UPDATE revision SET used_below = ?"


def is_failure_of_storage(error: BaseException) -> bool:
    """Whether the database could not be written at all, as against a value that it does not take."""
    return isinstance(error, sqlite3.OperationalError | sqlite3.InternalError | MemoryError) or type(error) is sqlite3.DatabaseError


@cache
def said(text: str) -> str:
    """Return a text in SQLite's words."""
    for theirs, ours in _WORDS:
        text = text.replace(theirs, ours)
    head, *tail = text.split("= ANY(?")
    return head + "".join(f"IN (SELECT value FROM json_each(?{part.replace(')', '))', 1)}" for part in tail)


class SqliteWriter:
    """Runs programs over the connection that writes, each in one transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._revisions = _open_revisions(db)
        self._answers: _Answers = {Numbers: self._numbers, Turn: _no_answer, Try: self._try}

    def commit(self, program: Program[T]) -> T:
        """Run a program in one transaction: committed when this returns, undone when it raises."""
        db, revisions = self._db, self._revisions
        db.execute("BEGIN IMMEDIATE")
        try:
            result = self._run(program)
            used_below = revisions.exceeds()
            if used_below is not None:
                db.execute(_MORE_REVISIONS, (used_below,))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # a full disk may have ended it already
                db.execute("ROLLBACK")
            raise
        if used_below is not None:
            revisions.kept(used_below)
        return result

    def _run(self, program: Program[T]) -> T:
        return _run(program, self._answers, self._db)

    def _numbers(self, asked: Numbers) -> tuple[Iterator[int], Iterator[int]]:
        keys: Iterator[int] = iter(())
        if asked.keys:
            last = self._db.execute(_LAST_KEY).fetchone()
            keys = count(1 if last is None else last[0] + 1)
        return keys, self._revisions.numbers

    def _try(self, asked: Try) -> Any:
        self._db.execute("SAVEPOINT one")
        result: Any
        try:
            result = self._run(asked.make())
        except Exception as error:
            if is_failure_of_storage(error):
                raise
            self._db.execute("ROLLBACK TO one")
            result = error
        self._db.execute("RELEASE one")
        return result


def read(db: sqlite3.Connection, program: Program[T]) -> T:
    """Run a program that reads, in the transaction of the caller."""
    return _run(program, {}, db)


def _no_answer(_: object) -> None:
    """Answer what this database has no need of."""


def _run(program: Program[T], others: _Answers, db: sqlite3.Connection) -> T:
    """Give each statement of a program its answer, until it ends."""
    execute = db.execute
    asked: Any
    answer: Any = None
    while True:
        try:
            asked = program.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        kind = type(asked)
        if kind is Fetch:
            answer = execute(said(asked[0]), _values(asked[1])).fetchall()
        elif kind is Many:
            db.executemany(said(asked[0]), asked[1])
            answer = None
        elif kind is Each:
            text = said(asked[0])
            answer = [execute(text, row).fetchall() for row in asked[2]]
        elif kind is Change:
            answer = execute(said(asked[0]), _values(asked[1])).rowcount
        else:
            answer = others[kind](asked)


def _values(values: Row) -> Row:
    for value in values:
        if type(value) is list:
            return tuple([json.dumps(value) if type(value) is list else value for value in values])
    return values


def _open_revisions(db: sqlite3.Connection) -> Revisions:
    """Return the numbers that no row has yet."""
    found = db.execute(_REVISIONS).fetchone()
    if found is None:
        db.execute(_FIRST_REVISIONS, (FIRST_REVISION,))  # a transaction of its own
        return Revisions(FIRST_REVISION)
    return Revisions(found[0])
