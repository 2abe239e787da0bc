"""The token: needed wherever something can be read or changed, and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from multidict import CIMultiDict

from hub.core.model import HttpReply, HttpRequest
from hub.engine.access import AccessOptions
from tests.api.doors import OPEN, path_of
from tests.api.node import ROOT, Node, running

TOKEN = "s3cret-töken"
RIGHT = {"authorization": f"Bearer {TOKEN}"}


async def hello(_request: HttpRequest) -> HttpReply:
    return HttpReply(status=200, body=b"hello")


@pytest.fixture
async def locked(tmp_path: Path) -> AsyncIterator[Node]:
    """Run a node with a token."""
    async with running(tmp_path, access=AccessOptions(token=TOKEN), fetch=hello) as node:
        node.routes.add("/hooks/h", lambda head, _read: hello(head), methods=["POST"])
        yield node


async def test_every_row_of_the_table_is_closed_unless_it_is_declared_open(locked: Node) -> None:
    closed = [row for row in locked.server.operations if row.scope is not None]
    assert len(closed) >= 40
    for row in closed:
        reply = await locked.call(row.method, path_of(row))
        assert reply.failure[:2] == (401, 10000), row.name
        assert reply.headers["www-authenticate"] == "Bearer"
    assert {row.path for row in locked.server.operations if row.scope is None} == OPEN


@pytest.mark.parametrize("path", ["/client/v4", "/client/v4/nope", "/client/v4/accounts/acme/workflows", "/client/v4/accounts/local"])
async def test_without_the_token_nothing_is_told_of_the_api(locked: Node, path: str) -> None:
    assert (await locked.call("GET", path)).failure[:2] == (401, 10000)


async def test_another_method_is_refused_by_the_token_first(locked: Node) -> None:
    assert (await locked.call("PUT", ROOT)).failure[:2] == (401, 10000)
    assert (await locked.call("PUT", ROOT, headers=RIGHT)).failure[:2] == (405, 7001)


@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", f"Bearers {TOKEN}", f"Basic {TOKEN}", TOKEN, f"Bearer  {TOKEN}"],
)
async def test_anything_but_the_token_is_401(locked: Node, given: str | None) -> None:
    headers = {} if given is None else {"authorization": given}
    assert (await locked.get("", headers=headers)).status == 401


async def test_the_token_opens_the_api(locked: Node) -> None:
    assert (await locked.get("", headers=RIGHT)).status == 200
    created = await locked.post("/greet/instances", json={"instance_id": "a"}, headers=RIGHT)
    assert created.result["id"] == "a"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
async def test_the_scheme_is_known_in_any_case(locked: Node, scheme: str) -> None:
    assert (await locked.get("", headers={"authorization": f"{scheme} {TOKEN}"})).status == 200


@pytest.mark.parametrize("other", ["Bearer wrong", "Basic eDp5", f"Bearer {TOKEN}"])
async def test_of_two_tokens_none_counts(locked: Node, other: str) -> None:
    both = CIMultiDict([("authorization", f"Bearer {TOKEN}"), ("authorization", other)])
    assert (await locked.get("", headers=both)).status == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json", "/", "/any/thing"])
async def test_open_addresses_need_no_token(locked: Node, path: str) -> None:
    assert (await locked.call("GET", path)).status == 200


async def test_a_webhook_needs_no_token_of_the_api(locked: Node) -> None:
    assert (await locked.call("POST", "/hooks/h")).status == 200


async def test_a_refused_request_creates_nothing(locked: Node) -> None:
    await locked.post("/greet/instances", json={"instance_id": "a"})
    assert (await locked.get("/greet/instances", headers=RIGHT)).result == []


# ---- pages of other sites


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://localhost:1", "http://[", "http://[::1"])
async def test_a_page_of_another_site_cannot_make_a_browser_write(node: Node, origin: str) -> None:
    reply = await node.post("/greet/instances", data=b"{}", headers={"content-type": "text/plain", "origin": origin})
    assert reply.failure[:2] == (403, 10921)
    assert (await node.get("/greet/instances")).result == []


async def test_the_hubs_own_pages_may_write(node: Node) -> None:
    reply = await node.post("/greet/instances", json={"id": "a"}, headers={"origin": node.server.url})
    assert reply.result["id"] == "a"
