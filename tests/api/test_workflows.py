"""Workflows and versions over REST."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub.core.model import Status
from tests.api.node import ROOT, Node

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


async def test_a_workflow_has_the_fields_of_the_original(node: Node) -> None:
    await node.create("approve", "a")
    await node.settled("approve", "a", Status.WAITING)

    item = (await node.get("/approve")).result

    assert set(item) == {"id", "name", "script_name", "class_name", "created_on", "modified_on", "triggered_on", "instances"}
    assert (item["name"], item["script_name"], item["class_name"]) == ("approve", "tests", "Approve")
    assert item["triggered_on"] is not None
    assert item["instances"] == {status.value: int(status is Status.WAITING) for status in Status}


async def test_the_list_of_workflows_is_paged(node: Node) -> None:
    first = await node.get("?per_page=2&page=1")
    last = await node.get("?per_page=2&page=4")
    assert [len(first.result), len(last.result)] == [2, 1]
    assert last.body["result_info"] == {"count": 1, "per_page": 2, "page": 4, "total_count": 7, "total_pages": 4}


async def test_a_page_past_the_end_is_empty(node: Node) -> None:
    assert (await node.get("?page=9")).result == []


async def test_workflows_are_searched_by_a_part_of_the_name(node: Node) -> None:
    assert [item["name"] for item in (await node.get("?search=ppro")).result] == ["approve"]


@pytest.mark.parametrize("path", ["", "/versions", "/versions/x", "/instances", "/instances/", "/instances/a", "/instances/latest"])
async def test_an_unknown_workflow_is_10200_with_the_nearest_name(node: Node, path: str) -> None:
    status, number, message = (await node.get("/gret" + path)).failure
    assert (status, number) == (404, 10200)
    assert message.startswith('(workflow.not_found) workflow "gret"')
    assert '"greet"' in message


async def test_a_version_is_found_by_the_id_in_the_list(node: Node) -> None:
    workflow = (await node.get("/greet")).result
    listed = await node.get("/greet/versions")
    (version,) = listed.result
    assert version["workflow_id"] == workflow["id"]
    assert (version["class_name"], version["language"], version["has_dag"]) == ("Greet", "python", False)
    assert (await node.get(f"/greet/versions/{version['id']}")).result == version
    assert listed.body["result_info"]["total_count"] == 1


async def test_an_unknown_version_is_404(node: Node) -> None:
    status, _, message = (await node.get("/greet/versions/nope")).failure
    assert status == 404
    assert message == '(version.not_found) workflow "greet" has no version "nope"'


async def test_a_deleted_workflow_is_gone_with_its_instances(node: Node) -> None:
    await node.create("approve", "a")
    deleted = await node.call("DELETE", "/client/v4/accounts/local/workflows/approve")
    assert deleted.result == {"status": "ok", "success": True}
    assert (await node.get("/approve")).failure[:2] == (404, 10200)
    assert (await node.get("/approve/instances")).failure[:2] == (404, 10200)


async def test_an_account_that_is_not_this_hubs_is_404_and_names_the_right_one(node: Node) -> None:
    status, number, message = (await node.call("GET", "/client/v4/accounts/acme/workflows")).failure
    assert (status, number) == (404, 7003)
    assert '"local"' in message


async def test_many_readers_at_once_are_all_answered(node: Node) -> None:
    answers = await asyncio.gather(*[node.get("/greet") for _ in range(50)])
    assert {answer.status for answer in answers} == {200}


async def greet(node: Node, *, scheduled: bool) -> dict[str, Any]:
    """Return the workflow `greet` as soon as it has schedules, or none."""
    async with asyncio.timeout(30):
        while True:
            workflow: dict[str, Any] = (await node.get("/greet")).result
            if ("schedules" in workflow) is scheduled:
                return workflow
            await asyncio.sleep(0)


async def test_a_workflow_tells_its_schedules_with_the_time_of_the_next_instance(node: Node) -> None:
    schedules = (await greet(node, scheduled=True))["schedules"]
    assert [each["cron"] for each in schedules] == ["0 0 29 2 *"]
    assert schedules[0]["next_instance"].endswith("-02-29T00:00:00.000Z")
    listed = (await node.call("GET", ROOT)).result
    assert {item["name"]: item["schedules"] for item in listed if "schedules" in item} == {"greet": schedules}
    await node.call("PATCH", "/client/v4/accounts/local/triggers/leap-day/status", json={"status": "pause"})
    await greet(node, scheduled=False)


# ---- updates


async def update(node: Node, **body: object) -> tuple[int, int, str]:
    sent = {"script_name": "tests", "class_name": "Greet", **body}
    return (await node.call("PUT", f"{ROOT}/greet", json=sent)).failure


async def test_an_update_that_changes_nothing_is_accepted(node: Node) -> None:
    workflow = (await node.get("/greet")).result
    (version,) = (await node.get("/greet/versions")).result
    body: dict[str, Any] = {"script_name": "tests", "class_name": "Greet", "schedules": [], "limits": {}, "jurisdiction": None}
    updated = (await node.call("PUT", f"{ROOT}/greet", json=body)).result
    same = ("id", "name", "script_name", "class_name", "created_on", "modified_on", "triggered_on")
    assert {key: updated[key] for key in same} == {key: workflow[key] for key in same}
    assert updated["version_id"] == version["id"]
    assert (updated["is_deleted"], updated["terminator_running"]) == (0, 0)


async def test_an_update_that_names_the_schedules_of_the_project_is_accepted(node: Node) -> None:
    body = {"script_name": "tests", "class_name": "Greet", "schedules": [{"cron": "0 0  29 2 *"}]}
    assert (await node.call("PUT", f"{ROOT}/greet", json=body)).result["name"] == "greet"
    await node.call("PATCH", "/client/v4/accounts/local/triggers/leap-day/status", json={"status": "pause"})
    assert (await node.call("PUT", f"{ROOT}/greet", json=body)).result["name"] == "greet", "paused, it is still declared"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"schedules": [{"cron": "0 0 29 2 *"}, {"cron": "@daily"}]}, "schedules cannot be set here"),
        ({"schedules": [{"cron": "0 0 29 2 *"}, 5]}, "schedules cannot be set here"),
        ({"class_name": "Other"}, 'class_name of "greet" is "Greet" and cannot become "Other"'),
        ({"script_name": "other"}, 'script_name of "greet" is "tests" and cannot become "other"'),
        ({"limits": {"steps": 5}}, "limits cannot be set here"),
        ({"concurrency": {"limit": 5}, "schedules": [{"cron": "* * * * *"}]}, "concurrency, schedules cannot be set here"),
        ({"default_retention": {"success_retention": "1 day"}}, "default_retention cannot be set here"),
        ({"jurisdiction": "eu"}, "jurisdiction cannot be set here"),
    ],
)
async def test_any_other_update_is_refused_and_names_the_file(node: Node, body: dict[str, object], named: str) -> None:
    status, number, message = await update(node, **body)
    assert (status, number) == (409, 10936)
    assert named in message
    assert "hub.toml" in message
    assert (await node.get("/greet")).result["class_name"] == "Greet"


async def test_an_update_of_an_unknown_workflow_is_10200(node: Node) -> None:
    reply = await node.call("PUT", f"{ROOT}/gret", json={"script_name": "tests", "class_name": "Greet"})
    assert reply.failure[:2] == (404, 10200)


async def test_a_version_has_no_graph(node: Node) -> None:
    (version,) = (await node.get("/greet/versions")).result
    graph = (await node.get(f"/greet/versions/{version['id']}/graph")).result
    assert graph["graph"] is None
    assert {key: graph[key] for key in graph if key != "graph"} == {key: version[key] for key in graph if key != "graph"}
    assert (await node.get("/greet/versions/nope/graph")).status == 404
