"""A connection to PostgreSQL that notices when it is lost, and the mark by which its last commit can be recognised.

Before each commit a connection writes a number into its own row of the table `writer`. When the answer to a commit is lost, the row tells
whether it was carried out. Invariant: it is read when the lost connection's process on the server has gone, so that it changes no more.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any

import asyncpg

from hub.store.postgres_address import LOST
from hub.store.postgres_driver import CLOCK

_UNDO_S = 5.0  # for a ROLLBACK; a server that takes longer undoes it by itself, when the connection has ended
_ALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 10_000}  # a line that is cut is seen in 11 seconds
_STARTED = "SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2"
_KEPT = "SELECT number FROM writer WHERE id = $1"


class Mark:
    """The row by which a connection's last commit can be recognised from another one."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(12)
        self.number = 0
        self.process: tuple[int, datetime] | None = None  # of the connection, on the server: numbers alone come again

    def text(self) -> str:
        """Return what keeps the number."""
        kept = f"INSERT INTO writer (id, number, at) VALUES ('{self.id}', {self.number}, {CLOCK})"
        return f"{kept} ON CONFLICT (id) DO UPDATE SET number = excluded.number, at = excluded.at"

    def text_and_commit(self) -> str:
        """Return what ends a transaction: one round trip."""
        return f"{self.text()}; COMMIT"

    async def is_kept(self, db: Any) -> bool:
        """Ask over another connection whether the number is in the database. Raises: TimeoutError while that may still change."""
        if self.process is not None and await db.fetch(_END, *self.process):
            raise TimeoutError("the process of the lost connection has not ended yet")
        return bool(await db.fetchval(_KEPT, self.id) == self.number)


class Connection(asyncpg.Connection):  # type: ignore[misc]  # the driver has no types
    """A connection that goes back to its pool without a question to the database: nothing is set on it that must be reset."""

    def __init__(self, protocol: Any, transport: Any, *others: Any) -> None:
        super().__init__(protocol, transport, *others)
        self.mark = Mark()
        self.itself = self
        _keep_alive(transport.get_extra_info("socket"))

    def get_reset_query(self) -> str:
        """Return what the pool runs after each use."""
        return ""


def _keep_alive(line: Any) -> None:
    """Let the system notice that the other side is away, even when nothing tells it so."""
    if line is None or line.family not in (socket.AF_INET, socket.AF_INET6):
        return
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _ALIVE.items():
        if hasattr(socket, name):  # not each system has all
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


@asynccontextmanager
async def borrowed(pool: asyncpg.Pool[Any], patience_s: float) -> AsyncIterator[Any]:
    """Lend a connection of a pool, itself: what the pool hands out cannot be asked any more when the connection is lost.

    One that is lost on the way back was lost after its work. Raises: TimeoutError when all are lent for too long.
    """
    lent = await pool.acquire(timeout=patience_s)
    try:
        yield lent.itself
    finally:
        with suppress(*LOST):
            await pool.release(lent)


async def leave_mark(db: Any) -> None:
    """Make the row of a new connection before its first commit."""
    mark: Mark = db.itself.mark
    await db.execute(mark.text())
    mark.process = (db.get_server_pid(), await db.fetchval(_STARTED))


async def undo(db: Connection) -> None:
    """End a transaction without a trace; a connection that cannot do that soon is given up."""
    try:
        await db.execute("ROLLBACK", timeout=_UNDO_S)
    except LOST:
        db.terminate()
