"""The sender of the bench: keeps 64 connections busy with one POST after the other, in a process of its own.

`loaded` starts it (`python -m tests.bench.load URL SECONDS`) beside the server that it loads. Raw sockets, because an HTTP client in Python
would cost more than that server. Requests that are under way at the end are waited for and counted.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast
from urllib.parse import urlsplit

from tests.bench.loops import run
from tests.bench.measurement import Measurement, Span, metered, percentile

CONNECTIONS = 64
_LATEST_ANSWER_S = 30.0  # after the end of the sending; a server that is silent for longer is broken
_BODY = json.dumps({"order": 4711, "customer": "c-1802", "note": "x" * 120}).encode()  # some 160 bytes, as of a small webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What came back."""

    accepted: int
    seconds: float
    p50_ms: float
    p99_ms: float

    def measurement(self, server: Span, rss_mb: float) -> Measurement:
        """Return the figures of the server that gave these answers."""
        return Measurement(
            n=self.accepted,
            per_s=self.accepted / self.seconds,
            cpu_s=server.cpu_s,
            rss_mb=rss_mb,
            p50_ms=self.p50_ms,
            p99_ms=self.p99_ms,
        )


async def loaded(url: str, seconds: float) -> Answers:
    """Post to a server of this process for that long. Raises: AssertionError when anything but 202 came back."""
    sender = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.load", url, str(seconds), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await sender.communicate()
    if sender.returncode != 0:
        raise AssertionError(f"the sender to {url} failed; its error stands above")
    return Answers(**json.loads(out))


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the last one is answered, until the time is over."""

    def __init__(self, request: bytes, until: float) -> None:
        self._request = request
        self._until = until
        self._received = b""
        self._sent_at = 0.0
        self.times: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is not a subclass
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < _content_length(head):
            return
        now = time.perf_counter()
        if not head.startswith(b"HTTP/1.1 202 "):
            self._end(ConnectionError(f"the server answered {self._received[:500]!r}"))
            return
        self.times.append(now - self._sent_at)
        if now < self._until:
            self._send()
        else:
            self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or ConnectionError("the server closed the connection"))

    def _send(self) -> None:
        self._received = b""
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)

    def _end(self, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
        self._transport.close()


def _content_length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0])


async def _send(url: str, seconds: float) -> Answers:
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    request = (
        f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\nContent-Length: {len(_BODY)}\r\n\r\n"
    ).encode() + _BODY
    loop, until = asyncio.get_running_loop(), time.perf_counter() + seconds
    with metered() as span:
        async with asyncio.timeout(seconds + _LATEST_ANSWER_S):
            opened = [(await loop.create_connection(lambda: _Connection(request, until), host, port))[1] for _ in range(CONNECTIONS)]
            await asyncio.gather(*(connection.done for connection in opened))
    times = [spent for connection in opened for spent in connection.times]
    return Answers(
        accepted=len(times),
        seconds=span.wall_s,
        p50_ms=percentile(times, 50) * 1000,
        p99_ms=percentile(times, 99) * 1000,
    )


if __name__ == "__main__":
    print(json.dumps(asdict(run(_send(sys.argv[1], float(sys.argv[2]))))))
