"""Reading heads, and the heads of claimed instances as the only writer of a database has left them, so that it need not read them again.

Most writes are of an instance whose head has just been written. What is remembered is exactly what the database says: a head is kept when
the transaction that wrote it from here is committed, and forgotten as soon as any other statement changes its row. Invariant: only
instances that a node has claimed are remembered, so there are never more than nodes execute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

from hub.core.lifecycle import Head
from hub.store import rows
from hub.store import statements as sql
from hub.store.program import HeadsOf, Program, Row, fetch

_FROM_HEADS = frozenset({sql.INSERT_INSTANCE, sql.UPDATE_HEAD, sql.UPDATE_RESULT, sql.UPDATE_END, sql.UPDATE_ALL})
_WRITES = re.compile(r"\b(?:UPDATE|INTO|DELETE FROM) instance\b")
_ONE = re.compile(r"WHERE key = \?\d*\s*$")
ALL: Final = "all"


def read_heads(keys: list[int], ending: list[int]) -> Program[dict[int, Head]]:
    """Read and lock heads, and those of the parents of instances that are `ending`."""
    if ending:
        found = yield from fetch(sql.HEADS_AND_PARENTS, keys, ending)
    elif keys:
        found = yield from fetch(sql.HEADS, keys)
    else:
        return {}
    return {row[0]: rows.head_of(row) for row in found}


@cache
def changes(text: str) -> bool | str:
    """Return whether a statement changes heads: of the instance that its last value names, or of `ALL` that there are."""
    if _WRITES.search(text) is None:
        return False
    return True if _ONE.search(text) else ALL


class Heads:
    """What is remembered, and what one transaction has been given."""

    def __init__(self, run: Callable[[Program[dict[int, Head]]], dict[int, Head]]) -> None:
        """`run` runs a program in the transaction that is open."""
        self._run = run
        self._kept: dict[int, Head] = {}
        self._given: list[dict[int, Head]] = []  # the plan of a group adds to them what it creates
        self._stale: set[int] = set()  # what the transaction has changed in another way than from them

    def of(self, asked: HeadsOf) -> dict[int, Head]:
        """Return heads; the caller may change them, and writes what it has changed."""
        kept = self._kept
        heads = {key: kept[key] for key in asked.keys if key in kept and not (kept[key].changed or kept[key].result_changed)}
        if len(heads) < len(asked.keys) or any(heads[key].parent is not None for key in asked.ending if key in heads):
            unknown = [key for key in asked.keys if key not in heads]
            heads.update(self._run(asked.read(unknown, asked.ending)))
        self._given.append(heads)
        return heads

    def note(self, text: str, values: Sequence[Row], planned: bool) -> None:
        """Forget what a statement changes, unless it is `planned` from the heads that were given."""
        if planned and text in _FROM_HEADS:
            return
        changed = changes(text)
        if changed is ALL:
            self.forget()
        elif changed:
            for row in values:
                self._stale.add(row[-1])
                self._kept.pop(row[-1], None)

    def keep(self) -> None:
        """Remember what the transaction was given, now that it is committed."""
        kept = self._kept
        for heads in self._given:
            for key, head in heads.items():
                if head.node is None or head.result_changed or key in self._stale:
                    kept.pop(key, None)
                else:
                    head.changed = False
                    kept[key] = head
        self._given = []
        self._stale.clear()

    def untrue(self) -> list[int]:
        """Return what is remembered otherwise than the database says, for tests; outside of transactions."""
        stored = self._run(read_heads(sorted(self._kept), []))
        return [key for key, head in self._kept.items() if stored.get(key) != head]

    def forget(self) -> None:
        """Forget everything, as after a transaction that was undone."""
        self._kept = {}
        self._given = []
        self._stale.clear()
