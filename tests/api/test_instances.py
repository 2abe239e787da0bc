"""Instances over REST: create, list, describe, steer, events, delete."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from hub.core.delivery import TriggerEvent
from hub.core.model import Schedule, Source, Status
from tests.api.node import ROOT, Node

# ---- create


async def test_a_created_instance_is_queued_and_names_its_version_and_workflow(node: Node) -> None:
    created = (await node.post("/greet/instances", json={"instance_id": "one", "params": {"x": 1}})).result
    workflow = (await node.get("/greet")).result
    (version,) = (await node.get("/greet/versions")).result
    assert created == {
        "id": "one",
        "status": "queued",
        "version_id": version["id"],
        "workflow_id": workflow["id"],
        "trigger_source": "api",
    }


@pytest.mark.parametrize("key", ["instance_id", "id"])
async def test_both_names_of_the_id_are_accepted(node: Node, key: str) -> None:
    assert (await node.post("/greet/instances", json={key: "mine"})).result["id"] == "mine"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"params": {}}', b'{"instance_id": null}'])
async def test_without_an_id_the_hub_makes_one_and_without_params_they_are_empty(node: Node, body: bytes) -> None:
    created = (await node.post("/greet/instances", data=body, headers={"content-type": "application/json"})).result
    described = (await node.get(f"/greet/instances/{created['id']}")).result
    assert described["params"] == {}


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ({"a": [1, None]}, {"a": [1, None]}),
        ('{"a": 1}', {"a": 1}),
        ("[1, 2]", [1, 2]),
        ("7", 7),
        ("just a text", "just a text"),
        ("", ""),
        (None, None),
        ([], []),
        ({"$hub": ["datetime", "x"]}, {"$hub": ["datetime", "x"]}),
    ],
)
async def test_params_are_a_json_value_or_a_text_that_holds_one(node: Node, params: Any, kept: Any) -> None:
    id = (await node.post("/approve/instances", json={"params": params})).result["id"]
    assert (await node.get(f"/approve/instances/{id}")).result["params"] == kept


async def test_a_large_integer_keeps_its_value(node: Node) -> None:
    body = b'{"instance_id": "big", "params": {"n": 123456789012345678901234567890}}'
    await node.post("/approve/instances", data=body, headers={"content-type": "application/json"})
    assert (await node.get("/approve/instances/big")).result["params"] == {"n": 123456789012345678901234567890}


async def test_keys_that_mean_nothing_here_are_ignored_as_the_original_does(node: Node) -> None:
    body = {"instance_id": "a", "location_hint": "weur"}
    assert (await node.post("/greet/instances", json=body)).result["id"] == "a"


async def test_a_taken_id_is_10405_and_not_to_be_repeated(node: Node) -> None:
    await node.create("approve", "once", {"first": True})
    again = await node.post("/approve/instances", json={"instance_id": "once", "params": {"first": False}})
    status, number, message = again.failure
    assert (status, number) == (409, 10405)
    assert message.startswith("(instance.already_exists) ")
    assert again.headers["x-should-retry"] == "false"
    assert (await node.get("/approve/instances/once")).result["params"] == {"first": True}


async def test_the_same_id_in_two_workflows_is_two_instances(node: Node) -> None:
    await node.create("greet", "same")
    await node.create("approve", "same")


# ---- batch


async def test_a_batch_answers_its_items_in_order(node: Node) -> None:
    reply = await node.post("/greet/instances/batch", json=[{"instance_id": "a"}, {}, {"id": "c", "params": "[1]"}])
    items = reply.result
    assert [items[0]["id"], items[2]["id"]] == ["a", "c"]
    assert len({item["id"] for item in items}) == 3
    assert {item["status"] for item in items} == {"queued"}
    assert reply.body["messages"] == []


async def test_one_bad_id_fails_a_whole_batch(node: Node) -> None:
    refused = await node.post("/greet/instances/batch", json=[{"instance_id": "good"}, {"instance_id": "no good"}])
    assert refused.failure[:2] == (400, 10905)
    assert (await node.get("/greet/instances")).result == []


async def test_a_taken_or_repeated_id_of_a_batch_is_told_in_the_messages(node: Node) -> None:
    await node.create("greet", "taken")
    reply = await node.post("/greet/instances/batch", json=[{"id": "taken"}, {"id": "new"}, {"id": "new"}])
    assert [item["id"] for item in reply.result] == ["new"]
    told = [(message["code"], message["message"].split(":")[0]) for message in reply.body["messages"]]
    assert told == [(10405, "(instance.already_exists) [0]"), (10415, "(instance.duplicate_in_batch) [2]")]


@pytest.mark.parametrize("size", [0, 101])
async def test_a_batch_has_1_to_100_items(node: Node, size: int) -> None:
    assert (await node.post("/greet/instances/batch", json=[{}] * size)).failure[:2] == (400, 10901)


async def test_a_hundred_items_are_created_in_one_request(node: Node) -> None:
    assert len((await node.post("/approve/instances/batch", json=[{}] * 100)).result) == 100


# ---- list


async def fill(node: Node, count: int) -> list[str]:
    ids = [f"i{number:02d}" for number in range(count)]
    for id in ids:
        await node.create("approve", id)
    return ids


async def test_a_listed_instance_has_the_fields_of_the_original(node: Node) -> None:
    await node.create("greet", "a")
    described = await node.settled("greet", "a", Status.COMPLETE)
    (item,) = (await node.get("/greet/instances")).result
    assert item == {
        "id": "a",
        "status": "complete",
        "version_id": described["versionId"],
        "workflow_id": (await node.get("/greet")).result["id"],
        "trigger_source": "api",
        "created_on": described["queued"],
        "modified_on": described["end"],
        "started_on": described["start"],
        "ended_on": described["end"],
    }


@pytest.mark.parametrize("slash", ["", "/"])
async def test_the_newest_instance_is_listed_first_unless_asked_otherwise(node: Node, slash: str) -> None:
    ids = await fill(node, 3)
    assert [item["id"] for item in (await node.get(f"/approve/instances{slash}")).result] == ids[::-1]
    assert [item["id"] for item in (await node.get(f"/approve/instances{slash}?direction=asc")).result] == ids


async def test_numbered_pages_end_with_an_empty_one(node: Node) -> None:
    """The official SDKs ask for pages until one is empty; a server that ignored `page` would keep them busy for ever."""
    ids = await fill(node, 5)
    seen: list[str] = []
    for number in range(1, 5):
        page = await node.get(f"/approve/instances?per_page=2&page={number}&direction=asc")
        seen += [item["id"] for item in page.result]
        info = page.body["result_info"]
        assert (info["page"], info["per_page"], info["count"], info["total_count"], info["total_pages"]) == (
            number, 2, len(page.result), 5, 3,
        )  # fmt: skip
    assert seen == ids
    assert page.result == []


async def test_the_cursor_leads_through_all_pages_and_ends(node: Node) -> None:
    ids = await fill(node, 5)
    page = await node.get("/approve/instances?per_page=2")
    seen = [item["id"] for item in page.result]
    while "cursor" in page.body["result_info"]:
        page = await node.get("/approve/instances", params={"per_page": "2", "cursor": page.body["result_info"]["cursor"]})
        seen += [item["id"] for item in page.result]
    assert seen == ids[::-1]
    assert "page" not in page.body["result_info"]


async def test_instances_are_filtered_by_status(node: Node) -> None:
    await node.create("approve", "a")
    await node.create("approve", "b")
    await node.settled("approve", "b", Status.WAITING)
    await node.call("PATCH", f"{ROOT}/approve/instances/a/status", json={"status": "terminate"})
    assert [item["id"] for item in (await node.get("/approve/instances?status=terminated")).result] == ["a"]
    assert {item["id"] for item in (await node.get("/approve/instances?status=terminated,waiting")).result} == {"a", "b"}
    assert (await node.get("/approve/instances?status=errored")).result == []
    assert len((await node.get("/approve/instances?status=")).result) == 2


async def test_instances_are_filtered_by_creation_time(node: Node) -> None:
    await node.create("approve", "a")
    day = datetime.now(UTC).date()
    for query, found in {
        f"date_start={day}": 1,
        f"date_end={day}": 1,  # a date alone ends at its last millisecond
        f"date_start={day}T00:00:00Z&date_end={day}T23:59:59.999Z": 1,
        f"date_start={day + timedelta(days=1)}": 0,
        f"date_end={day - timedelta(days=1)}": 0,
        f"date_start={day}T00:00:00%2B00:00": 1,
    }.items():
        assert len((await node.get(f"/approve/instances?{query}")).result) == found, query


# ---- describe


async def test_latest_is_the_newest_instance(node: Node) -> None:
    await fill(node, 2)
    assert (await node.get("/approve/instances/latest")).result["id"] == "i01"


async def test_latest_of_a_workflow_without_instances_is_10400(node: Node) -> None:
    assert (await node.get("/approve/instances/latest")).failure[:2] == (404, 10400)


async def test_an_instance_that_ran_shows_its_steps_output_and_times(node: Node) -> None:
    await node.create("greet", "a", {"x": 1})
    shown = await node.settled("greet", "a", Status.COMPLETE)
    assert (shown["status"], shown["success"], shown["step_count"]) == ("complete", True, 1)
    assert shown["output"] == {"greeting": {"hello": {"x": 1}}, "at": "2026-01-02T00:00:00+00:00"}
    assert shown["queued"] <= shown["start"] <= shown["end"]
    (step,) = shown["steps"]
    assert (step["name"], step["type"], step["output"], len(step["attempts"])) == ("greet-1", "step", '{"hello":{"x":1}}', 1)


async def test_an_instance_that_failed_shows_every_attempt_with_its_error(node: Node) -> None:
    await node.create("fail", "a")
    shown = await node.settled("fail", "a", Status.ERRORED)
    assert (shown["success"], shown["error"]["name"], shown["error"]["message"]) == (False, "ValueError", "card <declined>")
    (step,) = shown["steps"]
    assert [attempt["success"] for attempt in step["attempts"]] == [False, False]
    assert "in charge" in step["attempts"][0]["error"]["stack"]


async def test_an_instance_between_two_attempts_tells_when_it_goes_on(node: Node) -> None:
    await node.create("retry", "a")
    shown = await node.settled("retry", "a", Status.WAITING)
    (step,) = shown["steps"]
    assert step["success"] is None
    assert len(step["attempts"]) == 1
    ended = datetime.fromisoformat(step["attempts"][0]["end"])
    assert datetime.fromisoformat(step["retries_at"]) - ended == timedelta(hours=1)


async def test_steps_can_be_turned_round_or_left_out(node: Node) -> None:
    await node.create("approve", "a")
    await node.settled("approve", "a", Status.WAITING)
    turned = (await node.get("/approve/instances/a?order=desc")).result
    assert [step["name"] for step in turned["steps"]] == ["approval-1", "prepare-1"]
    simple = (await node.get("/approve/instances/a?simple=true")).result
    assert "steps" not in simple
    assert simple["step_count"] == 2


async def test_one_step_is_read_with_its_output_as_a_value(node: Node) -> None:
    await node.create("greet", "a", [1])
    await node.settled("greet", "a", Status.COMPLETE)
    assert (await node.get("/greet/instances/a/step?name=greet-1&type=step")).result == {
        "status": "complete", "error": None, "output": {"hello": [1]},
    }  # fmt: skip
    assert (await node.get("/greet/instances/a/step?name=greet")).failure[0] == 404
    assert (await node.get("/greet/instances/a/step")).failure == (400, 10902, "(query) name: field required")


async def test_an_id_that_a_schedule_made_is_reached_by_its_quoted_form(node: Node) -> None:
    id = "*/30 * * * *-1786001400000"
    schedule = Schedule(cron="*/30 * * * *", scheduled_at=datetime.fromtimestamp(1786001400, UTC))
    event = TriggerEvent(payload={}, key=id, instance_id=id, schedule=schedule, source=Source.CRON)
    await node.engine.emit("cron", "approve", event)
    shown = (await node.get("/approve/instances/" + quote(id, safe=""))).result
    assert shown["id"] == id
    assert shown["schedule"] == {"cron": "*/30 * * * *", "scheduledTime": 1786001400000}
    assert shown["trigger"] == {"source": "cron", "name": "cron", "key": id}


# ---- status


async def patch(node: Node, body: Any, id: str = "a", workflow: str = "approve") -> Any:
    return await node.call("PATCH", f"{ROOT}/{workflow}/instances/{id}/status", json=body)


async def test_pause_and_resume_answer_the_status_and_a_time(node: Node) -> None:
    await node.create("approve", "a")
    await node.settled("approve", "a", Status.WAITING)
    paused = (await patch(node, {"status": "pause"})).result
    assert paused["status"] == "paused"
    assert datetime.fromisoformat(paused["timestamp"]).tzinfo is not None
    assert (await patch(node, {"status": "resume"})).result["status"] == "queued"
    await node.settled("approve", "a", Status.WAITING)


async def test_a_termination_over_the_api_is_told_with_its_source_also_in_the_children(node: Node) -> None:
    await node.create("order", "a")
    await node.settled("order", "a", Status.WAITING)
    await patch(node, {"status": "terminate", "cascade": True}, "a", "order")
    parent, child = [(await node.get(path)).result["steps"][-1] for path in ("/order/instances/a", "/sleep/instances/a-rest")]
    assert parent == {"type": "termination", "trigger": {"source": "api"}}
    assert child == {"type": "termination", "trigger": {"source": "api"}, "cascade": True}


async def test_a_terminated_instance_takes_no_verb_but_restart(node: Node) -> None:
    await node.create("approve", "a")
    assert (await patch(node, {"status": "terminate"})).result["status"] == "terminated"
    for verb in ("pause", "resume", "terminate"):
        status, number, message = (await patch(node, {"status": verb})).failure
        assert (status, message.split()[0]) == (409, f"(instance.cannot_{verb})")
        assert 10912 <= number <= 10914
    assert (await patch(node, {"status": "restart"})).result["status"] == "queued"
    await node.settled("approve", "a", Status.WAITING)


async def test_a_restart_from_a_step_keeps_what_came_before(node: Node) -> None:
    await node.create("approve", "a")
    before = await node.settled("approve", "a", Status.WAITING)
    await node.post("/approve/instances/a/events/approved", json=1)
    await node.settled("approve", "a", Status.COMPLETE)
    restarted = await patch(node, {"status": "restart", "from": {"name": "approval", "count": 1, "type": "waitForEvent"}})
    assert restarted.result["status"] == "queued"
    after = await node.settled("approve", "a", Status.WAITING)
    assert after["steps"][0] == before["steps"][0]


async def test_a_restart_without_a_type_means_a_step_or_a_workflow_that_was_started(node: Node) -> None:
    await node.create("approve", "a")
    await node.settled("approve", "a", Status.WAITING)
    assert (await patch(node, {"status": "restart", "from": {"name": "approval"}})).failure[:2] == (409, 10915)
    assert (await patch(node, {"status": "restart", "from": {"name": "prepare"}})).result["status"] == "queued"
    await node.create("order", "b")
    await node.settled("order", "b", Status.WAITING)
    assert (await patch(node, {"status": "restart", "from": {"name": "rest"}}, "b", "order")).result["status"] == "queued"


async def test_a_restart_from_an_unknown_step_is_a_conflict(node: Node) -> None:
    await node.create("approve", "a")
    status, number, message = (await patch(node, {"status": "restart", "from": {"name": "nope", "type": "do"}})).failure
    assert (status, number) == (409, 10915)
    assert message.startswith('(instance.cannot_restart) Step "nope"')


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "status"),
        ({"status": "explode"}, "status"),
        ({"status": "pause", "from": {"name": "x"}}, "from"),
        ({"status": "restart", "from": {"count": 1}}, "from.name"),
        ({"status": "restart", "from": {"name": "x", "count": 0}}, "from.count"),
        ({"status": "restart", "from": {"name": "x", "type": "loop"}}, "from.type"),
        ({"status": "pause", "rollback": True}, "rollback"),
        ({"status": "restart", "cascade": True}, "cascade"),
    ],
)
async def test_a_bad_status_body_names_the_field(node: Node, body: Any, place: str) -> None:
    status, number, message = (await patch(node, body)).failure
    assert (status, number) == (400, 10901)
    assert message.startswith(f"(body) {place}: ")


# ---- events


async def test_an_event_reaches_the_instance_that_waits(node: Node) -> None:
    await node.create("approve", "a")
    await node.settled("approve", "a", Status.WAITING)
    sent = (await node.post("/approve/instances/a/events/approved", json={"by": "ann"})).result
    assert set(sent) == {"instanceId", "timestamp"}
    assert sent["instanceId"] == "a"
    assert (await node.settled("approve", "a", Status.COMPLETE))["output"] == {"by": "ann"}


@pytest.mark.parametrize(("body", "payload"), [(b"", {}), (b"null", None), (b'"text"', "text"), (b"[1]", [1]), (b"0", 0)])
async def test_the_payload_of_an_event_is_any_json_value(node: Node, body: bytes, payload: Any) -> None:
    await node.create("approve", "a")
    await node.post("/approve/instances/a/events/approved", data=body, headers={"content-type": "application/json"})
    assert (await node.settled("approve", "a", Status.COMPLETE))["output"] == payload


async def test_an_event_type_with_a_dot_is_refused(node: Node) -> None:
    await node.create("approve", "a")
    status, number, message = (await node.post("/approve/instances/a/events/order.paid", json={})).failure
    assert (status, number) == (400, 10907)
    assert message.startswith("(workflow.invalid_event_type) ")


async def test_an_instance_that_has_ended_takes_no_event(node: Node) -> None:
    await node.create("greet", "a")
    await node.settled("greet", "a", Status.COMPLETE)
    assert (await node.post("/greet/instances/a/events/approved", json={})).failure[:2] == (409, 10916)


# ---- delete


async def test_a_deleted_instance_is_gone(node: Node) -> None:
    await node.create("approve", "a")
    gone = await node.call("DELETE", f"{ROOT}/approve/instances/a")
    assert gone.result == {"status": "ok", "success": True}
    assert (await node.get("/approve/instances/a")).failure[:2] == (404, 10400)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("DELETE", ""), ("GET", "/step?name=a-1"), ("PATCH", "/status"), ("POST", "/events/go")],
)
async def test_an_unknown_instance_is_10400(node: Node, method: str, path: str) -> None:
    body = {"json": {"status": "pause"}} if method == "PATCH" else {}
    status, number, message = (await node.call(method, f"{ROOT}/approve/instances/nope{path}", **body)).failure
    assert (status, number) == (404, 10400)
    assert message == '(instance.not_found) instance "nope" of workflow "approve" not found'


async def test_deleting_several_answers_each_position(node: Node) -> None:
    await fill(node, 2)
    reply = await node.post("/approve/instances/batch/delete", json={"instances": ["i00", "nope", "i01", "i00"]})
    assert reply.result["deleted"] == [{"id": "i00"}, {"id": "i01"}, {"id": "i00"}]
    (error,) = reply.result["errors"]
    assert (error["id"], error["code"]) == ("nope", 10400)
    assert (await node.get("/approve/instances")).result == []


@pytest.mark.parametrize("ids", [[], ["a"] * 101, ["ok", "no/../\n"], ["ok", 5], "a", ["x" * 272]])
async def test_one_malformed_id_deletes_nothing(node: Node, ids: Any) -> None:
    await node.create("approve", "ok")
    assert (await node.post("/approve/instances/batch/delete", json={"instances": ids})).failure[:2] == (400, 10901)
    assert (await node.get("/approve/instances/ok")).status == 200


async def test_terminating_all_ends_every_instance_of_the_status(node: Node) -> None:
    await fill(node, 3)
    for id in ("i00", "i01", "i02"):
        await node.settled("approve", id, Status.WAITING)
    await patch(node, {"status": "pause"}, id="i02")
    started = await node.call("PUT", f"{ROOT}/approve/instances/terminate?status=waiting")
    assert started.result == {"status": "ok"}
    await node.settled("approve", "i00", Status.TERMINATED)
    await node.settled("approve", "i01", Status.TERMINATED)
    assert (await node.get("/approve/instances/i02")).result["status"] == "paused"


async def test_terminating_all_without_a_status_leaves_what_has_ended(node: Node) -> None:
    await node.create("approve", "a")
    await node.create("approve", "b")
    await node.post("/approve/instances/a/events/approved", json=1)
    await node.settled("approve", "a", Status.COMPLETE)
    await node.call("PUT", f"{ROOT}/approve/instances/terminate")
    await node.settled("approve", "b", Status.TERMINATED)
    assert (await node.get("/approve/instances/a")).result["status"] == "complete"


async def test_terminating_all_of_a_final_status_is_refused(node: Node) -> None:
    refused = await node.call("PUT", f"{ROOT}/approve/instances/terminate?status=complete")
    assert refused.failure[:2] == (400, 10902)


async def test_every_answer_is_compact_json_with_its_headers(node: Node) -> None:
    reply = await node.get("/greet/instances")
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert json.loads(reply.raw) == reply.body


# ---- retention


@pytest.mark.parametrize("retention", [{"success_retention": "2 mins"}, {"error_retention": 0}, {"success_retention": -1}])
async def test_a_wrong_retention_creates_nothing(node: Node, retention: Any) -> None:
    refused = await node.post("/greet/instances", json={"instance_retention": retention})
    assert refused.failure[:2] == (400, 10917)
    assert "retention." in refused.failure[2]
    assert (await node.get("/greet/instances")).result == []


@pytest.mark.parametrize(
    "cron", ["*/30 * * * *", "*/10 */5 * * * *", "1-59/2 * * * *", "0/15,45 * * * *", "* * * * */2", "0 8-18/2 */3 * 1/2"]
)
async def test_the_id_of_a_scheduled_instance_may_hold_slashes_escaped_or_not(node: Node, cron: str) -> None:
    id = f"{cron}-1786001400000"
    await node.engine.emit("leap-day", "approve", TriggerEvent(payload={}, instance_id=id))
    for path in (id, quote(id, safe="")):
        assert (await node.get(f"/approve/instances/{path}")).result["id"] == id
        assert (await node.get(f"/approve/instances/{path}/step?name=prepare-2")).failure[1] == 10909
    await node.call("POST", f"{ROOT}/approve/instances/{id}/events/approved", json={"n": 1})
    await node.call("PATCH", f"{ROOT}/approve/instances/{id}/status", json={"status": "terminate"})
    assert (await node.call("DELETE", f"{ROOT}/approve/instances/{id}")).result["success"] is True
