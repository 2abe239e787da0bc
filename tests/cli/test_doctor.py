"""`hub doctor`: a healthy project passes, each thing that is wrong is found by its check, and each finding says what to do."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub.doctor.checks import Case, Result, State
from hub.doctor.examine import CHECKS, results
from hub.order import Order
from hub.settings import load_settings
from hub.store.contents import Contents
from hub.store.invariants import RULES
from hub.store.schema import NEWEST
from tests.cli.command_line import run
from tests.cli.node import CODE, SETTINGS, make_project, running
from tests.repo.sources import ROOT

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HEALTHY = Contents(schema=NEWEST, journal_mode="wal", instances={"complete": 1})


async def examined(folder: Path, *argv: str) -> dict[str, dict[str, str]]:
    """Return what `hub doctor` says of a folder, by the name of the check."""
    outcome = await run("doctor", str(folder), "--json", *argv)
    told = json.loads(outcome.out)
    found = {check["name"]: check for check in told["checks"]}
    failed = [name for name, check in found.items() if check["state"] == "fail"]
    assert (outcome.code, told["ok"]) == ((1, False) if failed else (0, True)), failed
    assert all(check["remedy"] for check in found.values() if check["state"] in ("warn", "fail"))
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return make_project(tmp_path / "p", settings=SETTINGS + f"[server]\nport = {free_port()}\n", code='print("imported")\n' + CODE)


# ---- the command


def test_there_are_many_checks_and_each_has_a_name_of_its_own() -> None:
    names = [name for name, _ in CHECKS]
    assert len(names) == len(set(names)) >= 20


def test_the_readme_counts_right() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{len(CHECKS)} checks of the machine" in readme
    assert f"then {sum(rule.name not in ('integrity', 'reference') for rule in RULES)} rules of the hub's own" in readme


async def test_a_new_project_is_well(shop: Path) -> None:
    found = await examined(shop)

    assert list(found) == [name for name, _ in CHECKS]
    assert {name for name, check in found.items() if check["state"] == "fail"} == set()
    assert found["code"]["found"] == "flows.py: Orders; handlers: fetch"
    assert found["schema"]["state"] == "skip"
    assert not (shop / ".hub").exists()  # looking changes nothing


async def test_beside_a_hub_that_works_it_is_asked_too(shop: Path) -> None:
    async with running("serve", str(shop)) as node:
        await node.url()
        found = await examined(shop)

    assert found["owner"]["found"].startswith(f"process {node.process.pid} (started ")
    assert found["port"]["state"] == "ok"
    assert "answers on 127.0.0.1" in found["running-hub"]["found"]
    assert (found["schema"]["state"], found["integrity"]["state"]) == ("ok", "ok")


async def test_lines_say_what_to_do_beneath_what_is_wrong(shop: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        outcome = await run("doctor", str(shop), "--port", str(taken.getsockname()[1]))

    assert outcome.code == 1
    lines = outcome.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("❌ port"))
    assert "is in use by another program" in lines[at]
    assert lines[at + 1].strip() == "→ stop it (lsof -i), or choose another port with --port"
    assert re.search(r"^\d+ checks: .*1 fail", lines[-1])
    assert "\x1b" not in outcome.out
    assert outcome.err == "imported\n"  # what the project prints is no data


def damage_settings(folder: Path) -> None:
    (folder / "hub.toml").write_text(SETTINGS.replace("class_name", "clas_name"))


def damage_code(folder: Path) -> None:
    (folder / "flows.py").write_text("import nothing_like_it")


def damage_trigger(folder: Path) -> None:
    (folder / "hub.toml").write_text(SETTINGS.replace("0 0 1 1 *", "every day"))


def damage_connector(folder: Path) -> None:
    (folder / "hub.toml").write_text(SETTINGS + '[[connectors]]\nkind = "http"\nbinding = "X"\nbase = "http://x"\n')


def damage_file(folder: Path) -> None:
    (folder / ".hub").mkdir()
    (folder / ".hub" / "hub.sqlite").write_text("no database at all, but long enough to look like one" * 100)


@pytest.mark.parametrize(
    ("damage", "check", "found", "skipped"),
    [
        (damage_settings, "settings", "workflows.0.clas_name: unknown key; did you mean class_name?", "code"),
        (damage_code, "code", "No module named 'nothing_like_it'", "triggers"),
        (damage_trigger, "triggers", "a cron expression has 5", "schema"),
        (damage_connector, "connectors", "connectors.0.base: unknown key; did you mean base_url?", "services"),
        (damage_file, "database", "is no database, or a damaged one", "backlog"),
    ],
)
async def test_what_is_wrong_is_found_where_it_is(shop: Path, damage: Callable[[Path], None], check: str, found: str, skipped: str) -> None:
    damage(shop)

    told = await examined(shop, "--port", str(free_port()))

    assert told[check]["state"] == "fail"
    assert found in told[check]["found"]
    assert told[skipped]["state"] == "skip"


async def test_another_schema_and_a_broken_rule_are_found(shop: Path) -> None:
    assert (await run("run", "orders", "--project", str(shop))).code == 0
    file = shop / ".hub" / "hub.sqlite"
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE step SET ended_at = NULL")
        db.commit()
    broken = await examined(shop)
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE alembic_version SET version_num = '0000'")
        db.commit()
    old = await examined(shop)

    assert broken["integrity"]["state"] == "fail"
    assert "step.settled" in broken["integrity"]["found"]
    assert (old["schema"]["state"], old["integrity"]["state"]) == ("warn", "skip")
    assert "hub db upgrade" in old["schema"]["remedy"]


async def test_services_that_are_away_are_found(shop: Path) -> None:
    port = free_port()
    more = f"""
[[triggers]]
kind = "amqp"
workflow = "orders"
url = "amqp://hub:hunter2@127.0.0.1:{port}/"
queue = "orders"
[[connectors]]
kind = "amqp"
binding = "QUEUE"
url = "amqp://hub:hunter2@127.0.0.1:{port}/"
"""
    (shop / "hub.toml").write_text(SETTINGS + more)

    outcome = await run("doctor", str(shop), "--json", "--port", str(free_port()))
    found = {check["name"]: check for check in json.loads(outcome.out)["checks"]}

    assert (found["brokers"]["state"], found["services"]["state"]) == ("warn", "warn")
    assert f"127.0.0.1:{port}" in found["brokers"]["found"]
    assert found["services"]["found"].startswith("QUEUE: ")
    assert found["secrets"]["state"] in ("ok", "warn")
    assert "hunter2" not in outcome.out + outcome.err


# ---- single checks


def one(name: str, case: Case) -> Result:
    return dict(CHECKS)[name](case)


def case(folder: Path, contents: Contents | None = HEALTHY, **fields: Any) -> Case:
    settings = load_settings(folder, environ={})
    return Case(order=Order(project=folder), now=NOW, settings=settings, file=folder / ".hub" / "hub.sqlite", contents=contents, **fields)


@pytest.mark.parametrize(
    ("check", "contents", "state"),
    [
        ("backlog", {"never_started": 5000}, State.WARN),
        ("backlog", {"never_started": 5}, State.OK),
        ("overdue", {"due_since": NOW - timedelta(minutes=5)}, State.WARN),
        ("overdue", {"due_since": NOW - timedelta(seconds=5)}, State.OK),
        ("recoveries", {"troubled": (("orders", "one", 7),)}, State.WARN),
        ("paused", {"paused_by_error": 1}, State.WARN),
        ("deliveries", {"deliveries": {"dead": 2}}, State.WARN),
        ("deliveries", {"deliveries": {"held": 2}}, State.OK),
        ("journal", {"log_bytes": 1 << 30}, State.WARN),
        ("journal", {"journal_mode": "memory"}, State.WARN),
        ("retention", {"instances": {"complete": 20_000}}, State.WARN),
        ("clock", {"changed_at": NOW + timedelta(hours=1)}, State.FAIL),
        ("schema", {"schema": "9999"}, State.FAIL),
        ("schema", {"schema": None}, State.WARN),
        ("integrity", {"bytes": 1 << 40}, State.SKIP),
    ],
)
def test_what_lies_in_the_database_is_judged(shop: Path, check: str, contents: dict[str, Any], state: State) -> None:
    assert one(check, case(shop, replace(HEALTHY, **contents), owner="7 (started today)")).state is state


def test_what_is_due_while_no_hub_runs_is_no_fault(shop: Path) -> None:
    found = one("overdue", case(shop, replace(HEALTHY, due_since=NOW - timedelta(days=2))))

    assert (found.state, found.found) == (State.OK, "something has been due for 2 days; it goes on when a hub starts")


@pytest.mark.parametrize(("free", "state"), [(50 << 20, State.FAIL), (500 << 20, State.WARN), (5 << 30, State.OK)])
def test_a_disk_that_fills_is_told_in_time(shop: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: State) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert one("disk-space", case(shop)).state is state


def test_a_folder_of_memory_is_told(shop: Path) -> None:
    if not Path("/dev/shm").is_dir():
        pytest.skip("this machine has no /dev/shm")
    found = one("file-system", replace(case(shop), file=Path("/dev/shm/hub-doctor/hub.sqlite")))

    assert (found.state, "tmpfs" in found.found) == (State.WARN, True)


@pytest.mark.parametrize(
    ("server", "stored", "state", "found"),
    [
        ({}, 0, State.OK, "nobody is asked for a token, and only this machine reaches it"),
        ({}, 2, State.OK, "a token is needed; 2 are stored"),
        ({"host": "0.0.0.0"}, 1, State.OK, "a token is needed; 1 are stored"),
        ({"host": "0.0.0.0"}, 0, State.FAIL, "there is no token: a hub does not start like that"),
        ({"auth": "required"}, 0, State.WARN, "nobody gets in"),
        ({"auth": "off"}, 1, State.OK, 'auth = "off"'),
        ({"token": "short"}, 0, State.WARN, "has 5 characters"),
        ({"token": "x" * 40}, 0, State.OK, "one is in the settings"),
    ],
)
def test_who_may_reach_the_hub_is_judged(shop: Path, server: dict[str, str], stored: int, state: State, found: str) -> None:
    settings = load_settings(shop, overrides={"server": server}, environ={})
    result = one("access", replace(case(shop, replace(HEALTHY, tokens=stored)), settings=settings))

    assert (result.state, found in result.found) == (state, True)


def test_a_secret_in_a_file_that_all_may_read_is_told(shop: Path) -> None:
    with (shop / "hub.toml").open("a") as file:
        file.write('token = "written out"\n')
    (shop / "hub.toml").chmod(0o644)
    open_file = one("secrets", case(shop))
    (shop / "hub.toml").chmod(0o640)
    closed = one("secrets", case(shop))

    assert (open_file.state, closed.state) == (State.WARN, State.OK)
    assert "holds token" in open_file.found


def test_a_clock_that_was_never_set_is_told(shop: Path) -> None:
    assert one("clock", replace(case(shop), now=datetime(1970, 1, 1, tzinfo=UTC))).state is State.FAIL


def test_a_check_that_fails_does_not_end_the_others(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.doctor.examine.CHECKS", (("broken", lambda _: 1 / 0), ("whole", lambda _: Result(state=State.OK, found="x"))))

    assert [(name, result.state) for name, result in results(Order(project=shop))] == [("broken", State.FAIL), ("whole", State.OK)]
