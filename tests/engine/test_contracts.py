"""Contracts by JSON Schema: what of a fault is told, and that no payload keeps the hub from its other work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub.core.errors import ConfigError, Rejected
from hub.engine.contracts import MAX_TOLD, SchemaContract

Make = Callable[..., SchemaContract]
KINDS = {"anyOf": [{"properties": {"kind": {"const": "a"}, "n": {"type": "integer"}}}, {"type": "array", "items": {"type": "integer"}}]}


@pytest.fixture
def contract(tmp_path: Path) -> Make:
    def make(schema: Any, **beside: Any) -> SchemaContract:
        for name, content in beside.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        (tmp_path / "s.json").write_text(json.dumps(schema))
        return SchemaContract(tmp_path / "s.json", "triggers.0.schema")

    return make


def refusal(contract: SchemaContract, payload: Any) -> str:
    with pytest.raises(Rejected) as caught:
        contract.check(payload)
    assert caught.value.code == "payload.schema"
    return caught.value.message


@pytest.mark.parametrize(
    ("schema", "payload", "told"),
    [
        ({"type": "object"}, [], 'payload: [] is not of type "object" (s.json)'),
        ({"items": {"required": ["id"]}}, [{"id": 1}, {}], 'payload[1]: "id" is a required property (s.json)'),
        ({"properties": {"a b": {"maximum": 1}}}, {"a b": 2}, "payload['a b']: 2 is greater than the maximum of 1 (s.json)"),
        ({"properties": {"at": {"format": "date-time"}}}, {"at": "now"}, 'payload.at: "now" is not a "date-time" (s.json)'),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 3, "exclusiveMaximum": True}, 3, "payload: 3 is"),
        (False, 1, "payload: False schema does not allow 1 (s.json)"),
    ],
)
def test_a_fault_is_told_with_its_place(contract: Make, schema: Any, payload: Any, told: str) -> None:
    assert refusal(contract(schema), payload).startswith(told)


def test_of_alternatives_the_one_that_fits_best_is_told(contract: Make) -> None:
    assert refusal(contract(KINDS), {"kind": "a", "n": "x"}) == 'payload.n: "x" is not of type "integer" (s.json)'


def test_a_schema_may_refer_to_files_beside_it_and_to_what_they_refer_to(contract: Make) -> None:
    nested = contract({"properties": {"to": {"$ref": "place.json"}}}, place={"$ref": "parts.json#/$defs/place"}, parts=PARTS)

    nested.check({"to": "home"})
    assert refusal(nested, {"to": 1}) == 'payload.to: 1 is not of type "string" (s.json)'
    with pytest.raises(ConfigError, match=r'^triggers.0.schema: s.json refers to "nowhere.json", which is not there'):
        contract({"properties": {"to": {"$ref": "again.json"}}}, again={"$ref": "nowhere.json"})


PARTS = {"$defs": {"place": {"type": "string"}}}


@pytest.mark.timeout(20)
def test_a_pattern_of_a_schema_cannot_hang_the_hub(contract: Make) -> None:
    evil = contract({"pattern": r"^(a|a)*\1b$"})  # exponential for whoever goes back without a limit

    assert "backtracking" in refusal(evil, "a" * 5000)


@pytest.mark.timeout(20)
def test_what_is_told_of_a_large_payload_never_costs_more_than_to_check_it(contract: Make) -> None:
    told = refusal(contract(KINDS), {"kind": "a", "n": ["x"] * (MAX_TOLD + 1)})

    assert told == f"payload: it does not fit; the place is told of payloads with at most {MAX_TOLD:,} values (s.json)"
    assert refusal(contract({"items": {"type": "integer"}}), ["x"] * 100_000).startswith("payload[0]: ")


def test_a_payload_that_no_validator_can_read_is_refused(contract: Make) -> None:
    assert refusal(contract({"type": "string"}), "\ud800").startswith("payload: it holds half a surrogate pair")
