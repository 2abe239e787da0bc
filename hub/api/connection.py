"""One client's connection: how long it may take, and how many there may be.

Owns the deadlines that the server library lacks: for a request's head, and for a client that does not read its answers; and the limits
that keep one crowd of idle clients from taking all that a process may open. The body's deadline is `body.read`'s. What breaks the rules of
HTTP is answered in the envelope, and the connection is closed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from aiohttp import web

from hub.api import envelope, problems
from hub.core.ports import Log

HEAD_BYTES = 32 * 1024  # of a request's line and headers together; the parser's own limits are per line
_LINE_BYTES = 8 * 1024
_HEADERS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a connection may cost. Times in seconds."""

    connections: int = 1000
    per_address: int = 500  # a proxy in front of the hub is one address
    head_s: float = 10.0  # from the first byte of a request to the end of its headers
    body_s: float = 30.0  # for the whole body
    write_s: float = 30.0  # how long a client may leave its answers unread
    linger_s: float = 3.0  # how long what it still sends is thrown away after its answer, so that it can read the answer
    keepalive_s: float = 75.0  # longer than the 60 s of common proxies, so that the proxy closes first


LIMITS = web.AppKey("limits", Limits)


class Connections:
    """All open connections of a server; called for each new one."""

    def __init__(self, manager: web.Server, limits: Limits, log: Log) -> None:
        self.manager = manager
        self.limits = limits
        self.log = log
        self._open = 0
        self._by_address: Counter[str] = Counter()

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return Connection(self, asyncio.get_running_loop())

    def enter(self, address: str) -> bool:
        """Count a connection in; False = there are too many, and it is not counted."""
        if self._open >= self.limits.connections or self._by_address[address] >= self.limits.per_address:
            return False
        self._open += 1
        self._by_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Count a connection out."""
        self._open -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


class Connection(web.RequestHandler):
    """The server library's connection, with deadlines."""

    __slots__ = ("_address", "_connections", "_head_bytes", "_head_deadline", "_write_deadline")

    def __init__(self, connections: Connections, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            connections.manager,
            loop=loop,
            keepalive_timeout=connections.limits.keepalive_s,
            access_log=None,  # type: ignore[arg-type]  # the library's own way to say that there is none
            max_line_size=_LINE_BYTES,
            max_field_size=_LINE_BYTES,
            max_headers=_HEADERS,
            auto_decompress=False,  # signatures are made over the bytes that were sent
            lingering_time=connections.limits.linger_s,
        )
        self._connections = connections
        self._address: str | None = None  # None = not counted
        self._head_bytes = 0
        self._head_deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let a client in, or tell it to come back later."""
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        if not self._connections.enter(address):
            self._manager = None  # the library never hears of it
            self.transport = transport  # type: ignore[assignment]
            self._refuse(503, "unavailable", "there are too many connections; close some, or try again later")
            return
        self._address = address
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, error: BaseException | None) -> None:
        """Count the client out."""
        for deadline in (self._head_deadline, self._write_deadline):
            if deadline is not None:
                deadline.cancel()
        self._head_deadline = self._write_deadline = None
        if self._address is not None:
            self._connections.leave(self._address)
            self._address = None
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Take bytes; as long as they are of a head, it must end in time and in bounds."""
        super().data_received(data)
        if self._busy():
            self._head_bytes = 0
            if self._head_deadline is not None:
                self._head_deadline.cancel()
                self._head_deadline = None
        elif data:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(431, "head.too_large", f"the request's line and headers are larger than {HEAD_BYTES:,} bytes together")
            else:
                self._expect_head()

    def pause_writing(self) -> None:
        """Give a client that does not read a deadline."""
        super().pause_writing()
        self._write_deadline = self._loop.call_later(self._connections.limits.write_s, self._abort)

    def resume_writing(self) -> None:
        """Take the deadline back: the client has read."""
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None
        super().resume_writing()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what is no request, or what failed outside of every handler."""
        if status < 500:
            told = (message or "").partition("\n")[0].rstrip(":") or "it breaks the rules of HTTP"
            words = "request.malformed"
            self._connections.log.info("request.malformed", remote=request.remote, error=told)
            text = f"this is no request that can be read: {told}"
        else:
            words, text = "internal_server", "the request failed; the hub's log tells why"
            self._connections.log.error("connection.failed", remote=request.remote, exc_info=exc)
        body = envelope.failure(problems.number(words), problems.worded(words, text))
        response = web.Response(status=status, body=body, content_type="application/json")
        response.force_close()
        return response

    def _busy(self) -> bool:
        """Whether a request is under way, or the rest of one that has been answered is still coming."""
        return bool(self._messages) or (self._waiter is None and self._request_count > 0)

    def _expect_head(self) -> None:
        if self._head_deadline is None:
            self._head_deadline = self._loop.call_later(self._connections.limits.head_s, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_deadline = None
        if self._busy():
            return
        if self._head_bytes:
            self._refuse(408, "request.timeout", f"the headers did not come within {self._connections.limits.head_s:g} seconds")
        elif not self._request_count:
            self.force_close()  # it has never said a word

    def _refuse(self, status: int, words: str, text: str) -> None:
        """Answer without a request, and close."""
        if self.transport is None or self.transport.is_closing():
            return
        body = envelope.failure(problems.number(words), problems.worded(words, text))
        phrase = {408: "Request Timeout", 431: "Request Header Fields Too Large", 503: "Service Unavailable"}[status]
        again = f"retry-after: {problems.RETRY_AFTER_S}\r\n" if status == 503 else ""
        headers = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n{again}connection: close\r\n"
        self.transport.write(f"HTTP/1.1 {status} {phrase}\r\n{headers}\r\n".encode() + body)
        self.force_close()

    def _abort(self) -> None:
        self._write_deadline = None
        if self.transport is not None:
            self.transport.abort()

