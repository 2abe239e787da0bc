"""Threads that own database connections: one that writes, a few that read.

Owns threads and connections; knows nothing of what the jobs do. Invariant: no connection is ever used by two threads at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")
C = TypeVar("C")


class OneThread(Executor):
    """A thread that runs calls one after the other in their order, for one event loop.

    The price of a call is one future and one look at a queue each way, a third of what a pool of the standard library asks.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Run a call; the future is of the running loop. A call whose future is cancelled runs all the same. Raises: RuntimeError."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._put(partial(_answered, loop, future, partial(call, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Finish all calls and end the thread. Safe twice."""
        if not self._stopped:
            self._put(None)
            self._stopped = True
        if wait:
            self._thread.join()

    def _put(self, call: Callable[[], None] | None) -> None:
        if self._stopped:
            raise RuntimeError(f"the thread {self._thread.name} has been stopped")
        self._calls.put(call)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # while the thread waits for the next one, nothing keeps alive what this one knew


def _answered(loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], call: Callable[[], T]) -> None:
    """Make a call and give its outcome to a future of that loop, if both are still there."""
    try:
        result = call()
    except BaseException as error:
        _hand_over(loop, future, future.set_exception, error)
    else:
        _hand_over(loop, future, future.set_result, result)


def _hand_over(loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], give: Callable[[Any], None], outcome: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_give, future, give, outcome)


def _give(future: asyncio.Future[T], give: Callable[[Any], None], outcome: object) -> None:
    if not future.done():
        give(outcome)


class WriterThread(Generic[C]):
    """One thread with one connection, which runs jobs one after the other in the order of their calls."""

    def __init__(self, connect: Callable[[], AbstractContextManager[C]]) -> None:
        self._connect = connect  # entered and left in the thread
        self._held = contextlib.ExitStack()
        self._thread = OneThread("hub-store-writer")
        self._db: C | None = None

    async def start(self) -> None:
        """Open the connection in the thread. Raises what the opening raises; then there is no thread."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        except BaseException:
            await self.stop()
            raise

    def run(self, call: Callable[[C], T], then: Callable[[T], None] | None = None) -> asyncio.Future[T]:
        """Run a job; the future is its result. `then` gets the result on the event loop before anybody who awaits the future.

        The job runs, and `then` is called, even when the caller is cancelled.
        """
        loop = asyncio.get_running_loop()
        job: asyncio.Future[T] = loop.run_in_executor(self._thread, self._work, call)
        future: asyncio.Future[T] = loop.create_future()
        job.add_done_callback(partial(_pass_on, future, then))
        return future

    async def stop(self) -> None:
        """Finish all jobs, close the connection, end the thread, also when this is cancelled. Safe twice."""
        try:
            closing = self._thread.submit(self._close)
        except RuntimeError:  # it has been stopped before
            return
        await asyncio.to_thread(self._thread.shutdown)
        await closing

    def _open(self) -> None:
        self._db = self._held.enter_context(self._connect())

    def _work(self, call: Callable[[C], T]) -> T:
        if self._db is None:
            raise sqlite3.ProgrammingError("the connection is not open")
        return call(self._db)

    def _close(self) -> None:
        self._db = None
        self._held.close()


def _pass_on(future: asyncio.Future[T], then: Callable[[T], None] | None, job: asyncio.Future[T]) -> None:
    """Give the outcome of a job to the future that its caller has; if that one was cancelled, to `then` alone."""
    error = job.exception()
    if error is None:
        if then is not None:
            then(job.result())
        if not future.done():
            future.set_result(job.result())
    elif not future.done():
        future.set_exception(error)


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
