"""Threads that own database connections: one that writes, a few that read.

Owns threads and connections; knows nothing of what the jobs do. Invariant: no connection is ever used by two threads at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
Connect = Callable[[], sqlite3.Connection]


@dataclass(frozen=True, slots=True)
class _Job:
    call: Callable[[sqlite3.Connection], Any]
    then: Callable[[Any], None] | None
    future: asyncio.Future[Any]


class WriterThread:
    """One thread with one connection, which runs jobs one after the other in the order of their calls."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Open the connection in the thread. Raises what the opening raises; then there is no thread."""
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[Any] = self._loop.create_future()
        # A daemon: a program that crashes without `stop` may end. What a commit was doing then, SQLite undoes or completes.
        self._thread = threading.Thread(target=self._work, args=(opened,), name="hub-store-writer", daemon=True)
        self._thread.start()
        try:
            await opened
        except BaseException:
            await self.stop()
            raise

    async def run(self, call: Callable[[sqlite3.Connection], T], then: Callable[[T], None] | None = None) -> T:
        """Run a job and return its result. `then` gets the result on the event loop, before this returns, even when this is cancelled."""
        assert self._loop is not None, "start comes first"  # noqa: S101
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(call, then, future))
        return await future

    async def stop(self) -> None:
        """Finish all jobs, close the connection, end the thread. Safe twice."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    def _work(self, opened: asyncio.Future[Any]) -> None:
        try:
            db = self._connect()
        except BaseException as error:  # it is raised where start is awaited
            self._answer(_Job(_nothing, None, opened), None, error)
            return
        with contextlib.closing(db):
            self._answer(_Job(_nothing, None, opened), None, None)
            while (job := self._jobs.get()) is not None:
                try:
                    result = job.call(db)
                except BaseException as error:  # it is raised where run is awaited
                    self._answer(job, None, error)
                else:
                    self._answer(job, result, None)

    def _answer(self, job: _Job, result: Any, error: BaseException | None) -> None:
        assert self._loop is not None  # noqa: S101
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_resolve, job, result, error)


def _nothing(_: sqlite3.Connection) -> None:
    """Do nothing."""


def _resolve(job: _Job, result: Any, error: BaseException | None) -> None:
    if error is None and job.then is not None:
        job.then(result)
    if job.future.cancelled():
        return
    if error is None:
        job.future.set_result(result)
    else:
        job.future.set_exception(error)


class ReaderThreads:
    """A small pool of threads, each job with a connection of its own. A connection is opened when it is first needed."""

    def __init__(self, connect: Connect, *, threads: int) -> None:
        self._connect = connect
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="hub-store-reader")
        self._idle: list[sqlite3.Connection] = []  # append and pop are atomic

    async def run(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """Run a job in one read transaction and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, call)

    async def stop(self) -> None:
        """Finish all jobs, close the connections, end the threads. Safe twice."""
        await asyncio.to_thread(self._pool.shutdown)
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
