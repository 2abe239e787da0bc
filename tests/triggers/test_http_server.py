"""Webhooks of a whole running hub, over the wire: what senders sign, how they send it, and what they are told."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hmac
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs
from yarl import URL

from hub.app import App
from hub.core.errors import ConfigError
from hub.project import forget
from hub.settings import load_settings
from hub.triggering import declared_triggers
from tests.triggers import senders
from tests.triggers.senders import SENDERS, WHSEC

PROJECT = """
name = "intake"
main = "hook_workflows.py"

[[workflows]]
name = "intake"
class_name = "Intake"

[[triggers]]
kind = "http"
name = "open"
workflow = "intake"
max_body = 1000
wait = "30 seconds"
methods = ["POST", "PUT"]

[[triggers]]
kind = "http"
name = "github"
workflow = "intake"
verify = { preset = "github", secrets = ["${GITHUB_SECRET}", "old"] }

[[triggers]]
kind = "http"
name = "stripe"
workflow = "intake"
reply = { status = 204 }
verify = { preset = "stripe", secrets = ["${STRIPE_SECRET}"] }

[[triggers]]
kind = "http"
name = "standard"
workflow = "intake"
verify = { preset = "standard-webhooks", secrets = ["${WHSEC}"], status = 400 }

[[triggers]]
kind = "http"
name = "slack"
workflow = "intake"
reply = { status = 200, body = "on it" }
verify = { preset = "slack", secrets = ["8f742231b10e8888abcd99yyyzzz85a5"] }

[[triggers]]
kind = "http"
name = "square"
workflow = "intake"
verify = { preset = "square", secrets = ["sq-key"] }

[[triggers]]
kind = "http"
name = "order"
path = "shops/{shop}/orders/{id}"
workflow = "intake"
accept = ["application/json"]
allowed_origins = ["*"]

[[triggers]]
kind = "http"
name = "slow"
workflow = "intake"
max_requests = { limit = 1, period = "1 hour" }

[[triggers]]
kind = "http"
name = "rules"
workflow = "intake"
filter = "payload.action == 'opened'"
key = "payload.id"
schema = "order.schema.json"

[[triggers]]
kind = "http"
name = "off"
workflow = "intake"
enabled = false

[server]
port = 0
"""

SCHEMA = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'

WORKFLOWS = """
from hub import WorkerEntrypoint, WorkflowEntrypoint
from hub import Response

class Intake(WorkflowEntrypoint):
    async def run(self, event, step):
        if event.payload == "wait":
            return (await step.wait_for_event("go", type="go"))["payload"]
        return event.payload

class Site(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("short and stout", status=418, headers={"x-own": "1"})
"""

ENVIRON = {"GITHUB_SECRET": "It's a Secret to Everybody", "STRIPE_SECRET": "whsec_stripe", "WHSEC": WHSEC}
JSON = {"content-type": "application/json"}


class Hub:
    """A running hub and a client of it."""

    def __init__(self, app: App, client: aiohttp.ClientSession) -> None:
        self.app = app
        self.client = client

    async def send(
        self,
        path: str,
        body: Any = b"1",
        headers: dict[str, str] | None = None,
        *,
        method: str = "POST",
        kind: str | None = "application/json",
    ) -> tuple[int, Any, dict[str, str]]:
        """Send a request as it is; return status, body and headers of the answer."""
        named = {**({"content-type": kind} if kind else {}), **(headers or {})}
        url = URL(self.app.url + path, encoded=True)
        async with self.client.request(method, url, data=body, headers=named, skip_auto_headers=["content-type"]) as reply:
            raw = await reply.read()
            told = await reply.json() if reply.content_type == "application/json" and raw else raw
            return reply.status, told, {name.lower(): value for name, value in reply.headers.items()}

    async def instance(self, id: str, until: str = "complete") -> Any:
        """Return what REST tells of an instance once it has a status."""
        url = f"{self.app.url}/client/v4/accounts/local/workflows/intake/instances/{id}"
        async with asyncio.timeout(30):
            while True:
                async with self.client.get(url) as reply:
                    described = (await reply.json())["result"]
                if described["status"] == until:
                    return described
                await asyncio.sleep(0)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    project(tmp_path, PROJECT)
    app = App(load_settings(tmp_path, environ=ENVIRON))
    await app.start()
    async with aiohttp.ClientSession() as client:
        yield Hub(app, client)
    await app.stop()
    forget(tmp_path)


def project(folder: Path, settings: str) -> None:
    (folder / "hub.toml").write_text(settings)
    (folder / "hook_workflows.py").write_text(WORKFLOWS)
    (folder / "order.schema.json").write_text(SCHEMA)


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 7):
        yield body[start : start + 7]


# ---- proofs over the wire


async def test_githubs_published_example_becomes_an_instance_and_a_forged_one_does_not(hub: Hub) -> None:
    headers = {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17", "x-github-delivery": "d1"}
    status, told, _ = await hub.send("/hooks/github", b"Hello, World!", headers, kind="text/plain")
    assert status == 202
    assert (await hub.instance(told["id"]))["output"] == "Hello, World!"
    with capture_logs() as logs:
        status, told, _ = await hub.send("/hooks/github", b"Hello, World?", headers, kind="text/plain")
    assert (status, told["errors"]) == (401, [{"code": 10000, "message": "(unauthorized) the request is not accepted"}])
    assert not any(secret in str(logs) for secret in ENVIRON.values())


@pytest.mark.parametrize("pieces", [lambda body: body, in_chunks], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("preset", "packed", "status", "late_status"),
    [
        ("github", False, 202, 202),  # it signs no time
        ("github", True, 202, 202),
        ("stripe", False, 204, 401),
        ("standard", False, 202, 400),
        ("slack", False, 200, 401),
    ],
)
async def test_signed_body_is_believed_however_it_is_sent(
    hub: Hub, preset: str, packed: bool, status: int, late_status: int, pieces: Callable[[bytes], Any]
) -> None:
    _, _, secret, _, sign = SENDERS[preset]
    secret = ENVIRON.get(f"{preset.upper()}_SECRET", secret)
    body = b'{"id": "evt_1", "event_id": "Ev1",  "text": "' + b"x" * 500 + b'"}'
    sent, encoding = (gzip.compress(body), {"content-encoding": "gzip"}) if packed else (body, {})
    now = datetime.now(UTC)
    assert (await hub.send(f"/hooks/{preset}", pieces(sent), sign(secret, sent, now) | encoding))[0] == status
    assert (await hub.instance("latest"))["output"]["text"] == "x" * 500
    late = sign(secret, sent, now - timedelta(minutes=6)) | encoding
    assert (await hub.send(f"/hooks/{preset}", pieces(sent), late))[0] == late_status


async def test_address_is_checked_exactly_as_it_was_called(hub: Hub) -> None:
    body = b'{"event_id": "e1"}'
    target = "/hooks/square?a=%7e&b=+%2F"
    signature = base64.b64encode(hmac.new(b"sq-key", f"{hub.app.url}{target}".encode() + body, "sha256").digest()).decode()
    assert (await hub.send(target, body, {"x-square-hmacsha256-signature": signature}))[0] == 202
    assert (await hub.send(target + "&c=1", body, {"x-square-hmacsha256-signature": signature}))[0] == 401


async def test_slack_is_answered_its_challenge_and_its_command(hub: Hub) -> None:
    secret = SENDERS["slack"][2]
    now = datetime.now(UTC)
    body = b'{"type": "url_verification", "challenge": "3eZbrw1a", "token": "x"}'
    assert (await hub.send("/hooks/slack", body, senders.slack(secret, body, now)))[:2] == (200, b"3eZbrw1a")
    command = b"command=%2Fdeploy&text=now&trigger_id=1.2"
    status, told, headers = await hub.send(
        "/hooks/slack", command, senders.slack(secret, command, now), kind="application/x-www-form-urlencoded"
    )
    assert (status, told, headers["content-type"]) == (200, b"on it", "text/plain; charset=utf-8")
    latest = await hub.instance("latest")
    assert latest["output"] == {"command": "/deploy", "text": "now", "trigger_id": "1.2"}


# ---- statuses


async def test_body_limit_holds_however_the_body_is_sent(hub: Hub) -> None:
    for size, status in ((1000, 202), (1001, 413), (50_000, 413)):
        body = b'"' + b"x" * (size - 2) + b'"'
        assert (await hub.send("/hooks/open", body))[0] == status
        assert (await hub.send("/hooks/open", in_chunks(body)))[0] == status
    bomb = gzip.compress(b'"' + b"x" * 500_000 + b'"')
    assert len(bomb) < 1000
    assert (await hub.send("/hooks/open", bomb, {"content-encoding": "gzip"}))[0] == 413


REFUSED: list[tuple[str, str, bytes, str | None, int, str]] = [
    ("/hooks/nobody", "POST", b"1", "application/json", 404, "no trigger listens"),
    ("/hooks/open", "DELETE", b"", None, 405, "it has POST, PUT"),
    ("/hooks/shops/a/orders/7", "OPTIONS", b"", None, 405, "OPTIONS is not possible on /hooks/shops/a/orders/7; it has POST"),
    ("/hooks/open", "POST", b"{", "application/json", 400, "line 1"),
    ("/hooks/open", "POST", b"x", "nonsense", 415, "not a content type"),
    ("/hooks/open", "POST", b"x", None, 415, "content type is missing"),
    ("/hooks/shops/a/orders/7", "POST", b"x", "text/plain", 415, "application/json"),
    ("/hooks/open?wait=soon", "POST", b"1", "application/json", 400, "such as 30s"),
    ("/hooks/open", "POST", b'{"id":1}', "application/cloudevents+json", 400, "no specversion"),
]


async def test_refusal_has_its_status_and_says_what_to_do(hub: Hub) -> None:
    for path, method, body, kind, status, word in REFUSED:
        answer, told, headers = await hub.send(path, body, method=method, kind=kind)
        assert answer == status, path
        assert word in told["errors"][0]["message"]
        assert ("allow" in headers) is (status == 405)


async def test_too_many_requests_are_told_when_to_come_again(hub: Hub) -> None:
    assert (await hub.send("/hooks/slow"))[0] == 202
    status, told, headers = await hub.send("/hooks/slow")
    assert (status, told["errors"][0]["code"]) == (429, 10922)
    assert 3590 <= int(headers["retry-after"]) <= 3600


async def test_key_of_another_request_is_422(hub: Hub) -> None:
    assert (await hub.send("/hooks/open", b"1", {"idempotency-key": "k"}))[0] == 202
    status, told, _ = await hub.send("/hooks/open", b"2", {"idempotency-key": "k"})
    assert (status, told["errors"][0]["code"]) == (422, 10924)


async def test_names_in_the_path_reach_the_workflow_and_options_announce_the_sender(hub: Hub) -> None:
    status, told, _ = await hub.send("/hooks/shops/k%C3%B6ln/orders/7%2F8", b'{"a":1}')
    assert status == 202
    assert (await hub.instance(told["id"]))["output"] == {"a": 1}
    status, _, headers = await hub.send(
        "/hooks/shops/a/orders/1", b"", {"webhook-request-origin": "a.example"}, method="OPTIONS", kind=None
    )
    assert (status, headers["webhook-allowed-origin"], headers["allow"]) == (200, "*", "POST")
    assert (await hub.send("/hooks/open", b"", {"webhook-request-origin": "a.example"}, method="OPTIONS", kind=None))[0] == 405


async def test_rules_of_the_trigger_are_answered_in_the_words_of_http(hub: Hub) -> None:
    opened = b'{"action": "opened", "id": 7, "n": 1}'
    status, first, _ = await hub.send("/hooks/rules", opened, {"idempotency-key": "a"})
    assert status == 202
    status, again, _ = await hub.send("/hooks/rules", opened.replace(b"}", b', "more": 1}'), {"idempotency-key": "b"})
    assert (status, again["id"], again["duplicate"]) == (202, first["id"], True)  # `key` counts, not the header
    status, told, _ = await hub.send("/hooks/rules", b'{"action": "closed"}')
    assert (status, told["filtered"], told["reason"]) == (202, True, "filter")
    status, told, _ = await hub.send("/hooks/rules", b'{"action": "opened", "id": 8, "n": "many"}')
    assert (status, told["errors"][0]["code"]) == (422, 10923)
    assert "payload.n" in told["errors"][0]["message"]
    assert (await hub.send("/hooks/off"))[0] == 404


async def test_multipart_form_of_a_browser_is_data(hub: Hub) -> None:
    form = aiohttp.FormData()
    form.add_field("note", "größe")
    form.add_field("file", b"\x00\x01", filename="a.bin", content_type="application/octet-stream")
    async with hub.client.post(f"{hub.app.url}/hooks/open?wait=20s", data=form) as reply:
        told = await reply.json()
    assert told["output"] == {
        "note": "größe",
        "file": {"filename": "a.bin", "content_type": "application/octet-stream", "base64": "AAE="},
    }


async def test_fetch_handler_answers_what_no_webhook_does_as_it_likes(hub: Hub) -> None:
    status, told, headers = await hub.send("/anything", b"x", method="PUT")
    assert (status, told, headers["x-own"]) == (418, b"short and stout", "1")


# ---- waiting


async def test_client_that_waits_gets_the_output_and_one_that_goes_away_stops_nothing(hub: Hub) -> None:
    status, told, headers = await hub.send("/hooks/open", b'{"n": 1}', {"prefer": "wait=20"})
    assert (status, told["output"], headers["preference-applied"]) == (200, {"n": 1}, "wait=20")

    waiting = asyncio.create_task(hub.send("/hooks/open", b'"wait"', {"prefer": "wait=20"}))
    latest = await hub.instance("latest", until="waiting")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    url = f"{hub.app.url}/client/v4/accounts/local/workflows/intake/instances/{latest['id']}/events/go"
    async with hub.client.post(url, json={"by": "kim"}) as reply:
        assert reply.status == 200
    assert (await hub.instance(latest["id"]))["output"] == {"by": "kim"}


# ---- settings


@pytest.mark.parametrize(
    ("environ", "word"),
    [
        ({"STRIPE_SECRET": "s", "WHSEC": WHSEC}, "the environment variable GITHUB_SECRET is not set"),
        (ENVIRON | {"GITHUB_SECRET": ""}, "verify.secrets.0: the secret is empty"),
        (ENVIRON | {"WHSEC": "whsec_!"}, "secrets.0: the secret is not base64"),
    ],
)
async def test_hub_does_not_start_without_its_secrets(tmp_path: Path, environ: dict[str, str], word: str) -> None:
    project(tmp_path, PROJECT)
    with pytest.raises(ConfigError, match=word):
        await App(load_settings(tmp_path, environ=environ)).start()
    forget(tmp_path)


def test_operators_are_shown_the_settings_of_webhooks_without_their_secrets(tmp_path: Path) -> None:
    project(tmp_path, PROJECT)
    shown = {each.spec.name: each.spec.settings for each in declared_triggers(load_settings(tmp_path, environ=ENVIRON), None)}
    assert shown["github"]["verify"]["preset"] == "github"
    secrets = [*ENVIRON.values(), "old", "8f742231b10e8888abcd99yyyzzz85a5", "sq-key"]
    assert not [secret for secret in secrets if f"'{secret}'" in repr(shown) or f'"{secret}"' in repr(shown)]


async def test_hub_does_not_start_with_two_webhooks_on_one_path(tmp_path: Path) -> None:
    project(tmp_path, PROJECT.replace('name = "slow"', 'name = "slow"\npath = "shops/{any}/orders/new"'))
    app = App(load_settings(tmp_path, environ=ENVIRON))
    with pytest.raises(ConfigError, match=r"overlaps /hooks/shops/\{shop\}/orders/\{id\}"):
        await app.start()
    await app.stop()
    forget(tmp_path)
