"""Webhooks and the fetch handler: what they get and what goes back."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hub.core.errors import Conflict, NotFound, Rejected, Unavailable
from hub.core.model import HttpReply, HttpRequest
from hub.core.routing import ReadBody
from tests.api.node import Node, running

Make = Callable[[HttpRequest], Awaitable[HttpReply]]


class Recorder:
    """A handler that keeps its requests and answers what it is told to."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        self.reply = HttpReply(status=202, body=b'{"ok":true}', headers={"content-type": "application/json", "X-Own": "1"})
        self.error: Exception | None = None

    async def __call__(self, request: HttpRequest) -> HttpReply:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        return self.reply

    async def hook(self, head: HttpRequest, read: ReadBody) -> HttpReply:
        return await self(replace(head, body=await read(100)))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def site(tmp_path: Path, recorder: Recorder) -> AsyncIterator[Node]:
    """Run a node whose webhook and fetch handler are the recorder."""
    async with running(tmp_path, fetch=recorder, max_body_bytes=1000) as node:
        node.routes.add("/hooks/in", recorder.hook, methods=["POST", "put"])
        yield node


async def call_raw(node: Node, head: str) -> int:
    """Send a request as it stands; return the status of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(node.server.url.rsplit(":", 1)[1]))
    writer.write(head.encode() + b"content-length: 0\r\nconnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1])


async def chunked(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 10):
        yield body[start : start + 10]


# ---- webhooks


async def test_a_webhook_gets_the_exact_bytes_and_lower_case_headers(site: Node, recorder: Recorder) -> None:
    body = b'{ "a" :1}\r\n\x00\xff'
    reply = await site.call("POST", "/hooks/in?x=1&y=a%20b&x=2", data=body, headers={"X-Signature": "abc", "Content-Type": "text/odd"})
    assert (reply.status, reply.body, reply.headers["x-own"]) == (202, {"ok": True}, "1")
    (request,) = recorder.requests
    assert (request.method, request.path, request.body, request.remote) == ("POST", "/hooks/in", body, "127.0.0.1")
    assert request.url == f"{site.server.url}/hooks/in?x=1&y=a%20b&x=2"
    assert request.query == {"x": "2", "y": "a b"}
    assert (request.headers["x-signature"], request.headers["content-type"]) == ("abc", "text/odd")
    assert all(name == name.lower() for name in request.headers)


async def test_a_compressed_body_is_handed_over_as_it_was_signed(site: Node, recorder: Recorder) -> None:
    body = gzip.compress(b'{"a": 1}', mtime=0)
    await site.call("POST", "/hooks/in", data=body, headers={"content-encoding": "gzip"})
    (request,) = recorder.requests
    assert request.body == body
    assert request.headers["content-encoding"] == "gzip"


async def test_repeated_headers_are_joined(site: Node, recorder: Recorder) -> None:
    headers = [("x-a", "1"), ("x-a", "2"), ("cookie", "a=1"), ("cookie", "b=2")]
    await site.call("POST", "/hooks/in", headers=headers)
    (request,) = recorder.requests
    assert (request.headers["x-a"], request.headers["cookie"]) == ("1, 2", "a=1; b=2")


@pytest.mark.parametrize("send", [lambda body: body, chunked], ids=["length", "chunked"])
@pytest.mark.parametrize(("size", "status"), [(100, 202), (101, 413), (5000, 413)])
async def test_a_webhook_reads_no_more_than_it_wants(
    site: Node, recorder: Recorder, send: Callable[[bytes], object], size: int, status: int
) -> None:
    reply = await site.call("POST", "/hooks/in", data=send(b"x" * size))
    assert reply.status == status
    assert len(recorder.requests) == (status == 202)


async def test_another_method_of_a_webhook_is_405(site: Node, recorder: Recorder) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "DELETE"):
        reply = await site.call(method, "/hooks/in")
        assert (reply.status, reply.headers["allow"]) == (405, "POST, PUT")
    assert (await site.call("PUT", "/hooks/in")).status == 202
    assert len(recorder.requests) == 1


@pytest.mark.parametrize("path", ["/hooks", "/hooks/", "/hooks/other", "/hooks/in/", "/hooks/in/deeper", "/hooks/IN"])
async def test_an_address_without_a_trigger_is_404_and_not_the_fetch_handlers(site: Node, recorder: Recorder, path: str) -> None:
    assert (await site.call("POST", path)).failure[:2] == (404, 7000)
    assert recorder.requests == []


async def test_an_address_that_may_still_get_its_trigger_is_503(site: Node) -> None:
    site.routes.complete = False  # as while triggers start or stop
    reply = await site.call("POST", "/hooks/other")
    assert reply.status == 503
    assert "starting or stopping" in reply.failure[2]
    assert (await site.call("POST", "/hooks/in")).status == 202


async def test_a_removed_webhook_is_404(site: Node) -> None:
    remove = site.routes.add("/hooks/short", Recorder().hook, methods=["POST"])
    assert (await site.call("POST", "/hooks/short")).status == 202
    remove()
    assert (await site.call("POST", "/hooks/short")).status == 404


async def test_a_webhook_may_answer_before_the_body_has_come(site: Node) -> None:
    async def busy(head: HttpRequest, _read: ReadBody) -> HttpReply:
        return HttpReply(status=429, body=head.body)

    site.routes.add("/hooks/busy", busy, methods=["POST"])
    reply = await site.call("POST", "/hooks/busy", data=chunked(b"x" * 5000))
    assert (reply.status, reply.raw) == (429, b"")


async def test_a_webhook_gets_the_values_of_its_paths_names_and_the_target_as_it_was_sent(site: Node, recorder: Recorder) -> None:
    site.routes.add("/hooks/shops/{shop}/orders/{id}", recorder.hook, methods=["POST"])
    target = "/hooks/shops/k%C3%B6ln%2Fs%C3%BCd/orders/7?b=%25&a=+"
    assert (await site.call("POST", target)).status == 202
    assert (recorder.requests[0].params, recorder.requests[0].target) == ({"shop": "köln/süd", "id": "7"}, target)


@pytest.mark.parametrize("path", ["/hooks/in", "/else"])
@pytest.mark.parametrize("host", ["x:99999999", "x:abc"])
async def test_a_host_that_is_no_address_is_the_clients_mistake(site: Node, recorder: Recorder, host: str, path: str) -> None:
    with capture_logs() as logs:
        assert await call_raw(site, f"POST {path} HTTP/1.1\r\nhost: {host}\r\n") == 400
    assert (logs, recorder.requests) == ([], [])


async def test_a_whole_address_in_the_request_line_is_taken_apart(site: Node, recorder: Recorder) -> None:
    assert await call_raw(site, "POST http://hooks.example/hooks/in?a=%7e HTTP/1.1\r\nhost: other\r\n") == 202
    (request,) = recorder.requests
    assert (request.url, request.target) == ("http://hooks.example/hooks/in?a=%7e", "/hooks/in?a=%7e")


# ---- the fetch handler


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/a/b%20c/", "/client/v3", "/hooksy", "/healthz/x"])
async def test_every_other_address_and_method_is_the_fetch_handlers(site: Node, recorder: Recorder, method: str, path: str) -> None:
    assert (await site.call(method, path)).status == 202
    (request,) = recorder.requests
    assert (request.method, request.url) == (method, site.server.url + path)


async def test_a_head_request_reaches_the_fetch_handler_and_has_no_body(site: Node, recorder: Recorder) -> None:
    reply = await site.call("HEAD", "/x")
    assert (reply.status, reply.raw, reply.headers["content-length"]) == (202, b"", "11")
    assert recorder.requests[0].method == "HEAD"


async def test_headers_that_belong_to_the_connection_stay_the_servers(site: Node, recorder: Recorder) -> None:
    headers = {"content-length": "3", "Transfer-Encoding": "chunked", "connection": "close", "x-own": "é"}
    recorder.reply = HttpReply(status=200, body=b"hello", headers=headers)
    reply = await site.call("GET", "/")
    assert (reply.raw, reply.headers["content-length"]) == (b"hello", "5")
    assert reply.headers["x-own"] == "é"


async def test_an_empty_answer_stays_empty(site: Node, recorder: Recorder) -> None:
    recorder.reply = HttpReply(status=204)
    assert ((await site.call("GET", "/")).status, (await site.call("GET", "/")).raw) == (204, b"")


async def test_a_request_to_the_fetch_handler_is_bounded(site: Node, recorder: Recorder) -> None:
    assert (await site.call("POST", "/", data=b"x" * 1001)).status == 413
    assert recorder.requests == []


async def test_an_exception_of_a_webhook_is_500_with_its_trace_only_in_the_log(site: Node, recorder: Recorder) -> None:
    recorder.error = RuntimeError("password=hunter2")
    with capture_logs() as logs:
        reply = await site.call("POST", "/hooks/in")
    status, number, message = reply.failure
    assert (status, number) == (500, 10001)
    assert b"hunter2" not in reply.raw
    assert b"Traceback" not in reply.raw
    (entry,) = [log for log in logs if log["event"] == "request.failed"]
    assert entry["exc_info"] is recorder.error
    assert entry["request_id"] == reply.headers["x-request-id"]
    assert entry["request_id"] in message


async def test_an_exception_of_the_fetch_handler_is_told_as_the_projects_with_its_own_frames_in_the_log(
    site: Node, recorder: Recorder
) -> None:
    recorder.error = RuntimeError("password=hunter2")
    with capture_logs() as logs:
        reply = await site.call("POST", "/some/where")
    status, number, message = reply.failure
    assert (status, number) == (500, 10001)
    assert message.startswith("(internal_server) the project's fetch handler failed; ")
    assert b"hunter2" not in reply.raw
    (entry,) = logs
    assert (entry["event"], entry["path"]) == ("fetch.failed", "/some/where")
    assert entry["exception"].endswith("RuntimeError: password=hunter2")
    assert "/hub/api/" not in entry["exception"]
    assert entry["request_id"] == reply.headers["x-request-id"]
    assert entry["request_id"] in message


@pytest.mark.parametrize(
    "reply",
    [
        HttpReply(status=200, headers={"x-a": "1\r\nset-cookie: b"}),
        HttpReply(status=200, headers={"bad name": "1"}),
        HttpReply(status="teapot"),  # type: ignore[arg-type]
        HttpReply(status=100),
        HttpReply(status=1000),
        HttpReply(status=200, body={"a": 1}),  # type: ignore[arg-type]
    ],
    ids=["line break", "name", "word", "too low", "too high", "body"],
)
async def test_an_answer_that_cannot_be_sent_is_500(site: Node, recorder: Recorder, reply: HttpReply) -> None:
    recorder.reply = reply
    with capture_logs() as logs:
        answer = await site.call("GET", "/")
    assert answer.failure[:2] == (500, 10001)
    assert "set-cookie" not in answer.headers
    assert len(logs) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [(Rejected("bad"), 400), (NotFound("gone"), 404), (Conflict("taken"), 409), (Unavailable("full"), 503)],
)
async def test_an_error_of_the_hub_that_a_handler_lets_pass_keeps_its_status(
    site: Node, recorder: Recorder, error: Exception, status: int
) -> None:
    recorder.error = error
    reply = await site.call("GET", "/")
    assert reply.failure[0] == status
    assert ("retry-after" in reply.headers) == (status == 503)


@pytest.mark.parametrize("path", ["/", "/x/y", "/client"])
async def test_without_a_fetch_handler_the_answer_names_the_addresses(node: Node, path: str) -> None:
    status, number, message = (await node.call("GET", path)).failure
    assert (status, number) == (404, 7000)
    assert "/hooks/" in message
    assert "/client/v4/accounts/" in message


async def test_a_client_that_goes_away_does_not_cancel_what_it_asked_for(tmp_path: Path) -> None:
    entered, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(_request: HttpRequest) -> HttpReply:
        entered.set()
        await go_on.wait()
        done.set()
        return HttpReply(status=200)

    async with running(tmp_path, fetch=slow) as node:
        request = asyncio.create_task(node.call("GET", "/"))
        await entered.wait()
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        go_on.set()
        async with asyncio.timeout(10):
            await done.wait()


@pytest.mark.parametrize("head", [b"content-length: 50", b"transfer-encoding: chunked"])
async def test_a_body_that_breaks_off_never_reaches_a_handler_and_is_no_error_of_the_hub(
    site: Node, recorder: Recorder, head: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(site.server.url.rsplit(":", 1)[1]))
    with capture_logs() as logs:
        writer.write(b"POST /hooks/in HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n\r\n5\r\nhello\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await reader.read()
        await site.server.stop()  # waits for the request
    assert recorder.requests == []
    assert logs == []
