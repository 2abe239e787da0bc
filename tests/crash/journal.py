"""What is on disk after a kill, read with plain SQL and nothing of the hub, before the next life touches it.

Reading changes nothing: the connection cannot write, and the last one that cannot write leaves the write-ahead log as it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATABASE = "hub.sqlite"
SETTLED = 1 << 30  # above every number of an attempt

Body = tuple[str, str, str, int]  # workflow, id, step, count


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An instance as it lies on disk."""

    status: str
    recoveries: int
    output: bytes | None
    error: str | None
    dedupe_key: str | None


class Journal:
    """The database file of one folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / DATABASE
        self._settled_below = 0  # all instances with smaller keys had ended at the last look

    def done(self) -> dict[Body, int]:
        """Return by body the number of the last attempt that is over on disk: no attempt up to it may start again."""
        with self._open() as db:
            found = db.execute(
                "SELECT w.name, i.id, s.name, s.count, s.state, coalesce(s.attempt, 1) FROM step s JOIN instance i ON i.key = s.instance "
                "JOIN workflow w ON w.key = i.workflow WHERE s.kind = 'step' AND s.instance >= ?",
                (self._settled_below,),
            )
            done = {
                (workflow, id, step, count): SETTLED if state in ("done", "failed") else attempt
                for workflow, id, step, count, state, attempt in found
            }
            (self._settled_below,) = db.execute(
                "SELECT coalesce(min(key), (SELECT max(key) FROM instance), 0) FROM instance WHERE ended_at IS NULL"
            ).fetchone()
        return done

    def instances(self) -> dict[tuple[str, str], Row]:
        """Return all instances by workflow and id."""
        with self._open() as db:
            found = db.execute(
                "SELECT w.name, i.id, i.status, i.recoveries, i.output, i.error, i.dedupe_key FROM instance i "
                "JOIN workflow w ON w.key = i.workflow"
            )
            return {
                (workflow, id): Row(status=status, recoveries=recoveries, output=output, error=error, dedupe_key=key)
                for workflow, id, status, recoveries, output, error, key in found
            }

    def entries(self, workflow: str, id: str) -> dict[tuple[str, int], dict[str, Any]]:
        """Return the journal of one instance by name and count."""
        found = self._of("step", "ordinal", workflow, id)
        return {(row["name"], row["count"]): row for row in found}

    def attempts(self, workflow: str, id: str) -> list[dict[str, Any]]:
        """Return the failed attempts of one instance."""
        return self._of("attempt", "started_at", workflow, id)

    def _of(self, table: str, order: str, workflow: str, id: str) -> list[dict[str, Any]]:
        with self._open() as db:
            db.row_factory = sqlite3.Row
            found = db.execute(
                f"SELECT t.* FROM {table} t JOIN instance i ON i.key = t.instance JOIN workflow w ON w.key = i.workflow "
                f"WHERE w.name = ? AND i.id = ? ORDER BY t.{order}",
                (workflow, id),
            )
            return [dict(row) for row in found]

    def claimed(self) -> int:
        """Count the instances that a node holds."""
        with self._open() as db:
            (number,) = db.execute("SELECT count(*) FROM instance WHERE node IS NOT NULL").fetchone()
            return int(number)

    def unfinished(self) -> int:
        """Count the instances that have not ended."""
        with self._open() as db:
            (number,) = db.execute("SELECT count(*) FROM instance WHERE ended_at IS NULL").fetchone()
            return int(number)

    def integrity(self) -> str:
        """Return what SQLite finds wrong with the file: "ok", or the faults."""
        with self._open() as db:
            return "; ".join(text for (text,) in db.execute("PRAGMA integrity_check"))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, isolation_level=None)) as db:
            db.execute("BEGIN")
            yield db
