"""Webhooks: how bytes become an event, how a receipt becomes an answer, and what is never answered with 2xx."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hub.core.delivery import Receipt, ReceiptStatus, TriggerEvent
from hub.core.errors import ConfigError, Rejected, Unavailable
from hub.core.model import HttpReply, Source
from tests.triggers.hosted import Hosted, request, settle
from triggers._hook_config import HttpConfig, RateConfig, ReplyConfig, VerifyConfig
from triggers._schemes import PRESETS
from triggers.http import HttpTrigger, dedupe_key, kept_headers

JSON = "application/json"


def body_of(reply: HttpReply) -> Any:
    return json.loads(reply.body)


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
        "x-acme-sign": "g",
    }
    assert kept_headers(headers, frozenset({"x-acme-sign"})) == {"x-github-event": "push"}


def test_kept_headers_are_bounded_and_always_text_that_json_can_hold() -> None:
    kept = kept_headers({"a": "1", "broken": "\udcff", "long": "x" * 5000})
    assert kept == {"a": "1", "broken": "?"}


# ---- the configuration


@pytest.mark.parametrize("path", ["github", "shop/orders", "v1.2/a_b-c~d", "/lead/", "x", "{id}", "shop/{shop_1}/orders/{id}"])
def test_sensible_paths_are_accepted(path: str) -> None:
    assert HttpConfig(path=path).path == path.strip("/")


@pytest.mark.parametrize(
    "path", ["", "/", "a//b", "..", "a/../b", ".hidden", "a b", "a?b", "%2e", "a#b", "ä", "{}", "{1}", "a{id}", "{id", "{i-d}"]
)
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
        ({"dedupe_header": ""}, "name of a header"),
        ({"dedupe_header": "a b"}, "name of a header"),
        ({"dedupe_header": "X-Gitlab-Token", "verify": {"preset": "gitlab", "secrets": ["s"]}}, "carries the secret"),
        ({"accept": ["json"]}, "not a content type"),
        ({"path": "{id}/{id}"}, "a name twice"),
        ({"max_requests": {"limit": 0}}, "greater than or equal to 1"),
        ({"max_requests": {"limit": 1, "period": "0 seconds"}}, "must be from 1 millisecond"),
        ({"wait": "1 hour"}, "must be from 1 second to 10 minutes"),
        ({"wait": "soon"}, "not a duration"),
        ({"reply": {"status": 302}}, "202"),
        ({"reply": {"status": 204, "body": "ok"}}, "204 has no body"),
        ({"reply": {"headers": {"x-a": "1\r\nx-b: 2"}}}, "control character"),
        ({"reply": {"content_type": "a\nb"}}, "control character"),
        ({"allowed_origins": ["https://a"]}, "name of a sender"),
        ({"handshakes": ["github"]}, "'slack'"),
        ({"pth": "x"}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_refused_by_name(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word) as caught:
        HttpConfig(**options)
    assert caught.value.errors()[0]["loc"][0] == next(iter(options))


def test_handshake_of_meta_needs_its_token() -> None:
    with pytest.raises(ValidationError, match="challenge_token"):
        HttpConfig(handshakes=("meta",))


def test_reference_shows_every_key_of_the_tables_of_a_webhook() -> None:
    reference = tomllib.loads((Path(__file__).parents[2] / "config" / "reference.toml").read_text())
    (shown,) = [table for table in reference["triggers"] if table["kind"] == "http"]
    either_or = {"query", "timestamp_field"}  # told beside the key that they replace
    assert set(shown["verify"]) | either_or == set(VerifyConfig.model_fields)
    assert set(shown["reply"]) == set(ReplyConfig.model_fields)
    assert set(shown["max_requests"]) == set(RateConfig.model_fields)


def test_readme_names_every_preset_and_its_example_loads() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    section = readme.partition("## Webhooks\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \| .* \| .* \|$", section, re.MULTILINE)
    named = {preset for row in rows for preset in re.findall(r"`([a-z0-9-]+)`", row)}
    assert named - {"preset"} == set(PRESETS)
    (example,) = re.findall(r"^```toml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (trigger,) = tomllib.loads(example)["triggers"]
    config = HttpConfig(**{key: value for key, value in trigger.items() if key not in ("kind", "name", "workflow")})
    assert config.verify is not None


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
    metadata = {"method": "POST", "path": "/hooks/orders/new"}
    assert hosted.events == [
        TriggerEvent(payload={"n": 1}, headers={"content-type": JSON, "x-shop": "a"}, metadata=metadata, source=Source.EVENT)
    ]


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
    with pytest.raises(Rejected, match="content type is missing"):
        await hosted.send("/hooks/shop", b"{}")
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
