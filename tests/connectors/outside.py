"""A real HTTP server on loopback that plays the outside service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from connectors.http import HttpConfig, HttpConnector

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Outside:
    """Answers every request with `answer` and keeps what it received."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.released = asyncio.Event()  # what a hanging answer waits for
        self.answer: Answer = self.echo
        self._stack = contextlib.AsyncExitStack()
        self._server: TestServer | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._server = TestServer(app, host="127.0.0.1")
        await self._server.start_server()
        self._stack.push_async_callback(self._server.close)

    async def stop(self) -> None:
        self.released.set()
        await self._stack.aclose()

    @property
    def url(self) -> str:
        assert self._server is not None
        return str(self._server.make_url("")).rstrip("/")

    async def connect(self, **options: Any) -> HttpConnector:
        """Return an open connector, closed when the test ends."""
        connector = HttpConnector(HttpConfig(**options))
        await connector.open()
        self._stack.push_async_callback(connector.close)
        return connector

    def replies(self, status: int, body: str | bytes = b"", **headers: str) -> None:
        """Answer with this from now on. Keywords are headers, with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body.encode() if isinstance(body, str) else body

        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=content, headers=named)

        self.answer = answer

    async def hang(self, _request: web.Request) -> web.StreamResponse:
        await self.released.wait()
        return web.Response()

    async def echo(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"method": request.method, "path": request.path, "query": list(request.query.items())})

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.read())
        return await self.answer(request)
