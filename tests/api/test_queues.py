"""The hub's own queues over REST: made, filled, pulled from, purged."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.api.node import ACCOUNT, Node, Reply

QUEUES = f"/client/v4/accounts/{ACCOUNT}/queues"


async def post(node: Node, path: str, body: Any = None, **options: Any) -> Reply:
    return await node.call("POST", f"{QUEUES}{path}", json=body, **options)


async def with_queue(node: Node, name: str = "orders") -> Node:
    assert (await post(node, "", {"queue_name": name})).status == 200
    return node


async def pull(node: Node, **body: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await post(node, "/orders/messages/pull", body)).result["messages"]
    return found


def body_of(message: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(message["body"]))


# ---- queues


async def test_a_queue_is_listed_and_read_by_its_name(node: Node) -> None:
    for name in ("orders", "invoices"):
        await with_queue(node, name)
    await post(node, "/orders/messages", {"body": 1})

    listed = await node.call("GET", QUEUES)
    assert [item["queue_name"] for item in listed.result] == ["invoices", "orders"]
    assert listed.body["result_info"] == {"count": 2, "per_page": 50, "page": 1, "total_count": 2, "total_pages": 1}
    assert (await node.call("GET", f"{QUEUES}?name=orders")).result == [listed.result[1]]
    assert (await node.call("GET", f"{QUEUES}?page=2")).result == []
    found = (await node.call("GET", f"{QUEUES}/orders")).result
    assert found == listed.result[1]
    assert (found["queue_id"], found["messages_waiting"], found["messages_held"], found["consumers"]) == ("orders", 1, 0, [])


async def test_a_queue_is_made_once_and_deleted_with_its_messages(node: Node) -> None:
    await with_queue(node)
    again = await post(node, "", {"queue_name": "orders"})
    bad = await post(node, "", {"queue_name": "or/ders"})
    gone = await node.call("DELETE", f"{QUEUES}/orders")

    assert again.failure[:2] == (409, 10961)
    assert bad.failure[:2] == (400, 10963)
    assert gone.result == {"status": "ok", "success": True}
    assert (await node.call("GET", QUEUES)).result == []


async def test_an_unknown_queue_is_not_found_and_names_the_nearest(node: Node) -> None:
    await with_queue(node)
    text = '(queue.not_found) queue "order" not found; did you mean "orders"?'
    for path, body in (
        ("/messages", {"body": 1}),
        ("/messages/batch", {"messages": [{"body": 1}]}),
        ("/messages/pull", {}),
        ("/messages/ack", {}),
        ("/purge", {}),
    ):
        assert (await post(node, f"/order{path}", body)).failure == (404, 10960, text)
    for method in ("GET", "DELETE"):
        assert (await node.call(method, f"{QUEUES}/order")).failure == (404, 10960, text)


# ---- messages


async def test_what_is_pushed_is_pulled(node: Node) -> None:
    await with_queue(node)
    first = await post(node, "/orders/messages", {"body": {"n": 1}, "content_type": "json"})
    text = await post(node, "/orders/messages", {"body": "hi ✗", "content_type": "text"})
    raw = await post(node, "/orders/messages", {"body": base64.b64encode(b"\x00\xff").decode(), "content_type": "bytes"})

    messages = await pull(node)

    assert [message["id"] for message in messages] == [*first.result["ids"], *text.result["ids"], *raw.result["ids"]]
    assert (body_of(messages[0]), messages[1]["body"], base64.b64decode(messages[2]["body"])) == ({"n": 1}, "hi ✗", b"\x00\xff")
    assert [message["metadata"]["CF-Content-Type"] for message in messages] == ["json", "text", "bytes"]
    assert {message["attempts"] for message in messages} == {1}


async def test_a_body_in_text_plain_is_read_as_json_as_official_clients_send_it(node: Node) -> None:
    await with_queue(node)
    sent = json.dumps({"messages": [{"body": 1}, {"body": "two"}]})
    reply = await node.call(
        "POST", f"{QUEUES}/orders/messages/batch", data=sent, headers={"content-type": "text/plain;charset=UTF-8"}
    )

    assert len(reply.result["ids"]) == 2
    assert [body_of(message) for message in await pull(node)] == [1, "two"]


async def test_pulled_messages_are_settled_by_their_lease_once(node: Node) -> None:
    await with_queue(node)
    await post(node, "/orders/messages/batch", {"messages": [{"body": n} for n in range(3)]})
    first, second, third = await pull(node)

    answer = await post(
        node, "/orders/messages/ack", {"acks": [{"lease_id": first["lease_id"]}], "retries": [{"lease_id": second["lease_id"]}]}
    )
    again = await post(node, "/orders/messages/ack", {"acks": [{"lease_id": first["lease_id"]}, {"lease_id": second["lease_id"]}]})

    assert answer.result == {"ackCount": 1, "retryCount": 1}
    assert again.result == {"ackCount": 0, "retryCount": 0}
    (retried,) = await pull(node)
    assert (retried["id"], retried["attempts"]) == (second["id"], 2)
    assert third["lease_id"] != retried["lease_id"]


async def test_a_purge_says_how_many_messages_it_took(node: Node) -> None:
    await with_queue(node)
    await post(node, "/orders/messages/batch", {"messages": [{"body": n} for n in range(3)]})

    assert (await post(node, "/orders/purge", {"delete_messages_permanently": True})).result["deleted"] == 3
    assert await pull(node) == []


async def test_a_delayed_message_is_not_pulled_before_its_time(node: Node) -> None:
    await with_queue(node)
    await post(node, "/orders/messages/batch", {"messages": [{"body": 1}, {"body": 2, "delay_seconds": 0}], "delay_seconds": 3600})

    assert [body_of(message) for message in await pull(node)] == [2]


async def test_what_cannot_be_a_message_is_refused(node: Node) -> None:
    await with_queue(node)
    many, large = {"messages": [{"body": n} for n in range(101)]}, "x" * 131_072
    heavy = {"messages": [{"body": "x" * 100_000} for _ in range(3)]}
    refused = [
        await post(node, "/orders/messages", {}),
        await post(node, "/orders/messages", {"body": 1, "content_type": "text"}),
        await post(node, "/orders/messages", {"body": "?", "content_type": "bytes"}),
        await post(node, "/orders/messages", {"body": 1, "content_type": "v8"}),
        await post(node, "/orders/messages", {"body": 1, "delay_seconds": 86_401}),
        await post(node, "/orders/messages/batch", {"messages": []}),
        await post(node, "/orders/messages/batch", many),
        await post(node, "/orders/messages/ack", {"acks": [{"lease_id": "1"}]}),
    ]

    assert [reply.status for reply in refused] == [400] * len(refused)
    assert (await post(node, "/orders/messages", {"body": large})).status == 413
    assert (await post(node, "/orders/messages/batch", heavy)).status == 413
    assert await pull(node) == []
