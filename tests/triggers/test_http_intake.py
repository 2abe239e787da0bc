"""The way of a request through a webhook: what is looked at first, what becomes of it, and what is kept of what was refused."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from hub.core.codec import decode
from hub.core.deliveries import decode_event
from hub.core.delivery import Delivery, DeliveryQuery, DeliveryStatus, Receipt, ReceiptStatus, TriggerEvent
from hub.core.errors import HubError, Overloaded, PayloadTooLarge, RateLimited, Rejected, Unavailable
from hub.core.model import HttpReply, HttpRequest
from hub.engine.context import TriggerSpec
from tests.triggers import senders
from tests.triggers.hosted import Hosted
from tests.triggers.senders import BODY, NOW, SENDERS, WHSEC, request
from triggers._hook_config import HttpConfig
from triggers.http import HttpTrigger

JSON = "application/json"
SECRET = "It's a Secret to Everybody"
GITHUB = {"preset": "github", "secrets": [SECRET]}


def hook(**options: Any) -> HttpTrigger:
    return HttpTrigger(HttpConfig(**options))


async def post(hosted: Hosted, body: bytes = b"1", headers: dict[str, str] | None = None, **parts: Any) -> HttpReply:
    target = parts.pop("target", "/hooks/in")
    asked = request(headers or {}, body, target=target, content_type=parts.pop("content_type", JSON))
    return await hosted.handler(asked.path)(replace(asked, **parts))


def told(reply: HttpReply) -> Any:
    return json.loads(reply.body)


async def stored(hosted: Hosted) -> list[Delivery]:
    return list((await hosted.engine.find(DeliveryQuery(ascending=True, heads=False))).items)


# ---- the order of work


async def test_too_many_requests_are_refused_before_their_bodies_are_read_or_their_proofs_are_looked_at(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(verify=GITHUB, max_requests={"limit": 2, "period": "1 minute"})})
    serve = hosted.hosting.routes.match("/hooks/in")
    assert serve is not None
    asked: list[int] = []

    async def read(limit_bytes: int) -> bytes:
        asked.append(limit_bytes)
        return b"1"

    for _ in range(2):
        with pytest.raises(Rejected):
            await serve.route.handler(request({}), read)
    with pytest.raises(RateLimited) as caught:
        await serve.route.handler(request(senders.github(SECRET, b"1", NOW)), read)
    assert caught.value.retry_after == timedelta(seconds=30)
    assert len(asked) == 2
    await hosted.clock.advance(timedelta(seconds=30))
    assert (await serve.route.handler(request(senders.github(SECRET, b"1", NOW)), read)).status == 202


async def test_one_remote_address_cannot_use_up_the_allowance_of_others(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(max_requests_per_remote={"limit": 1, "period": "1 minute"})})
    for remote in ("192.0.2.1", "192.0.2.2", None):
        assert (await post(hosted, remote=remote)).status == 202
        with pytest.raises(RateLimited):
            await post(hosted, remote=remote)


async def test_behind_a_proxy_the_last_address_in_its_header_counts(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(max_requests_per_remote={"limit": 1}, remote_header="X-Forwarded-For")})
    await post(hosted, headers={"x-forwarded-for": "10.0.0.1, 192.0.2.1"}, remote="127.0.0.1")
    with pytest.raises(RateLimited):
        await post(hosted, headers={"x-forwarded-for": "10.0.0.9, 192.0.2.1"}, remote="127.0.0.1")
    assert (await post(hosted, headers={"x-forwarded-for": "10.0.0.1, 192.0.2.2"}, remote="127.0.0.1")).status == 202


async def test_proof_is_made_over_the_bytes_that_were_sent_and_the_payload_is_what_they_unpack_to(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(verify=GITHUB)})
    packed = gzip.compress(b'{"a": 1}', mtime=0)
    reply = await post(hosted, packed, senders.github(SECRET, packed, NOW) | {"content-encoding": "gzip"})
    assert reply.status == 202
    assert hosted.events[0].payload == {"a": 1}
    with pytest.raises(Rejected) as caught:
        await post(hosted, packed, senders.github(SECRET, b'{"a": 1}', NOW) | {"content-encoding": "gzip"})
    assert caught.value.code == "unauthorized"


async def test_body_may_not_grow_beyond_its_limit_by_being_unpacked(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(max_body=1000)})
    with pytest.raises(PayloadTooLarge):
        await post(hosted, gzip.compress(b'"' + b"a" * 5000 + b'"'), {"content-encoding": "gzip"})
    assert hosted.events == []


@pytest.mark.parametrize("name", SENDERS)
async def test_each_known_sender_is_let_in_once_per_delivery(hosted: Hosted, name: str) -> None:
    preset, options, secret, _, sign = SENDERS[name]
    body = b'{"id": "evt_1", "event_id": "Ev1"}'
    target = "/hooks/in"
    if preset == "twilio":
        target += f"?bodySHA256={hashlib.sha256(body).hexdigest()}"
    await hosted.host(**{"in": hook(verify={"preset": preset, "secrets": [secret], **options})})
    first = await post(hosted, body, sign(secret, body, NOW), target=target)
    again = await post(hosted, body, sign(secret, body, NOW), target=target)
    assert (first.status, again.status) == (202, 202)
    without_ids = name in ("hmac", "token", "bearer", "basic")
    assert (told(first)["id"] == told(again)["id"]) is not without_ids
    assert ("duplicate" in told(again)) is not without_ids
    assert hosted.events[0].metadata["verified"] == preset
    assert not set(hosted.events[0].headers) & {"x-hook-secret", "x-gitlab-token", "authorization", "x-acme-sign", "webhook-signature"}
    with pytest.raises(Rejected):
        await post(hosted, body, target=target)


async def test_captured_request_under_another_id_is_known_by_its_signature_where_that_is_asked_for(hosted: Hosted) -> None:
    by_signature = hook(verify=GITHUB, dedupe_header="X-Hub-Signature-256")
    await hosted.host(**{"in": hook(verify=GITHUB, path="by-id"), "signed": by_signature})

    async def send(body: bytes, path: str, id: str) -> dict[str, Any]:
        answer: dict[str, Any] = told(await post(hosted, body, senders.github(SECRET, body, NOW) | {"x-github-delivery": id}, target=path))
        return answer

    assert "duplicate" not in {**await send(b"1", "/hooks/by-id", "d1"), **await send(b"1", "/hooks/by-id", "d2")}
    first, captured = await send(b"1", "/hooks/signed", "d1"), await send(b"1", "/hooks/signed", "d2")
    assert (captured["id"], captured["duplicate"]) == (first["id"], True)
    assert "duplicate" not in await send(b"2", "/hooks/signed", "d1"), "its id says nothing here"
    assert hosted.events[-1].key == hashlib.sha256(hmac.digest(SECRET.encode(), b"2", "sha256")).hexdigest()


# ---- refused requests


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (400, "rejected")])
async def test_refusal_says_nothing_about_what_was_wrong(hosted: Hosted, status: int, code: str) -> None:
    await hosted.host(**{"in": hook(verify={"preset": "standard-webhooks", "secrets": [WHSEC], "status": status})})
    right = senders.standard(WHSEC, BODY, NOW)
    wrong: list[dict[str, str]] = [
        {},
        right | {"webhook-signature": "v1,AAAA"},
        right | {"webhook-timestamp": "1"},
        senders.standard(WHSEC, BODY, NOW - timedelta(hours=1)),
    ]
    messages = set()
    for headers in wrong:
        with pytest.raises(Rejected) as caught:
            await post(hosted, BODY, headers)
        messages.add((caught.value.code, caught.value.message))
    assert messages == {(code, "the request is not accepted")}
    assert hosted.events == []


async def test_strangers_are_counted_and_leave_one_row_a_minute_without_what_they_sent(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(verify=GITHUB)})

    async def knock(times: int) -> None:
        for _ in range(times):
            with pytest.raises(Rejected):
                await post(hosted, b'{"password": "hunter2"}', {"x-note": "hunter2"}, remote="192.0.2.1")

    with capture_logs() as logs:
        await knock(50)
    (row,) = await stored(hosted)
    assert (row.status, row.code, row.message) == (DeliveryStatus.REJECTED, "unauthorized", "the header x-hub-signature-256 is missing")
    assert b"hunter2" not in row.event
    assert decode_event(row.event).metadata == {"method": "POST", "path": "/hooks/in", "remote": "192.0.2.1", "requests": 1}
    assert [line["requests"] for line in logs if line["event"] == "webhook.refused"] == [1]
    assert hosted.hosting.hosted["in"].health.facts == {"refused": 50}

    await hosted.clock.advance(timedelta(minutes=1))
    await knock(1)
    assert [decode_event(row.event).metadata["requests"] for row in await stored(hosted)] == [1, 50]


async def test_stranger_is_refused_also_when_that_cannot_be_stored(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(verify=GITHUB)})
    handler = hosted.handler("/hooks/in")
    await hosted.engine.stop()
    with pytest.raises(Rejected):
        await handler(request({}))


async def test_too_large_body_leaves_a_row_without_it(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(max_body=10)})
    for _ in range(3):
        with pytest.raises(PayloadTooLarge):
            await post(hosted, b"x" * 11)
    (row,) = await stored(hosted)
    assert (row.code, decode_event(row.event).payload) == ("payload.too_large", None)


@pytest.mark.parametrize(
    ("body", "headers", "code", "kept"),
    [
        (b'{"a": ', {}, "payload.malformed", {"text": '{"a": '}),
        (b'"\xff"', {}, "payload.malformed", {"base64": "Iv8i"}),
        (b"{" * 70_000, {}, "payload.malformed", {"text": "{" * 65_536, "bytes": 70_000}),
        (b"x", {"content-type": "odd"}, "payload.unsupported_type", {"text": "x"}),
        (b"x", {"content-encoding": "br"}, "payload.unsupported_type", {"text": "x"}),
        (b"{}", {"ce-specversion": "1.0"}, "payload.cloudevent", {"text": "{}"}),
        (b"{}", {"idempotency-key": "k" * 600}, "payload.dedupe_key", {"text": "{}"}),
    ],
)
async def test_request_that_cannot_be_read_is_stored_with_its_body_and_the_cause(
    hosted: Hosted, body: bytes, headers: dict[str, str], code: str, kept: Any
) -> None:
    await hosted.host(**{"in": hook()})
    with pytest.raises(Rejected) as caught:
        await post(hosted, body, headers | {"x-shop": "a", "authorization": "Bearer x"})
    assert caught.value.code == code
    (row,) = await stored(hosted)
    assert (row.status, row.code, row.message) == (DeliveryStatus.REJECTED, code, caught.value.message)
    event = decode_event(row.event)
    assert event.payload == kept
    assert (event.headers["x-shop"], "authorization" in event.headers) == ("a", False)
    assert hosted.events == []


async def test_request_that_cannot_be_stored_either_stays_with_its_sender(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook()})
    handler = hosted.handler("/hooks/in")
    await hosted.engine.stop()
    with pytest.raises(Unavailable):
        await handler(request({}, b"{"))


@pytest.mark.parametrize("accept", [["application/json"], ["image/*"]])
async def test_content_type_that_the_webhook_does_not_take_is_refused(hosted: Hosted, accept: list[str]) -> None:
    await hosted.host(**{"in": hook(accept=accept)})
    with pytest.raises(Rejected, match="accepted are") as caught:
        await post(hosted, b"a,b", content_type="text/csv")
    assert caught.value.code == "payload.unsupported_type"


# ---- what the event says


async def test_names_in_the_path_and_the_query_are_in_the_metadata_without_secrets(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(path="shops/{shop}/orders/{id}", verify={"preset": "token", "secrets": ["abc"], "query": "code"})})
    await post(hosted, target="/hooks/shops/k%C3%B6ln/orders/7?code=abc&api_key=x&kind=new")
    assert hosted.events[0].metadata == {
        "method": "POST",
        "path": "/hooks/shops/k%C3%B6ln/orders/7",
        "params": {"shop": "köln", "id": "7"},
        "query": {"kind": "new"},
        "verified": "token",
    }


async def test_two_webhooks_that_would_both_match_are_refused_when_the_hub_starts(hosted: Hosted) -> None:
    with pytest.raises(HubError, match=r"/hooks/orders/\{id\}"):
        await hosted.host(one=hook(path="orders/{id}"), two=hook(path="orders/new"))


async def test_workflow_sees_where_its_event_came_from(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook()})
    reply = await post(hosted, headers={"x-shop": "a"}, target="/hooks/in?a=b")
    instance = await hosted.engine.instance("orders", told(reply)["id"])
    assert instance.provenance is not None
    kept = decode(instance.provenance)
    assert kept["metadata"] == {"method": "POST", "path": "/hooks/in", "query": {"a": "b"}}
    assert kept["headers"] == {"content-type": JSON, "x-shop": "a"}


# ---- setup requests


@pytest.mark.parametrize(
    ("preset", "body", "status", "answer"),
    [
        ("slack", {"type": "url_verification", "challenge": "3eZbrw1a", "token": "x"}, 200, b"3eZbrw1a"),
        ("discord", {"type": 1, "id": "1", "version": 1}, 200, b'{"type":1}'),
        ("discord", {"type": 0, "version": 1, "application_id": "1"}, 204, b""),
    ],
)
async def test_signed_setup_request_is_answered_and_starts_nothing(
    hosted: Hosted, preset: str, body: dict[str, Any], status: int, answer: bytes
) -> None:
    _, _, secret, _, sign = SENDERS[preset]
    await hosted.host(**{"in": hook(verify={"preset": preset, "secrets": [secret]})})
    raw = senders.as_json(body)
    reply = await post(hosted, raw, sign(secret, raw, NOW))
    assert (reply.status, reply.body) == (status, answer)
    with pytest.raises(Rejected):
        await post(hosted, raw)
    assert hosted.events == []


@pytest.mark.parametrize(
    ("preset", "body"),
    [
        ("slack", {"type": "event_callback", "challenge": "x"}),
        ("slack", {"type": "url_verification", "challenge": "x" * 2000}),
        ("slack", {"type": "url_verification"}),
        ("discord", {"type": 2}),
        ("discord", {"type": 1, "event": {"type": "APPLICATION_AUTHORIZED"}}),
        ("discord", {"type": True}),
        ("discord", [{"type": 1}]),
        ("github", {"zen": "Keep it logically awesome.", "hook_id": 1}),
    ],
)
async def test_what_only_looks_like_a_setup_request_is_an_event(hosted: Hosted, preset: str, body: Any) -> None:
    _, _, secret, _, sign = SENDERS[preset]
    await hosted.host(**{"in": hook(verify={"preset": preset, "secrets": [secret]})})
    raw = senders.as_json(body)
    assert (await post(hosted, raw, sign(secret, raw, NOW))).status == 202
    assert [event.payload for event in hosted.events] == [body]


async def test_event_grid_is_told_the_code_that_it_sent(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(handshakes=["eventgrid"]), "other": hook()})
    body = [{"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "512d38b6"}}]
    headers = {"aeg-event-type": "SubscriptionValidation"}
    assert told(await post(hosted, senders.as_json(body), headers)) == {"validationResponse": "512d38b6"}
    assert (await post(hosted, senders.as_json(body), {"aeg-event-type": "Notification"})).status == 202
    assert (await post(hosted, b"[]", headers)).status == 202
    assert (await post(hosted, senders.as_json(body), headers, target="/hooks/other")).status == 202


def options(**headers: str) -> HttpRequest:
    named = {f"webhook-request-{name}": value for name, value in headers.items()}
    return replace(request(named, b""), method="OPTIONS")


async def test_sender_of_cloudevents_is_let_in_by_its_origin(hosted: Hosted) -> None:
    allowed = ["EventGrid.azure.net"]
    await hosted.host(**{"in": hook(allowed_origins=allowed, max_requests={"limit": 10}, verify=GITHUB), "other": hook()})
    ask = hosted.handler("/hooks/in")
    reply = await ask(options(origin="eventgrid.azure.net", rate="120"))
    assert (reply.status, reply.headers) == (
        200,
        {"allow": "POST", "webhook-allowed-origin": "eventgrid.azure.net", "webhook-allowed-rate": "600"},
    )
    for asked in (options(origin="evil.example"), options()):
        reply = await ask(asked)
        assert (reply.status, reply.headers) == (405, {"allow": "POST"})
    other = hosted.hosting.routes.match("/hooks/other")
    assert other is not None
    assert "OPTIONS" not in other.route.methods


async def test_anybody_may_be_let_in(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(allowed_origins=["*"])})
    reply = await hosted.handler("/hooks/in")(options(origin="a.example", rate="5"))
    assert (reply.headers["webhook-allowed-origin"], reply.headers["webhook-allowed-rate"]) == ("*", "*")


async def test_meta_gets_its_challenge_for_the_right_token(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(verify={"preset": "meta", "secrets": ["s"], "challenge_token": "mine"})})

    async def ask(**query: str) -> HttpReply:
        named = {f"hub.{name}": value for name, value in query.items()}
        return await hosted.handler("/hooks/in")(replace(request({}, b""), method="GET", query=named))

    reply = await ask(mode="subscribe", verify_token="mine", challenge="1158201444")
    assert (reply.status, reply.body) == (200, b"1158201444")
    assert (await ask(mode="subscribe", verify_token="other", challenge="1")).status == 405
    assert (await ask(mode="subscribe", challenge="1")).status == 405
    assert (await ask()).status == 405


# ---- CloudEvents


CLOUD = {"specversion": "1.0", "source": "/s", "type": "t", "time": "2026-03-01T11:00:00Z", "subject": "order 7"}


async def test_cloudevent_becomes_an_event_that_is_recognised_in_any_form(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook()})
    structured = senders.as_json({**CLOUD, "id": "1", "data": {"n": 1}})
    first = await post(hosted, structured, content_type="application/cloudevents+json")
    binary = {f"ce-{name}": value.replace(" ", "%20") for name, value in {**CLOUD, "id": "1"}.items()}
    again = await post(hosted, b'{"n": 1}', binary)
    assert told(again) == {key: value for key, value in told(first).items() if key != "status"} | {"duplicate": True}
    (event,) = hosted.events
    assert (event.payload, event.key, event.subject) == ({"n": 1}, "/s 1", "order 7")
    assert event.occurred_at is not None
    assert event.occurred_at.hour == 11
    assert event.metadata["cloudevent"] == {**CLOUD, "id": "1"}


def batch(*ids: str, **more: Any) -> bytes:
    return senders.as_json([{**CLOUD, "id": id, "data": id, **more} for id in ids])


async def test_batch_is_answered_event_by_event(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook()})
    first = await post(hosted, batch("1", "2"), content_type="application/cloudevents-batch+json")
    again = await post(hosted, batch("2", "3"), content_type="application/cloudevents-batch+json")
    assert (first.status, again.status) == (202, 202)
    one, two = told(first)["events"]
    second, three = told(again)["events"]
    assert second == {key: value for key, value in two.items() if key != "status"} | {"duplicate": True}
    assert len({one["id"], two["id"], three["id"]}) == 3
    assert [event.payload for event in hosted.events] == ["1", "2", "3"]
    assert told(await post(hosted, b"[]", content_type="application/cloudevents-batch+json")) == {"events": []}


async def test_batch_is_answered_event_by_event_also_where_a_single_event_has_a_reply_of_its_own(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(reply={"status": 200, "body": "started {id}"})})
    reply = await post(hosted, batch("1", "2"), content_type="application/cloudevents-batch+json")
    assert (reply.status, len(told(reply)["events"])) == (200, 2)


async def test_batch_with_one_wrong_event_starts_nothing(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook()})
    with pytest.raises(Rejected, match="event 1 of the batch has no type"):
        await post(
            hosted, batch("1")[:-1] + b',{"specversion":"1.0","id":"2","source":"s"}]', content_type="application/cloudevents-batch+json"
        )
    assert hosted.events == []


async def refusing(hosted: Hosted, refused: Iterable[str], error: HubError) -> None:
    names = set(refused)

    async def answer(event: TriggerEvent) -> Receipt:
        if event.payload in names:
            raise error
        return await hosted.accept(event)

    hosted.answer = answer
    await hosted.host(**{"in": hook()})


async def test_batch_of_which_one_event_is_refused_tells_so_and_keeps_the_others(hosted: Hosted) -> None:
    await refusing(hosted, ["2"], Rejected("no such shop", code="payload.schema"))
    reply = await post(hosted, batch("1", "2", "3"), content_type="application/cloudevents-batch+json")
    assert reply.status == 422
    one, two, three = told(reply)["events"]
    assert two == {"error": {"code": "payload.schema", "message": "no such shop"}}
    assert {"id", "status_url"} <= set(one) & set(three)


async def test_batch_that_was_stored_in_part_is_sent_again_and_nothing_is_created_twice(hosted: Hosted) -> None:
    await refusing(hosted, ["2"], Unavailable("disk is full"))
    with pytest.raises(Unavailable):
        await post(hosted, batch("1", "2", "3"), content_type="application/cloudevents-batch+json")
    hosted.answer = hosted.accept
    reply = await post(hosted, batch("1", "2", "3"), content_type="application/cloudevents-batch+json")
    assert ["duplicate" in event for event in told(reply)["events"]] == [True, False, True]
    assert sorted(event.payload for event in hosted.events) == ["1", "2", "3"]


# ---- Idempotency-Key


async def test_same_key_for_another_request_is_refused_and_stored(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(path="orders/{id}")})

    async def order(id: str, body: bytes) -> HttpReply:
        return await post(hosted, body, {"idempotency-key": "k1"}, target=f"/hooks/orders/{id}")

    first = await order("7", b'{"n": 1}')
    assert told(await order("7", b'{"n": 1}'))["id"] == told(first)["id"]
    for id, body in (("7", b'{"n": 2}'), ("8", b'{"n": 1}')):
        with pytest.raises(Rejected, match="make a new key") as caught:
            await order(id, body)
        assert caught.value.code == "payload.key_reused"
    (row,) = await stored(hosted)  # one for each key: the first other request
    assert (row.code, row.key, row.instance_id) == ("payload.key_reused", "k1", told(first)["id"])
    assert decode_event(row.event).payload == {"n": 2}
    assert len(hosted.events) == 1


async def test_delivery_of_a_provider_that_comes_again_may_look_different(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook()})
    for body in (b"1", b"2"):
        assert (await post(hosted, body, {"x-github-delivery": "d1"})).status == 202
    assert len(hosted.events) == 1


async def test_key_of_an_instance_that_was_deleted_is_still_a_duplicate(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(wait="1 minute")})
    first = await post(hosted, b"1", {"idempotency-key": "k1", "prefer": "wait=60"})
    await hosted.engine.delete("orders", told(first)["id"])
    again = await post(hosted, b"2", {"idempotency-key": "k1", "prefer": "wait=60"})
    assert (again.status, told(again)["duplicate"]) == (202, True)


# ---- the answer


@pytest.mark.parametrize(
    ("reply", "status", "body", "content_type"),
    [
        ({}, 202, None, JSON),
        ({"status": 200}, 200, None, JSON),
        ({"status": 204}, 204, b"", None),
        ({"status": 200, "body": "ok"}, 200, b"ok", "text/plain; charset=utf-8"),
        ({"body": '{"text": "started {id}"}', "content_type": JSON}, 202, b'{"text": "started ID"}', JSON),
        ({"body": "{workflow} {status} {status_url} {other}"}, 202, b"orders queued URL {other}", "text/plain; charset=utf-8"),
    ],
)
async def test_reply_is_what_the_sender_wants_to_hear(
    hosted: Hosted, reply: dict[str, Any], status: int, body: bytes | None, content_type: str | None
) -> None:
    await hosted.host(**{"in": hook(reply={**reply, "headers": {"X-Own": "1"}}), "plain": hook()})
    known = told(await post(hosted, target="/hooks/plain", headers={"webhook-id": "1"}))
    answer = await post(hosted)
    assert (answer.status, answer.headers["x-own"], answer.headers.get("content-type")) == (status, "1", content_type)
    if body is None:
        assert set(told(answer)) == set(known)
    else:
        latest = (await hosted.engine.instance("orders", "latest")).id
        url = f"/client/v4/accounts/local/workflows/orders/instances/{latest}"
        assert answer.body == body.replace(b"ID", latest.encode()).replace(b"URL", url.encode())


async def test_paused_webhook_accepts_and_holds_and_a_disabled_one_is_not_there(hosted: Hosted) -> None:
    await hosted.host_specs(TriggerSpec("in", "orders", hook()), TriggerSpec("off", "orders", hook(), enabled=False))
    assert not hosted.serves("/hooks/off")
    await hosted.engine.ledger.steer("in", paused=True)
    await hosted.hosting.refresh()
    reply = await post(hosted, b'"later"')
    (row,) = await stored(hosted)
    assert (reply.status, told(reply)) == (202, {"held": True, "delivery": row.id})
    assert row.status is DeliveryStatus.HELD
    assert hosted.events == []


async def test_filtered_event_is_answered_without_the_instance_that_was_in_its_way(hosted: Hosted) -> None:
    async def filtered(_event: TriggerEvent) -> Receipt:
        return Receipt(status=ReceiptStatus.FILTERED, workflow="orders", instance_id="other", reason="rate_limit", delivery="d1")

    hosted.answer = filtered
    await hosted.host(**{"in": hook(wait="1 minute")})
    reply = await post(hosted, target="/hooks/in?wait=10s")
    assert (reply.status, told(reply)) == (202, {"filtered": True, "reason": "rate_limit", "delivery": "d1"})


async def test_event_that_joined_others_is_told_so(hosted: Hosted) -> None:
    async def joined(_event: TriggerEvent) -> Receipt:
        return Receipt(status=ReceiptStatus.DELIVERED, workflow="orders", instance_id="b1")

    hosted.answer = joined
    await hosted.host(**{"in": hook()})
    assert (told(await post(hosted))["id"], told(await post(hosted))["delivered"]) == ("b1", True)


async def test_full_backlog_stays_with_the_sender_who_is_told_when_to_come_again(hosted: Hosted) -> None:
    async def full(_event: TriggerEvent) -> Receipt:
        raise Overloaded("full", retry_after=timedelta(seconds=7))

    hosted.answer = full
    await hosted.host(**{"in": hook()})
    with pytest.raises(Overloaded) as caught:
        await post(hosted)
    assert caught.value.retry_after == timedelta(seconds=7)


# ---- waiting for the output


@pytest.mark.parametrize(
    ("target", "headers", "applied"),
    [
        ("/hooks/in?wait=30s", {}, None),
        ("/hooks/in?wait=1m", {}, None),
        ("/hooks/in?wait=500ms", {}, None),
        ("/hooks/in?wait=2", {}, None),
        ("/hooks/in", {"prefer": "wait=10"}, "wait=10"),
        ("/hooks/in", {"prefer": "respond-async, wait=100; foo=bar"}, "wait=60"),
        ("/hooks/in", {"prefer": 'return=minimal, WAIT = "5"'}, "wait=5"),
    ],
)
async def test_sender_that_waits_gets_the_output(hosted: Hosted, target: str, headers: dict[str, str], applied: str | None) -> None:
    await hosted.host(**{"in": hook(wait="60 seconds")})
    reply = await post(hosted, b'{"n": 1}', headers, target=target)
    assert reply.status == 200
    assert reply.headers.get("preference-applied") == applied
    answer = told(reply)
    assert (answer["status"], answer["output"], answer["workflow"]) == ("complete", {"n": 1}, "orders")
    assert answer["status_url"].endswith(answer["id"])


@pytest.mark.parametrize("name", ["wait=0", "respond-async", "wait", "waiting=5", "wait=x"])
async def test_other_preferences_do_not_wait(hosted: Hosted, name: str) -> None:
    await hosted.host(**{"in": hook(wait="60 seconds")})
    reply = await post(hosted, b'"slow"', {"prefer": name})
    assert (reply.status, "preference-applied" in reply.headers) == (202, False)


async def test_slow_instance_is_answered_in_time_with_where_to_look_and_never_as_if_it_had_ended(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(wait="60 seconds", reply={"status": 200, "body": "started {id}"})})
    began = hosted.clock.now()
    reply = await post(hosted, b'"slow"', {"prefer": "wait=20"})
    latest = (await hosted.engine.instance("orders", "latest")).id
    assert (reply.status, reply.headers["preference-applied"]) == (202, "wait=20")
    assert (told(reply)["id"], told(reply)["status_url"].endswith(latest)) == (latest, True)
    assert hosted.clock.now() - began == timedelta(seconds=20)


@pytest.mark.parametrize("status", [ReceiptStatus.HELD, ReceiptStatus.FILTERED])
async def test_sender_that_waits_where_nothing_was_started_is_told_so_at_once(hosted: Hosted, status: ReceiptStatus) -> None:
    async def kept(_event: TriggerEvent) -> Receipt:
        return Receipt(status=status, workflow="orders", reason="filter", delivery="d-1")

    hosted.answer = kept
    await hosted.host(**{"in": hook(wait="60 seconds", reply={"status": 200, "body": "started {id}"})})
    began = hosted.clock.now()
    reply = await post(hosted, b'"slow"', {"prefer": "wait=20"})
    assert (reply.status, told(reply)[status.value], told(reply)["delivery"]) == (202, True, "d-1")
    assert hosted.clock.now() - began < timedelta(seconds=1)


async def test_repeated_delivery_waits_for_the_first_instance(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(wait="60 seconds")})
    first = await post(hosted, headers={"idempotency-key": "k"})
    again = await post(hosted, headers={"idempotency-key": "k"}, target="/hooks/in?wait=5s")
    assert (again.status, told(again)["id"], told(again)["output"]) == (200, told(first)["id"], 1)


async def test_nobody_waits_where_the_webhook_does_not_allow_it(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook()})
    assert (await post(hosted, b'"slow"', {"prefer": "wait=5"})).status == 202
    assert (await post(hosted, b'"slow"', target="/hooks/in?wait=nonsense")).status == 202


async def test_wait_that_is_no_time_is_refused_before_anything_is_created(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(wait="60 seconds")})
    with pytest.raises(Rejected, match="such as 30s") as caught:
        await post(hosted, target="/hooks/in?wait=soon")
    assert caught.value.code == "query"
    assert hosted.events == []


async def test_failed_instance_is_told_with_its_error_and_nothing_else(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(wait="60 seconds")})
    reply = await post(hosted, b'"broken"', {"prefer": "wait=20"})
    answer = told(reply)
    assert (reply.status, answer["status"], reply.headers["x-should-retry"]) == (500, "errored", "false")
    assert answer["error"] == {"name": "ValueError", "message": "the order is broken"}
    assert set(answer) == {"id", "workflow", "status", "status_url", "error"}


async def test_event_that_is_on_disk_is_never_answered_with_an_error_of_the_wait(hosted: Hosted) -> None:
    async def gone(event: TriggerEvent) -> Receipt:
        receipt = await hosted.accept(event)
        await hosted.engine.delete("orders", receipt.instance_id or "")
        return receipt

    hosted.answer = gone
    await hosted.host(**{"in": hook(wait="60 seconds")})
    assert (await post(hosted, b"1", {"prefer": "wait=5"})).status == 202


async def test_stopping_hub_sends_those_away_who_wait(hosted: Hosted) -> None:
    await hosted.host(**{"in": hook(wait="60 seconds")})
    waiting = asyncio.create_task(post(hosted, b'"slow"', {"prefer": "wait=60"}))
    await hosted.clock.advance(timedelta(seconds=1))
    assert not waiting.done()
    began = hosted.clock.now()
    await hosted.hosting.stop()
    assert (await waiting).status == 202
    assert hosted.clock.now() - began < timedelta(seconds=1)
    assert (await hosted.engine.instance("orders", "latest")).ended_at is None
