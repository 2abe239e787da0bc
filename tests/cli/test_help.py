"""What `hub` costs and says before it does anything."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

import hub
from hub.cli.exits import MEANINGS, Exit
from tests.cli.command_line import HUB, environment, run, run_on_terminal

_HEAVY = (
    "aiohttp",
    "alembic",
    "asyncio",
    "pydantic",
    "rich",
    "sqlmodel",
    "sqlalchemy",
    "sqlite3",
    "structlog",
    "hub.app",
    "hub.core",
    "hub.doctor",
    "hub.engine",
    "hub.store",
    "triggers",
    "connectors",
)
_INSTANCE_VERBS = ("list", "describe", "tail", "pause", "resume", "terminate", "restart", "send-event", "delete")
_COMMANDS = [
    *(["init"], ["serve"], ["dev"], ["run"], ["workflows"], ["workflows", "list"], ["workflows", "describe"], ["workflows", "delete"]),
    *(["workflows", "trigger"], ["workflows", "instances"], ["workflows", "versions"]),
    *(["workflows", "versions", verb] for verb in ("list", "describe")),
    *(["workflows", "instances", verb] for verb in _INSTANCE_VERBS),
    ["triggers"],
    *(["triggers", verb] for verb in ("list", "describe", "pause", "resume", "fire", "backfill")),
    *(["doctor"], ["completion"], ["config"], ["config", "show"], ["db"]),
    *(["db", verb] for verb in ("backup", "check", "upgrade")),
    *(["tokens"], ["tokens", "create"], ["tokens", "list"], ["tokens", "revoke"], ["audit"], ["audit", "list"]),
    ["deliveries"],
    *(["deliveries", verb] for verb in ("list", "describe", "replay")),
]
_GOLDEN = [
    *(["run"], ["doctor"], ["config", "show"], ["db"], ["db", "backup"], ["completion"], ["workflows", "trigger"]),
    ["workflows", "instances", "terminate"],
]
GOLDEN = Path(__file__).parent / "golden"


async def test_help_is_there_in_three_tenths_of_a_second() -> None:
    async def once() -> float:
        before = os.times()
        assert (await run("--help")).code == 0
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min([await once() for _ in range(5)]) <= 0.3  # of processor time: a busy machine is not our fault


async def test_help_loads_nothing_heavy() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "importtime", *HUB[1:], "--help"),
        env=environment(),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()

    loaded = [line.rpartition("|")[2].strip() for line in err.decode().splitlines()]
    assert "hub.cli.workflows" in loaded
    assert [name for name in loaded if name in _HEAVY or name.startswith(tuple(f"{heavy}." for heavy in _HEAVY))] == []


@pytest.mark.parametrize("command", _COMMANDS, ids=" ".join)
async def test_every_command_explains_itself(command: list[str]) -> None:
    outcome = await run(*command, "--help")

    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Usage: hub {' '.join(command)} ")
    assert outcome.out.splitlines()[2].strip().endswith(".")
    assert "..." not in outcome.out.partition("\nCommands:\n")[2]  # no summary is cut off


async def test_no_summary_of_a_command_is_cut_off() -> None:
    assert "..." not in (await run("--help")).out.partition("\nCommands:\n")[2]


@pytest.mark.parametrize("command", _GOLDEN, ids=" ".join)
async def test_help_reads_as_it_was_written(command: list[str]) -> None:
    assert (await run(*command, "--help")).out == (GOLDEN / f"help-{'-'.join(command)}.txt").read_text(encoding="utf-8")


async def test_help_tells_every_exit_code() -> None:
    outcome = await run("--help")

    assert set(MEANINGS) == set(Exit)
    assert [line.split()[0] for line in outcome.out.split("Exit codes:\n")[1].splitlines() if line.strip()] == [
        str(int(code)) for code in Exit
    ]


async def test_help_is_plain_in_a_pipe_and_coloured_on_a_terminal() -> None:
    assert "\x1b" not in (await run("--help")).out
    assert "\x1b[" in (await run_on_terminal("--help")).out


async def test_a_command_that_does_not_exist_is_wrong_usage() -> None:
    outcome = await run("workflows", "lst")

    assert outcome.code == 2
    assert "No such command 'lst'" in outcome.err


def test_every_public_name_is_loaded_when_it_is_used() -> None:
    assert {getattr(hub, name).__name__ for name in hub.__all__} == set(hub.__all__)
    assert set(dir(hub)) == set(hub.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = hub.nonsense  # type: ignore[attr-defined]  # that is the point
