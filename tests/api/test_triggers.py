"""Triggers and stored deliveries over REST: what is seen, steered, fired, replayed and filled in."""

from __future__ import annotations

import asyncio
from typing import Any

from hub.core.model import Status
from tests.api.node import ACCOUNT, Node

TRIGGERS = f"/client/v4/accounts/{ACCOUNT}/triggers"
DELIVERIES = f"/client/v4/accounts/{ACCOUNT}/deliveries"


async def steer(node: Node, name: str, **body: Any) -> Any:
    return (await node.call("PATCH", f"{TRIGGERS}/{name}/status", json=body)).result


async def held(node: Node) -> Any:
    """Pause the webhook, send it something, and return the delivery that was stored."""
    await steer(node, "greetings", status="pause", note="moving house")
    reply = await node.call("POST", "/hooks/greetings", json={"name": "Ada"}, headers={"idempotency-key": "k1"})
    assert (reply.status, reply.body["held"]) == (202, True)
    (delivery,) = (await node.call("GET", DELIVERIES)).result
    return delivery


async def ended(node: Node) -> list[dict[str, Any]]:
    """Return the ended instances of `greet`, as soon as there is one."""
    async with asyncio.timeout(30):
        while True:
            found: list[dict[str, Any]] = (await node.get("/greet/instances?status=complete")).result
            if found:
                return found
            await asyncio.sleep(0)


async def test_list_shows_every_trigger_with_its_state(node: Node) -> None:
    reply = await node.call("GET", TRIGGERS)
    assert [(item["name"], item["kind"], item["status"]) for item in reply.result] == [
        ("greetings", "http", "listening"),
        ("leap-day", "cron", "listening"),
        ("off", "http", "stopped"),
    ]
    assert reply.body["result_info"]["total_count"] == 3
    assert reply.result[0]["settings"] == {"path": "greetings"}


async def test_unknown_trigger_is_not_found_and_names_the_nearest(node: Node) -> None:
    span = {"start": "2026-01-01", "end": "2026-01-02"}
    reads: list[tuple[str, str, Any]] = [("GET", "", None), ("GET", "/preview", None)]
    changes: list[tuple[str, str, Any]] = [("POST", "/fire", {}), ("PATCH", "/status", {"status": "pause"}), ("POST", "/backfill", span)]
    for method, path, body in (*reads, *changes):
        reply = await node.call(method, f"{TRIGGERS}/greeting{path}", json=body)
        assert reply.failure == (404, 10930, '(trigger.not_found) trigger "greeting" not found; did you mean "greetings"?')


async def test_paused_webhook_holds_and_a_resume_releases_what_it_held(node: Node) -> None:
    delivery = await held(node)
    assert (delivery["trigger"], delivery["status"], delivery["code"], delivery["key"]) == ("greetings", "held", "trigger.paused", "k1")
    state = (await node.call("GET", f"{TRIGGERS}/greetings")).result
    assert (state["note"], state["paused_on"] is not None, state["counts"]) == ("moving house", True, {"held": 1})
    assert (await node.get("/greet/instances")).result == []
    resumed = await steer(node, "greetings", status="resume")
    assert (resumed["paused_on"], resumed["note"]) == (None, None)
    (instance,) = await ended(node)
    detail = (await node.call("GET", f"{DELIVERIES}/{delivery['id']}")).result
    assert (detail["status"], detail["workflow_name"], detail["instance_id"]) == ("replayed", "greet", instance["id"])
    assert detail["event"]["payload"] == {"name": "Ada"}


async def test_replay_creates_one_instance_and_a_second_one_is_a_conflict(node: Node) -> None:
    delivery = await held(node)
    receipt = (await node.call("POST", f"{DELIVERIES}/{delivery['id']}/replay")).result
    assert (receipt["status"], receipt["workflow_name"]) == ("created", "greet")
    await node.settled("greet", receipt["instance_id"], Status.COMPLETE)
    status, number, message = (await node.call("POST", f"{DELIVERIES}/{delivery['id']}/replay")).failure
    assert (status, number) == (409, 10935)
    assert receipt["instance_id"] in message
    assert len((await node.get("/greet/instances")).result) == 1


async def test_refused_webhook_is_stored_with_its_cause(node: Node) -> None:
    reply = await node.call("POST", "/hooks/greetings", data=b"{", headers={"content-type": "application/json"})
    assert reply.status == 400
    (delivery,) = (await node.call("GET", f"{DELIVERIES}?status=rejected,dead&trigger=greetings")).result
    assert (delivery["status"], delivery["code"]) == ("rejected", "payload.malformed")
    assert (await node.call("GET", f"{DELIVERIES}?status=held")).result == []
    assert (await node.call("GET", f"{DELIVERIES}?trigger=leap-day")).result == []


async def test_deliveries_are_paged_by_cursor_newest_first(node: Node) -> None:
    await steer(node, "greetings", status="pause")
    for n in range(5):
        await node.call("POST", "/hooks/greetings", json=n)
    first = await node.call("GET", f"{DELIVERIES}?per_page=3")
    info = first.body["result_info"]
    assert (len(first.result), info["total_count"]) == (3, 5)
    rest = await node.call("GET", f"{DELIVERIES}?per_page=3&cursor={info['cursor']}")
    assert "cursor" not in rest.body["result_info"]
    ids = [item["id"] for item in first.result + rest.result]
    events = [(await node.call("GET", f"{DELIVERIES}/{id}")).result["event"] for id in ids]
    assert [event["payload"] for event in events] == [4, 3, 2, 1, 0]
    oldest = await node.call("GET", f"{DELIVERIES}?direction=asc&per_page=1")
    assert [item["id"] for item in oldest.result] == ids[-1:]


async def test_bad_delivery_queries_say_what_would_be_right(node: Node) -> None:
    status, _, message = (await node.call("GET", f"{DELIVERIES}?status=lost")).failure
    assert (status, "filtered, rejected, dead, held, skipped, missed, replayed" in message) == (400, True)
    assert (await node.call("GET", f"{DELIVERIES}?cursor=nonsense")).failure[0] == 400
    assert (await node.call("GET", f"{DELIVERIES}/nobody")).failure[:2] == (404, 10934)
    assert (await node.call("GET", f"{DELIVERIES}?date_start=2026-02-01&date_end=2026-01-01")).failure[0] == 400


async def test_fire_emits_in_the_name_of_the_trigger_once_a_key(node: Node) -> None:
    first = (await node.call("POST", f"{TRIGGERS}/greetings/fire", json={"payload": {"name": "Bo"}, "key": "f1"})).result
    again = (await node.call("POST", f"{TRIGGERS}/greetings/fire", json={"payload": {"name": "Bo"}, "key": "f1"})).result
    assert (first["status"], again["status"], again["instance_id"]) == ("created", "duplicate", first["instance_id"])
    detail = await node.settled("greet", first["instance_id"], Status.COMPLETE)
    assert detail["output"]["greeting"] == {"hello": {"name": "Bo"}}


async def test_schedule_runs_now_and_is_previewed_and_filled_in(node: Node) -> None:
    fired = (await node.call("POST", f"{TRIGGERS}/leap-day/fire", json={})).result
    assert fired["status"] == "created"
    preview = (await node.call("GET", f"{TRIGGERS}/leap-day/preview?count=2&after=2026-01-01")).result
    assert [each["nominal"] for each in preview["occurrences"]] == ["2028-02-29T00:00:00.000Z", "2032-02-29T00:00:00.000Z"]
    assert preview["description"]
    span = {"start": "2020-01-01", "end": "2025-01-01"}
    dry = (await node.call("POST", f"{TRIGGERS}/leap-day/backfill", json={**span, "dry_run": True})).result
    assert [(each["nominal"], each["receipt"]) for each in dry] == [
        ("2020-02-29T00:00:00.000Z", None),
        ("2024-02-29T00:00:00.000Z", None),
    ]
    done = (await node.call("POST", f"{TRIGGERS}/leap-day/backfill", json=span)).result
    assert [each["receipt"]["status"] for each in done] == ["created", "created"]
    again = (await node.call("POST", f"{TRIGGERS}/leap-day/backfill", json=span)).result
    assert [each["receipt"]["status"] for each in again] == ["duplicate", "duplicate"]


async def test_a_backfill_that_its_limit_ends_says_where_to_go_on(node: Node) -> None:
    span = {"start": "2016-01-01", "end": "2024-02-29", "limit": 1}
    for dry_run in (True, False):
        part = await node.call("POST", f"{TRIGGERS}/leap-day/backfill", json={**span, "dry_run": dry_run})
        assert [each["nominal"] for each in part.result] == ["2016-02-29T00:00:00.000Z"]
        assert part.body["result_info"] == {"count": 1, "per_page": 1, "cursor": "2020-02-29T00:00:00.000Z"}
    rest = await node.call("POST", f"{TRIGGERS}/leap-day/backfill", json={**span, "start": part.body["result_info"]["cursor"]})
    assert [each["nominal"] for each in rest.result] == ["2020-02-29T00:00:00.000Z"]
    assert "cursor" not in rest.body["result_info"]


async def test_a_dry_run_is_refused_where_the_backfill_would_be(node: Node) -> None:
    future = {"start": "2020-01-01", "end": "2999-01-01", "dry_run": True}
    status, _, message = (await node.call("POST", f"{TRIGGERS}/leap-day/backfill", json=future)).failure
    assert (status, "backfill.future" in message) == (400, True)


async def test_what_has_no_schedule_cannot_be_previewed_or_filled_in(node: Node) -> None:
    span = {"start": "2020-01-01", "end": "2025-01-01"}
    assert (await node.call("GET", f"{TRIGGERS}/greetings/preview")).failure[:2] == (409, 10931)
    assert (await node.call("POST", f"{TRIGGERS}/greetings/backfill", json=span)).failure[:2] == (409, 10931)
    assert (await node.call("POST", f"{TRIGGERS}/off/fire", json={})).failure[:2] == (409, 10932)
    backwards = {"start": "2025-01-01", "end": "2020-01-01"}
    assert (await node.call("POST", f"{TRIGGERS}/leap-day/backfill", json=backwards)).failure[0] == 400
