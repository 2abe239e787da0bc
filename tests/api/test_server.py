"""The server itself: the port, the open addresses, start and stop."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from hub.api.server import ApiOptions, ApiServer
from hub.core.errors import ConfigError
from hub.core.model import HttpReply, HttpRequest
from hub.engine.routes import RouteTable
from tests.api.node import ROOT, Node, running


def second_server(node: Node, **options: object) -> ApiServer:
    chosen = ApiOptions(**{"port": 0, **options})  # type: ignore[arg-type]
    engine = node.engine
    return ApiServer(
        engine, node.desk, chosen, RouteTable("local"), None, lambda: b"", access=engine.access, audit=engine.audit, queues=engine.queues
    )


# ---- the port


async def test_a_port_in_use_is_a_config_error_with_the_cure(node: Node) -> None:
    port = int(node.server.url.rsplit(":", 1)[1])
    with pytest.raises(ConfigError, match=f"127.0.0.1:{port} is in use") as caught:
        await second_server(node, port=port).start()
    assert caught.value.path == "server.port"
    assert "--port" in caught.value.message
    assert "HUB_SERVER_PORT" in caught.value.message


async def test_a_bound_server_has_its_url_and_refuses_until_it_starts(node: Node) -> None:
    server = second_server(node)
    await server.bind()
    url = server.url
    await refused(url)
    await server.start()
    assert server.url == url
    assert (await node.call("GET", f"{url}/healthz")).status == 200
    await server.stop()


async def test_a_bound_port_is_given_back_without_a_start(node: Node) -> None:
    first = second_server(node)
    await first.bind()
    port = int(first.url.rsplit(":", 1)[1])
    await first.stop()
    again = second_server(node, port=port)
    await again.start()
    await again.stop()


async def test_of_two_that_bind_one_port_the_second_to_start_is_told(node: Node) -> None:
    """A port that is bound but not listened on yet can be bound again."""
    first = second_server(node)
    await first.bind()
    port = int(first.url.rsplit(":", 1)[1])
    second = second_server(node, port=port)
    await second.bind()
    await first.start()
    with pytest.raises(ConfigError, match="is in use"):
        await second.start()
    await first.stop()


async def test_a_host_with_several_addresses_is_served_on_all_of_them(tmp_path: Path) -> None:
    async with running(tmp_path, host="localhost") as node:
        assert (await node.call("GET", "/healthz")).status == 200
        port = int(node.server.url.rsplit(":", 1)[1])
        for *_, address in await asyncio.get_running_loop().getaddrinfo("localhost", port, type=socket.SOCK_STREAM):
            _, writer = await asyncio.open_connection(*address[:2])
            writer.close()
            await writer.wait_closed()


async def test_an_address_of_another_machine_is_a_config_error(node: Node) -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 203\.0\.113\.1") as caught:
        await second_server(node, host="203.0.113.1").start()
    assert caught.value.path == "server.host"


async def test_a_host_that_does_not_exist_is_a_config_error(node: Node) -> None:
    with pytest.raises(ConfigError, match="cannot listen on no-such-host.invalid"):
        await second_server(node, host="no-such-host.invalid").start()


async def test_a_port_that_needs_root_is_a_config_error(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)  # a test may run as root, who may open every port
    with pytest.raises(ConfigError, match="may not open 127.0.0.1:80; choose a port above 1023"):
        await second_server(node, port=80).start()


async def test_port_0_takes_a_free_one(node: Node) -> None:
    assert not node.server.url.endswith(":0")
    assert (await node.call("GET", "/healthz")).status == 200


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "http://127.0.0.1:"), ("127.0.0.1", "http://127.0.0.1:")])
async def test_the_url_can_be_called_from_this_machine(tmp_path: Path, host: str, shown: str) -> None:
    async with running(tmp_path, host=host) as node:
        assert node.server.url.startswith(shown)
        assert (await node.call("GET", "/healthz")).status == 200


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_an_ipv6_address_is_written_in_brackets(tmp_path: Path) -> None:
    async with running(tmp_path, host="::1") as node:
        assert node.server.url.startswith("http://[::1]:")
        assert (await node.call("GET", "/healthz")).status == 200


async def test_there_is_no_url_before_the_start(node: Node) -> None:
    with pytest.raises(RuntimeError, match="no port yet"):
        _ = second_server(node).url


# ---- the open addresses


async def test_healthz_is_ok_while_the_loop_runs_even_without_the_store(node: Node) -> None:
    assert (await node.call("GET", "/healthz")).body == {"status": "ok"}
    await node.engine.stop()
    assert (await node.call("GET", "/healthz")).body == {"status": "ok"}


async def test_readyz_tells_whether_the_store_answers(node: Node) -> None:
    ready = await node.call("GET", "/readyz")
    assert (ready.status, ready.body) == (200, {"status": "ok"})
    await node.engine.stop()
    away = await node.call("GET", "/readyz")
    assert (away.status, away.body["status"]) == (503, "unavailable")
    assert "closed" in away.body["reason"]


async def test_without_the_store_the_api_answers_503_and_when_to_come_again(node: Node) -> None:
    await node.engine.stop()
    for reply in (await node.get("/greet"), await node.post("/greet/instances", json={})):
        assert reply.failure[:2] == (503, 10920)
        assert int(reply.headers["retry-after"]) > 0


async def test_metrics_are_prometheus_text(node: Node) -> None:
    await node.create("approve", "a")
    reply = await node.call("GET", "/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert re.search(rb"^hub_instances_created_total 1(\.0)?$", reply.raw, re.MULTILINE)


async def test_an_unexpected_error_is_500_with_an_id_that_the_log_has_too(tmp_path: Path) -> None:
    def broken() -> bytes:
        raise RuntimeError("secret detail")

    async with running(tmp_path, metrics=broken) as node:
        with capture_logs() as logs:
            reply = await node.call("GET", "/metrics")
    assert reply.failure[:2] == (500, 10001)
    assert b"secret detail" not in reply.raw
    assert logs[0]["request_id"] == reply.headers["x-request-id"]
    assert isinstance(logs[0]["exc_info"], RuntimeError)


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/", "/dashboard/x.js"])
async def test_the_dashboards_address_is_never_the_fetch_handlers(tmp_path: Path, path: str) -> None:
    async def fetch(_request: HttpRequest) -> HttpReply:
        return HttpReply(status=299)

    async with running(tmp_path, fetch=fetch) as node:
        assert (await node.call("GET", path)).status != 299


async def test_a_hub_without_dashboard_says_so(node: Node) -> None:
    server = second_server(node)
    await server.start()
    assert (await node.call("GET", f"{server.url}/dashboard")).failure[:2] == (404, 7000)
    await server.stop()


# ---- stop


async def test_stop_lets_a_running_request_finish_and_takes_no_new_one(tmp_path: Path) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_request: HttpRequest) -> HttpReply:
        entered.set()
        await go_on.wait()
        return HttpReply(status=200, body=b"done")

    async with running(tmp_path, fetch=slow) as node:
        request = asyncio.create_task(node.call("GET", "/"))
        await entered.wait()
        stopping = asyncio.create_task(node.server.stop())
        await refused(node.server.url)
        assert not stopping.done()
        go_on.set()
        assert (await request).raw == b"done"
        await stopping


async def refused(url: str) -> None:
    """Return when the port takes no connections any more."""
    host, port = url.removeprefix("http://").split(":")
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except ConnectionRefusedError:
                return
            except ConnectionResetError:
                continue  # it was in the queue of the socket that has just been closed
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_stop_does_not_wait_longer_than_its_deadline(tmp_path: Path) -> None:
    entered, never = asyncio.Event(), asyncio.Event()

    async def stuck(_request: HttpRequest) -> HttpReply:
        entered.set()
        await never.wait()
        return HttpReply(status=200)

    async with running(tmp_path, fetch=stuck, shutdown_s=0.05) as node:
        request = asyncio.create_task(node.call("GET", "/"))
        await entered.wait()
        async with asyncio.timeout(10):
            await node.server.stop()
        with pytest.raises(aiohttp.ClientError):
            await request


async def test_stop_closes_idle_connections_at_once(node: Node) -> None:
    await node.call("GET", "/healthz")  # leaves a connection open
    async with asyncio.timeout(3):  # less than the deadline of 5 s
        await node.server.stop()


async def test_stop_is_safe_twice_and_without_start(node: Node) -> None:
    await node.server.stop()
    await node.server.stop()
    await second_server(node).stop()


async def test_stop_ends_background_jobs(node: Node) -> None:
    await node.post("/approve/instances/batch", json=[{}] * 100)
    await node.call("PUT", f"{ROOT}/approve/instances/terminate")
    await node.server.stop()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("bulk")] == []
