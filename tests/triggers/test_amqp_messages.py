"""What an AMQP message says: its body by content type and encoding, its key, and everything beside it."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.errors import Rejected
from triggers._amqp_messages import Properties, Received, as_json, plain, read_body, read_event, read_key, read_metadata, unread_event

LIMIT = 1000


def message(body: bytes = b"", headers: dict[str, Any] | None = None, **properties: Any) -> Received:
    return Received(queue="orders", body=body, headers=headers or {}, properties=Properties(**properties))


@pytest.mark.parametrize(
    ("body", "properties", "expected"),
    [
        (b'{"n": 1}', {"content_type": "application/json"}, {"n": 1}),
        (b'{"n": 1}', {"content_type": "application/vnd.shop+json; charset=utf-8"}, {"n": 1}),
        (b"12345678901234567890123", {"content_type": "application/json"}, 12345678901234567890123),
        ("grün".encode(), {"content_type": "text/plain"}, "grün"),
        ("grün".encode("latin-1"), {"content_type": 'text/plain; charset="ISO-8859-1"'}, "grün"),
        ("grün".encode("latin-1"), {"content_type": "text/plain", "content_encoding": "latin-1"}, "grün"),
        (b"{}", {"content_type": "application/json", "content_encoding": "utf-8"}, {}),
        (b"\x00\xff", {"content_type": "application/octet-stream"}, b"\x00\xff"),
        (b'{"n": 1}', {"content_type": "application/x-protobuf"}, b'{"n": 1}'),
        (b'{"n": 1}', {}, {"n": 1}),
        (b"hello", {}, "hello"),
        (b"\xff\xfe", {}, b"\xff\xfe"),
        (b"", {"content_type": "application/json"}, None),
        (gzip.compress(b'{"n": 1}'), {"content_type": "application/json", "content_encoding": "gzip"}, {"n": 1}),
        (gzip.compress(b"[1,") + gzip.compress(b"2]"), {"content_type": "application/json", "content_encoding": "x-gzip"}, [1, 2]),
    ],
)
def test_a_body_is_read_by_its_content_type(body: bytes, properties: dict[str, Any], expected: Any) -> None:
    assert read_body(message(body, **properties), LIMIT) == expected


@pytest.mark.parametrize(
    ("body", "properties", "code"),
    [
        (b"{", {"content_type": "application/json"}, "payload.malformed"),
        (b"\xff", {"content_type": "text/plain"}, "payload.malformed"),
        (b"x" * (LIMIT + 1), {"content_type": "text/plain"}, "payload.too_large"),
        (gzip.compress(b" " * 20_000_000), {"content_encoding": "gzip"}, "payload.too_large"),
        (gzip.compress(b" " * LIMIT) * 2, {"content_encoding": "gzip"}, "payload.too_large"),
        (b"not gzip", {"content_encoding": "gzip"}, "payload.malformed"),
        (gzip.compress(b"abcdef")[:-4], {"content_encoding": "gzip"}, "payload.malformed"),
        (b"x", {"content_encoding": "br"}, "payload.unsupported_encoding"),
    ],
)
def test_a_body_that_can_never_be_read_is_rejected(body: bytes, properties: dict[str, Any], code: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_body(message(body, **properties), LIMIT)

    assert caught.value.code == code


def test_an_unknown_type_is_handed_on_as_base64_with_its_name() -> None:
    received = message(b"\x00\xff", content_type="image/png")

    assert read_event(received, LIMIT).payload == {"content_type": "image/png", "base64": "AP8="}
    assert unread_event(received).payload == {"content_type": "image/png", "base64": "AP8="}


@pytest.mark.parametrize(
    ("headers", "properties", "key"),
    [
        ({}, {"message_id": "m1"}, "m1"),
        ({}, {}, None),
        ({}, {"message_id": ""}, None),
        ({"cloudEvents:source": "/shop", "cloudEvents:id": "7"}, {}, "/shop 7"),
        ({"cloudEvents_source": "/shop", "cloudEvents_id": "7"}, {}, "/shop 7"),
        ({"cloudEvents:source": "/shop", "cloudEvents:id": "7"}, {"message_id": "m1"}, "m1"),
        ({"cloudEvents:id": "7"}, {}, None),
    ],
)
def test_the_key_is_the_id_that_the_sender_gave(headers: dict[str, Any], properties: dict[str, Any], key: str | None) -> None:
    assert read_key(message(headers=headers, **properties)) == key


def test_a_key_of_any_length_is_refused_with_a_code() -> None:
    with pytest.raises(Rejected, match="longer than 512") as caught:
        read_key(message(headers={"cloudEvents:source": "s" * 600, "cloudEvents:id": "7"}))

    assert caught.value.code == "payload.dedupe_key"


def test_properties_headers_and_route_are_kept_with_their_types() -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    received = Received(
        queue="orders",
        body=b"{}",
        exchange="shop",
        routing_key="orders.new",
        redelivered=True,
        consumer_tag="tag",
        properties=Properties(content_type="application/json", message_id="m1", timestamp=at, priority=5, type="order"),
        headers={
            "n": 1,
            "raw": b"\x00",
            "at": at,
            "price": Decimal("1.50"),
            "nested": {"list": [1, {"deep": at}]},
            "flag": True,
            "none": None,
            "traceparent": "00-aa-bb-01",
            "tracestate": "x=1",
            "cloudEvents:type": "order.created",
            "cloudEvents:subject": "order 7",
            "x-delivery-count": 2,
            "Authorization": "Bearer abc",
        },
    )

    event = read_event(received, LIMIT)

    assert event.metadata == {
        "queue": "orders",
        "exchange": "shop",
        "routing_key": "orders.new",
        "consumer_tag": "tag",
        "redelivered": True,
        "delivery_count": 2,
        "properties": {
            "content_type": "application/json",
            "message_id": "m1",
            "timestamp": "2030-01-01T00:00:00+00:00",
            "type": "order",
            "priority": 5,
        },
        "headers": {
            "n": 1,
            "raw": "AA==",
            "at": "2030-01-01T00:00:00+00:00",
            "price": "1.50",
            "nested": {"list": [1, {"deep": "2030-01-01T00:00:00+00:00"}]},
            "flag": True,
            "none": None,
        },
        "traceparent": "00-aa-bb-01",
        "tracestate": "x=1",
        "cloudevent": {"type": "order.created", "subject": "order 7"},
    }
    assert event.headers == {"n": "1", "raw": "AA==", "at": "2030-01-01T00:00:00+00:00", "price": "1.50", "flag": "true"}
    assert (event.subject, event.occurred_at, event.key) == ("order 7", at, "m1")


def test_headers_are_kept_up_to_a_size() -> None:
    received = message(headers={"a": "x" * 5000, "b": "y" * 5000, "c": "z"})

    assert list(read_metadata(received)["headers"]) == ["a"]


@pytest.mark.parametrize("headers", [{"x-delivery-count": "3"}, {"x-delivery-count": True}, {}])
def test_a_count_that_is_no_number_counts_nothing(headers: dict[str, Any]) -> None:
    assert message(headers=headers).returns == 0


def test_the_larger_count_of_the_broker_holds() -> None:
    assert message(headers={"x-delivery-count": 1, "x-acquired-count": 4}).returns == 4


fields = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(fields)
def test_every_field_value_of_the_protocol_becomes_json(value: Any) -> None:
    json.dumps(plain(value), allow_nan=False)


@given(st.binary(max_size=200), st.sampled_from(["application/json", "text/plain; charset=utf-16", "image/png", None]), st.booleans())
def test_no_body_breaks_the_reader(body: bytes, content_type: str | None, zipped: bool) -> None:
    received = message(gzip.compress(body) if zipped else body, content_type=content_type)
    received = replace(received, properties=replace(received.properties, content_encoding="gzip" if zipped else None))
    try:
        read = as_json(received, read_body(received, LIMIT))
    except Rejected:  # a refusal is an answer, any other error is a defect
        return
    json.dumps(read)
