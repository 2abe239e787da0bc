"""The OpenAPI document against the router and the answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.api.node import Node


async def document(node: Node) -> dict[str, Any]:
    reply = await node.call("GET", "/openapi.json")
    assert reply.headers["content-type"] == "application/json"
    return dict(reply.body)


def operations(spec: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


async def test_the_document_lists_exactly_the_routes_of_the_server(node: Node) -> None:
    spec = await document(node)
    routed = {
        (resource.canonical, route.method)
        for resource in node.server.app.router.resources()
        for route in resource
        if route.method not in ("*", "HEAD")
    }
    assert routed == {(path, method) for path, method, _ in operations(spec)}
    assert len(routed) >= 20


async def test_the_addresses_that_are_no_rows_are_these(node: Node) -> None:
    rows = {operation.path for operation in node.server.operations}
    others = {resource.canonical for resource in node.server.app.router.resources()} - rows
    assert others == {
        "/client/v4", "/client/v4/{tail}", "/dashboard", "/dashboard/{tail}", "/hooks", "/hooks/{tail}", "/{tail}",
    }  # fmt: skip


async def test_the_document_is_of_version_3_1_and_of_this_hub(node: Node) -> None:
    spec = await document(node)
    assert spec["openapi"] == "3.1.0"
    assert spec["info"]["version"] == "1.2.3"


async def test_every_reference_leads_somewhere_and_every_schema_is_used(node: Node) -> None:
    spec = await document(node)
    used = set(references(spec))
    assert used == {f"#/components/schemas/{name}" for name in spec["components"]["schemas"]}


async def test_every_path_parameter_is_declared(node: Node) -> None:
    for path, _, operation in operations(await document(node)):
        declared = [item["name"] for item in operation["parameters"] if item["in"] == "path"]
        assert declared == re.findall(r"\{(\w+)\}", path)


async def test_operation_ids_are_unique_and_every_operation_has_a_summary(node: Node) -> None:
    listed = [operation for _, _, operation in operations(await document(node))]
    assert len({operation["operationId"] for operation in listed}) == len(listed)
    assert all(operation["summary"].endswith(".") for operation in listed)


async def test_what_needs_a_token_says_so(node: Node) -> None:
    for path, _, operation in operations(await document(node)):
        closed = path.startswith(("/client/v4", "/cdn-cgi/local", "/metrics"))
        assert bool(operation["security"]) == closed, path
        assert ("401" in operation["responses"]) == closed, path


async def test_only_operations_with_a_body_can_answer_that_it_is_wrong(node: Node) -> None:
    for path, _, operation in operations(await document(node)):
        assert ("requestBody" in operation) == ("415" in operation["responses"]), path


async def test_queries_of_the_list_are_described_with_their_bounds(node: Node) -> None:
    spec = await document(node)
    listed = spec["paths"]["/client/v4/accounts/{account}/workflows/{workflow}/instances"]["get"]["parameters"]
    query = {item["name"]: item["schema"] for item in listed if item["in"] == "query"}
    of_cloudflare = {"page", "per_page", "cursor", "direction", "status", "date_start", "date_end"}
    times = {"modified_start", "modified_end", "ended_start", "ended_end"}
    assert set(query) == of_cloudflare | times | {"trigger", "version", "tag", "metadata"}
    assert (query["per_page"]["minimum"], query["per_page"]["maximum"]) == (1, 100)
    assert query["direction"]["enum"] == ["asc", "desc"]


async def test_results_have_the_keys_that_the_document_promises(node: Node) -> None:
    schemas = (await document(node))["components"]["schemas"]
    await node.create("approve", "a")
    for path, schema in {
        "/approve": "WorkflowItem",
        "/approve/instances/a": "InstanceDetail",
    }.items():
        result = (await node.get(path)).result
        assert set(schemas[schema]["required"]) <= set(result) <= set(schemas[schema]["properties"]), path
    for path, schema in {"/approve/versions": "VersionItem", "/approve/instances": "InstanceItem"}.items():
        (item,) = (await node.get(path)).result
        assert set(item) == set(schemas[schema]["required"]), path
