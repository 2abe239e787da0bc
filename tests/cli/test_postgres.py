"""The command line on a project whose store is a PostgreSQL database: each command works there, or says what to use instead."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from hub.doctor.checks import Case, Result, State
from hub.doctor.examine import CHECKS
from hub.order import Order
from hub.store.postgres_care import Server, number_of_rules
from hub.store.schema import NEWEST
from tests.cli.command_line import run
from tests.cli.node import SETTINGS, make_project, running
from tests.databases import execute, postgres_database

FINE = Server(
    version="15.20",
    major=15,
    ahead=timedelta(milliseconds=3),
    round_trip=timedelta(milliseconds=1),
    connections=97,
    taken=9,
    durable={"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"},
    replica=False,
    alive=("7 on box-a",),
)


@pytest.fixture
async def address(postgres_url: str) -> AsyncIterator[str]:
    """Return a migrated database."""
    async with postgres_database(postgres_url) as url:
        yield url


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "p", settings=SETTINGS + '[store]\nurl = "${DATABASE}"\n[server]\nport = 0\n')


async def test_an_instance_is_run_without_a_hub(project: Path, address: str) -> None:
    outcome = await run("run", "orders", '{"n": 1}', cwd=project, env={"DATABASE": address})
    assert (outcome.code, json.loads(outcome.out)) == (0, {"got": {"n": 1}})


async def test_the_first_token_is_made_without_a_hub_and_also_beside_one(project: Path, address: str) -> None:
    env = {"DATABASE": address}
    first = await run("tokens", "create", "admin", "--scope", "admin", "--project", ".", "--json", cwd=project, env=env)
    async with running("serve", env=env, cwd=project) as node:
        url = await node.url()
        second = await run("tokens", "create", "other", "--scope", "read", "--project", ".", "--json", cwd=project, env=env)
        listed = await run("tokens", "list", "--json", env={"HUB_URL": url, "HUB_TOKEN": json.loads(first.out)["value"]})

    assert (first.code, second.code) == (0, 0)
    assert sorted(each["name"] for each in json.loads(listed.out)) == ["admin", "other"]


async def test_the_database_is_checked_and_brought_to_the_newest_schema(project: Path, address: str) -> None:
    env = {"DATABASE": address}
    assert (await run("run", "orders", cwd=project, env=env)).code == 0
    upgraded = await run("db", "upgrade", cwd=project, env=env)
    whole = await run("db", "check", cwd=project, env=env)
    await execute(address, "UPDATE step SET ended_at = NULL")
    broken = await run("db", "check", cwd=project, env=env)
    told = await run("db", "check", "--json", cwd=project, env=env)

    assert (upgraded.code, f"has the newest schema already: {NEWEST}" in upgraded.out) == (0, True)
    assert (whole.code, whole.err) == (0, "")
    assert whole.out.endswith(f" holds together: {number_of_rules()} rules\n")
    assert (broken.code, broken.out) == (1, "")
    assert "error: step.settled: a step that is done or has failed has an end" in broken.err
    assert "pg_dump" in broken.err
    assert [each["rule"] for each in json.loads(told.out)["broken"]] == ["step.settled"]


async def test_a_backup_is_made_with_the_tools_of_the_server(project: Path) -> None:
    outcome = await run("db", "backup", cwd=project, env={"DATABASE": "postgresql://hub:hunter2@127.0.0.1:1/hub"})

    assert (outcome.code, outcome.out) == (2, "")
    assert "store.url: postgresql://127.0.0.1:1/hub is no file: copy it with PostgreSQL's own tools: pg_dump " in outcome.err
    assert "hunter2" not in outcome.err


@pytest.mark.parametrize(
    "argv",
    [("serve",), ("run", "orders"), ("tokens", "list", "--project", "."), ("db", "check"), ("db", "upgrade"), ("doctor",)],
    ids=" ".join,
)
async def test_a_database_that_is_away_is_told_without_a_password(project: Path, argv: tuple[str, ...]) -> None:
    outcome = await run(*argv, cwd=project, env={"DATABASE": "postgresql://hub:hunter2@127.0.0.1:1/hub?password=hunter2"})

    assert outcome.code == (1 if argv == ("doctor",) else 2)
    assert "postgresql://127.0.0.1:1/hub cannot be reached: " in outcome.out + outcome.err
    assert "hunter2" not in outcome.out + outcome.err
    assert "Traceback" not in outcome.err


async def test_a_doctor_looks_at_the_server_and_its_nodes(project: Path, address: str) -> None:
    env = {"DATABASE": address}
    async with running("serve", env=env, cwd=project) as stopped:
        await stopped.url()
        await stopped.stop()  # which is no loss
    async with running("serve", env=env, cwd=project) as node:
        await node.url()
        outcome = await run("doctor", "--json", cwd=project, env=env)
    found = {check["name"]: check for check in json.loads(outcome.out)["checks"]}

    assert {name for name, check in found.items() if check["state"] == "fail"} == set()
    assert found["pg-nodes"]["found"].startswith(f"1 alive: process {node.process.pid} on ")
    assert "lost" not in found["pg-nodes"]["found"]
    assert found["schema"]["found"] == f"schema {NEWEST}"
    assert {found[name]["state"] for name in ("pg-server", "pg-clock", "pg-durable", "database", "backlog")} == {"ok"}
    assert {found[name]["state"] for name in ("data-folder", "disk-sync", "journal", "integrity")} == {"skip"}


@pytest.mark.parametrize("notifications", ["true", "false"])
async def test_an_event_reaches_an_instance_through_another_node(project: Path, address: str, notifications: str) -> None:
    env = {"DATABASE": address, "HUB_STORE_NOTIFICATIONS": notifications}
    heard = asyncio.Event()
    listener: Any = await asyncpg.connect(address)
    try:
        await listener.add_listener("hub", lambda *_: heard.set())
        async with running("serve", env=env, cwd=project) as one, running("serve", env=env, cwd=project) as other:
            here, there = {"HUB_URL": await one.url()}, {"HUB_URL": await other.url()}
            made = await run("workflows", "trigger", "orders", '{"approve": true}', "--id", "waits", env=here)
            approved = ("orders", "waits", "--type", "approved", "--payload", "7", "--wait")
            sent = await run("workflows", "instances", "send-event", *approved, env=there)
            if notifications == "true":
                await asyncio.wait_for(heard.wait(), 30)
    finally:
        await listener.close()

    assert (made.code, sent.code, json.loads(sent.out)) == (0, 0, 7)
    assert heard.is_set() == (notifications == "true")


def judged(name: str, **differs: Any) -> Result:
    """Return what a check says of a server that differs from a fine one."""
    case = Case(order=Order(project=Path()), now=datetime(2026, 6, 1, tzinfo=UTC), server=replace(FINE, **differs))
    return dict(CHECKS)[name](case)


@pytest.mark.parametrize(
    ("check", "differs", "state", "found"),
    [
        ("pg-server", {}, State.OK, "PostgreSQL 15.20; the hub is tested with 15"),
        ("pg-server", {"version": "13.4", "major": 13}, State.WARN, "PostgreSQL 13.4"),
        ("pg-server", {"replica": True}, State.FAIL, "is a replica"),
        ("pg-clock", {}, State.OK, "3 ms ahead"),
        ("pg-clock", {"ahead": timedelta(seconds=-1.5)}, State.FAIL, "1500 ms behind"),
        ("pg-clock", {"ahead": timedelta(seconds=1.5), "round_trip": timedelta(seconds=2)}, State.OK, "1500 ms ahead"),
        ("pg-distance", {}, State.OK, "1.0 ms to the database and back"),
        ("pg-distance", {"round_trip": timedelta(milliseconds=80)}, State.WARN, "80.0 ms"),
        ("pg-room", {}, State.OK, "88 of 97 connections are free; a node takes up to 8: there is room for 11 more"),
        ("pg-room", {"taken": 92}, State.WARN, "5 of 97"),
        ("pg-room", {"taken": 92, "alive": ()}, State.FAIL, "5 of 97"),
        ("pg-durable", {}, State.OK, "fsync on, full_page_writes on, synchronous_commit on"),
        ("pg-durable", {"durable": {"fsync": "off", "synchronous_commit": "off"}}, State.FAIL, "fsync and synchronous_commit off"),
        ("pg-nodes", {}, State.OK, "1 alive: process 7 on box-a"),
        ("pg-nodes", {"alive": (), "lost": ("8 on box-b",)}, State.OK, "0 alive; lost: process 8 on box-b"),
        ("pg-nodes", {"lost": ("8 on b", "9 on b", "10 on b")}, State.WARN, "lost without a stop: process 8 on b, 9 on b, 10 on b"),
    ],
)
def test_a_server_is_judged(check: str, differs: dict[str, Any], state: State, found: str) -> None:
    result = judged(check, **differs)

    assert (result.state, found in result.found, bool(result.remedy)) == (state, True, state is not State.OK), result
