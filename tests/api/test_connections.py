"""What the server does with clients that break the rules of HTTP, are slow, or are too many: over raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hub.api.connection import HEAD_BYTES, Limits
from hub.core.model import HttpReply, HttpRequest
from tests.api.node import ROOT, Node, running

HOST = b"Host: 127.0.0.1\r\n"
POST = b"POST " + ROOT.encode() + b"/greet/instances HTTP/1.1\r\n" + HOST
PATIENCE_S = 20.0

MALFORMED = {
    "no request at all": b"hello\r\n\r\n",
    "a greeting of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /healthz\r\n" + HOST + b"\r\n",
    "version 0.9": b"GET /healthz HTTP/0.9\r\n" + HOST + b"\r\n",
    "version 3": b"GET /healthz HTTP/3.0\r\n" + HOST + b"\r\n",
    "a version that is none": b"GET /healthz HTTP/1.x\r\n" + HOST + b"\r\n",
    "another protocol": b"GET /healthz FTP/1.0\r\n" + HOST + b"\r\n",
    "a method that is no token": b"G@T /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method with a space": b" GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "no address": b"GET  HTTP/1.1\r\n" + HOST + b"\r\n",
    "an address with a space": b"GET /health z HTTP/1.1\r\n" + HOST + b"\r\n",
    "an address with a zero": b"GET /health\x00z HTTP/1.1\r\n" + HOST + b"\r\n",
    "an address that is too long": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a header without a colon": b"GET /healthz HTTP/1.1\r\n" + HOST + b"nonsense\r\n\r\n",
    "a header without a name": b"GET /healthz HTTP/1.1\r\n" + HOST + b": x\r\n\r\n",
    "a space before the colon": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-A : x\r\n\r\n",
    "a header that goes on in the next line": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-A: x\r\n y\r\n\r\n",
    "a name that is no token": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X(A): x\r\n\r\n",
    "a zero in a value": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-A: a\x00b\r\n\r\n",
    "a bare carriage return in a value": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-A: a\rb\r\n\r\n",
    "a header that is too long": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 20_000 + b"\r\n\r\n",
    "too many headers": b"GET /healthz HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: x\r\n" % n for n in range(300)) + b"\r\n",
    "a head without an end": b"GET /healthz HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 900) for n in range(60)),
    "two lengths that differ": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "a length that is no number": POST + b"Content-Length: two\r\n\r\n{}",
    "a length beyond all numbers": POST + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "a length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown transfer encoding": POST + b"Transfer-Encoding: gzip\r\n\r\n{}",
    "chunks that are not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "a chunk whose size is no number": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk with a negative size": POST + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than its size": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
}


class Socket:
    """One raw connection to a node."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one answer with a length."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
            return int(first.split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def closed(self) -> bool:
        """Whether the server has closed the connection, which is waited for."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


@asynccontextmanager
async def connected(node: Node) -> AsyncIterator[Socket]:
    host, port = node.server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Socket(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_request_is_answered_with_4xx_in_the_envelope_and_the_connection_closed(node: Node, request_bytes: bytes) -> None:
    async with connected(node) as client:
        await client.send(request_bytes)
        status, _, body = await client.answer()
        assert 400 <= status < 500
        assert json.loads(body)["success"] is False
        assert await client.closed()
    assert (await node.call("GET", "/healthz")).status == 200


async def test_headers_that_do_not_come_in_time_are_answered_with_408(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(head_s=0.2)) as node, connected(node) as client:
        await client.send(b"GET /healthz HTTP/1.1\r\nHo")
        status, _, body = await client.answer()
        assert (status, json.loads(body)["errors"][0]["code"]) == (408, 10941)
        assert await client.closed()


async def test_headers_that_trickle_in_are_late_all_the_same(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(head_s=0.2)) as node, connected(node) as client:
        answer = asyncio.create_task(client.answer())
        for byte in b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"a" * 1000:
            if answer.done():
                break
            await client.send(bytes([byte]))
            await asyncio.wait({answer}, timeout=0.01)
        assert (await answer)[0] == 408


async def test_a_connection_that_says_nothing_is_closed(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(head_s=0.1)) as node, connected(node) as client:
        assert await client.closed()


async def test_a_connection_that_has_asked_may_be_silent_for_longer(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(head_s=0.1)) as node, connected(node) as client:
        for _ in range(2):
            await client.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
            assert (await client.answer())[0] == 200
            closed = asyncio.create_task(client.reader.read(1))
            await asyncio.wait({closed}, timeout=0.3)
            assert not closed.done()
            closed.cancel()
            await asyncio.wait({closed})


async def test_an_idle_connection_is_closed_after_a_while(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(keepalive_s=0.2)) as node, connected(node) as client:
        await client.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await client.answer())[0] == 200
        assert await client.closed()


async def test_a_body_that_does_not_come_in_time_is_answered_with_408(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(body_s=0.2, linger_s=0.2)) as node, connected(node) as client:
        await client.send(POST + b"Content-Length: 20\r\n\r\n{")
        status, _, body = await client.answer()
        assert (status, json.loads(body)["errors"][0]["code"]) == (408, 10941)
        assert await client.closed()


async def test_the_body_of_a_webhook_has_the_same_deadline(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(body_s=0.2, linger_s=0.2)) as node, connected(node) as client:
        await client.send(b"POST /hooks/greetings HTTP/1.1\r\n" + HOST + b"Content-Length: 20\r\n\r\n{")
        assert (await client.answer())[0] == 408
        assert await client.closed()


async def test_the_answer_to_a_body_that_is_too_large_can_be_read_while_it_is_still_sent(tmp_path: Path) -> None:
    size = 40 * HEAD_BYTES
    async with running(tmp_path, max_body_bytes=100) as node, connected(node) as client:
        await client.send(POST + b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(size // HEAD_BYTES):
            await client.send(b" " * HEAD_BYTES)
        assert (await client.answer())[0] == 413
        await client.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await client.answer())[0] == 200


async def test_requests_that_are_sent_at_once_are_answered_in_order(node: Node) -> None:
    async with connected(node) as client:
        await client.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\nGET /nowhere HTTP/1.1\r\n" + HOST + b"\r\n")
        assert [(await client.answer())[0] for _ in range(2)] == [200, 404]


async def test_a_connection_too_many_is_told_to_come_back_and_the_others_go_on(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(connections=2)) as node, connected(node) as first, connected(node) as second:
        for each in (first, second):
            await each.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
            assert (await each.answer())[0] == 200
        async with connected(node) as third:
            status, headers, _ = await third.answer()
            assert (status, headers["retry-after"]) == (503, "5")
            assert await third.closed()
        first.writer.close()
        await second.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await second.answer())[0] == 200


async def test_one_address_may_not_take_all_connections(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(per_address=1)) as node, connected(node) as first:
        await first.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await first.answer())[0] == 200
        async with connected(node) as second:
            assert (await second.answer())[0] == 503


async def place(node: Node) -> None:
    """Return when a node with one place has it free: it hears of an end a little later."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with connected(node) as client:
                await client.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
                if (await client.answer())[0] == 200:
                    return


async def test_a_place_is_free_again_when_a_client_has_gone(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(connections=1)) as node:
        for _ in range(3):
            await place(node)


async def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    size = 30_000_000  # more than any buffer between the two

    async def fetch(_request: HttpRequest) -> HttpReply:
        return HttpReply(status=200, body=bytes(size))

    limits = Limits(write_s=0.2, connections=1)
    async with running(tmp_path, fetch=fetch, limits=limits) as node, connected(node) as client:
        await client.send(b"GET /large HTTP/1.1\r\n" + HOST + b"\r\n")
        await client.reader.readuntil(b"\r\n\r\n")
        await place(node)
        received = 0
        with contextlib.suppress(ConnectionError):
            while part := await client.reader.read(1_000_000):
                received += len(part)
        assert received < size


# ---- request ids


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", f"{ROOT}/greet", f"{ROOT}/unknown", "/dashboard", "/hooks/unknown"])
async def test_every_answer_has_an_id_of_its_own(node: Node, path: str) -> None:
    first, second = [(await node.call("GET", path)).headers["x-request-id"] for _ in range(2)]
    assert first != second


async def test_the_id_of_a_proxy_is_kept_unless_it_could_do_harm_in_a_log(node: Node) -> None:
    assert (await node.call("GET", "/healthz", headers={"x-request-id": "edge-42"})).headers["x-request-id"] == "edge-42"
    for harmful in ("a b", "x" * 200, 'a"b'):
        assert (await node.call("GET", "/healthz", headers={"x-request-id": harmful})).headers["x-request-id"] != harmful


async def test_a_stream_of_events_has_an_id_too(node: Node) -> None:
    id = await node.create("greet")
    async with node.client.get(f"{ROOT}/greet/instances/{id}/subscribe") as answer:
        assert answer.headers["x-request-id"]
