"""How SQLite runs programs: it says their texts in its own words, and gives numbers and turns in its own way.

One thread, the only one that writes, runs one program after the other, each in one transaction: what it has done is on disk when `commit`
returns, and when it raises, all is undone. So a turn needs no lock, and numbers are counted in memory. Readers run programs, too, in
transactions of their own.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain, count
from typing import Any, TypeVar, cast

from hub.store.heads import Heads
from hub.store.program import Change, Each, Fetch, HeadsOf, Many, Numbers, Program, Row, Try, Turn
from hub.store.revisions import Revisions

# Both stay what they are. The driver asks every value that is no text and no number how it wants to be stored, which costs as much as to
# store it, unless an adapter is known.
sqlite3.register_adapter(type(None), cast(Callable[[None], None], {}.get))
sqlite3.register_adapter(bytes, bytes)

T = TypeVar("T")
_Note = Callable[[str, Sequence[Row], bool], None]
_Answers = dict[type, Callable[[Any], Any]]  # to statements that are no SQL text

_TOGETHER = (256, 64, 16, 4)  # rows of one statement: for each the interpreter is given free once, and must be waited for to go on
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
_OFFERED = re.compile(r"\?(\d*)")
_INSERTED = re.compile(r"(INSERT INTO .* VALUES )(\((?:\?, )*\?\))((?: ON CONFLICT .*)?)")
_UPDATED = re.compile(r"UPDATE instance SET (?:(?! FROM ).)* WHERE key = \?\d*")  # of which no group has two rows with one key
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
        self._heads = Heads(self._run)
        self._answers: _Answers = {Numbers: self._numbers, HeadsOf: self._heads.of, Turn: _no_answer, Try: self._try}

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
            self._heads.forget()
            if db.in_transaction:  # a full disk may have ended it already
                db.execute("ROLLBACK")
            raise
        self._heads.keep()
        if used_below is not None:
            revisions.kept(used_below)
        return result

    def _run(self, program: Program[T]) -> T:
        return _run(program, self._answers, self._db, self._heads.note)

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
            self._heads.forget()
            self._db.execute("ROLLBACK TO one")
            result = error
        self._db.execute("RELEASE one")
        return result


def read(db: sqlite3.Connection, program: Program[T]) -> T:
    """Run a program that reads, in the transaction of the caller."""
    return _run(program, {}, db)


def _no_answer(_: object) -> None:
    """Answer what this database has no need of."""


def _run(program: Program[T], others: _Answers, db: sqlite3.Connection, note: _Note | None = None) -> T:
    """Give each statement of a program its answer, until it ends; `note` hears of those that may change something, before they do."""
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
        if note is not None and kind in _CHANGING:
            note(asked[0], asked[1] if kind is Many else (asked[1],), kind is Many)
        if kind is Fetch:
            answer = execute(said(asked[0]), _values(asked[1])).fetchall()
        elif kind is Many:
            _many(db, asked[0], asked[1])
            answer = None
        elif kind is Each:
            text = said(asked[0])
            answer = [execute(text, row).fetchall() for row in asked[2]]
        elif kind is Change:
            answer = execute(said(asked[0]), _values(asked[1])).rowcount
        else:
            answer = others[kind](asked)


_CHANGING = frozenset({Fetch, Many, Change})


def _many(db: sqlite3.Connection, text: str, rows: Sequence[Row]) -> None:
    """Run a statement for each of some rows, for many of them at once where that is the same."""
    begin = 0
    for size in _TOGETHER:
        if len(rows) - begin < size or (together := _for_all(text, size)) is None:
            continue
        while len(rows) - begin >= size:
            db.execute(together, list(chain.from_iterable(rows[begin : begin + size])))
            begin += size
    if begin < len(rows):
        db.executemany(said(text), rows[begin:] if begin else rows)


@cache
def _for_all(text: str, size: int) -> str | None:
    """Return an insertion of a row, or the change of the one that a key names, for as many; None where that is not known to be the same."""
    text = " ".join(said(text).split())
    inserted = _INSERTED.fullmatch(text)
    if inserted is not None:
        return f"{inserted[1]}{_listed(inserted[2].count('?'), size)}{inserted[3]}"
    if _UPDATED.fullmatch(text) is None:
        return None
    number = count(1)
    changed, _, condition = _OFFERED.sub(lambda found: f"one.column{found[1] or next(number)}", text).partition(" WHERE ")
    width = int(condition.rpartition("column")[2])
    return f"{changed} FROM ({'VALUES ' + _listed(width, size)}) AS one WHERE instance.{condition}"


def _listed(width: int, size: int) -> str:
    return ", ".join([f"({', '.join('?' * width)})"] * size)


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
