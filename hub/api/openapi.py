"""The OpenAPI 3.1 document of the route table. Pure: table in, document out; nothing is described by hand but the envelope."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter

from hub.api import problems
from hub.api.envelope import Note, ResultInfo
from hub.api.operation import Operation
from hub.api.shapes import MAX_ADDRESSABLE_ID

_REF = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"\{(\w+)\}")
_WITH_BODY = ("body", "content_type", "payload.too_large")
_TOKEN = "a token of `hub tokens create`, or the setting [server] token"  # noqa: S105
_WITH_TOKEN = ("unauthorized", "token.expired", "scope.missing", "account.forbidden", "account.not_found")

Schemas = dict[str, dict[str, Any]]


def document(operations: Iterable[Operation], *, version: str) -> dict[str, Any]:
    """Return the document."""
    schemas: Schemas = {}
    paths: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    _define(Note, schemas)
    _define(ResultInfo, schemas)
    schemas["Failure"] = _envelope(False, {"type": "null"})
    for operation in operations:
        paths[operation.path][operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Trigger Hub",
            "version": version,
            "description": "Durable workflows on your own machine. The workflow resources are those of Cloudflare's Workflows API.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": dict(paths),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": _TOKEN}},
        },
    }


def _operation(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    written: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "security": [] if operation.scope is None else [{"token": []}],
        "x-scope": "open" if operation.scope is None else operation.scope.value,
        "parameters": [*_path_parameters(operation.path), *_query_parameters(operation, schemas)],
        "responses": _responses(operation, schemas),
    }
    if operation.body is not None:
        content = {"application/json": {"schema": _define(operation.body, schemas, mode="validation")}}
        written["requestBody"] = {"required": False, "description": "an empty body counts as {}", "content": content}
    return written


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1, "maxLength": MAX_ADDRESSABLE_ID}}
        for name in _PARAMETER.findall(path)
    ]


def _query_parameters(operation: Operation, schemas: Schemas) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema(ref_template=_REF)
    schemas.update(schema.pop("$defs", {}))
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": field} for name, field in schema["properties"].items()
    ]


def _responses(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    result = _define(operation.result, schemas)
    shown = _envelope(True, result, listing=operation.listing) if operation.enveloped else result
    responses: dict[str, Any] = {"200": {"description": "It worked.", "content": {operation.content_type: {"schema": shown}}}}
    if operation.accepted is not None:
        responses["202"] = {**responses["200"], "description": operation.accepted}
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for word in _error_words(operation):
        by_status[problems.status(word)].append(f"{problems.number(word)} {word}")
    for status, told in sorted(by_status.items()):
        failure = shown if status == 503 and operation.scope is None else {"$ref": _REF.format(model="Failure")}
        content = {"application/json": {"schema": failure}}
        responses[str(status)] = {"description": "; ".join(told), "content": content}
    return responses


def _error_words(operation: Operation) -> list[str]:
    words = [*operation.errors, "host.unknown", "internal_server"]
    if operation.enveloped:
        words.append("unavailable")
    if operation.query is not None:
        words.append("query")
    if operation.body is not None:
        words += _WITH_BODY
    if operation.scope is not None:
        words += _WITH_TOKEN
    if operation.changes or operation.local:
        words.append("origin.forbidden")
    return words


def _envelope(success: bool, result: dict[str, Any], *, listing: bool = False) -> dict[str, Any]:
    notes = {"type": "array", "items": {"$ref": _REF.format(model="Note")}}
    properties: dict[str, Any] = {"success": {"const": success}, "errors": notes, "messages": notes, "result": result}
    if listing:
        properties["result_info"] = {"$ref": _REF.format(model="ResultInfo")}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _define(shape: Any, schemas: Schemas, *, mode: Any = "serialization") -> dict[str, Any]:
    """Add the schema of a shape, and those that it uses, to the components; return a reference to it."""
    schema = TypeAdapter(shape).json_schema(ref_template=_REF, mode=mode)
    schemas.update(schema.pop("$defs", {}))
    title = schema.get("title")
    if title is None or "properties" not in schema:
        return schema
    schemas[title] = schema
    return {"$ref": _REF.format(model=title)}
