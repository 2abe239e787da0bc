"""Threads for synchronous step bodies. Daemon threads: a body that never returns cannot keep the process from ending."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

_Job = tuple["Future[Any]", Callable[[], Any]]


class ThreadPool(Executor):
    """At most `size` bodies at once; further ones wait their turn. Threads start on demand and are kept."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._idle = 0
        self._lock = threading.Lock()

    async def run(self, call: Callable[[], Any]) -> Any:
        """Run a blocking call and return its result. Cancelling the await leaves the thread to finish; its result is discarded."""
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self, context.run, _without_stop_iteration, call)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue a call (the interface of `concurrent.futures`)."""
        future: Future[Any] = Future()
        self._jobs.put((future, lambda: fn(*args, **kwargs)))
        with self._lock:
            if self._idle < self._jobs.qsize() and self._threads < self._size:
                self._threads += 1
                threading.Thread(target=self._work, name=f"step-{self._threads}", daemon=True).start()
        return future

    def close(self) -> None:
        """Let idle threads end; busy ones end after their body."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            job = self._jobs.get()
            with self._lock:
                self._idle -= 1
            if job is None:
                return
            future, call = job
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # SystemExit in a body must not end the thread
                    future.set_exception(error)
            del job, future, call


def _without_stop_iteration(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except StopIteration as error:  # an asyncio future cannot carry it
        raise RuntimeError(f"StopIteration: {error}") from error
