"""Rollback, children and retention over REST and in the dashboard, on a real node."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from hub.core.model import Status
from tests.api.node import ROOT, Node
from tests.ui.test_pages import links


async def test_a_termination_with_rollback_runs_the_handlers_first(node: Node) -> None:
    await node.create("book", "b")
    await node.settled("book", "b", Status.WAITING)
    changed = (await node.call("PATCH", f"{ROOT}/book/instances/b/status", json={"status": "terminate", "rollback": True})).result
    described = await node.settled("book", "b", Status.TERMINATED)
    assert changed["status"] == "rollingBack"
    assert described["rollback"] == {"outcome": "complete", "error": None}
    assert [step["type"] for step in described["steps"]] == ["step", "waitForEvent", "rollback", "termination"]
    assert described["steps"][2]["name"] == "book-1"


async def test_a_failed_rollback_names_its_error_and_can_be_read_like_a_step(node: Node) -> None:
    await node.create("book", "b", {"broken": True})
    await node.post("/book/instances/b/events/done", json={})
    described = await node.settled("book", "b", Status.ERRORED)
    assert described["error"]["message"] == "too late"
    assert (described["rollback"]["outcome"], described["rollback"]["error"]["message"]) == ("failed", "cannot undo")
    step = (await node.get("/book/instances/b/step", params={"name": "book-1", "type": "rollback"})).result
    assert (step["status"], step["error"]["message"]) == ("errored", "cannot undo")


async def test_instances_that_roll_back_can_be_listed(node: Node) -> None:
    assert (await node.get("/book/instances?status=rollingBack")).result == []


async def test_parent_and_child_name_each_other_and_end_together_on_demand(node: Node) -> None:
    await node.create("order", "o")
    parent = await node.settled("order", "o", Status.WAITING)
    child = await node.settled("sleep", "o-rest", Status.WAITING)
    assert parent["steps"][0]["child"] == {"workflow_name": "sleep", "instance_id": "o-rest"}
    assert child["parent"] == {"workflow_name": "order", "instance_id": "o"}
    await node.call("PATCH", f"{ROOT}/order/instances/o/status", json={"status": "terminate", "cascade": True})
    assert (await node.settled("sleep", "o-rest", Status.TERMINATED))["status"] == "terminated"


async def test_the_pages_of_parent_and_child_link_to_each_other(node: Node) -> None:
    await node.create("order", "o")
    await node.settled("order", "o", Status.WAITING)
    parent = await node.call("GET", "/dashboard/workflows/order/instances/o")
    child = await node.call("GET", "/dashboard/workflows/sleep/instances/o-rest")
    assert "/dashboard/workflows/sleep/instances/o-rest" in links(parent.raw)
    assert "/dashboard/workflows/order/instances/o" in links(child.raw)


async def test_a_child_outlives_the_record_of_its_parent(node: Node) -> None:
    await node.create("order", "o")
    await node.settled("order", "o", Status.WAITING)
    assert (await node.call("DELETE", f"{ROOT}/order/instances/o")).status == 200
    assert "parent" not in (await node.get("/sleep/instances/o-rest")).result


async def test_an_instance_is_kept_as_long_as_its_creator_says(node: Node) -> None:
    brief = {"instance_retention": {"success_retention": 1, "error_retention": "1 day"}}
    await node.post("/greet/instances", json={"id": "brief", **brief})
    await node.post("/greet/instances/batch", json=[{"id": "also", **brief}, {"id": "stays"}])
    for id in ("brief", "also", "stays"):
        described = await node.settled("greet", id, Status.COMPLETE)
    ended = datetime.fromisoformat(described["end"])
    async with asyncio.timeout(30):
        while datetime.now(UTC) <= ended + timedelta(milliseconds=5):  # noqa: ASYNC110  # the retention is of the machine's clock
            await asyncio.sleep(0)
    assert await node.engine.prune() == 2
    assert [item["id"] for item in (await node.get("/greet/instances")).result] == ["stays"]
