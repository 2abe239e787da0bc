"""Care of a database file, from outside: what it holds, whether it holds together, and a copy of it. Also while a hub works on it.

Everything here reads, over connections that can neither write nor checkpoint the file, each in one read transaction: it sees one moment,
and the hub does not notice. The invariant of a copy: it is the database as it was at that moment, whole, or there is no file of that name.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import quote

from hub.core.errors import ConfigError, Unavailable
from hub.store.contents import Contents, filled
from hub.store.invariants import RULES
from hub.store.lock import FileLock
from hub.store.schema import FOUND, NEWEST
from hub.store.sqlite_driver import read

Progress = Callable[[str, int, int], None]  # what is done, how far, of how much (0 = nobody knows)

SQLITE = sqlite3.sqlite_version
_SQLITE = "sqlite:///"
_BUSY_S = 5.0
_PAGES = 2048  # a step of the copy, 8 MB: often enough to show, large enough to cost nothing
_SHOWN = 5  # broken rows a rule; the first ones tell what is wrong
_BREATH = 2_000_000  # instructions of the database between two signs of life, about a tenth of a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule that the database breaks. `rows` are the first ones that break it."""

    rule: str
    words: str
    rows: tuple[str, ...]


def file_of(url: str) -> Path | None:
    """Return the file behind the address of a store; None = it is no file."""
    return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None


def owner(path: Path) -> str | None:
    """Return how the hub is called that has the file: its process, and since when; None = nobody has it."""
    return FileLock(path).owner()


def contents(path: Path, now: datetime) -> Contents:
    """Look into a database. Raises: ConfigError (no database of a hub), Unavailable."""
    with _reading(path) as db:
        (mode,) = db.execute("PRAGMA journal_mode").fetchone()
        (size,), (free,) = db.execute("PRAGMA page_size").fetchone(), db.execute("PRAGMA freelist_count").fetchone()
        log = path.with_name(path.name + "-wal")
        sizes = {
            "bytes": path.stat().st_size, "log_bytes": log.stat().st_size if log.exists() else 0, "free_bytes": size * free,
        }  # fmt: skip
        schema, oldest = _schema(db)
        found = Contents(schema=schema, oldest=oldest, journal_mode=mode, **sizes)
        if not found.current:
            return found
        return read(db, filled(found, now))


def check(path: Path, progress: Progress) -> list[Finding]:
    """Return every rule that a database breaks: SQLite's own, then the hub's. Raises: ConfigError, Unavailable."""
    found: list[Finding] = []
    with _reading(path) as db:
        schema, oldest = _schema(db)
        if not Contents(schema=schema, oldest=oldest).current:
            raise ConfigError(f"{path} has the schema {schema}, this hub checks {NEWEST}; bring it there with `hub db upgrade`")
        for number, (name, words, broken) in enumerate(RULES):
            tick = partial(progress, words, number, len(RULES))
            tick()
            db.set_progress_handler(tick, _BREATH)
            try:
                rows = tuple(str(text) for (text,) in db.execute(f"SELECT * FROM ({broken}) LIMIT {_SHOWN}"))
            except sqlite3.DatabaseError as error:  # a damaged page: what it holds cannot be asked
                rows = (f"cannot be read: {error}",)
            if rows:
                found.append(Finding(rule=name, words=words, rows=rows))
        progress("checked", len(RULES), len(RULES))
    return found


def back_up(path: Path, target: Path, progress: Progress) -> int:
    """Copy a database into a new file, as it is at this moment; return its size in bytes.

    The copy is one file without a log of its own, readable by its owner alone where the original is. Raises: ConfigError (no database, the
    target exists), Unavailable (no room): no file of that name is left.
    """
    if target.exists():
        raise ConfigError(f"{target} exists already; choose another name, or remove it first")
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _reading(path) as source:
            _ensure_room(path, target)
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, path.stat().st_mode & 0o777))
            with closing(sqlite3.connect(part, isolation_level=None)) as copy:
                source.backup(copy, pages=_PAGES, progress=lambda _, left, total: progress("copied", total - left, total), sleep=0)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file: nothing is left in a log beside it
        _sync(part)
        part.rename(target)
        _sync(target.parent)
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(f"{target} cannot be written: {error}; nothing was copied") from error
    finally:
        for left in (part, part.with_name(part.name + "-journal"), part.with_name(part.name + "-wal"), part.with_name(part.name + "-shm")):
            left.unlink(missing_ok=True)
    return target.stat().st_size


def sync_s(folder: Path) -> timedelta:
    """Return how long the disk under a folder takes to make 4 KiB durable: the middle one of five. Raises: OSError."""
    from time import perf_counter

    probe = folder / f".hub-probe-{os.getpid()}"
    took = []
    try:
        with probe.open("wb") as file:
            for _ in range(5):
                file.write(b"\0" * 4096)
                file.flush()
                began = perf_counter()
                os.fsync(file.fileno())
                took.append(perf_counter() - began)
    finally:
        probe.unlink(missing_ok=True)
    return timedelta(seconds=sorted(took)[2])


def _ensure_room(path: Path, target: Path) -> None:
    needed, free = path.stat().st_size, shutil.disk_usage(target.parent).free
    if needed > free:
        raise Unavailable(f"{target.parent} has {free >> 20} MiB left and the copy needs {needed >> 20}; choose another disk")


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database in one read transaction, which sees one moment. Raises: ConfigError, Unavailable."""
    if not path.is_file():
        raise ConfigError(f"there is no database {path}; it is made when a hub starts, or name the file")
    place = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(place, uri=True, timeout=_BUSY_S, isolation_level=None)) as db:
            db.execute("BEGIN")
            _schema(db)  # takes the moment; before it, BEGIN alone reads nothing
            yield db
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise ConfigError(f"{path} is no database, or a damaged one: {error}; restore a backup of it") from error
        raise Unavailable(f"{path} cannot be read: {error}") from error


def _schema(db: sqlite3.Connection) -> tuple[str | None, str | None]:
    """Return the revision, and the oldest schema that a hub must know."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "oldest_hub" not in tables:
        return None, None
    found = db.execute(FOUND).fetchone()
    return found[:2] if found else (None, None)
