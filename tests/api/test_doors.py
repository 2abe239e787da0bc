"""Every address, with every wrong token, in every disguise: nothing is open that is not declared open."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.core.access import ANYBODY, Scope
from hub.core.clock import SystemClock
from hub.core.model import HttpReply, HttpRequest
from hub.engine.access import AccessOptions
from tests.api.doors import DASHBOARD, OPEN, PLACES, Answered, ask, closed_doors, disguises, path_of
from tests.api.node import Node, running

PROJECTS_OWN = b"the project's own answer"
SETTING = "the token of the settings"
WRONG = ("none", "bad", "half", "empty", "other_scheme", "expired", "revoked", "other_account", "wrong_scope", "as_password")


async def fetched(_request: HttpRequest) -> HttpReply:
    return HttpReply(status=299, body=PROJECTS_OWN)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def password(token: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"kim:{token}".encode()).decode()}


class Keys:
    """A node and tokens of every kind."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.wrong: dict[str, dict[str, str]] = {}

    async def make(self, *scopes: Scope, account: str = "local", expires_at: datetime | None = None) -> tuple[str, str]:
        """Return the id and the text of a new token."""
        made = await self.node.engine.access.create(
            "-".join(scopes), frozenset(scopes), account=account, by=ANYBODY, expires_at=expires_at
        )
        return made.token.id, made.secret

    async def fill(self) -> None:
        """Make all that opens nothing."""
        _, right = await self.make(Scope.ADMIN)
        soon = datetime.now(UTC) + timedelta(milliseconds=50)
        _, expired = await self.make(Scope.ADMIN, expires_at=soon)
        id, revoked = await self.make(Scope.ADMIN)
        _, foreign = await self.make(Scope.ADMIN, account="acme")
        _, useless = await self.make(Scope.PAYLOADS)
        await self.node.engine.access.revoke(id)
        while datetime.now(UTC) < soon:
            await SystemClock().sleep(0.01)
        self.wrong = {
            "none": {},
            "bad": bearer("wrong"),
            "half": bearer(right[:-1]),
            "empty": bearer(""),
            "other_scheme": {"authorization": f"Token {right}"},
            "expired": bearer(expired),
            "revoked": bearer(revoked),
            "other_account": bearer(foreign),
            "wrong_scope": bearer(useless),
            "as_password": password(right),
        }


@pytest.fixture
async def keys(tmp_path: Path) -> AsyncIterator[Keys]:
    async with running(tmp_path, access=AccessOptions(token=SETTING), fetch=fetched) as node:
        keys = Keys(node)
        await keys.fill()
        yield keys


def is_closed(answer: Answered) -> bool:
    """Whether an answer gives nothing of the hub's away: refused, not understood, or the project's own page."""
    return answer.status in (400, 401, 403, 404, 405, 421) or (answer.status == 299 and PROJECTS_OWN.decode() in answer.body)


def is_open_row(answer: Answered) -> bool:
    """Whether it is the answer of an address that is declared open; by such a way nothing else is reached."""
    return answer.status == 200 and any(sign in answer.body for sign in ('{"status":"ok"}', '"openapi":"3.1.0"', "<!doctype html>"))


@pytest.mark.parametrize("kind", WRONG)
async def test_no_wrong_token_opens_anything(keys: Keys, kind: str) -> None:
    for door in closed_doors(keys.node):
        if kind == "as_password" and door.path.startswith("/dashboard"):
            continue  # a browser can send it in no other way
        answer = await ask(keys.node, door.method, door.path, keys.wrong[kind])
        expected = 403 if kind in ("other_account", "wrong_scope") else 401
        assert answer.status == expected, door
        if not door.path.startswith("/dashboard"):
            assert '"success":false' in answer.body, door


async def test_no_disguise_of_an_address_opens_it(keys: Keys) -> None:
    tried = 0
    for door in closed_doors(keys.node):
        written = list(disguises(door.path))
        assert len(set(written)) >= 20
        for target in written:
            answer = await ask(keys.node, door.method, target)
            tried += 1
            assert is_closed(answer) or (target.endswith("../../healthz") and is_open_row(answer)), (door, target, answer)
    assert tried > 1000


@pytest.mark.parametrize("kind", ["bad", "expired", "revoked", "other_account", "wrong_scope"])
async def test_no_disguise_helps_a_token_that_opens_nothing(keys: Keys, kind: str) -> None:
    for door in closed_doors(keys.node)[::7]:
        for target in disguises(door.path):
            answer = await ask(keys.node, door.method, target, keys.wrong[kind])
            assert is_closed(answer) or (target.endswith("../../healthz") and is_open_row(answer)), (door, target, answer)


async def test_every_row_wants_its_own_scope(keys: Keys) -> None:
    tokens = {scope: bearer((await keys.make(scope))[1]) for scope in Scope}
    for row in keys.node.server.operations:
        if row.scope is None:
            continue
        for scope, headers in tokens.items():
            allowed = scope in (row.scope, Scope.ADMIN)
            if allowed and row.changes:
                continue  # what these do, other tests show
            answer = await ask(keys.node, row.method, path_of(row), headers)
            assert (answer.status == 403) != allowed, (row.name, scope, answer.status)
            if not allowed:
                assert "(scope.missing)" in answer.body, row.name
                assert f'lacks the scope \\"{row.scope}\\"' in answer.body
                assert f"hub tokens create NAME --scope {row.scope}" in answer.body


async def test_several_scopes_add_up(keys: Keys) -> None:
    _, both = await keys.make(Scope.READ, Scope.TRIGGER)
    root = "/client/v4/accounts/local/workflows/greet/instances"
    assert (await keys.node.call("POST", root, json={"id": "a"}, headers=bearer(both))).status == 200
    assert (await keys.node.call("GET", f"{root}/a", headers=bearer(both))).status == 200
    assert (await keys.node.call("DELETE", f"{root}/a", headers=bearer(both))).failure[:2] == (403, 10950)


async def test_what_is_declared_open_is_open_to_every_token_too(keys: Keys) -> None:
    for path in OPEN:
        for headers in keys.wrong.values():
            assert (await ask(keys.node, "GET", path, headers)).status == 200


async def test_metrics_want_the_scope_read(keys: Keys) -> None:
    _, reader = await keys.make(Scope.READ)
    assert (await keys.node.call("GET", "/metrics")).status == 401
    assert (await keys.node.call("GET", "/metrics", headers=bearer(reader))).status == 200


async def test_the_dashboard_takes_a_token_as_password_and_wants_the_scope_read(keys: Keys) -> None:
    _, reader = await keys.make(Scope.READ)
    _, starter = await keys.make(Scope.TRIGGER)
    for path in DASHBOARD:
        assert (await keys.node.call("GET", path, headers=password(reader))).status == 200
        refused = await keys.node.call("GET", path, headers=password(starter))
        assert refused.status == 403
        assert b'lacks the scope "read"' in refused.raw
        assert "Basic" in (await keys.node.call("GET", path)).headers["www-authenticate"]


async def test_a_stream_of_events_is_closed_like_everything_else(keys: Keys) -> None:
    root = "/client/v4/accounts/local/workflows/greet/instances"
    await keys.node.call("POST", root, json={"id": "a"}, headers=bearer(SETTING))
    for kind in WRONG:
        answer = await ask(keys.node, "GET", f"{root}/a/subscribe", keys.wrong[kind])
        assert answer.status in (401, 403)
        assert "workflow_queued" not in answer.body


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_stream_ends_when_its_token_does(tmp_path: Path, how: str) -> None:
    async with running(tmp_path, access=AccessOptions(token=SETTING), heartbeat_s=0.02) as node:
        keys, root = Keys(node), "/client/v4/accounts/local/workflows/approve/instances"
        await node.call("POST", root, json={"id": "a"}, headers=bearer(SETTING))
        ends = datetime.now(UTC) + timedelta(milliseconds=300) if how == "expired" else None
        id, reader = await keys.make(Scope.READ, expires_at=ends)
        async with asyncio.timeout(20), node.client.get(f"{root}/a/subscribe", headers=bearer(reader)) as stream:
            assert stream.status == 200
            assert b"alive" in await stream.content.readline()
            if how == "revoked":
                await node.engine.access.revoke(id)
            rest = await stream.read()
        assert b"workflow_completed" not in rest


async def test_a_token_of_another_account_learns_nothing_of_this_one(keys: Keys) -> None:
    foreign = keys.wrong["other_account"]
    reply = await keys.node.call("GET", "/client/v4/accounts/local/workflows", headers=foreign)
    assert reply.failure[:2] == (403, 10951)
    reply = await keys.node.call("GET", "/client/v4/accounts/acme/workflows", headers=foreign)
    assert reply.failure[:2] == (404, 7003)  # its own, of which this hub has nothing


async def test_a_revoked_token_opens_nothing_in_the_very_next_request(keys: Keys) -> None:
    id, token = await keys.make(Scope.ADMIN)
    path = "/client/v4/accounts/local/tokens"
    assert (await keys.node.call("GET", path, headers=bearer(token))).status == 200
    assert (await keys.node.call("DELETE", f"{path}/{id}", headers=bearer(token))).status == 200
    assert (await keys.node.call("GET", path, headers=bearer(token))).failure[:2] == (401, 10000)


# ---- the name of the hub


@pytest.fixture
async def named(tmp_path: Path) -> AsyncIterator[Node]:
    async with running(tmp_path, fetch=fetched, hosts=("hub.example.com",)) as node:
        yield node


HEALTH = frozenset({"/healthz", "/readyz"})
RIGHT_NAMES = ("127.0.0.1", "127.0.0.1:8787", "localhost", "LOCALHOST:1", "localhost.", "a.localhost", "[::1]", "[::1]:8787", "10.1.2.3",
               "hub.example.com", "Hub.Example.Com.:443")  # fmt: skip
WRONG_NAMES = ("evil.example", "evil.example:8787", "localhost.evil.example", "hub.example.com.evil.example", "xhub.example.com",
               "127.0.0.1.nip.io", "2130706433", "0x7f.1", "[::1", "127.0.0.1@evil.example", "evil.example/127.0.0.1", "")  # fmt: skip


@pytest.mark.parametrize("name", RIGHT_NAMES)
async def test_a_hub_answers_to_its_names(named: Node, name: str) -> None:
    assert (await ask(named, "GET", "/client/v4/accounts/local/workflows", host=name)).status == 200


@pytest.mark.parametrize("name", WRONG_NAMES)
async def test_a_name_that_is_not_the_hubs_is_refused_everywhere(named: Node, name: str) -> None:
    """DNS rebinding: a page whose own name leads here would be served as if it were ours."""
    doors = [*closed_doors(named)[::5], *((("GET"), path) for path in (*(OPEN - HEALTH), *DASHBOARD, "/metrics", "/client/v4"))]
    for method, path in doors:
        answer = await ask(named, method, path, host=name)
        assert answer.status in (400, 421), (path, answer)
        if answer.status == 421:
            assert "HUB_SERVER_HOSTS" in answer.body


@pytest.mark.parametrize("path", sorted(HEALTH))
async def test_whoever_looks_after_a_container_may_call_it_by_its_own_name(named: Node, path: str) -> None:
    assert (await ask(named, "GET", path, host="hub-7f9c:8787")).status == 200


async def test_two_names_must_both_be_right(named: Node) -> None:
    for pair in (("localhost", "evil.example"), ("evil.example", "localhost")):
        answer = await ask(named, "GET", "/client/v4/accounts/local/workflows", {"Host": pair[1]}, host=pair[0])
        assert answer.status in (400, 421)
    answer = await ask(named, "GET", "http://evil.example/client/v4/accounts/local/workflows", host="localhost")
    assert answer.status == 421


async def test_the_projects_own_addresses_are_called_by_any_name(named: Node) -> None:
    named.routes.add("/hooks/h", lambda head, _read: fetched(head), methods=["POST"])
    for method, path in (("POST", "/hooks/h"), ("GET", "/"), ("GET", "/any")):
        assert (await ask(named, method, path, host="hooks.example.com")).status == 299


def test_every_parameter_of_a_path_is_filled() -> None:
    assert "{" not in "".join(PLACES.values())


async def test_an_open_hub_says_so_only_by_answering(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        assert node.engine.access.open
        made: Any = (await node.call("POST", "/client/v4/accounts/local/tokens", json={"name": "kim", "scopes": ["admin"]})).result
        assert (await node.call("GET", "/client/v4/accounts/local/workflows")).failure[:2] == (401, 10000)
        assert (await node.call("GET", "/client/v4/accounts/local/workflows", headers=bearer(made["value"]))).status == 200
