"""CloudEvents as their own SDK writes them, in all three forms."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as SdkEvent

from hub.core.errors import PayloadTooLarge, Rejected
from triggers._cloudevents import CloudEvent, read_events

STRUCTURED = {"content-type": "application/cloudevents+json; charset=utf-8"}
BATCH = {"content-type": "application/cloudevents-batch+json"}
LEAST = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def made(data: Any = None, **attributes: Any) -> SdkEvent:
    known = {"id": "A234-1234", "source": "/shops/köln/50 % off", "type": "com.example.order", "subject": 'a"b €'}
    moment = datetime(2026, 3, 1, 12, 0, 0, 250000, tzinfo=UTC)
    return SdkEvent({**known, "time": moment, "datacontenttype": "application/json", "tenant": "größe", **attributes}, data)


def one(headers: dict[str, str], body: bytes) -> CloudEvent:
    event = read_events(headers, body)
    assert isinstance(event, CloudEvent)
    return event


@pytest.mark.parametrize("write", [to_binary, to_structured])
@pytest.mark.parametrize("data", [{"n": 1, "ä": [None]}, [1], 7])
def test_event_of_the_sdk_arrives_with_its_data_and_all_attributes(write: Any, data: Any) -> None:
    message = write(made(data), JSONFormat())
    event = one({name.lower(): value for name, value in message.headers.items()}, message.body)
    assert event.data == data
    assert event.attributes == {
        "specversion": "1.0",
        "id": "A234-1234",
        "source": "/shops/köln/50 % off",
        "type": "com.example.order",
        "subject": 'a"b €',
        "time": "2026-03-01T12:00:00.250000Z",
        "datacontenttype": "application/json",
        "tenant": "größe",
    }
    assert event.subject == 'a"b €'
    assert event.occurred_at == datetime(2026, 3, 1, 12, 0, 0, 250000, tzinfo=UTC)
    assert event.key == "/shops/köln/50 % off A234-1234"


@pytest.mark.parametrize("write", [to_binary, to_structured])
@pytest.mark.parametrize(
    ("kind", "data", "payload"),
    [
        ("image/png", b"\x89PNG", {"content_type": "image/png", "base64": "iVBORw=="}),
        ("text/plain", "größe", "größe"),
    ],
)
def test_data_that_is_no_json_arrives_by_its_content_type(write: Any, kind: str, data: Any, payload: Any) -> None:
    message = write(made(data, datacontenttype=kind), JSONFormat())
    assert one({name.lower(): value for name, value in message.headers.items()}, message.body).data == payload


def test_batch_of_the_sdk_arrives_in_its_order() -> None:
    written = [to_structured(made({"n": n}, id=f"id-{n}"), JSONFormat()).body for n in range(3)]  # it writes no batches itself
    events = read_events(BATCH, b"[" + b",".join(written) + b"]")
    assert isinstance(events, list)
    assert [(event.attributes["id"], event.data) for event in events] == [(f"id-{n}", {"n": n}) for n in range(3)]
    assert read_events(BATCH, b"[]") == []


def test_event_without_data_or_content_type_is_complete() -> None:
    assert one(STRUCTURED, json.dumps(LEAST).encode()) == CloudEvent(attributes=LEAST, data=None)
    headers = {f"ce-{name}": value for name, value in LEAST.items()}
    assert one(headers, b"") == CloudEvent(attributes=LEAST, data=None)
    assert one(headers, b'{"a":1}').data == {"a": 1}


def test_request_that_is_no_cloudevent_is_left_alone() -> None:
    assert read_events({"content-type": "application/json", "ce-id": "1"}, b"{}") is None


def test_same_id_of_another_source_is_another_event() -> None:
    def key(source: str, id: str) -> str:
        return CloudEvent(attributes={"source": source, "id": id}, data=None).key

    assert len({key("a", "1"), key("b", "1"), key("a", "2")}) == 3
    assert key("a" * 600, "1") == key("a" * 600, "1") != key("a" * 600, "2")
    assert len(key("a" * 600, "1")) == 64
    assert key("x" * 600, "y z") != key("x" * 600 + " y", "z")


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in LEAST.items() if key != name}


@pytest.mark.parametrize(
    ("event", "word"),
    [
        ([], "the event is not a JSON object"),
        ("x", "the event is not a JSON object"),
        (without("specversion"), "no specversion"),
        (LEAST | {"specversion": "0.3"}, "'0.3'"),
        (without("id"), "no id"),
        (LEAST | {"id": ""}, "no id"),
        (LEAST | {"id": 7}, "no id"),
        (without("source"), "no source"),
        (LEAST | {"type": None}, "no type"),
        (LEAST | {"time": "yesterday"}, "time of the event is not a moment"),
        (LEAST | {"time": "2026-03-01T12:00:00"}, "time of the event is not a moment"),
        (LEAST | {"time": 7}, "time of the event is not a text"),
        (LEAST | {"extension": {"a": 1}}, "extension of the event"),
        (LEAST | {"data": 1, "data_base64": "eA=="}, "both data and data_base64"),
        (LEAST | {"data_base64": "!"}, "not base64"),
        (LEAST | {"data_base64": 7}, "not base64"),
    ],
)
def test_wrong_event_is_refused_with_what_is_wrong_and_a_batch_with_its_place(event: Any, word: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_events(STRUCTURED, json.dumps(event).encode())
    assert caught.value.code == "payload.cloudevent"
    assert word in caught.value.message
    with pytest.raises(Rejected) as caught:
        read_events(BATCH, json.dumps([LEAST, event]).encode())
    assert word.replace("the event", "event 1 of the batch") in caught.value.message
    assert "event 1 of the batch" in caught.value.message


@pytest.mark.parametrize(
    "headers", [{"ce-specversion": "1.0"}, {"ce-specversion": "1.0", "ce-id": "%ff", "ce-source": "s", "ce-type": "t"}]
)
def test_wrong_headers_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Rejected) as caught:
        read_events(headers, b"")
    assert caught.value.code == "payload.cloudevent"


def test_content_type_that_is_no_text_can_be_stored_all_the_same() -> None:
    headers = {f"ce-{name}": value for name, value in LEAST.items()} | {"content-type": "application/json; a=\udcff"}
    assert one(headers, b"1").attributes["datacontenttype"] == "application/json; a=?"


@pytest.mark.parametrize("kind", ["application/cloudevents+xml", "application/cloudevents", "application/cloudevents-batch+avro"])
def test_other_forms_than_json_are_unsupported(kind: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_events({"content-type": kind}, b"x")
    assert caught.value.code == "payload.unsupported_type"


def test_batch_is_bounded_and_a_list() -> None:
    with pytest.raises(PayloadTooLarge, match="1,000"):
        read_events(BATCH, json.dumps([LEAST] * 1001).encode())
    with pytest.raises(Rejected, match="JSON list"):
        read_events(BATCH, b"{}")
