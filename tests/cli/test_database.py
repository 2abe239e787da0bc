"""`hub db …` against files, and beside a hub that works on them."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hub.store.invariants import RULES
from hub.store.schema import NEWEST
from tests.cli.command_line import call, run, run_on_terminal
from tests.cli.node import SETTINGS, make_project, running
from tests.databases import execute, postgres_database

CODE = """
import asyncio
from hub import WorkflowEntrypoint

class Orders(WorkflowEntrypoint):
    async def run(self, event, step):
        for number in range(event.payload.get("steps", 1)):
            await step.do(f"step {number}", lambda: "x" * 2000)
        if event.payload.get("approve"):
            await step.wait_for_event("approval", type="approved", timeout="1 hour")
        return "done"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "p", code=CODE)


async def test_a_backup_beside_a_working_hub_is_restored_and_goes_on(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copies" / "one.sqlite"
    async with running("serve", str(project), "--port", "0") as node:
        env = await node.env()
        await call("workflows", "trigger", "orders", '{"approve":true}', "--id", "waits", env=env)
        for number in range(10):
            await call("workflows", "trigger", "orders", '{"steps":50}', "--id", f"busy-{number}", env=env)
        made = await run("db", "backup", str(copy), "--project", str(project), "--json")
        assert await node.stop(signal.SIGKILL) == -signal.SIGKILL

    assert (made.code, json.loads(made.out)["bytes"]) == (0, copy.stat().st_size)
    checked = await run("db", "check", "--file", str(copy), "--json")
    assert (checked.code, json.loads(checked.out)) == (0, {"file": str(copy), "ok": True, "broken": []})
    with closing(sqlite3.connect(copy)) as db:
        journals = db.execute("SELECT count(*), max(ordinal) FROM step GROUP BY instance").fetchall()
        assert db.execute("SELECT count(*) FROM instance").fetchone() == (11,)
    assert all(count == last for count, last in journals)  # no step without the ones before it

    data = project / ".hub"
    for left in ("hub.sqlite-wal", "hub.sqlite-shm"):
        (data / left).unlink()
    copy.replace(data / "hub.sqlite")
    async with running("serve", str(project), "--port", "0") as node:
        env = await node.env()
        sent = await call(
            *("workflows", "instances", "send-event", "orders", "waits", "--type", "approved", "--wait"), env=env
        )  # fmt: skip
        assert (sent.code, json.loads(sent.out)) == (0, "done")
        for number in range(10):
            await call("workflows", "instances", "tail", "orders", f"busy-{number}", env=env)
            found = await call("workflows", "instances", "describe", "orders", f"busy-{number}", "--json", env=env)
            assert json.loads(found.out)["status"] == "complete"


async def test_check_finds_what_is_broken_and_says_what_to_do(project: Path) -> None:
    assert (await run("run", "orders", "--id", "a", cwd=project)).code == 0
    whole = await run("db", "check", cwd=project)
    with closing(sqlite3.connect(project / ".hub" / "hub.sqlite")) as db:
        db.executescript("UPDATE step SET ended_at = NULL")
        db.commit()
    broken = await run("db", "check", cwd=project)
    told = await run("db", "check", "--json", cwd=project)

    assert (whole.code, whole.out) == (0, f"{project}/.hub/hub.sqlite holds together: {len(RULES)} rules\n")
    assert (broken.code, broken.out) == (1, "")
    assert "error: step.settled: a step that is done or has failed has an end" in broken.err
    assert "restore a backup" in broken.err
    assert [(each["rule"], each["rows"]) for each in json.loads(told.out)["broken"]] == [("step.settled", ["instance 1, step 0-1"])]


async def test_an_upgrade_wants_the_file_for_itself(project: Path) -> None:
    async with running("serve", str(project), "--port", "0") as node:
        await node.url()
        refused = await run("db", "upgrade", "--project", str(project))
    again = await run("db", "upgrade", "--project", str(project))

    assert (refused.code, refused.out) == (2, "")
    assert f"is in use by another hub, process {node.process.pid}" in refused.err
    assert (again.code, again.out) == (0, f"{project}/.hub/hub.sqlite has the newest schema already: {NEWEST}\n")


async def test_an_empty_file_is_brought_to_the_newest_schema(tmp_path: Path) -> None:
    (tmp_path / "empty.sqlite").touch()

    outcome = await run("db", "upgrade", "--file", "empty.sqlite", "--json", cwd=tmp_path)

    assert (outcome.code, json.loads(outcome.out)) == (0, {"file": "empty.sqlite", "from": None, "to": NEWEST})
    assert (await run("db", "check", "--file", "empty.sqlite", cwd=tmp_path)).code == 0


async def test_a_database_of_many_nodes_is_upgraded_beside_them(project: Path, postgres_url: str) -> None:
    async with postgres_database(postgres_url) as url:
        name = url.rpartition("/")[2]
        (project / "hub.toml").write_text(f'{SETTINGS}\n[store]\nurl = "{url}"\n')
        await execute(url, "DROP SCHEMA public CASCADE")
        await execute(url, "CREATE SCHEMA public")
        made = await run("db", "upgrade", "--json", cwd=project)
        async with running("serve", str(project), "--port", "0") as node:
            await node.url()
            again = await run("db", "upgrade", cwd=project)
            await node.stop()

    assert (made.code, json.loads(made.out)) == (0, {"database": name, "from": None, "to": NEWEST})
    assert (again.code, again.out) == (0, f"{name} has the newest schema already: {NEWEST}\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("check",), "there is no database"),
        (("backup",), "there is no database"),
        (("upgrade",), "there is no database"),
        (("check", "--file", "hub.toml"), "is no database, or a damaged one"),
        (("check", "--project", "nowhere"), "is not a folder"),
    ],
)
async def test_what_cannot_be_looked_after_is_told(project: Path, argv: tuple[str, ...], message: str) -> None:
    outcome = await run("db", *argv, cwd=project)

    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert "Traceback" not in outcome.err


async def test_a_terminal_sees_progress_and_the_same_words(project: Path) -> None:
    assert (await run("run", "orders", cwd=project)).code == 0

    outcome = await run_on_terminal("db", "check", "--project", str(project))

    assert outcome.code == 0
    assert "holds together" in outcome.out
