"""`hub config show`: every setting with its origin, and no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub.schema import variables
from tests.cli.command_line import run
from tests.cli.node import CODE, make_project

SETTINGS = """name = "shop"
main = "flows.py"

[vars]
SHOP = "https://hub:hunter2@shop.example"
API_KEY = "hunter2"
FROM = "${PASSWORD}"

[[workflows]]
name = "orders"
class_name = "Orders"

[[triggers]]
kind = "http"
workflow = "orders"
verify = { preset = "github", secrets = ["hunter2", "${PASSWORD}"] }

[[triggers]]
kind = "amqp"
workflow = "orders"
url = "amqp://hub:${PASSWORD}@broker/v"
queue = "orders"

[[connectors]]
kind = "http"
binding = "SHOP_API"
headers = { x-anything = "hunter2" }

[server]
port = 1234
token = "hunter2"

[runner]
slots = 7
"""
SECRETS = ("hunter2", "hunter3")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "p", settings=SETTINGS, code=CODE)


async def test_each_setting_names_the_source_that_won(project: Path) -> None:
    env = {"PASSWORD": "hunter3", "HUB_RUNNER_THREADS": "3", "HUB_SERVER_PORT": "9", "HUB_LOG_LEVEL": ""}
    outcome = await run("config", "show", str(project), "--json", "--port", "77", "--data", "elsewhere", env=env, cwd=project)
    found = {key: (each["value"], each["origin"]) for key, each in json.loads(outcome.out).items()}

    assert (outcome.code, outcome.err) == (0, "")
    assert found["name"] == ("shop", "hub.toml:1")
    assert found["server.port"] == (77, "--port")
    assert found["runner.threads"] == (3, "HUB_RUNNER_THREADS")
    assert found["runner.slots"] == (7, f"hub.toml:{SETTINGS.splitlines().index('slots = 7') + 1}")
    assert found["runner.grace"] == ("10 seconds", "default")
    assert found["log.level"] == ("info", "default")
    assert found["data"] == (str(project / "elsewhere"), "--data")
    assert found["store.url"] == (f"sqlite:///{project}/elsewhere/hub.sqlite", "default")
    assert found["triggers.0.methods"] == (["POST"], "default")
    assert found["triggers.0.name"] == ("http-orders", "default")
    assert {".".join(path) for path in variables().values()} <= found.keys()


async def test_no_secret_is_shown_in_any_form(project: Path) -> None:
    env = {"PASSWORD": "hunter3"}
    for form in (("--origin",), ("--json",), ()):
        outcome = await run("config", "show", str(project), *form, env=env)

        assert outcome.code == 0
        assert not [secret for secret in SECRETS if secret in outcome.out + outcome.err]
    found = {key: each["value"] for key, each in json.loads((await run("config", "show", str(project), "--json", env=env)).out).items()}
    assert found["server.token"] == "***"
    assert found["vars.FROM"] == "${PASSWORD}"
    assert found["vars.SHOP"] == "https://hub:***@shop.example"
    assert found["vars.API_KEY"] == "***"
    assert found["triggers.0.verify.secrets.0"] == "***"
    assert found["triggers.1.url"] == "amqp://hub:***@broker/v"
    assert found["connectors.0.headers.x-anything"] == "***"


async def test_lines_tell_the_origin_only_where_it_is_asked_for(project: Path) -> None:
    plain = await run("config", "show", str(project), env={"PASSWORD": "x"})
    told = await run("config", "show", str(project), "--origin", env={"PASSWORD": "x"})

    assert 'name = "shop"' in plain.out.splitlines()
    assert "runner.slots = 7" in plain.out.splitlines()
    assert [line.split("  # ")[0].rstrip() for line in told.out.splitlines()] == plain.out.splitlines()
    assert next(line for line in told.out.splitlines() if line.startswith("steps.timeout")).endswith("# default")


async def test_a_short_form_is_shown_as_it_is_written(project: Path) -> None:
    more = """
[[triggers]]
kind = "cron"
workflow = "orders"
cron = "0 0 * * *"
spread = "50%"
flow = { concurrency = { limit = 3 } }
"""
    (project / "hub.toml").write_text(SETTINGS + more)

    outcome = await run("config", "show", str(project), "--json", env={"PASSWORD": "x"})
    found = {key: (each["value"], each["origin"]) for key, each in json.loads(outcome.out).items()}

    line = len(SETTINGS.splitlines())
    assert found["triggers.2.spread"] == ("50%", f"hub.toml:{line + 6}")
    assert found["triggers.2.flow.concurrency.0.limit"] == (3, f"hub.toml:{line + 7}")
    assert found["triggers.2.flow.concurrency.0.on_limit"] == ("queue", "default")
    assert not [key for key in found if key.startswith("triggers.2.spread.")]


async def test_wrong_settings_are_told_as_everywhere(project: Path) -> None:
    (project / "hub.toml").write_text(SETTINGS.replace("slots", "slot"))

    outcome = await run("config", "show", str(project), env={"PASSWORD": "x"})

    assert (outcome.code, outcome.out) == (2, "")
    assert "runner.slot: unknown key; did you mean slots?" in outcome.err


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://hub:hunter2@db/hub", "postgresql://hub:***@db/hub"),
        ("postgresql://hub:${PASSWORD}@db/hub", "postgresql://hub:***@db/hub"),
        ("postgresql://hub@db/hub?password=hunter2&ssl=require", "postgresql://hub@db/hub?password=***&ssl=require"),
        ("${ADDRESS}", "${ADDRESS}"),
    ],
)
async def test_the_address_of_the_store_is_shown_without_its_password(project: Path, url: str, shown: str) -> None:
    with (project / "hub.toml").open("a") as file:
        file.write(f'[store]\nurl = "{url}"\n')
    env = {"PASSWORD": "hunter3", "ADDRESS": "postgresql://hub:hunter2@db/hub"}
    outcome = await run("config", "show", str(project), "--json", env=env)

    assert json.loads(outcome.out)["store.url"]["value"] == shown
    assert not [secret for secret in SECRETS if secret in outcome.out + outcome.err]


async def test_an_address_from_a_variable_is_shown_without_its_password(project: Path) -> None:
    env = {"PASSWORD": "hunter3", "HUB_STORE_URL": "postgresql://hub:hunter2@db/hub"}
    outcome = await run("config", "show", str(project), "--json", env=env)

    assert json.loads(outcome.out)["store.url"] == {"value": "postgresql://hub:***@db/hub", "origin": "HUB_STORE_URL"}
