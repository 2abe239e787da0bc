"""The embedded store: one SQLite file, one hub.

Owns the file, its lock, and the threads that use it. All changes run in one thread over one connection, the only one that ever writes or
checkpoints (older SQLite versions can lose a write when two do); reads run beside it over connections that cannot write. Invariant: what
`apply` has answered is on disk, in the write-ahead log, synced.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from hub.core.errors import ConfigError, Unavailable
from hub.store.lock import FileLock
from hub.store.schema import OURS, Moved, Schema, bring_to_newest
from hub.store.sqlite_driver import SqliteWriter, is_failure_of_storage, read
from hub.store.store import DatabaseStore, Make
from hub.store.threads import ReaderThreads, WriterThread

T = TypeVar("T")

_OLDEST_SQLITE = (3, 35, 0)  # RETURNING
_BUSY_S = 5.0  # other programs (a backup, a shell) may hold the file for a moment
_READERS = 4  # a slow list must not stand in the way of the others
_STATEMENTS = 256  # prepared ones a connection keeps: more than there are
_LOG_BYTES = 64 * 1024 * 1024  # what a burst has added to the write-ahead log is given back down to this


class SqliteStore(DatabaseStore):
    """The port `Store` on an SQLite file."""

    def __init__(self, path: str | Path, *, schema: Schema = OURS) -> None:
        super().__init__(schema)
        self._path = Path(path)
        self._moved: Moved = (None, "")
        self._lock = FileLock(self._path)
        self._writer: WriterThread[SqliteWriter] | None = None
        self._readers: ReaderThreads | None = None

    async def open(self) -> None:
        """Take the lock, create or migrate the file. Raises: ConfigError when another hub has it or it cannot be used."""
        if self._writer is not None:
            return
        writer = WriterThread(self._ready_file)
        await writer.start()
        self._alone = True  # the lock proves that all nodes in the file are dead
        self._writer, self._readers = writer, ReaderThreads(self._connect_reader, threads=_READERS)

    async def upgrade(self) -> Moved:
        """Open does it all: nobody else is alive."""
        await self.open()
        await self.close()
        return self._moved

    async def close(self) -> None:
        """Finish what was handed in, end the signals, close the file, give the lock back. Safe twice."""
        writer, readers = self._writer, self._readers
        self._writer = self._readers = None
        if writer is None or readers is None:
            return
        try:
            await readers.stop()  # first: the last connection that closes moves the log into the file, and only the writer may
        finally:
            try:
                await writer.stop()
            finally:
                self._signals.close()

    # ---- connections

    async def _commit(self, make: Make[T], then: Callable[[T], None] | None = None) -> T:
        if self._writer is None:
            raise Unavailable(f"the store {self._path} is closed")
        try:
            return await self._writer.run(lambda writer: writer.commit(make()), then)
        except Exception as error:
            raise self._failure("written", error) from error

    async def _read(self, make: Make[T]) -> T:
        if self._readers is None:
            raise Unavailable(f"the store {self._path} is closed")
        try:
            return await self._readers.run(lambda db: read(db, make()))
        except sqlite3.Error as error:
            raise self._failure("read", error) from error

    def _failure(self, verb: str, error: Exception) -> Exception:
        if not is_failure_of_storage(error):
            return error
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        return Unavailable(f"{self._path} cannot be {verb} now: {error} ({name}). Nothing was written; look at the disk that it is on")

    @contextmanager
    def _ready_file(self) -> Iterator[SqliteWriter]:
        """Hold the lock and the writer's connection to a file that is ours and of the newest schema."""
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise ConfigError(f"Python was built with SQLite {sqlite3.sqlite_version}; the hub needs 3.35 or newer", path="store.url")
        with ExitStack() as stack:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                stack.callback(self._lock.release)
                self._lock.take()
                self._make_private()
                db = stack.enter_context(closing(self._connect_writer()))
                writer = self._prepare(db)
            except OSError as error:
                raise ConfigError(self._unusable(error.strerror or str(error)), path="store.url") from error
            except sqlite3.Error as error:
                raise ConfigError(self._unusable(str(error)), path="store.url") from error
            yield writer

    def _make_private(self) -> None:
        """Make a new file one that its owner alone may read: it holds every payload. Its logs get its rights; an old file keeps its own."""
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def _unusable(self, reason: str) -> str:
        return (
            f"{self._path} cannot be used as a database: {reason}. The hub must be allowed to write that file and its folder "
            f"{self._path.absolute().parent}; correct the rights, or choose another folder with --data DIR"
        )

    def _connect_writer(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS
        )

    def _prepare(self, db: sqlite3.Connection) -> SqliteWriter:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        db.execute("BEGIN IMMEDIATE")
        db.execute("PRAGMA user_version = 0")  # what it is; a file that cannot be written says so here, not at the first event
        db.execute("ROLLBACK")
        self._moved = bring_to_newest(db, self._path, self._schema)
        db.execute("PRAGMA foreign_keys = ON")  # not before: migrations build tables anew
        return SqliteWriter(db)

    def _connect_reader(self) -> sqlite3.Connection:
        place = f"file:{quote(str(self._path.absolute()))}?mode=ro"
        return sqlite3.connect(
            place, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS
        )
