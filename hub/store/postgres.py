"""The shared store: one PostgreSQL database, many hubs.

Owns the connections: two small pools, one that writes and one that reads, and the line to the other nodes (`postgres_signals`). A lost
connection is replaced; what was under way on it was undone, or its outcome is read from the database, never guessed. Invariant: what
`apply` has answered is committed.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

import asyncpg

from hub.core.errors import Unavailable
from hub.core.nodes import NodeAbout
from hub.core.writes import Outcome, Write
from hub.store.address import shown
from hub.store.postgres_address import LOST, ensure_rights, reason, visited
from hub.store.postgres_connection import Connection, Mark, borrowed, leave_mark, undo
from hub.store.postgres_driver import CLOCK, PostgresTransaction, TurnNeeded, is_of_the_moment, is_of_value
from hub.store.postgres_schema import bring_to_newest
from hub.store.postgres_signals import Line
from hub.store.schema import OURS, Moved, Schema
from hub.store.store import DatabaseStore, Make

T = TypeVar("T")

_WRITERS = 3  # groups, claims and leases; more would only wait for the same disk
_READERS = 4
_STATEMENTS = 512  # prepared ones a connection keeps: more than there are
_CONNECT_S = 10.0  # at most
_PATIENCE_S = 30.0  # with a statement, or with a transaction that asks nothing
_TRIES = 10  # of a transaction that others have overtaken
_TURN_S = 1.0  # a node that has needed the turn of flow control takes it at once for so long
_PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0)  # between tries to learn the outcome of a commit; the last one again and again
_ONE_MOMENT = {"default_transaction_isolation": "repeatable read", "default_transaction_read_only": "on"}
_OLD_DAYS = 30  # marks of writers that nobody will ask for any more


class PostgresStore(DatabaseStore):
    """The port `Store` on a PostgreSQL database."""

    def __init__(self, url: str, *, notify: bool = True, schema: Schema = OURS, patience_s: float = _PATIENCE_S) -> None:
        """`patience_s` is how long a statement may take, and a group wait for the one before it; the driver gives up soon after."""
        super().__init__(schema)
        self._patience_s = patience_s
        self._connect_s = min(_CONNECT_S, patience_s)
        self._url = url
        self._notify = notify
        self._writers: asyncpg.Pool[Any] | None = None
        self._readers: asyncpg.Pool[Any] | None = None
        self._line: Line | None = None
        self._groups = asyncio.Lock()  # only to keep their order
        self._under_way: set[asyncio.Task[Any]] = set()
        self._closing = asyncio.Event()
        self._turn_until = float("-inf")
        self._keys: deque[int] = deque()  # for new instances; nobody else has them

    async def open(self) -> None:
        """Connect and migrate. Raises: ConfigError (no such database, wrong password, tables of another program), Unavailable."""
        if self._writers is not None:
            return
        self._closing.clear()
        await self.upgrade(finish=False)
        self._writers = await self._pool(_WRITERS, {}, leave_mark)
        self._readers = await self._pool(_READERS, _ONE_MOMENT)
        self._line = Line(self._url, self._signals, listen=self._notify, patience_s=self._connect_s)
        await self._line.start()

    async def upgrade(self, *, finish: bool = True) -> Moved:
        """Bring the database to the newest schema; see `DatabaseStore.upgrade`. Without `finish` as far as hubs that are alive allow."""
        async with visited(self._url) as db:
            await ensure_rights(db, self._url)
            moved = await bring_to_newest(db, self._url, self._schema, finish=finish)
            await db.execute("DELETE FROM writer WHERE at < $1::bigint", await _days_ago(db, _OLD_DAYS))
            return moved

    async def close(self) -> None:
        """Finish what was handed in, end the signals, disconnect. Safe twice."""
        writers, readers, line = self._writers, self._readers, self._line
        self._writers = self._readers = self._line = None
        self._closing.set()
        if writers is None or readers is None or line is None:
            return
        try:
            if self._under_way:
                await asyncio.wait(self._under_way)
            await line.stop()
        finally:
            for pool in (readers, writers):
                with suppress(*LOST):
                    await asyncio.wait_for(pool.close(), self._connect_s)
            self._signals.close()

    def _tell(self, keys: set[int]) -> None:
        super()._tell(keys)
        if self._line is not None and keys:
            self._line.tell(keys)

    async def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """Apply writes in one transaction; see `DatabaseStore.apply`. Groups are applied in the order of their calls."""
        return await self._to_its_end(self._apply_in_order(writes))

    async def _apply_in_order(self, writes: Sequence[Write]) -> list[Outcome]:
        try:
            await asyncio.wait_for(self._groups.acquire(), self._patience_s)
        except TimeoutError:
            raise Unavailable(f"{shown(self._url)} has not yet carried out what came before; nothing was written") from None
        try:
            return await super().apply(writes)
        finally:
            self._groups.release()

    async def renew(self, node: int | None, ttl: timedelta, now: datetime, about: NodeAbout | None = None) -> int:
        """Register this process or renew its lease; see `DatabaseStore.renew`."""
        number = await super().renew(node, ttl, now, about)
        if self._line is not None:
            self._line.node = number
        return number

    # ---- transactions

    async def _commit(self, make: Make[T], then: Callable[[T], None] | None = None) -> T:
        return await self._to_its_end(self._commit_at_last(make, then))

    async def _to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Do some work even when the caller is cancelled."""
        task = asyncio.create_task(work, name="postgres-commit")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _commit_at_last(self, make: Make[T], then: Callable[[T], None] | None) -> T:
        """Run a program, again as long as others are in its way."""
        tries = 0
        while True:
            if self._writers is None:
                raise Unavailable(f"the store {shown(self._url)} is closed")
            try:
                async with borrowed(self._writers, self._connect_s) as db:
                    result = await self._in_transaction(db, make)
            except TurnNeeded:
                self._turn_until = asyncio.get_running_loop().time() + _TURN_S
            except Exception as error:
                tries += 1
                if not is_of_the_moment(error) or tries == _TRIES:
                    raise self._failure("written", error) from error
            else:
                if then is not None:
                    then(result)
                return result

    async def _in_transaction(self, db: Any, make: Make[T]) -> T:
        transaction = PostgresTransaction(db, self._keys, turn=asyncio.get_running_loop().time() < self._turn_until)
        try:
            await transaction.begin()
            result = await transaction.run(make())
        except BaseException:
            await undo(db)
            raise
        finally:
            transaction.end()
        if not transaction.wrote:
            await db.execute("COMMIT")
            return result
        mark: Mark = db.mark
        mark.number += 1
        try:
            await db.execute(mark.text_and_commit())
        except Exception as error:
            if isinstance(error, asyncpg.PostgresError) and not db.is_closed() and str(error.sqlstate)[:2] not in ("57", "08"):
                await undo(db)
                raise
            if not await self._was_committed(db):
                raise
        return result

    async def _was_committed(self, lost: Connection) -> bool:
        """Learn whether a commit was carried out whose answer was lost. Raises: Unavailable only when the store is closed meanwhile."""
        lost.terminate()
        tries = 0
        while True:
            try:
                db = await asyncpg.connect(self._url, timeout=self._connect_s, **self._bounds())
                try:
                    return await lost.mark.is_kept(db)
                finally:
                    await db.close(timeout=self._connect_s)
            except LOST:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), _PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
                    raise Unavailable(f"{shown(self._url)} went away during a commit, and whether it was carried out is unknown") from None
                tries += 1

    async def _read(self, make: Make[T]) -> T:
        if self._readers is None:
            raise Unavailable(f"the store {shown(self._url)} is closed")
        try:
            async with borrowed(self._readers, self._connect_s) as db:
                transaction = PostgresTransaction(db, self._keys)
                try:
                    await transaction.begin()
                    return await transaction.run(make())
                finally:
                    await undo(db)
        except LOST as error:
            raise self._failure("read", error) from error

    def _failure(self, verb: str, error: Exception) -> Exception:
        if is_of_value(error) or isinstance(error, Unavailable):
            return error
        return Unavailable(f"{shown(self._url)} cannot be {verb} now: {reason(error)}. Nothing was written; look at the database server")

    # ---- connections

    async def _pool(
        self, size: int, settings: dict[str, str], init: Callable[[Any], Awaitable[None]] | None = None
    ) -> asyncpg.Pool[Any]:
        return await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=size,
            connection_class=Connection,
            init=init,
            statement_cache_size=_STATEMENTS,
            max_cached_statement_lifetime=0,
            max_inactive_connection_lifetime=0,
            timeout=self._connect_s,
            **self._bounds(application_name=f"hub {os.getpid()}", jit="off", **settings),
        )

    def _bounds(self, **settings: str) -> dict[str, Any]:
        """Return how a connection is held to the store's patience: the server speaks first, and the driver where it does not answer."""
        whole = f"{round(self._patience_s * 1000)}ms"
        waits = {"statement_timeout": whole, "idle_in_transaction_session_timeout": whole}
        waits["lock_timeout"] = f"{round(self._patience_s * 500)}ms"
        return {"command_timeout": self._patience_s * 1.2, "server_settings": {**waits, **settings}}


async def _days_ago(db: Any, days: int) -> int:
    return int(await db.fetchval(f"SELECT {CLOCK}")) - days * 86_400_000_000
