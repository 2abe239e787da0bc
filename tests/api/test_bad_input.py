"""Input that is refused: each answer names what was wrong and where, and nothing is created."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.api.node import ROOT, Node, running

JSON = {"content-type": "application/json"}


async def nothing_was_created(node: Node) -> None:
    assert (await node.get("/greet/instances")).body["result_info"]["total_count"] == 0


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"params": }', "line 1 column 12"),
        (b'{\n  "params": {"a": 1,}\n}', "line 2 column"),
        (b"{", "line 1 column 2"),
        (b"hello", "line 1 column 1"),
        (b'{"a": NaN}', "line 1 column 7"),
        (b'{"a": "\xff"}', "not UTF-8 at line 1 column 8"),
        (b"   ", "it is empty"),
        (b"[" * 100_000, "line 1"),
        (b'{"params": ' + b"[" * 150 + b"]" * 150 + b"}", "nested deeper than 100 levels"),
    ],
)
async def test_malformed_json_is_400_with_the_place(node: Node, body: bytes, place: str) -> None:
    status, number, message = (await node.post("/greet/instances", data=body, headers=JSON)).failure
    assert (status, number) == (400, 10901)
    assert message.startswith("(payload.malformed) ")
    assert place in message
    await nothing_was_created(node)


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/html",
        "application/xml",
        "image/svg+json",
        "application/json; charset=latin-1",
        "nonsense",
    ],
)
async def test_another_content_type_is_415_and_says_which_to_send(node: Node, kind: str) -> None:
    status, number, message = (await node.post("/greet/instances", data=b"{}", headers={"content-type": kind})).failure
    assert (status, number) == (415, 10903)
    assert kind in message
    assert "content-type: application/json" in message
    await nothing_was_created(node)


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/cloudevents+json",
        "text/plain;charset=UTF-8",
    ],
)
async def test_json_may_be_called_by_several_names(node: Node, kind: str) -> None:
    await node.post("/greet/instances", data=b'{"instance_id": "a"}', headers={"content-type": kind})
    assert (await node.get("/greet/instances/a")).status == 200


async def test_a_body_without_content_type_is_read_as_json(node: Node) -> None:
    answer = await node.call(
        "POST", f"{ROOT}/greet/instances", data=b'{"instance_id": "a"}', skip_auto_headers=["content-type"]
    )
    assert answer.result["id"] == "a"


async def test_an_empty_body_needs_no_content_type(node: Node) -> None:
    answer = await node.post("/greet/instances", headers={"content-type": "application/x-www-form-urlencoded"})
    assert answer.result["status"] == "queued"


async def test_a_compressed_body_is_415(node: Node) -> None:
    headers = {**JSON, "content-encoding": "gzip"}
    status, _, message = (await node.post("/greet/instances", data=gzip.compress(b"{}"), headers=headers)).failure
    assert status == 415
    assert "uncompressed" in message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "must be an object"),
        ("text", "must be an object"),
        ({"instance_id": 5}, "instance_id: input should be a valid string"),
        ({"instance_id": ["a"]}, "instance_id: input should be a valid string"),
    ],
)
async def test_a_wrong_type_names_the_field(node: Node, body: Any, message: str) -> None:
    assert (await node.post("/greet/instances", json=body)).failure == (400, 10901, f"(body) {message}")
    await nothing_was_created(node)


async def test_a_payload_that_is_not_under_params_is_refused_and_not_dropped(node: Node) -> None:
    status, number, message = (await node.post("/greet/instances", json={"hello": "world"})).failure
    assert (status, number) == (400, 10901)
    assert message == '(body) "hello" is no key of this body; what the instance shall get belongs under "params"'
    assert (await node.post("/greet/instances/batch", json=[{"params": 1}, {"hello": 1}])).failure[:2] == (400, 10901)
    await nothing_was_created(node)


async def test_keys_of_the_official_clients_that_mean_nothing_here_are_ignored(node: Node) -> None:
    answer = await node.post("/greet/instances", json={"location_hint": "weur"})
    assert answer.result["status"] == "queued"


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("POST", "/instances", {"instance_id": "a", "x": 1}, 'what the instance shall get belongs under "params"'),
        ("POST", "/instances", {"parms": {}}, '"parms" is no key of this body; did you mean "params"?'),
        ("POST", "/instances", {"instance_retention": {"success_retentoin": 1}}, 'did you mean "success_retention"?'),
        ("POST", "/instances/batch", [{}, {"tag": ["a"]}], '[1]: "tag" is no key of this body; did you mean "tags"?'),
        ("PATCH", "/instances/x/status", {"status": "terminate", "rollbak": True}, 'did you mean "rollback"?'),
        ("PATCH", "/instances/x/status", {"status": "restart", "from": {"nam": "a"}}, 'from: "nam" is no key of this body; did you'),
        ("POST", "/instances/batch/delete", {"instances": ["a"], "filter": {}}, '"filter" is no key of this body'),
    ],
)  # fmt: skip
async def test_a_key_that_nobody_knows_is_refused_with_the_nearest_name(node: Node, method: str, path: str, body: Any, told: str) -> None:
    status, number, message = (await node.call(method, f"{ROOT}/greet{path}", json=body)).failure

    assert (status, number) == (400, 10901)
    assert told in message
    await nothing_was_created(node)


@pytest.mark.parametrize("id", ["", "-a", "a b", "a.b", "a/b", "é", "x" * 101, "batch", "terminate", "latest", "a\n"])
async def test_a_bad_id_is_10905_with_the_rule(node: Node, id: str) -> None:
    status, number, message = (await node.post("/greet/instances", json={"instance_id": id})).failure
    assert (status, number) == (400, 10905)
    assert message.startswith("(instance.invalid_id) ")
    await nothing_was_created(node)


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("page=0", "page"),
        ("page=x", "page"),
        ("page=-1", "page"),
        ("page=99999999999999999999", "page"),
        ("per_page=0", "per_page"),
        ("per_page=101", "per_page"),
        ("direction=up", "direction"),
        ("status=done", "status"),
        ("status=waiting,done", "status"),
        ("date_start=yesterday", "date_start"),
        ("date_start=2026-02-30", "date_start"),
        ("date_end=2026-13-01T00:00:00Z", "date_end"),
        ("date_start=0001-01-01T00:00:00%2B14:00", "date_start"),
        ("date_start=2026-02-02&date_end=2026-02-01", "date_start is later than date_end"),
        ("page=1&cursor=abc", "page and cursor exclude each other"),
        ("cursor=%00%ff", "cursor"),
        ("cursor=abc", "cursor"),
    ],
)
async def test_a_bad_query_names_the_key(node: Node, query: str, place: str) -> None:
    status, number, message = (await node.get(f"/greet/instances?{query}")).failure
    assert (status, number) == (400, 10902), message
    assert place in message


async def test_an_unknown_status_filter_lists_those_that_exist(node: Node) -> None:
    _, _, message = (await node.get("/greet/instances?status=done")).failure
    assert message.startswith('(query) status: "done" is not a status; there are queued, running, paused')


# ---- size


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Node]:
    """Run a node that takes bodies of 1,000 bytes."""
    async with running(tmp_path, max_body_bytes=1000) as node:
        yield node


def padded(size: int) -> bytes:
    body = json.dumps({"instance_id": "a", "params": ""}).encode()
    return body.replace(b'""', b'"' + b"x" * (size - len(body)) + b'"')


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 100):
        yield body[start : start + 100]


async def test_a_body_of_exactly_the_limit_is_taken(small: Node) -> None:
    assert len(padded(1000)) == 1000
    assert (await small.post("/greet/instances", data=padded(1000), headers=JSON)).result["id"] == "a"


async def test_a_body_above_the_limit_is_413(small: Node) -> None:
    status, number, message = (await small.post("/greet/instances", data=padded(1001), headers=JSON)).failure
    assert (status, number) == (413, 10904)
    assert "1,000 bytes" in message
    await nothing_was_created(small)


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413), (50_000, 413)])
async def test_the_limit_holds_without_a_content_length(small: Node, size: int, status: int) -> None:
    reply = await small.post("/greet/instances", data=in_chunks(padded(size)), headers=JSON)
    assert reply.status == status


async def test_a_payload_above_its_own_limit_is_413(node: Node) -> None:
    body = json.dumps({"params": "x" * (1 << 20)}).encode()
    status, number, message = (await node.post("/greet/instances", data=BytesIO(body), headers=JSON)).failure
    assert (status, number) == (413, 10904)
    assert "limits.payload_bytes" in message
    await nothing_was_created(node)


async def test_a_payload_at_its_limit_is_taken_in_both_spellings(node: Node) -> None:
    """The body's own limit leaves room for what JSON and a text that holds JSON add by escaping."""
    payload = "é" * ((1 << 19) - 1)
    assert len(json.dumps(payload, ensure_ascii=False).encode()) == 1 << 20
    for id, params in (("value", payload), ("text", json.dumps(payload))):
        body = json.dumps({"instance_id": id, "params": params}).encode()
        assert len(body) > 3 << 20
        assert (await node.post("/approve/instances", data=BytesIO(body), headers=JSON)).result["id"] == id
        assert (await node.get(f"/approve/instances/{id}")).result["params"] == payload


# ---- addresses and methods


@pytest.mark.parametrize(
    "path",
    [
        "/client/v4",
        "/client/v4/",
        "/client/v4/accounts/",
        "/client/v4/zones",
        "/client/v4/accounts/local/workers",
        "/client/v4/accounts/local/workflows/",
        "/client/v4/accounts/local/workflows/greet/instances/a/b/c",
    ],
)
async def test_an_unknown_address_of_the_api_is_404_in_the_envelope(node: Node, path: str) -> None:
    status, number, message = (await node.call("GET", path)).failure
    assert (status, number) == (404, 7000)
    assert path in message


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", ROOT, "GET, HEAD"),
        ("PATCH", f"{ROOT}/greet", "DELETE, GET, HEAD, PUT"),
        ("DELETE", f"{ROOT}/greet/instances", "GET, HEAD, POST"),
        ("GET", f"{ROOT}/greet/instances/batch", "POST"),
        ("POST", f"{ROOT}/greet/instances/a/status", "PATCH"),
        ("POST", "/healthz", "GET, HEAD"),
        ("OPTIONS", ROOT, "GET, HEAD"),
    ],
)
async def test_another_method_is_405_with_those_that_exist(node: Node, method: str, path: str, allowed: str) -> None:
    reply = await node.call(method, path)
    assert reply.failure[:2] == (405, 7001)
    assert reply.headers["allow"] == allowed


async def test_head_answers_like_get_without_a_body(node: Node) -> None:
    reply = await node.call("HEAD", ROOT)
    assert (reply.status, reply.raw) == (200, b"")
    assert int(reply.headers["content-length"]) > 0
