"""What a client asks about itself: accounts, memberships, user, token."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from hub.core.access import ANYBODY, Scope
from hub.engine.access import AccessOptions
from tests.api.node import Node, running

ACCOUNT = {"id": "local", "name": "local", "type": "standard"}


async def test_the_hub_has_one_account(node: Node) -> None:
    listed = await node.call("GET", "/client/v4/accounts?page=1")
    assert listed.result == [ACCOUNT]
    assert listed.body["result_info"] == {"count": 1, "per_page": 50, "page": 1, "total_count": 1, "total_pages": 1}
    assert (await node.call("GET", "/client/v4/accounts/local")).result == ACCOUNT


async def test_accounts_are_found_by_name(node: Node) -> None:
    assert (await node.call("GET", "/client/v4/accounts?name=local")).result == [ACCOUNT]
    assert (await node.call("GET", "/client/v4/accounts?name=acme")).result == []


@pytest.mark.parametrize("path", ["/client/v4/accounts", "/client/v4/memberships"])
async def test_a_page_past_the_end_is_empty(node: Node, path: str) -> None:
    assert (await node.call("GET", f"{path}?page=2")).result == []


async def test_another_account_is_404_and_names_the_right_one(node: Node) -> None:
    status, number, message = (await node.call("GET", "/client/v4/accounts/acme")).failure
    assert (status, number) == (404, 7003)
    assert '"local"' in message


async def test_the_caller_is_a_member_of_the_account_with_its_scopes_as_roles(node: Node) -> None:
    (membership,) = (await node.call("GET", "/client/v4/memberships")).result
    assert membership["account"] == ACCOUNT
    assert membership["status"] == "accepted"
    assert membership["roles"] == ["read", "trigger", "control", "payloads", "admin"]


async def test_the_user_is_the_caller(node: Node) -> None:
    user = (await node.call("GET", "/client/v4/user")).result
    assert (user["username"], user["email"], user["suspended"]) == ("anybody", "anybody@local", False)


async def test_a_caller_whose_name_is_no_word_gets_one(tmp_path: Path) -> None:
    async with running(tmp_path, access=AccessOptions(token="right")) as node:
        user = (await node.call("GET", "/client/v4/user", headers={"authorization": "Bearer right"})).result
    assert (user["id"], user["email"]) == ("the-setting-server.token", "the-setting-server.token@local")


async def test_a_stored_token_tells_its_name_scopes_and_end(node: Node) -> None:
    end = datetime(2099, 1, 2, tzinfo=UTC)
    await node.engine.access.create("admin", frozenset({Scope.ADMIN}), account="local", by=ANYBODY)  # the first one
    made = await node.engine.access.create("ci", frozenset({Scope.READ}), account="local", by=ANYBODY, expires_at=end)
    headers = {"authorization": f"Bearer {made.secret}"}
    told = (await node.call("GET", "/client/v4/user/tokens/verify", headers=headers)).result
    assert told == {"id": made.token.id, "status": "active", "expires_on": "2099-01-02T00:00:00.000Z"}
    assert (await node.call("GET", "/client/v4/user", headers=headers)).result["email"] == "ci@local"
    assert (await node.call("GET", "/client/v4/memberships", headers=headers)).result[0]["roles"] == ["read"]


@pytest.mark.parametrize("path", ["/client/v4/user/tokens/verify", "/client/v4/accounts/local/tokens/verify"])
async def test_a_token_that_works_is_active_and_another_one_is_401(tmp_path: Path, path: str) -> None:
    async with running(tmp_path, access=AccessOptions(token="right")) as node:
        assert (await node.call("GET", path, headers={"authorization": "Bearer right"})).result["status"] == "active"
        assert (await node.call("GET", path, headers={"authorization": "Bearer wrong"})).failure[:2] == (401, 10000)
