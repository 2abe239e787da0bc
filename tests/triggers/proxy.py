"""A TCP proxy that breaks connections as networks do: reset, half open, silent in the middle of a frame, nobody there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType

_RESET = struct.pack("ii", 1, 0)  # linger for no time: close sends RST


class Proxy:
    """Forwards to one address, with `tls` what clients say under it. Use it as an asynchronous context manager."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._target = (host, port)
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._stall_after: int | None = None
        self.port = 0

    async def __aenter__(self) -> Proxy:
        await self.accept()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.refuse()

    @property
    def links(self) -> int:
        """How many connections are open."""
        return len(self._links)

    async def accept(self) -> None:
        """Listen, at the same port as before."""
        self._stall_after = None
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
            self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Reset every connection."""
        for link in list(self._links):
            await link.reset()

    def stall(self, after_bytes: int = 0) -> None:
        """Keep every connection open and forward nothing any more, after so many more bytes to the client; new ones, too."""
        self._stall_after = after_bytes
        for link in self._links:
            link.stall(after_bytes)

    async def refuse(self) -> None:
        """Listen no more, and reset what is open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        if self._stall_after is not None:
            link.stall(self._stall_after)
        self._links.add(link)
        try:
            await link.run(reader, *self._target)
        finally:
            self._links.discard(link)


class _Link:
    """One forwarded connection."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self._client = client
        self._server: asyncio.StreamWriter | None = None
        self._left: int | None = None  # bytes to the client before silence
        self._task = asyncio.current_task()
        self._ended = asyncio.Event()

    def stall(self, after_bytes: int) -> None:
        self._left = after_bytes

    async def run(self, reader: asyncio.StreamReader, host: str, port: int) -> None:
        try:
            from_server, self._server = await asyncio.open_connection(host, port)
            pumps = [
                asyncio.create_task(self._pump(reader, self._server, to_client=False)),
                asyncio.create_task(self._pump(from_server, self._client, to_client=True)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):  # the broker is away; or `reset`
            pass
        finally:
            for writer in (self._client, self._server):
                if writer is not None:
                    writer.transport.abort()
            self._ended.set()

    async def reset(self) -> None:
        for writer in (self._client, self._server):
            raw = writer.get_extra_info("socket") if writer is not None else None
            if raw is not None:
                with contextlib.suppress(OSError):  # closed meanwhile
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if self._task is not None:
            self._task.cancel()
        await self._ended.wait()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_client: bool) -> None:
        while data := await reader.read(65_536):
            if self._left is not None:
                data = data[: self._left] if to_client else b""
                self._left -= len(data)
            if data:
                writer.write(data)
                await writer.drain()
            if self._left is not None and self._left <= 0:
                await asyncio.Event().wait()  # half open: nobody reads, nobody closes


@asynccontextmanager
async def proxied(url: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Proxy, str]]:
    """Yield a proxy to the server of a URL, and the URL that leads through it."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    async with Proxy(parts.hostname or "127.0.0.1", parts.port or 5672, tls) as proxy:
        credentials = parts.netloc.rpartition("@")[0]
        netloc = f"{credentials}@127.0.0.1:{proxy.port}" if credentials else f"127.0.0.1:{proxy.port}"
        yield proxy, parts._replace(scheme="amqps" if tls else parts.scheme, netloc=netloc).geturl()
