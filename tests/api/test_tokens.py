"""The resource of tokens, the audit log, and that no secret ever shows."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from hub.core.access import ANYBODY, Scope
from hub.core.audit import AuditQuery
from hub.engine.access import AccessOptions
from tests.api.doors import DASHBOARD, ask, closed_doors
from tests.api.node import ROOT, Node, running

API = "/client/v4/accounts/local"
TOKENS, AUDIT = f"{API}/tokens", f"{API}/audit"
SETTING = "s3tting-canary-77aa01"
ADMIN = {"authorization": f"Bearer {SETTING}"}


@pytest.fixture
async def locked(tmp_path: Path) -> AsyncIterator[Node]:
    async with running(tmp_path, access=AccessOptions(token=SETTING)) as node:
        yield node


async def make(node: Node, **body: Any) -> dict[str, Any]:
    made: dict[str, Any] = (await node.call("POST", TOKENS, json={"name": "ci", "scopes": ["read"], **body}, headers=ADMIN)).result
    return made


async def entries(node: Node, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await node.call("GET", AUDIT, params=query, headers=ADMIN)).result
    return found


# ---- tokens


async def test_the_secret_is_shown_once(locked: Node) -> None:
    made = await make(locked)
    value = made.pop("value")
    assert value.startswith(f"hub_{made['id']}_")
    assert (await locked.call("GET", f"{TOKENS}/{made['id']}", headers=ADMIN)).result == made
    assert (await locked.call("GET", TOKENS, headers=ADMIN)).result == [made]
    assert made["status"] == "active"
    assert (made["scopes"], made["account"], made["created_by"]) == (["read"], "local", "the setting server.token")
    assert made["last_used_on"] is None


async def test_the_list_says_when_a_token_was_used_last(locked: Node) -> None:
    value = (await make(locked))["value"]
    before = datetime.now(UTC)
    await locked.call("GET", ROOT, headers={"authorization": f"Bearer {value}"})
    (found,) = (await locked.call("GET", TOKENS, headers=ADMIN)).result
    assert datetime.fromisoformat(found["last_used_on"]) >= before - timedelta(milliseconds=1)


async def test_a_revoked_token_stays_in_the_list(locked: Node) -> None:
    id = (await make(locked))["id"]
    revoked = (await locked.call("DELETE", f"{TOKENS}/{id}", headers=ADMIN)).result
    assert (revoked["status"], revoked["revoked_on"] is None) == ("revoked", False)
    assert (await locked.call("DELETE", f"{TOKENS}/{id}", headers=ADMIN)).result == revoked
    assert [each["status"] for each in (await locked.call("GET", TOKENS, headers=ADMIN)).result] == ["revoked"]


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"scopes": []}, 400, "scopes"),
        ({"scopes": ["root"]}, 400, "scopes"),
        ({"name": ""}, 400, "needs a name"),
        ({"name": "x" * 65}, 400, "name"),
        ({"expires_on": "soon"}, 400, "expires_on"),
        ({"expires_on": "2001-01-01"}, 400, "would have expired"),
    ],
)
async def test_a_token_that_cannot_be_is_refused_with_the_reason(locked: Node, body: dict[str, Any], status: int, told: str) -> None:
    reply = await locked.call("POST", TOKENS, json={"name": "ci", "scopes": ["read"], **body}, headers=ADMIN)
    assert reply.failure[0] == status
    assert told in reply.failure[2]
    assert (await locked.call("GET", TOKENS, headers=ADMIN)).result == []


async def test_the_first_token_of_an_open_hub_must_be_an_administrators(node: Node) -> None:
    reply = await node.call("POST", TOKENS, json={"name": "ci", "scopes": ["read"]})
    assert reply.failure[:2] == (409, 10954)
    assert (await node.call("GET", TOKENS)).result == []


async def test_an_unknown_token_is_404(locked: Node) -> None:
    for method in ("GET", "DELETE"):
        assert (await locked.call(method, f"{TOKENS}/x", headers=ADMIN)).failure[:2] == (404, 10955)


# ---- the audit log


async def test_a_control_action_is_in_the_log_when_it_is_answered(locked: Node) -> None:
    await locked.call("POST", f"{ROOT}/approve/instances", json={"id": "a"}, headers=ADMIN)
    await locked.call("PATCH", f"{ROOT}/approve/instances/a/status", json={"status": "terminate"}, headers=ADMIN)
    (found,) = await entries(locked)
    assert found.pop("on")
    assert json.loads(found.pop("detail")) == {"status": "terminate"}
    assert found == {
        "caller": "the setting server.token",
        "token_id": None,
        "remote": "127.0.0.1",
        "operation": "editInstanceStatus",
        "method": "PATCH",
        "target": f"{ROOT}/approve/instances/a/status",
        "outcome": "done",
        "status": 200,
        "code": "",
        "more": 0,
    }


async def test_an_action_that_fails_is_in_the_log_with_its_cause(locked: Node) -> None:
    await locked.call("DELETE", f"{ROOT}/approve/instances/nobody", headers=ADMIN)
    (found,) = await entries(locked)
    assert (found["outcome"], found["status"], found["code"]) == ("failed", 404, "instance.not_found")


async def test_what_several_actions_aimed_at_is_told(locked: Node) -> None:
    await locked.call("POST", f"{ROOT}/approve/instances/batch/delete", json={"instances": ["x", "y"]}, headers=ADMIN)
    await locked.call("PUT", f"{ROOT}/approve/instances/terminate?status=paused", headers=ADMIN)
    assert [json.loads(each["detail"]) for each in await entries(locked)] == [{"status": "paused"}, {"instances": ["x", "y"]}]


async def test_who_starts_something_is_not_audited(locked: Node) -> None:
    """Creating instances is what a hub does all day: the instance itself says where it comes from."""
    await locked.call("POST", f"{ROOT}/approve/instances", json={"id": "a"}, headers=ADMIN)
    await locked.call("POST", f"{ROOT}/approve/instances/a/events/approved", json={}, headers=ADMIN)
    await locked.call("GET", ROOT, headers=ADMIN)
    assert await entries(locked) == []


async def test_whoever_is_refused_is_in_the_log(locked: Node) -> None:
    made = await make(locked)
    reader = {"authorization": f"Bearer {made['value']}"}
    await locked.call("GET", ROOT, headers={"authorization": "Bearer wrong"})
    await locked.call("DELETE", f"{ROOT}/approve", headers=reader)
    await locked.call("GET", "/dashboard")
    await locked.call("DELETE", f"{TOKENS}/{made['id']}", headers=ADMIN)
    found = await entries(locked, outcome="refused")
    assert [(each["caller"], each["token_id"], each["operation"], each["status"], each["code"]) for each in found] == [
        ("unknown", None, "dashboard", 401, "unauthorized"),
        ("ci", made["id"], "deleteWorkflow", 403, "scope.missing"),
        ("unknown", None, "listWorkflows", 401, "unauthorized"),
    ]


async def test_a_flood_of_refusals_writes_little(locked: Node) -> None:
    for _ in range(300):
        await ask(locked, "GET", ROOT)
    page = await locked.engine.audit.find(AuditQuery(limit=100))
    assert 0 < len(page.items) <= 12


async def test_pages_of_the_log_follow_one_another(locked: Node) -> None:
    for number in range(3):
        await locked.call("DELETE", f"{ROOT}/approve/instances/n{number}", headers=ADMIN)
    first = await locked.call("GET", AUDIT, params={"per_page": 2}, headers=ADMIN)
    info = first.body["result_info"]
    assert (info["count"], info["total_count"]) == (2, 3)
    (last,) = await entries(locked, per_page=2, cursor=info["cursor"])
    assert last["target"].endswith("/n0")


# ---- no secret shows


async def test_no_secret_is_in_any_answer_any_log_or_any_text(tmp_path: Path) -> None:
    with capture_logs() as logged:
        async with running(tmp_path, access=AccessOptions(token=SETTING)) as node:
            made = [await node.engine.access.create(f"t-{scope}", frozenset({scope}), account="local", by=ANYBODY) for scope in Scope]
            gone = await node.engine.access.create("gone", frozenset({Scope.ADMIN}), account="local", by=ANYBODY)
            await node.engine.access.revoke(gone.token.id)
            texts = [each.secret for each in (*made, gone)]
            said: list[str] = []
            for text in (*texts, SETTING, f"{texts[0]}x", texts[0][:-1]):
                headers = [bearer(text), {"authorization": f"Basic {base64.b64encode(f'a:{text}'.encode()).decode()}"}]
                for header in (*headers, {"authorization": text}, {"x-auth-key": text}):
                    for door in (*closed_doors(node)[::6], *((("GET"), path) for path in DASHBOARD)):
                        if door[0] == "GET":
                            answer = await ask(node, *door, header)
                            said += [answer.head, answer.body]
                for path in ("/openapi.json", "/docs", "/healthz", "/readyz"):
                    said.append((await ask(node, "GET", path, bearer(text))).body)
                said.append((await ask(node, "GET", "/metrics", bearer(text))).body)
                said.append((await ask(node, "POST", f"{ROOT}/nope/instances", bearer(text))).body)
                said.append((await ask(node, "DELETE", f"{ROOT}/nope", bearer(text))).body)
                said.append((await ask(node, "GET", TOKENS, bearer(text))).body)
                said.append((await ask(node, "GET", AUDIT, bearer(text))).body)
            said += [repr(node.engine.access.tokens()), repr(node.server), repr(AccessOptions(token=SETTING))]
    secrets = [SETTING, *(text.split("_")[2] for text in texts), *(text.split("_")[2][:-1] for text in texts)]
    everything = "\n".join([*said, repr(logged)])
    assert len(said) > 200
    assert [secret for secret in secrets if secret in everything] == []
    dump = (tmp_path / "hub.sqlite").read_bytes()
    assert [secret for secret in secrets if secret.encode() in dump] == []


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}
