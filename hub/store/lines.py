"""The lines of logs: their SQL and their rows.

The order is that of the revisions, so that a list that goes on after its last line misses none. Every line knows how many bytes of lines
its instance has had up to it, which makes the limit cost one look at the last line.
"""

from __future__ import annotations

from hub.core.logs import LEVELS, Logged, LogLine, LogQuery, StoredLine
from hub.core.model import Entry, Kind, Page
from hub.store.columns import micros, moment, shown
from hub.store.cursors import cursor_of, place_of
from hub.store.program import Program, Row, fetch

TOTAL = "SELECT total FROM line WHERE instance = ? ORDER BY rev DESC, seq DESC LIMIT 1"
_COLUMNS = "rev, seq, kind, name, count, attempt, at, level, logger, message"
INSERT = f"INSERT INTO line (instance, total, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
FORGET = "DELETE FROM line WHERE instance = ?"
FORGET_SINCE = """
DELETE FROM line WHERE instance = ?1 AND EXISTS (SELECT 1 FROM step s WHERE s.instance = ?1 AND s.name = line.name
AND s.count = line.count AND (s.kind = line.kind OR line.kind = 'rollback') AND s.ordinal >= ?2)
"""

_FULL = "… what this instance logs after this is not kept (limits.log_instance_bytes)"
_WORDS = {number: word for word, number in LEVELS.items()}


def rows_of(instance: int, entry: Entry, logged: Logged, rev: int, total: int) -> list[Row]:
    """Return the rows of what an attempt has logged, as much as its instance has room for after `total` bytes of lines."""
    rows: list[Row] = []
    place = (entry.kind.value, entry.name, entry.count, entry.attempt)
    for line in logged.lines:
        if total >= logged.instance_bytes:
            break
        total += len(line.message.encode()) + 1  # an empty line is one, too
        kept = line
        if total >= logged.instance_bytes:
            total, kept = logged.instance_bytes, LogLine(at=line.at, level="warning", message=_FULL)
        rows.append((instance, total, rev, len(rows), *place, micros(kept.at), LEVELS[kept.level], kept.logger, shown(kept.message)))
    return rows


def total_of(row: Row) -> int:
    """Return how many bytes of lines an instance has had up to that row."""
    return int(row[1])


def find_lines(query: LogQuery) -> Program[Page[StoredLine]]:
    """Read one page of an instance's lines. Raises: Rejected when the cursor is not of such a list."""
    conditions: list[str] = ["instance = ?"]
    wanted: list[object] = [query.instance]
    if query.cursor is not None:
        conditions.append("(rev, seq) > (?, CAST(? AS BIGINT))")
        wanted += place_of(query.cursor, 2)
    if query.step is not None:
        conditions.append("(name = ? OR name || '-' || CAST(count AS TEXT) = ?)")
        wanted += [query.step, query.step]
    if query.attempt is not None:
        conditions.append("attempt = CAST(? AS BIGINT)")
        wanted.append(query.attempt)
    if query.level is not None:
        conditions.append("level >= ?")
        wanted.append(LEVELS[query.level])
    text = f"SELECT {_COLUMNS} FROM line WHERE {' AND '.join(conditions)} ORDER BY rev, seq LIMIT ?"
    found = yield from fetch(text, *wanted, query.limit + 1)
    items = tuple(map(_stored, found[: query.limit]))
    return Page(items=items, cursor=items[-1].cursor if len(found) > query.limit and items else None)


def _stored(row: Row) -> StoredLine:
    rev, seq, kind, name, count, attempt, at, level, logger, message = row
    line = LogLine(at=moment(at), level=_WORDS[level], message=message, logger=logger)
    return StoredLine(cursor=cursor_of(rev, seq), kind=Kind(kind), name=name, count=count, attempt=attempt, line=line)
