"""The second door, for `wrangler … --local`: what differs from the REST API, and who is let in."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from hub.core.model import Status
from hub.engine.access import AccessOptions
from tests.api.node import Node, running

ROOT = "/cdn-cgi/local/explorer/api/workflows"


async def test_an_instance_is_created_with_id_and_params(node: Node) -> None:
    created = await node.call("POST", f"{ROOT}/greet/instances", json={"id": "a", "params": {"n": 1}})
    assert created.result["id"] == "a"
    assert (await node.settled("greet", "a", Status.COMPLETE))["params"] == {"n": 1}


async def test_the_list_has_real_pages_and_counts_by_status(node: Node) -> None:
    for number in range(3):
        await node.create("sleep", f"s{number}")
        await node.settled("sleep", f"s{number}", Status.WAITING)
    page = await node.call("GET", f"{ROOT}/sleep/instances?page=2&per_page=2")
    assert [item["id"] for item in page.result] == ["s0"]
    info = page.body["result_info"]
    assert (info["page"], info["per_page"], info["total_count"], info["total_pages"]) == (2, 2, 3, 2)
    assert {status: count for status, count in info["status_counts"].items() if count} == {"waiting": 3}
    assert (await node.call("GET", f"{ROOT}/sleep/instances")).body["result_info"]["per_page"] == 25


async def test_all_workflows_come_in_one_page(node: Node) -> None:
    listed = await node.call("GET", ROOT)
    assert len(listed.result) == listed.body["result_info"]["total_count"] == 7


async def test_deleting_a_workflow_forgets_its_instances_and_keeps_the_workflow(node: Node) -> None:
    for number in range(101):  # more than one page of what is deleted together
        await node.create("greet", f"g{number}")
    await node.create("sleep", "other")
    assert (await node.call("DELETE", f"{ROOT}/greet")).result["success"] is True
    assert (await node.get("/greet/instances")).result == []
    assert [item["id"] for item in (await node.get("/sleep/instances")).result] == ["other"]
    await node.create("greet", "again")


async def test_verbs_events_and_deletes_work_as_over_rest(node: Node) -> None:
    await node.create("approve", "a")
    await node.settled("approve", "a", Status.WAITING)
    assert (await node.call("PATCH", f"{ROOT}/approve/instances/a/status", json={"status": "pause"})).result["status"] == "paused"
    await node.call("PATCH", f"{ROOT}/approve/instances/a/status", json={"status": "resume"})
    await node.settled("approve", "a", Status.WAITING)
    await node.call("POST", f"{ROOT}/approve/instances/a/events/approved", json={"by": "me"})
    assert (await node.settled("approve", "a", Status.COMPLETE))["output"] == {"by": "me"}
    assert (await node.call("GET", f"{ROOT}/approve/instances/a")).result["status"] == "complete"
    assert (await node.call("DELETE", f"{ROOT}/approve/instances/a")).result["success"] is True
    gone = await node.call("POST", f"{ROOT}/approve/instances/batch/delete", json={"instances": ["a"]})
    assert [error["id"] for error in gone.result["errors"]] == ["a"]


async def test_every_row_is_a_row_of_the_rest_api_at_another_root(node: Node) -> None:
    rows = node.server.operations
    local = {(row.method, row.path.removeprefix(ROOT)) for row in rows if row.local}
    rest = {(row.method, row.path.rpartition("/workflows")[2]) for row in rows if "/accounts/{account}/workflows" in row.path}
    assert len(local) == 10
    assert all(row.path.startswith(ROOT) for row in rows if row.local)
    assert {(method, path.replace(ROOT, "")) for method, path in local} <= {
        (row.method, row.path.partition("/accounts/{account}/workflows")[2]) for row in rows
    } | rest


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "none"},
        {"host": "evil.example"},
        {"host": "evil.example:8787"},
        {"host": "localhost.evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "192.168.1.7:8787"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_page_in_a_browser_and_a_proxy_are_refused(node: Node, headers: dict[str, str], method: str) -> None:
    refused = await node.call(method, f"{ROOT}/greet/instances", headers=headers)
    assert refused.status in (403, 421)
    assert (await node.get("/greet/instances")).result == []


@pytest.mark.parametrize("host", ["localhost:8787", "LOCALHOST", "127.0.0.1:1", "[::1]:8787", "127.8.8.8"])
async def test_every_name_of_this_machine_is_one(node: Node, host: str) -> None:
    assert (await node.call("GET", ROOT, headers={"host": host})).status == 200


async def test_a_hub_that_wants_a_token_wants_it_here_too(tmp_path: Path) -> None:
    async with running(tmp_path, access=AccessOptions(token="right")) as node:
        assert (await node.call("GET", ROOT)).failure[:2] == (401, 10000)
        assert (await node.call("GET", ROOT, headers={"authorization": "Bearer right"})).status == 200


async def test_a_peer_without_an_address_of_this_machine_is_refused_whatever_name_it_uses(node: Node, tmp_path: Path) -> None:
    path = str(tmp_path / "door")
    runner = web.AppRunner(node.server.app)
    await runner.setup()
    try:
        await web.UnixSite(runner, path).start()
        async with aiohttp.ClientSession("http://localhost", connector=aiohttp.UnixConnector(path)) as stranger:
            async with stranger.get("/client/v4/accounts/local/workflows") as rest:
                assert rest.status == 200
            async with stranger.get(ROOT) as refused:
                assert (await refused.json())["errors"][0]["code"] == 10921
    finally:
        await runner.cleanup()
