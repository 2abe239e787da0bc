"""A wire between a store and its PostgreSQL server that a test can cut.

It forwards bytes. It can cut all connections, let nobody in, swallow what either side says without a word, and lose exactly one commit: its
request, or its answer when it was carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

REQUEST, ANSWER = "request", "answer"
_COMMIT = b"; COMMIT\0"  # what ends a transaction that writes
_BYTES = 1 << 16


class Proxy:
    """Inside `async with` it listens on a free port of its own."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.lose = ""  # of the next commit: REQUEST or ANSWER
        self.then_away = False  # whether nobody is let in after that
        self.lost = asyncio.Event()  # when that has happened

    @property
    def url(self) -> str:
        """The address of the database through this wire."""
        return urlunsplit(self._target._replace(netloc=f"{self._target.username}@127.0.0.1:{self._port}"))

    async def __aenter__(self) -> Proxy:
        await self.let_in()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.away()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def let_in(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def away(self) -> None:
        """Cut all connections and let nobody in."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def cut(self) -> None:
        """End all connections at once."""
        for writer in list(self._writers):
            writer.transport.abort()

    def swallow(self) -> None:
        """Carry nothing more, and say nothing about it."""
        self._flows.clear()

    def flow(self) -> None:
        """Carry again, also what was held back."""
        self._flows.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if (task := asyncio.current_task()) is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            await self._flows.wait()
            far_reader, far_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
            self._writers.add(far_writer)
            asked = asyncio.Event()
            pumps = {self._start(self._ask(reader, far_writer, asked)), self._start(self._answer(far_reader, writer, asked))}
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            self._end(far_writer)
        finally:
            self._end(writer)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _end(self, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        self._writers.discard(writer)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: asyncio.Event) -> None:
        with suppress(OSError):
            while sent := await reader.read(_BYTES):
                await self._flows.wait()
                if _COMMIT in sent and self.lose:
                    if self.lose == REQUEST:
                        break
                    asked.set()
                writer.write(sent)
                await writer.drain()
        if self.lose == REQUEST:
            self._note()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: asyncio.Event) -> None:
        with suppress(OSError):
            while said := await reader.read(_BYTES):
                if asked.is_set():
                    break
                await self._flows.wait()
                writer.write(said)
                await writer.drain()
        if asked.is_set():
            self._note()

    def _note(self) -> None:
        self.lose = ""
        self.lost.set()
        if self.then_away:
            self.away()
