"""How PostgreSQL runs programs: over one connection, each in one transaction; many processes do so at the same time.

Says the texts of programs in its own words, and answers what many rows ask in one round trip. Knows no pool and decides nothing about what
to do when the connection is lost. Invariants: a turn is the first lock of its transaction; revisions are given after the heads are locked.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar

import asyncpg

from hub.store.program import Change, Each, Fetch, HeadsOf, Many, Numbers, Program, Row, Try

T = TypeVar("T")
Connection = Any  # of asyncpg, which has no types

CLOCK = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"  # of the database, in microseconds
_OFFERED = re.compile(r"\?(\d*)")
_TURN = "SELECT 1 FROM mutex WHERE name = 'flow' FOR UPDATE"
BLOCK = 8192  # revisions that one number of the sequence stands for; the sequence counts in such steps
_REVISIONS = "SELECT nextval('revision_number') FROM generate_series(1, $1::bigint)"
_KEYS = "SELECT nextval('instance_key_seq') FROM generate_series(1, $1::bigint)"
_KEYS_AT_ONCE = 500  # that a process keeps for the instances which it is going to create
_READS = ("SELECT", "WITH")
_TRIES = 3  # of one write that another transaction seems to have overtaken
_MANY = 3  # rows from which one statement for all is cheaper than one for each


class TurnNeeded(Exception):  # no error: the transaction begins anew
    """A program wants the turn after it has begun to take other locks."""


@lru_cache(1024)
def said(text: str) -> str:
    """Return a text in PostgreSQL's words."""
    return _with_places(text.replace("lease_clock(?)", f"({CLOCK} + 0 * CAST(? AS BIGINT))"), "$")


def _with_places(text: str, prefix: str) -> str:
    """Return a text with the places of its values written as a prefix and a number."""
    number = 0

    def place(found: re.Match[str]) -> str:
        nonlocal number
        number += 1
        return prefix + (found.group(1) or str(number))

    return _OFFERED.sub(place, text)


@lru_cache(256)
def _for_each(text: str, types: tuple[str, ...]) -> str:
    """Return a question for many rows of values at once: the number of the row, and what it would be answered alone."""
    lists = ", ".join(f"${n}::{type}[]" for n, type in enumerate(types, 1))
    names = ", ".join(f"p{n}" for n in range(1, len(types) + 1))
    asked = _with_places(text, "q.p")
    return f"SELECT q.n, a.* FROM unnest({lists}) WITH ORDINALITY AS q({names}, n) CROSS JOIN LATERAL ({asked}) AS a ORDER BY q.n"


@lru_cache(256)
def _for_all(text: str, types: tuple[str, ...]) -> str | None:
    """Return an insertion or an update of one row as one of many rows, or None where that is not known to be the same."""
    lists = ", ".join(f"${n}::{type}[]" for n, type in enumerate(types, 1))
    text = " ".join(text.split())
    if "VALUES (" in text:
        head, _, rest = text.partition("VALUES (")
        return f"{head}SELECT * FROM unnest({lists}){rest.partition(')')[2]}"
    if text.startswith("UPDATE ") and text.count(" WHERE ") == 1 and "FROM" not in text:
        names = ", ".join(f"p{n}" for n in range(1, len(types) + 1))
        changed, _, condition = _with_places(text, "u.p").partition(" WHERE ")
        return f"{changed} FROM unnest({lists}) AS u({names}) WHERE {condition}"
    return None


class PostgresTransaction:
    """Runs the program of one transaction that the caller has begun, and will end."""

    def __init__(self, db: Connection, keys: deque[int], *, turn: bool = False) -> None:
        """`keys` are numbers for new instances that this process alone has; it grows when there are too few."""
        self.wrote = False
        self._db = db
        self._keys = keys
        self._taken: deque[int] = deque()
        self._has_turn = turn

    async def begin(self) -> None:
        """Begin the transaction, with the turn where it is wanted."""
        await self._db.execute("BEGIN")
        if self._has_turn:
            await self._db.fetch(_TURN)

    async def run(self, program: Program[T]) -> T:
        """Give each statement of a program its answer, until it ends. Raises: TurnNeeded; whatever the driver raises."""
        answer: Any = None
        asked: Any
        while True:
            try:
                asked = program.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            kind = type(asked)
            if kind is Fetch:
                self._note(asked[0])
                answer = list(map(tuple, await self._db.fetch(said(asked[0]), *asked[1])))
            elif kind is Many:
                self.wrote = True
                await self._many(asked[0], asked[1])
                answer = None
            elif kind is Each:
                answer = await self._each(asked)
            elif kind is Change:
                self.wrote = True
                answer = int((await self._db.execute(said(asked[0]), *asked[1])).rpartition(" ")[2])
            elif kind is HeadsOf:
                answer = await self.run(asked.read(asked.keys, asked.ending))
            elif kind is Numbers:
                answer = await self._numbers(asked)
            elif kind is Try:
                answer = await self._try(asked)
            elif not self._has_turn:
                raise TurnNeeded

    def _note(self, text: str) -> None:
        if not self.wrote and not text.lstrip().startswith(_READS):
            self.wrote = True

    async def _many(self, text: str, rows: Sequence[Row]) -> None:
        place = slice(4) if text.lstrip().startswith("INSERT") else slice(-1, None)  # of what tells a row from all others
        if len(rows) >= _MANY and len({row[place] for row in rows}) == len(rows):  # the same row twice is no job for one statement
            types = tuple(parameter.name for parameter in (await self._db.prepare(said(text))).get_parameters())
            together = _for_all(text, types)
            if together is not None:
                await self._db.fetch(together, *map(list, zip(*rows, strict=True)))
                return
        await self._db.executemany(said(text), rows)

    async def _each(self, asked: Each) -> list[list[Row]]:
        found = await self._db.fetch(_for_each(asked.text, asked.types), *map(list, zip(*asked.rows, strict=True)))
        answers: list[list[Row]] = [[] for _ in asked.rows]
        for number, *row in found:
            answers[number - 1].append(tuple(row))
        return answers

    async def _numbers(self, asked: Numbers) -> tuple[Iterator[int], Iterator[int]]:
        revisions: Iterator[int] = iter(())
        if asked.revisions:
            found = await self._db.fetch(_REVISIONS, -(-asked.revisions // BLOCK))
            revisions = chain.from_iterable(range(block, block + BLOCK) for block in sorted(number for (number,) in found))
        if asked.keys:
            while len(self._keys) < asked.keys:
                self._keys.extend(number for (number,) in await self._db.fetch(_KEYS, max(asked.keys, _KEYS_AT_ONCE)))
            self._taken.extend(self._keys.popleft() for _ in range(asked.keys))
        return iter(self._taken.popleft, None), revisions

    def end(self) -> None:
        """Give back the numbers that were not used."""
        self._keys.extendleft(reversed(self._taken))
        self._taken.clear()

    async def _try(self, asked: Try) -> Any:
        for tries_left in reversed(range(_TRIES)):
            await self._db.execute("SAVEPOINT one")
            try:
                result = await self.run(asked.make())
            except Exception as error:
                if not is_of_value(error):
                    raise
                await self._db.execute("ROLLBACK TO one")
                result = error
            await self._db.execute("RELEASE one")
            if not tries_left or not is_of_the_moment(result):
                return result


_OF_VALUE = ("22", "23", "P0")  # data exception, integrity constraint violation, raised by a guard of ours
_AGAIN = frozenset({"40001", "40P01", "23505"})  # serialisation failure, deadlock, unique violation: another transaction was faster


def is_of_value(error: BaseException) -> bool:
    """Whether an error is about a value that the database does not take, as against the database itself."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate)[:2] in _OF_VALUE
    return not isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | TimeoutError | TurnNeeded)


def is_of_the_moment(error: BaseException) -> bool:
    """Whether the same program may succeed when it is run again at once."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _AGAIN
