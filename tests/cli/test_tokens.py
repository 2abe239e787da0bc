"""`hub tokens` and `hub audit`: on a running hub, and on the store of a project without one."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command_line import Outcome, run
from tests.cli.node import Node, make_project, running

ALL_ADDRESSES = "0.0.0.0"


@pytest.fixture
def project(tmp_path: Path) -> str:
    return str(make_project(tmp_path / "p"))


async def first(project: str, *more: str) -> str:
    """Make a token without a hub and return its text."""
    made = await run("tokens", "create", "admin", "--scope", "admin", "--project", project, *more)
    assert made.code == 0, made.err
    return made.out.strip()


async def found(*argv: str, env: dict[str, str]) -> Any:
    outcome = await run(*argv, "--json", env=env)
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


async def env_of(node: Node, token: str) -> dict[str, str]:
    return {**await node.env(), "HUB_TOKEN": token}


async def test_the_first_token_needs_no_hub_and_closes_the_one_that_starts_then(project: str) -> None:
    made = await run("tokens", "create", "admin", "--scope", "admin", "--project", project)
    assert made.code == 0
    assert made.out.startswith("hub_")
    assert "may admin. It is not shown again." in made.err

    async with running("serve", project, "--port", "0") as node:
        await node.out.line("with a token")
        without = await run("workflows", "list", env=await node.env())
        having = await run("workflows", "list", env=await env_of(node, made.out.strip()))
        assert (without.code, having.code) == (3, 0)
        assert without.err.endswith("give the hub's token with --token or HUB_TOKEN\n")
        await node.stop()
        assert made.out.strip() not in await node.out.end() + await node.err.end()


async def test_a_hub_without_tokens_says_who_may_come_in(project: str) -> None:
    async with running("serve", project, "--port", "0") as node:
        assert "anybody on this machine" in await node.out.line("access")


async def test_a_running_hub_makes_lists_and_revokes_tokens(project: str) -> None:
    token = await first(project)
    async with running("serve", project, "--port", "0") as node:
        admin = await env_of(node, token)
        made = await found("tokens", "create", "ci", "--scope", "read", "--scope", "trigger", "--expires", "30d", env=admin)
        listed = await found("tokens", "list", env=admin)
        assert [(each["name"], each["status"], each["scopes"]) for each in listed] == [
            ("ci", "active", ["read", "trigger"]),
            ("admin", "active", ["admin"]),
        ]
        assert all("value" not in each for each in listed)
        ci = await env_of(node, made["value"])
        assert (await run("workflows", "list", env=ci)).code == 0
        refused = await run("workflows", "delete", "orders", "--yes", env=ci)
        assert refused.code == 3
        assert 'the token "ci" lacks the scope "control"' in refused.err
        assert refused.err.endswith("give another token with --token or HUB_TOKEN\n")

        revoked = await run("tokens", "revoke", made["id"], env=admin)
        assert revoked.out == f"🔒 Revoked {made['id']} (ci)\n"
        gone = await run("workflows", "list", env=ci)
        assert gone.code == 3
        assert "has been revoked" in gone.err
        table = await run("tokens", "list", env=admin)
        assert "revoked" in table.out

        entries = await found("audit", "list", env=admin)
        assert [(each["caller"], each["operation"], each["outcome"]) for each in entries] == [
            ("unknown", "listWorkflows", "refused"),
            ("admin", "revokeToken", "done"),
            ("ci", "deleteWorkflow", "refused"),
            ("admin", "createToken", "done"),
            ("the command line", "createToken", "done"),
        ]
        assert made["value"] not in json.dumps(entries)
        only = await found("audit", "list", "--outcome", "refused", "--caller", "ci", env=admin)
        assert [each["code"] for each in only] == ["scope.missing"]
        assert "deleteWorkflow" in (await run("audit", "list", env=admin)).out


async def test_where_a_hub_runs_its_store_is_its_own(project: str) -> None:
    async with running("serve", project, "--port", "0") as node:
        await node.url()
        outcome = await run("tokens", "list", "--project", project)
        assert outcome.code == 1
        assert f"a hub runs on {project}: process {node.process.pid}" in outcome.err
        assert "leave --project out" in outcome.err


async def test_where_no_hub_runs_the_other_way_is_told() -> None:
    outcome = await run("tokens", "list", env={"HUB_URL": "http://127.0.0.1:9"})
    assert outcome.code == 1
    assert "where no hub runs, work on the project: --project DIR" in outcome.err


async def test_a_hub_that_others_can_reach_does_not_start_without_a_token(project: str) -> None:
    async with running("serve", project, "--host", ALL_ADDRESSES, "--port", "0") as node:
        assert await node.wait() == 2
        told = await node.err.end()
        assert "server.host: '0.0.0.0' can be reached from other machines" in told
        assert "hub tokens create admin --scope admin --project DIR" in told
    await first(project)
    async with running("serve", project, "--host", ALL_ADDRESSES, "--port", "0") as node:
        await node.out.line("with a token")


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (["--scope", "read"], 1, "the first token closes the hub, and must have the scope admin"),
        ([], 2, "--scope"),
        (["--scope", "all"], 2, "all"),
        (["--scope", "admin", "--expires", "soon"], 2, '"soon" is no time'),
        (["--scope", "admin", "--expires", "2001-01-01"], 1, "would have expired"),
    ],
)
async def test_a_token_that_cannot_be_made_is_told_why(project: str, more: list[str], code: int, told: str) -> None:
    outcome = await run("tokens", "create", "ci", *more, "--project", project)
    assert (outcome.code, outcome.out) == (code, "")
    assert told in outcome.err
    assert (await run("tokens", "list", "--project", project)).err == "There are no stored tokens\n"


async def test_a_folder_that_is_no_project_is_told(tmp_path: Path) -> None:
    outcome = await run("tokens", "list", "--project", str(tmp_path))
    assert outcome.code == 2
    assert "there is no hub.toml" in outcome.err


@pytest.mark.parametrize(("span", "days"), [("30d", 30), ("2w", 14), ("24h", 1), ("10 days", 10)])
async def test_an_end_may_be_a_span(project: str, span: str, days: int) -> None:
    token = json.loads(await first(project, "--expires", span, "--json"))
    created, expires = (token[key][:10] for key in ("created_on", "expires_on"))
    assert abs((date.fromisoformat(expires) - date.fromisoformat(created)).days - days) <= 1


# ---- kills


async def test_what_was_printed_exists_and_what_was_revoked_stays_so_after_a_kill(project: str) -> None:
    token = await first(project)
    kept: list[str] = []
    for life in range(3):
        async with running("serve", project, "--port", "0") as node:
            admin = await env_of(node, token)
            for text in kept:
                assert (await run("workflows", "list", env=await env_of(node, text))).code == 0
            made = await asyncio.gather(*[run("tokens", "create", f"t{life}", "--scope", "read", env=admin) for _ in range(2)])
            good, bad = (each.out.strip() for each in made)
            kept.append(good)
            id = bad.split("_")[1]
            assert (await run("tokens", "revoke", id, env=admin)).code == 0
            await node.stop(signal.SIGKILL)
        async with running("serve", project, "--port", "0") as node:
            outcomes: list[Outcome] = [await run("workflows", "list", env=await env_of(node, text)) for text in (good, bad)]
            assert [each.code for each in outcomes] == [0, 3]
            assert "has been revoked" in outcomes[1].err
