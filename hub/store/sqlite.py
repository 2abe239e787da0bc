"""The embedded store: one SQLite file, one hub.

Owns the file, its lock, and the threads that use it. All changes run in one thread over one connection, the only one that ever writes or
checkpoints (older SQLite versions can lose a write when two do); reads run beside it over connections that cannot write. Invariant: what
`apply` has answered is on disk, in the write-ahead log, synced.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, overload
from urllib.parse import quote

from hub.core.access import Token, TokenQuery
from hub.core.audit import AuditEntry, AuditQuery
from hub.core.delivery import Delivery, DeliveryQuery, TriggerQuery, TriggerRecord
from hub.core.errors import ConfigError, Unavailable
from hub.core.history import HistoryEvent, HistoryQuery
from hub.core.logs import LogQuery, StoredLine
from hub.core.model import (
    InboxEvent,
    InboxQuery,
    Instance,
    InstanceQuery,
    Page,
    Snapshot,
    Status,
    Version,
    VersionQuery,
    WorkflowQuery,
    WorkflowRecord,
)
from hub.core.nodes import NodeAbout, NodeQuery, NodeRecord, Workflows
from hub.core.queues import QueueQuery, QueueRecord
from hub.core.writes import Outcome, Write
from hub.store import access, deliveries, messages, nodes
from hub.store import sqlite_claim as claims
from hub.store import sqlite_read as read
from hub.store import sqlite_write as write
from hub.store.instance_lists import find_instances
from hub.store.lines import find_lines
from hub.store.lock import FileLock
from hub.store.revisions import Revisions
from hub.store.schema import bring_to_newest
from hub.store.signals import Signals, Subscription
from hub.store.sqlite_transaction import FIRST_REVISION, is_failure_of_storage, open_revisions
from hub.store.threads import ReaderThreads, WriterThread

T = TypeVar("T")
_Query = (
    InstanceQuery | WorkflowQuery | VersionQuery | InboxQuery | HistoryQuery | LogQuery | DeliveryQuery | TriggerQuery
    | QueueQuery | TokenQuery | AuditQuery | NodeQuery
)  # fmt: skip

_OLDEST_SQLITE = (3, 35, 0)  # RETURNING
_BUSY_S = 5.0  # other programs (a backup, a shell) may hold the file for a moment
_READERS = 4  # a slow list must not stand in the way of the others
_STATEMENTS = 256  # prepared ones a connection keeps: more than there are
_LOG_BYTES = 64 * 1024 * 1024  # what a burst has added to the write-ahead log is given back down to this
_QUERIES: dict[type, Callable[[sqlite3.Connection, Any], Page[Any]]] = {
    InstanceQuery: find_instances,
    WorkflowQuery: read.find_workflows,
    VersionQuery: read.find_versions,
    InboxQuery: read.find_events,
    HistoryQuery: read.find_history,
    LogQuery: find_lines,
    DeliveryQuery: deliveries.find_deliveries,
    TriggerQuery: deliveries.find_triggers,
    QueueQuery: messages.find_queues,
    TokenQuery: access.find_tokens,
    AuditQuery: access.find_entries,
    NodeQuery: nodes.find_nodes,
}


class SqliteStore:
    """The port `Store` on an SQLite file. Open it on the event loop that uses it."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = FileLock(self._path)
        self._signals = Signals()
        self._writer: WriterThread | None = None
        self._readers: ReaderThreads | None = None
        self._revisions = Revisions(FIRST_REVISION)  # those of the file as soon as it is open; of the writer's thread
        self._alone = True  # until the first node registers: the lock proves that all nodes in the file are dead

    async def open(self) -> None:
        """Take the lock, create or migrate the file. Raises: ConfigError when another hub has it or it cannot be used."""
        if self._writer is not None:
            return
        writer = WriterThread(self._ready_file)
        await writer.start()
        self._alone = True
        self._writer, self._readers = writer, ReaderThreads(self._connect_reader, threads=_READERS)

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

    # ---- writing

    async def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Apply writes in one transaction; see `Store.apply`.

        Signals of the group are out before this returns. A write that the database can never keep is answered with `POISON`, and the
        others are on disk. Once handed in, a group is applied even when the caller is cancelled. Raises: Unavailable: nothing was written.
        """
        if not writes:
            return []
        outcomes, _ = await self._write(lambda db: write.apply(db, writes, self._revisions), lambda applied: self._signals.feed(applied[1]))
        return outcomes

    async def renew(self, node: int | None, ttl: timedelta, now: datetime, about: NodeAbout | None = None) -> int:
        """Register this process (None) or renew its lease; return its number, a new one when the old is forgotten."""
        until = claims.lease_end(ttl, now)
        if node is not None and await self._write(lambda db: claims.renew_node(db, node, until)):
            return node
        info = nodes.about_text(about or NodeAbout(host=socket.gethostname(), pid=os.getpid()))
        register = partial(claims.register_node, lease_until=until, now=now, info=info, revs=self._revisions, alone=self._alone)
        number = await self._write(register)
        self._alone = False
        return number

    async def claim(self, node: int, limit: int, now: datetime, workflows: Workflows = None) -> list[Snapshot]:
        """Claim due instances and those of dead nodes; see `Store.claim`."""
        claim = partial(claims.claim, node=node, limit=limit, now=now, workflows=workflows, revs=self._revisions)
        claimed, _ = await self._write(claim, lambda done: self._signals.feed(done[1]))
        return claimed

    async def prune(
        self, now: datetime, limit: int, deliveries_kept: timedelta | None = None, messages_kept: timedelta | None = None
    ) -> int:
        """Delete instances whose retention has ended, and old deliveries and messages; see `Store.prune`."""
        kept = claims.Kept(deliveries_kept, messages_kept)
        prune = partial(claims.prune, now=now, limit=limit, kept=kept, revs=self._revisions)
        deleted, _ = await self._write(prune, lambda done: self._signals.feed(done[1]))
        return deleted

    # ---- reading

    async def load(self, instance: int) -> Snapshot | None:
        """Read an instance with its whole journal, or None."""
        found = await self._read(partial(read.snapshots, keys=[instance]))
        return found[0] if found else None

    async def next_due(self, now: datetime, workflows: Workflows = None) -> datetime | None:
        """Return when the next unclaimed instance is due, `now` when one already is, None when none waits for a time."""
        due = await self._read(partial(read.next_due, workflows=workflows))
        return None if due is None else max(due, now)

    @overload
    async def find(self, query: InstanceQuery) -> Page[Instance]: ...
    @overload
    async def find(self, query: WorkflowQuery) -> Page[WorkflowRecord]: ...
    @overload
    async def find(self, query: VersionQuery) -> Page[Version]: ...
    @overload
    async def find(self, query: InboxQuery) -> Page[InboxEvent]: ...
    @overload
    async def find(self, query: HistoryQuery) -> Page[HistoryEvent]: ...
    @overload
    async def find(self, query: LogQuery) -> Page[StoredLine]: ...
    @overload
    async def find(self, query: DeliveryQuery) -> Page[Delivery]: ...
    @overload
    async def find(self, query: TriggerQuery) -> Page[TriggerRecord]: ...
    @overload
    async def find(self, query: QueueQuery) -> Page[QueueRecord]: ...
    @overload
    async def find(self, query: TokenQuery) -> Page[Token]: ...
    @overload
    async def find(self, query: AuditQuery) -> Page[AuditEntry]: ...
    @overload
    async def find(self, query: NodeQuery) -> Page[NodeRecord]: ...
    async def find(self, query: _Query) -> Page[Any]:
        """Read one page. Raises: Rejected when the cursor is not of such a list."""
        return await self._read(lambda db: _QUERIES[type(query)](db, query))

    async def counts(self) -> Mapping[Status, int]:
        """Count instances by status; a status that no instance has is absent."""
        return await self._read(read.counts)

    def signals(self) -> Subscription:
        """Subscribe, from this moment on; see `Store.signals`. Signals wait as a set of keys: many of one instance become one.

        The signals of a group are fed on the event loop before its `apply` returns, so that whoever sees a verb answered knows that the
        runner has been told. 0 comes when an unclaimed instance was created or has become due.
        """
        return self._signals.subscribe()

    # ---- connections

    async def _write(self, call: Callable[[sqlite3.Connection], T], then: Callable[[T], None] | None = None) -> T:
        if self._writer is None:
            raise Unavailable(f"the store {self._path} is closed")
        try:
            return await self._writer.run(call, then)
        except Exception as error:
            raise self._failure("written", error) from error

    async def _read(self, call: Callable[[sqlite3.Connection], T]) -> T:
        if self._readers is None:
            raise Unavailable(f"the store {self._path} is closed")
        try:
            return await self._readers.run(call)
        except sqlite3.Error as error:
            raise self._failure("read", error) from error

    def _failure(self, verb: str, error: Exception) -> Exception:
        if not is_failure_of_storage(error):
            return error
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        return Unavailable(f"{self._path} cannot be {verb} now: {error} ({name}). Nothing was written; look at the disk that it is on")

    @contextmanager
    def _ready_file(self) -> Iterator[sqlite3.Connection]:
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
                self._prepare(db)
            except OSError as error:
                raise ConfigError(self._unusable(error.strerror or str(error)), path="store.url") from error
            except sqlite3.Error as error:
                raise ConfigError(self._unusable(str(error)), path="store.url") from error
            yield db

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
        return sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, cached_statements=_STATEMENTS)

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        db.execute("BEGIN IMMEDIATE")
        db.execute("PRAGMA user_version = 0")  # what it is; a file that cannot be written says so here, not at the first event
        db.execute("ROLLBACK")
        bring_to_newest(db, self._path)
        self._revisions = open_revisions(db)
        db.execute("PRAGMA foreign_keys = ON")  # not before: migrations build tables anew

    def _connect_reader(self) -> sqlite3.Connection:
        place = f"file:{quote(str(self._path.absolute()))}?mode=ro"
        return sqlite3.connect(
            place, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS
        )
