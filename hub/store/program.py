"""Programs: what happens inside one transaction, as generators that yield statements and are sent what the database answers.

No connection here, so one program serves every database: its adapter begins a transaction, runs the program in it and commits. A program
may be run again from its beginning when the database has undone its transaction, so it changes nothing but the database. The texts are
written once, in the words that the databases share and, where they differ, in PostgreSQL's: placeholders are `?` or `?1`, `?2` …, a list is
asked for with `= ANY(?)`, and `/*+ … */` is a hint that only SQLite reads. The adapter says them in its own words. What a program needs
that is no SQL text (numbers, a turn, a savepoint) is a statement of its own, for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
Row = tuple[Any, ...]


class Fetch(NamedTuple):
    """Run a statement; the answer is the list of its rows. A value may be a list, for `= ANY(?)`."""

    text: str
    values: Row


class Change(NamedTuple):
    """Run a statement; the answer is the number of rows that it has changed."""

    text: str
    values: Row


class Many(NamedTuple):
    """Run a statement once for each of some rows, in their order; there is no answer."""

    text: str
    rows: Sequence[Row]


class Each(NamedTuple):
    """Ask the same question once for each of some rows; the answer is a list of lists of rows, in their order.

    `types` are those of the values in a row. A database that is far away answers all in one round trip.
    """

    text: str
    types: tuple[str, ...]
    rows: Sequence[Row]


class Numbers(NamedTuple):
    """Ask for numbers that nobody else gets: the answer is two iterators, of keys for new instances and of revisions.

    At least as many as are asked for can be taken. Asked for only after the heads are locked that get these revisions, so that those of one
    instance grow in the order of its transactions.
    """

    keys: int
    revisions: int


class HeadsOf(NamedTuple):
    """Lock and read the heads of instances, and of the parents of those that are `ending`; the answer is a dict by key.

    `read` makes the program that asks for them. A database that only one process writes may know them without asking: so whoever changes a
    head writes it, and all other statements that change the table of instances say in their last value, `WHERE key = ?`, which one.
    """

    keys: list[int]
    ending: list[int]
    read: Callable[[list[int], list[int]], Generator[Any, Any, Any]]


class Turn(NamedTuple):
    """Wait until no other transaction changes gates; until the end of this one, none will. There is no answer.

    Where that takes a lock, it is the first one of its transaction: the program may be begun anew for that.
    """


class Try(NamedTuple):
    """Make a program and run it so that its failure undoes only what it did; the answer is its result, or the exception.

    Not for a failure of the database as a whole: that ends the transaction.
    """

    make: Callable[[], Generator[Any, Any, Any]]


Statement = Fetch | Change | Many | Each | Numbers | HeadsOf | Turn | Try
Program = Generator[Statement, Any, T]


def fetch(text: str, *values: Any) -> Program[list[Row]]:
    """Return the rows of a statement."""
    rows: list[Row] = yield Fetch(text, values)
    return rows


def first(text: str, *values: Any) -> Program[Row | None]:
    """Return the first row of a statement, or None."""
    rows: list[Row] = yield Fetch(text, values)
    return rows[0] if rows else None


def change(text: str, *values: Any) -> Program[int]:
    """Return how many rows a statement has changed."""
    number: int = yield Change(text, values)
    return number


def many(text: str, rows: Sequence[Row]) -> Program[None]:
    """Run a statement for each of some rows."""
    if rows:
        yield Many(text, rows)


def each(text: str, types: tuple[str, ...], rows: Sequence[Row]) -> Program[list[list[Row]]]:
    """Return the rows of a question for each of some rows of values."""
    if not rows:
        return []
    answers: list[list[Row]] = yield Each(text, types, rows)
    return answers


def numbers(keys: int, revisions: int) -> Program[tuple[Iterator[int], Iterator[int]]]:
    """Return numbers for new instances and revisions; see `Numbers`."""
    given: tuple[Iterator[int], Iterator[int]] = yield Numbers(keys, revisions)
    return given


REVISIONS = 8192  # that a program gets at once which cannot know how many it needs
