"""Webhooks: how bytes become an event, how a receipt becomes an answer, and what is never answered with 2xx."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import ValidationError

from hub.core.delivery import Receipt, ReceiptStatus, TriggerEvent
from hub.core.errors import ConfigError, Rejected, Unavailable
from hub.core.model import HttpReply, Source
from tests.triggers.hosted import Hosted, request, settle
from triggers.http import HttpConfig, HttpTrigger, dedupe_key, kept_headers, read_payload

JSON = "application/json"


def body_of(reply: HttpReply) -> Any:
    return json.loads(reply.body)


# ---- bytes → payload


@pytest.mark.parametrize(
    ("content_type", "body", "payload"),
    [
        ("application/json", b'{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        ("Application/JSON; charset=utf-8", b'"text"', "text"),
        ("application/vnd.github+json", b"[]", []),
        ("application/json", b"12345678901234567890123", 12345678901234567890123),
        ("application/x-www-form-urlencoded", b"a=1&b=x+y&b=%C3%A9&c=", {"a": "1", "b": ["x y", "é"], "c": ""}),
        ("application/x-www-form-urlencoded", b"payload=%7B%22a%22%3A1%7D", {"payload": '{"a":1}'}),
        ("text/plain", "größe".encode(), "größe"),
        ('text/csv; charset="ISO-8859-1"', "größe".encode("latin-1"), "größe"),
        ("text/plain; format=flowed; charset=utf-16", "ж".encode("utf-16"), "ж"),
        ("", b"", None),
        ("application/json", b"", None),
        ("image/png", b"", None),
    ],
)
def test_body_becomes_the_value_that_its_content_type_says(content_type: str, body: bytes, payload: Any) -> None:
    assert read_payload(content_type, body) == payload


@pytest.mark.parametrize(
    ("content_type", "body", "code", "word"),
    [
        (JSON, b'{"a": 1,\n "b": }', "payload.malformed", "line 2"),
        (JSON, b"\xff", "payload.malformed", "UTF-8"),
        (JSON, b"[" * 5000, "payload.malformed", "line 1"),
        (JSON, b"[" * 110 + b"]" * 110, "payload.malformed", "nested"),
        (JSON, b"NaN", "payload.malformed", "line 1"),
        ("image/png", b"x", "payload.unsupported_type", "image/png"),
        ("multipart/form-data; boundary=x", b"--x--", "payload.unsupported_type", "multipart/form-data"),
        ("application/jsonx", b"{}", "payload.unsupported_type", "accepted content types: application/json"),
        ("nonsense", b"{}", "payload.unsupported_type", "nonsense"),
        ("", b"{}", "payload.unsupported_type", "missing"),
        ("application/x-www-form-urlencoded", b' {"a": 1}', "payload.unsupported_type", "looks like JSON"),
        ("application/x-www-form-urlencoded", b"a=%ff", "payload.malformed", "UTF-8"),
        ("application/x-www-form-urlencoded", b"a=1&" * 2000, "payload.too_large", "fields"),
        ("text/plain", b"a\xff", "payload.malformed", "position 1"),
        ("text/plain; charset=unicode_escape", b"a", "payload.unsupported_type", "charset"),
        ("text/plain; charset=rot13", b"a", "payload.unsupported_type", "charset"),
    ],
)
def test_body_that_cannot_be_read_is_rejected_with_its_reason(content_type: str, body: bytes, code: str, word: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_payload(content_type, body)
    assert caught.value.code == code
    assert word in caught.value.message


# ---- headers


@pytest.mark.parametrize(
    ("configured", "headers", "key"),
    [
        (None, {}, None),
        (None, {"x-github-delivery": "d1"}, "d1"),
        (None, {"idempotency-key": "k", "x-github-delivery": "d", "webhook-id": "w"}, "w"),
        (None, {"webhook-id": "  ", "idempotency-key": " k "}, "k"),
        ("x-event", {"webhook-id": "w", "x-event": "e"}, "e"),
        ("x-event", {"webhook-id": "w"}, None),
    ],
)
def test_dedupe_key_is_the_first_header_that_has_one(configured: str | None, headers: dict[str, str], key: str | None) -> None:
    assert dedupe_key(configured, headers) == key


def test_dedupe_key_of_absurd_length_is_rejected() -> None:
    with pytest.raises(Rejected, match="512"):
        dedupe_key(None, {"webhook-id": "x" * 513})


def test_credentials_are_not_kept_with_the_event() -> None:
    headers = {
        "authorization": "Bearer a",
        "Cookie": "b",
        "proxy-authorization": "c",
        "x-gitlab-token": "d",
        "x-api-key": "e",
        "x-client-secret": "f",
        "x-github-event": "push",
    }
    assert kept_headers(headers) == {"x-github-event": "push"}


def test_kept_headers_are_bounded_and_always_text_that_json_can_hold() -> None:
    kept = kept_headers({"a": "1", "broken": "\udcff", "long": "x" * 5000})
    assert kept == {"a": "1", "broken": "?"}


# ---- the configuration


@pytest.mark.parametrize("path", ["github", "shop/orders", "v1.2/a_b-c~d", "/lead/", "x"])
def test_sensible_paths_are_accepted(path: str) -> None:
    assert HttpConfig(path=path).path == path.strip("/")


@pytest.mark.parametrize("path", ["", "/", "a//b", "..", "a/../b", ".hidden", "a b", "a?b", "%2e", "a#b", "ä"])
def test_paths_that_need_escaping_or_climb_are_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="is not a path"):
        HttpConfig(path=path)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"methods": ["FETCH"]}, "not one of"),
        ({"methods": []}, "at least 1"),
        ({"methods": "POST"}, "list of methods"),
        ({"max_body": 0}, "greater than or equal to 1"),
        ({"max_body": 100_000_000}, "less than or equal"),
        ({"dedupe_header": ""}, "at least 1 character"),
        ({"pth": "x"}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_refused_by_name(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word) as caught:
        HttpConfig(**options)
    assert caught.value.errors()[0]["loc"] == tuple(options)


# ---- request → receipt → reply


async def test_path_defaults_to_the_name_of_the_trigger(hosted: Hosted) -> None:
    await hosted.host(shop=HttpTrigger(HttpConfig()))
    assert hosted.serves("/hooks/shop")


async def test_accepted_request_is_answered_with_the_instance_and_where_to_look(hosted: Hosted) -> None:
    await hosted.host(shop=HttpTrigger(HttpConfig(path="orders/new")))
    reply = await hosted.send("/hooks/orders/new", b'{"n": 1}', content_type=JSON, authorization="Bearer x", x_shop="a")
    assert reply.status == 202
    assert reply.headers["content-type"] == JSON
    id = body_of(reply)["id"]
    assert body_of(reply) == {
        "id": id,
        "workflow": "orders",
        "status": "queued",
        "status_url": f"/client/v4/accounts/local/workflows/orders/instances/{id}",
    }
    assert (await hosted.engine.instance("orders", id)).trigger == "shop"
    assert hosted.events == [TriggerEvent(payload={"n": 1}, headers={"content-type": JSON, "x-shop": "a"}, source=Source.EVENT)]


async def test_same_delivery_id_again_is_answered_with_the_first_instance(hosted: Hosted) -> None:
    await hosted.host(shop=HttpTrigger(HttpConfig()))
    first = await hosted.send("/hooks/shop", b"1", content_type=JSON, webhook_id="w1")
    again = await hosted.send("/hooks/shop", b"1", content_type=JSON, webhook_id="w1")
    other = await hosted.send("/hooks/shop", b"1", content_type=JSON, webhook_id="w2")
    assert "duplicate" not in body_of(first)
    assert (again.status, body_of(again)["id"], body_of(again)["duplicate"]) == (202, body_of(first)["id"], True)
    assert body_of(other)["id"] != body_of(first)["id"]
    assert len(hosted.events) == 2


async def test_filtered_event_is_answered_without_an_instance(hosted: Hosted) -> None:
    async def filtered(_event: TriggerEvent) -> Receipt:
        return Receipt(status=ReceiptStatus.FILTERED, reason="not an order")

    hosted.answer = filtered
    await hosted.host(shop=HttpTrigger(HttpConfig()))
    reply = await hosted.send("/hooks/shop", b"1", content_type=JSON)
    assert (reply.status, body_of(reply)) == (202, {"filtered": True, "reason": "not an order"})


@pytest.mark.parametrize("error", [Rejected("no such shop", code="payload.schema"), Unavailable("disk is full")])
async def test_refusal_of_the_bus_is_never_a_2xx(hosted: Hosted, error: Rejected | Unavailable) -> None:
    async def refuse(_event: TriggerEvent) -> Receipt:
        raise error

    hosted.answer = refuse
    await hosted.host(shop=HttpTrigger(HttpConfig()))
    with pytest.raises(type(error)) as caught:
        await hosted.send("/hooks/shop", b"1", content_type=JSON)
    assert caught.value is error


async def test_unreadable_body_never_reaches_the_bus(hosted: Hosted) -> None:
    await hosted.host(shop=HttpTrigger(HttpConfig()))
    with pytest.raises(Rejected, match="line 1"):
        await hosted.send("/hooks/shop", b"{", content_type=JSON)
    with pytest.raises(Rejected, match=JSON):
        await hosted.send("/hooks/shop", b"{}", content_type="image/png")
    assert hosted.events == []


async def test_no_answer_is_given_before_the_event_is_durable(hosted: Hosted) -> None:
    durable = asyncio.Event()
    asked = asyncio.Event()

    async def slow(event: TriggerEvent) -> Receipt:
        asked.set()
        await durable.wait()
        return await hosted.accept(event)

    hosted.answer = slow
    await hosted.host(shop=HttpTrigger(HttpConfig()))
    sending = asyncio.create_task(hosted.send("/hooks/shop", b"1", content_type=JSON))
    await asked.wait()
    assert not sending.done()
    durable.set()
    assert (await sending).status == 202


async def test_stop_waits_for_requests_in_flight_and_takes_no_new_one(hosted: Hosted) -> None:
    durable = asyncio.Event()
    asked = asyncio.Event()

    async def slow(event: TriggerEvent) -> Receipt:
        asked.set()
        await durable.wait()
        return await hosted.accept(event)

    hosted.answer = slow
    await hosted.host(shop=HttpTrigger(HttpConfig()))
    sending = asyncio.create_task(hosted.send("/hooks/shop", b"1", content_type=JSON))
    await asked.wait()
    stopping = asyncio.create_task(hosted.stop())
    await settle()
    assert not hosted.serves("/hooks/shop")
    assert not stopping.done()
    durable.set()
    await stopping
    assert (await sending).status == 202


async def test_request_that_was_routed_just_before_stop_is_sent_back(hosted: Hosted) -> None:
    trigger = HttpTrigger(HttpConfig())
    await hosted.host(shop=trigger)
    handler = hosted.handler("/hooks/shop")
    await trigger.stop()
    with pytest.raises(Unavailable, match="send it again"):
        await handler(request("/hooks/shop", b"1", content_type=JSON))
    assert hosted.events == []


async def test_stop_is_safe_twice_and_without_start() -> None:
    trigger = HttpTrigger(HttpConfig())
    await trigger.stop()
    await trigger.stop()


async def test_two_triggers_on_one_path_are_refused(hosted: Hosted) -> None:
    with pytest.raises(ConfigError, match="/hooks/shop"):
        await hosted.host(shop=HttpTrigger(HttpConfig()), other=HttpTrigger(HttpConfig(path="shop")))
