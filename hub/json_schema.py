"""The JSON Schema of hub.toml, for editors. Made from the tables and from the installed kinds; `python -m hub.json_schema` prints it."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter

from hub.plugins import CONNECTORS, TRIGGERS, kinds, plugin_class, trigger_class
from hub.schema import Settings, file_form
from hub.values import DURATION_SCHEMA


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of hub.toml with the installed kinds of triggers and connectors."""
    schema = _schema_of(Settings)
    definitions = schema["$defs"]
    del schema["properties"]["project"], definitions["StoreSettings"]["required"]
    _add_kinds(definitions, "TriggerSettings", TRIGGERS, required=["kind"])
    _add_kinds(definitions, "ConnectorSettings", CONNECTORS, required=["kind", "binding"])
    definitions["ConsumerSettings"] = _schema_of(trigger_class("queue").Config)
    own = {"title": "hub.toml", "description": "The settings of a Trigger Hub project.", "required": ["name", "main"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, **own}


def _add_kinds(definitions: dict[str, Any], name: str, group: str, *, required: list[str]) -> None:
    """Let a table's `kind` decide which other keys it may have; a kind that is not installed may have any."""
    table = definitions[name]
    del table["properties"]["options"]
    table |= {"description": "The other keys belong to the kind.", "required": required, "additionalProperties": True, "allOf": []}
    own = dict.fromkeys(table["properties"], True)
    for kind in kinds(group):
        cls = plugin_class(group, kind)
        config = _schema_of(cls.Config)
        definitions |= config.get("$defs", {})
        then = {"properties": own | config.get("properties", {}), "required": config.get("required", []), "additionalProperties": False}
        table["allOf"].append({"if": {"properties": {"kind": {"const": kind}}}, "then": then})


def _schema_of(kind: Any) -> dict[str, Any]:
    schema: dict[str, Any] = _as_in_file(TypeAdapter(kind).json_schema())
    return schema


def _as_in_file(node: Any) -> Any:
    """Say durations as people write them, and leave out the titles, which only repeat the keys."""
    if isinstance(node, list):
        return [_as_in_file(item) for item in node]
    if not isinstance(node, dict):
        return node
    told = {key: _as_in_file(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    if told.get("format") == "duration":
        del told["format"]
        told |= DURATION_SCHEMA
    if told.get("type") == DURATION_SCHEMA["type"] and str(told.get("default")).startswith("P"):
        told["default"] = file_form(TypeAdapter(timedelta).validate_python(told["default"]))
    return told


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")
