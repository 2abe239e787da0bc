"""Server-sent events: an endless answer, event by event, with a sign of life in between.

Owns the open streams; `stop` ends them all at once, so that a hub never waits for its watchers. Each event carries its number as `id:`,
with which a client that was cut off comes back (`Last-Event-ID`). The format is the HTML standard's, section "Server-sent events".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web

from hub.api import responses
from hub.api.operation import Live
from hub.core.codec import dump_plain
from hub.core.ports import Log
from hub.core.stream import InstanceEvent

HEARTBEAT_S = 15.0  # shorter than the idle time-outs of common proxies; it also finds out that a client has gone
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-accel-buffering": "no",  # nginx keeps the events back otherwise
}
_HEARTBEAT = b": the stream is alive\n\n"


class LiveStreams:
    """The streams that are open."""

    def __init__(self, log: Log, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._log = log
        self._heartbeat_s = heartbeat_s
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End every stream; the clients may come back with the number of their last event."""
        self._stopping.set()

    async def send(self, request: web.Request, live: Live, allowed: Callable[[], bool]) -> web.StreamResponse:
        """Answer with the events until they end, the client goes away, may not see them any more, or the server stops."""
        response = web.StreamResponse(headers={**_HEADERS, responses.REQUEST_ID: responses.id_of(request)})
        try:
            await response.prepare(request)
            if request.method != "HEAD":
                await self._pump(response, live.events, allowed)
            await response.write_eof()
        except ConnectionError:
            pass  # the client has gone: there is nobody to tell
        except Exception as error:  # the answer has begun: all that is left is to end it, and the client comes back
            self._log.error("request.stream_broken", path=request.path, exc_info=error)
        return response

    async def _pump(self, response: web.StreamResponse, events: AsyncIterator[InstanceEvent], allowed: Callable[[], bool]) -> None:
        await response.write(_HEARTBEAT)  # the client knows at once that it is heard
        stopping = asyncio.ensure_future(self._stopping.wait())
        following: asyncio.Future[InstanceEvent | None] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(anext(events, None))
                both: set[asyncio.Future[Any]] = {stopping, following}
                await asyncio.wait(both, timeout=self._heartbeat_s, return_when=asyncio.FIRST_COMPLETED)
                if stopping.done() or not allowed():
                    return
                if not following.done():
                    await response.write(_HEARTBEAT)
                    continue
                event, following = following.result(), None
                if event is None:
                    return
                await response.write(_block(event))
        finally:
            pending = [task for task in (stopping, following) if task is not None]
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)


def _block(event: InstanceEvent) -> bytes:
    return f"id: {event.id}\nevent: {event.type}\ndata: ".encode() + dump_plain(event.shown()) + b"\n\n"
