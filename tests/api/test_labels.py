"""Over REST: labels and what lists are filtered by, repetitions, and answers that wait for the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub.core.model import Status
from hub.engine.binding import WorkflowBinding
from tests.api.node import Node, Reply

LABELS = {"tags": ["urgent", "eu"], "metadata": {"customer": 4711, "paid": True, "note": "a, b"}}


async def ids(node: Node, query: str) -> list[str]:
    return [item["id"] for item in (await node.get(f"/approve/instances?{query}")).result]


# ---- labels and filters


async def test_labels_are_shown_in_the_list_and_with_the_instance(node: Node) -> None:
    await node.post("/approve/instances", json={"instance_id": "a", **LABELS})
    await node.post("/approve/instances", json={"instance_id": "b"})

    plain, labelled = (await node.get("/approve/instances")).result
    described = (await node.get("/approve/instances/a")).result

    assert {"tags": labelled["tags"], "metadata": labelled["metadata"]} == LABELS
    assert {"tags": described["tags"], "metadata": described["metadata"]} == LABELS
    assert not {"tags", "metadata", "trigger_name"} & plain.keys()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tag=eu", ["b", "a"]),
        ("tag=eu,urgent", ["a"]),
        ("tag=asia", []),
        ("metadata=customer%3D4711", ["a"]),
        ("metadata=customer%3D4711,paid%3Dtrue", ["a"]),
        ("metadata=%7B%22note%22:%22a,%20b%22%7D", ["a"]),
        ("metadata=customer%3D4712", []),
        ("tag=eu&metadata=paid%3Dtrue", ["a"]),
        ("status=waiting,paused&tag=eu", ["b"]),
        ("status=terminated,complete,errored", ["a"]),
        ("ended_start=2020-01-01&ended_end=2100-01-01", ["a"]),
        ("ended_end=2020-01-01", []),
        ("modified_start=2100-01-01", []),
        ("modified_end=2100-01-01&tag=eu", ["b", "a"]),
        ("version=nobody", []),
        ("trigger=nobody", []),
    ],
)
async def test_lists_are_filtered(node: Node, query: str, expected: list[str]) -> None:
    await node.post("/approve/instances", json={"instance_id": "a", **LABELS})
    await node.post("/approve/instances", json={"instance_id": "b", "tags": ["eu"]})
    await node.create("approve", "c")
    for id in ("a", "b"):
        await node.settled("approve", id, Status.WAITING)
    await node.call("PATCH", "/client/v4/accounts/local/workflows/approve/instances/a/status", json={"status": "terminate"})

    assert await ids(node, query) == expected


async def test_what_a_trigger_has_created_is_found_by_its_name_and_version(node: Node) -> None:
    async with node.client.post("/hooks/greetings", json={}) as answer:
        assert answer.status == 202
    await node.create("greet", "by-hand")
    (version,) = (await node.get("/greet/versions")).result

    (found,) = (await node.get("/greet/instances?trigger=greetings")).result

    assert found["trigger_name"] == "greetings"
    assert len((await node.get(f"/greet/instances?version={version['id']}")).result) == 2


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("tag=" + ",".join(f"t{n}" for n in range(17)), "tags: at most 16"),
        ("tag=a%3Db", "no ="),
        ("metadata=customer", 'metadata: "customer" has no =; write key=value'),
        ("metadata=%7B%22a%22:%5B1%5D%7D", "metadata.a: expected a text"),
        ("metadata=%7B", "JSON"),
        ("modified_start=2026-02-01&modified_end=2026-01-01", "modified_start is later than modified_end"),
        ("ended_start=yesterday", "is not a time"),
    ],
)
async def test_a_filter_that_cannot_be_is_400(node: Node, query: str, told: str) -> None:
    status, _, message = (await node.get(f"/approve/instances?{query}")).failure

    assert status == 400
    assert told in message


async def test_labels_that_are_too_large_are_refused_with_their_place(node: Node) -> None:
    answer = await node.post("/approve/instances/batch", json=[{"instance_id": "a"}, {"tags": ["x" * 65]}])

    status, number, message = answer.failure
    assert (status, number) == (400, 10970)
    assert message.startswith("(instance.invalid_labels) tags[0]: ")
    assert (await node.get("/approve/instances")).result == []


async def test_cursors_lead_through_a_filtered_list_once(node: Node) -> None:
    for number in range(7):
        await node.post("/approve/instances", json={"instance_id": f"i{number}", "tags": ["odd"] if number % 2 else None})
    found: list[str] = []
    more = ""
    while True:
        answer = await node.get(f"/approve/instances?tag=odd&per_page=2{more}")
        found += [item["id"] for item in answer.result]
        if "cursor" not in answer.body["result_info"]:
            break
        more = f"&cursor={answer.body['result_info']['cursor']}"

    assert found == ["i5", "i3", "i1"]


# ---- repetitions


async def test_a_repeated_idempotent_creation_answers_with_the_same_instance(node: Node) -> None:
    body = {"instance_id": "a", "params": {"x": 1, "y": [2]}, "idempotent": True}
    first = (await node.post("/approve/instances", json=body)).result
    again = (await node.post("/approve/instances", json={**body, "params": {"y": [2], "x": 1}})).result

    assert "duplicate" not in first
    assert (again["id"], again["duplicate"]) == ("a", True)
    assert await ids(node, "") == ["a"]


async def test_the_same_id_with_other_params_is_no_repetition(node: Node) -> None:
    await node.post("/approve/instances", json={"instance_id": "a", "params": {"x": 1}})

    answer = await node.post("/approve/instances", json={"instance_id": "a", "params": {"x": 2}, "idempotent": True})

    status, number, message = answer.failure
    assert (status, number, answer.headers["x-should-retry"]) == (409, 10971, "false")
    assert "was created with other params" in message
    assert (await node.post("/approve/instances", json={"instance_id": "a", "params": {"x": 1}})).failure[:2] == (409, 10405)


async def test_many_at_once_create_one(node: Node) -> None:
    body = {"instance_id": "a", "params": {"x": 1}, "idempotent": True}
    answers: list[Reply] = await asyncio.gather(*(node.post("/approve/instances", json=body) for _ in range(20)))

    assert sum("duplicate" not in answer.result for answer in answers) == 1


async def test_an_idempotent_creation_needs_an_id(node: Node) -> None:
    assert "send instance_id" in (await node.post("/approve/instances", json={"idempotent": True})).failure[2]


async def test_a_binding_labels_and_repeats_too(node: Node) -> None:
    binding = WorkflowBinding(node.engine, "approve")
    for _ in range(2):
        created = await binding.create(id="a", params={"x": 1}, tags=["eu"], metadata={"customer": 1}, idempotent=True)
        assert created.id == "a"

    assert await ids(node, "tag=eu&metadata=customer%3D1") == ["a"]


# ---- waiting for the end


@pytest.mark.parametrize("asked", [{"params": {"wait": "30s"}}, {"headers": {"prefer": "respond-async, wait=30"}}])
async def test_who_waits_gets_the_output(node: Node, asked: dict[str, Any]) -> None:
    answer = await node.post("/greet/instances", json={"params": 7}, **asked)

    result = answer.result
    assert (result["status"], result["output"]["greeting"], result["error"]) == ("complete", {"hello": 7}, None)
    assert answer.headers.get("preference-applied") == ("wait=30" if "headers" in asked else None)


async def test_who_waits_gets_the_error(node: Node) -> None:
    result = (await node.post("/fail/instances?wait=30s", json={})).result

    assert (result["status"], result["output"], result["error"]["message"]) == ("errored", None, "card <declined>")


async def test_an_end_that_does_not_come_in_time_is_202(node: Node) -> None:
    answer = await node.post("/approve/instances?wait=50ms", json={"instance_id": "a"})

    assert (answer.status, answer.body["success"]) == (202, True)
    assert answer.body["result"]["id"] == "a"
    assert "output" not in answer.body["result"]


async def test_a_server_that_stops_sends_those_away_that_wait(node: Node) -> None:
    waiting = asyncio.create_task(node.post("/approve/instances?wait=60s", json={"instance_id": "a"}))
    async with asyncio.timeout(30):
        while await ids(node, "") != ["a"]:  # noqa: ASYNC110  # nothing tells when the request has been heard
            await asyncio.sleep(0)

    async with asyncio.timeout(3):
        await node.server.stop()
        assert (await waiting).status == 202


@pytest.mark.parametrize("wait", ["soon", "-1s", "1 fortnight"])
async def test_a_wait_that_is_none_is_400_and_creates_nothing(node: Node, wait: str) -> None:
    assert (await node.post(f"/greet/instances?wait={wait}", json={})).failure[:2] == (400, 10902)
    assert (await node.get("/greet/instances")).result == []
