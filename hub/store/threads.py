"""Threads that own database connections: one that writes, a few that read.

Owns threads and connections; knows nothing of what the jobs do. Invariant: no connection is ever used by two threads at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

T = TypeVar("T")
C = TypeVar("C")


class WriterThread(Generic[C]):
    """One thread with one connection, which runs jobs one after the other in the order of their calls."""

    def __init__(self, connect: Callable[[], AbstractContextManager[C]]) -> None:
        self._connect = connect  # entered and left in the thread
        self._held = contextlib.ExitStack()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hub-store-writer")
        self._db: C | None = None

    async def start(self) -> None:
        """Open the connection in the thread. Raises what the opening raises; then there is no thread."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._open)
        except BaseException:
            await self.stop()
            raise

    def run(self, call: Callable[[C], T], then: Callable[[T], None] | None = None) -> asyncio.Future[T]:
        """Run a job; the future is its result. `then` gets the result on the event loop before anybody who awaits the future.

        The job runs, and `then` is called, even when the caller is cancelled.
        """
        future = asyncio.get_running_loop().run_in_executor(self._pool, self._work, call)
        if then is not None:
            future.add_done_callback(lambda done: None if done.cancelled() or done.exception() is not None else then(done.result()))
        return asyncio.shield(future)

    async def stop(self) -> None:
        """Finish all jobs, close the connection, end the thread, also when this is cancelled. Safe twice."""
        try:
            closing = self._pool.submit(self._close)
        except RuntimeError:  # it has been stopped before
            return
        await asyncio.to_thread(self._pool.shutdown)
        closing.result()

    def _open(self) -> None:
        self._db = self._held.enter_context(self._connect())

    def _work(self, call: Callable[[C], T]) -> T:
        if self._db is None:
            raise sqlite3.ProgrammingError("the connection is not open")
        return call(self._db)

    def _close(self) -> None:
        self._db = None
        self._held.close()


class ReaderThreads:
    """A small pool of threads, each job with a connection of its own. A connection is opened when it is first needed."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], *, threads: int) -> None:
        self._connect = connect
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="hub-store-reader")
        self._idle: list[sqlite3.Connection] = []  # append and pop are atomic

    async def run(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """Run a job in one read transaction and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, call)

    async def stop(self) -> None:
        """Finish all jobs, close the connections, end the threads. Safe twice."""
        try:
            await asyncio.to_thread(self._pool.shutdown)
        finally:
            while self._idle:
                self._idle.pop().close()

    def _read(self, call: Callable[[sqlite3.Connection], T]) -> T:
        try:
            db = self._idle.pop()
        except IndexError:
            db = self._connect()
        try:
            db.execute("BEGIN")
            result = call(db)
            db.execute("COMMIT")
        except BaseException:
            db.close()  # the next job opens a fresh one
            raise
        self._idle.append(db)
        return result
