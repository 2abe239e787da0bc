"""hub.toml, variables and flags: what they become, which one wins, and how a mistake is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.core.errors import ConfigError
from hub.core.model import Backoff, Retention
from hub.core.nodes import Role
from hub.settings import Settings, TriggerSettings, WorkflowSettings, load_settings

HEAD = 'name = "shop"\nmain = "workflows.py"\n'
WORKFLOW = '[[workflows]]\nname = "order"\nclass_name = "Order"\nbinding = "ORDER"\n'
TRIGGER = '[[triggers]]\nkind = "http"\nworkflow = "order"\n'
Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load the settings of a project with this hub.toml."""

    def load(text: str = "", environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        (tmp_path / "hub.toml").write_text(HEAD + text, encoding="utf-8")
        return load_settings(tmp_path, overrides=overrides, environ=environ or {})

    return load


def message(load: Load, *args: Any, **overrides: Any) -> str:
    """Return the words of the ConfigError, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(*args, **overrides)
    text = caught.value.message
    return text[text.index("hub.toml: ") :] if "hub.toml: " in text else text


def test_a_file_with_a_name_is_enough(load: Load, tmp_path: Path) -> None:
    settings = load()
    assert (settings.name, settings.main, settings.account) == ("shop", "workflows.py", "local")
    assert settings.project == tmp_path.resolve()
    assert settings.data == tmp_path.resolve() / ".hub"
    assert settings.store.url == f"sqlite:///{tmp_path.resolve()}/.hub/hub.sqlite"
    assert (settings.server.host, settings.server.port, settings.server.token.get_secret_value()) == ("127.0.0.1", 8787, "")
    assert (settings.steps.retry_limit, settings.steps.retry_backoff) == (5, Backoff.EXPONENTIAL)
    assert settings.steps.timeout == timedelta(minutes=10)


def test_settings_are_frozen_values(load: Load) -> None:
    settings = load()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.server.port = 1  # type: ignore[misc]
    assert dataclasses.replace(settings, name="other").name == "other"


def test_every_table_is_read(load: Load) -> None:
    settings = load(
        WORKFLOW + '[[triggers]]\nkind = "http"\nworkflow = "order"\npath = "orders"\n'
        '[[connectors]]\nkind = "http"\nbinding = "HTTP"\ntimeout = "5 seconds"\n'
        '[runner]\nslots = 5\ngrace = "1 minute"\nlease = 2000\n[limits]\nresult_bytes = 1024\n[log]\nlevel = "debug"\nformat = "json"\n'
    )
    assert settings.workflows == (WorkflowSettings(name="order", class_name="Order", binding="ORDER"),)
    assert settings.triggers == (TriggerSettings(kind="http", name="http-order", workflow="order", options={"path": "orders"}),)
    assert settings.connectors[0].options == {"timeout": "5 seconds"}
    assert (settings.runner.slots, settings.runner.grace, settings.runner.lease) == (5, timedelta(minutes=1), timedelta(seconds=2))
    assert (settings.limits.result_bytes, settings.log.level, settings.log.format) == (1024, "debug", "json")


# ---- which source wins


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(load: Load) -> None:
    text = '[server]\nport = 1\nhost = "localhost"\n[log]\nlevel = "error"\n'
    environ = {"HUB_SERVER_PORT": "2", "HUB_LOG_LEVEL": "warning"}
    assert load(text).server.port == 1
    assert load(text, environ).server.port == 2
    settings = load(text, environ, server={"port": 3, "host": None})
    assert (settings.server.port, settings.server.host, settings.log.level) == (3, "localhost", "warning")


def test_variables_set_single_settings_of_every_kind(load: Load) -> None:
    environ = {
        "HUB_NAME": "named",
        "HUB_ACCOUNT": "acme",
        "HUB_SERVER_TOKEN": "s3cret",
        "HUB_RUNNER_RESIDENT": "2 seconds",
        "HUB_STEPS_RETRY_LIMIT": "0",
        "HUB_STEPS_RETRY_BACKOFF": "linear",
        "HUB_STORE_URL": "postgresql://hub:pw@db/hub",
    }
    settings = load("", environ)
    assert (settings.name, settings.account, settings.server.token.get_secret_value()) == ("named", "acme", "s3cret")
    assert (settings.runner.resident, settings.steps.retry_limit) == (timedelta(seconds=2), 0)
    assert (settings.steps.retry_backoff, settings.store.url) == (Backoff.LINEAR, "postgresql://hub:pw@db/hub")


def test_an_empty_variable_counts_as_absent(load: Load) -> None:
    assert load("[server]\nport = 1\n", {"HUB_SERVER_PORT": ""}).server.port == 1


def test_other_variables_are_nobodys_business(load: Load) -> None:
    assert load("", {"HUB_URL": "http://h", "HUB_TOKEN": "t", "HUBCAP": "x", "HUB_TEST_POSTGRES_URL": "x"}) == load()


def test_the_data_folder_is_relative_to_the_project_in_the_file_and_to_the_working_folder_elsewhere(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert load('data = "state"\n').data == tmp_path.resolve() / "state"
    assert load("", data=Path("state")).data == elsewhere / "state"
    assert load("", {"HUB_DATA": "state"}).data == elsewhere / "state"
    assert load("", data="/var/lib/hub").store.url == "sqlite:////var/lib/hub/hub.sqlite"


@pytest.mark.parametrize(
    ("url", "environ", "found"),
    [
        ("postgresql://hub:${PW}@db:5432/hub", {"PW": "a/b@c:d%#?"}, "postgresql://hub:a%2Fb%40c%3Ad%25%23%3F@db:5432/hub"),
        ("postgresql://${USER}:${PW}@${HOST}/hub", {"USER": "a b", "PW": "x", "HOST": "h:1"}, "postgresql://a%20b:x@h:1/hub"),
        ("${ADDRESS}", {"ADDRESS": "postgres://hub:pw@db/hub"}, "postgres://hub:pw@db/hub"),
        ("postgresql:///hub?host=/run/postgresql", {}, "postgresql:///hub?host=/run/postgresql"),
        ("sqlite:////srv/$${NAME}.sqlite", {}, "sqlite:////srv/${NAME}.sqlite"),
    ],
)
def test_the_address_of_the_store_refers_to_variables(load: Load, url: str, environ: dict[str, str], found: str) -> None:
    assert load(f'[store]\nurl = "{url}"\n', environ).store.url == found


def test_nodes_notify_each_other_unless_told_otherwise(load: Load) -> None:
    assert load().store.notifications
    assert not load("[store]\nnotifications = false\n").store.notifications
    assert not load("", {"HUB_STORE_NOTIFICATIONS": "false"}).store.notifications


def test_a_data_folder_is_no_reference(load: Load) -> None:
    assert load("", data="/srv/${NAME}").store.url == "sqlite:////srv/${NAME}/hub.sqlite"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://hub:hunt/er2@db/hub", "not a whole address; in its user or password the characters"),
        ("postgresql://hub:hunt#er2@db/hub", "not a whole address"),
        ("postgresql://hub:hunt@er2@db/hub", "not a whole address"),
        ("postgresql://hub:hunter2@db:er2/hub", "not a whole address"),
        ("postgresql://hub:hunter2@db", "names no database; write postgresql://USER:PASSWORD@HOST/DATABASE"),
        ("postgresql://hub:${NOT_SET}@db/hub", "the environment variable NOT_SET is not set"),
        ("${ELSEWHERE}", "not the address of a store"),
        ("postgresql+asyncpg://hub:hunter2@db/hub", "not the address of a store"),
    ],
)
def test_a_wrong_address_of_the_store_is_told_without_its_password(load: Load, url: str, told: str) -> None:
    for text, environ, origin in ((f'[store]\nurl = "{url}"\n', {}, "hub.toml"), ("", {"HUB_STORE_URL": url}, "HUB_STORE_URL")):
        with pytest.raises(ConfigError) as caught:
            load(text, {"ELSEWHERE": "mysql://hub:hunter2@db/hub", **environ})
        assert f"{origin}: store.url: {told}" in caught.value.message
        assert "er2" not in caught.value.message


# ---- mistakes


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[workflows]]\nname = "a"\nclas_name = "A"\n', "hub.toml: workflows.0.clas_name: unknown key; did you mean class_name?"),
        ("[servr]\nport = 1\n", "hub.toml: servr: unknown key; did you mean server?"),
        ('project = "."\n', "hub.toml: project: unknown key; "),
        ("[server]\nport = 70000\n", "hub.toml: server.port: expected at most 65535, got 70000"),
        ("[server]\nport = true\n", "hub.toml: server.port: expected a whole number, got true"),
        ('[server]\nport = "soon"\n', "hub.toml: server.port: expected a whole number, got 'soon'"),
        ("server = 1\n", "hub.toml: server: expected a table, got 1"),
        ("[server]\nhost = 1\n", "hub.toml: server.host: expected text, got 1"),
        ('[runner]\ngrace = "2 mins"\n', "hub.toml: runner.grace: unknown unit \"mins\" in '2 mins'; known units: "),
        ("[runner]\nlease = 1\n", "hub.toml: runner.lease: must be at least 1 second"),
        ('[runner]\nlease = "1 day"\n', "hub.toml: runner.lease: must be at most 10 minutes"),
        ("[steps]\ntimeout = 0\n", "hub.toml: steps.timeout: must be at least 1 millisecond"),
        ('[steps]\nretry_backoff = "x"\n', "hub.toml: steps.retry_backoff: expected 'constant', 'linear' or 'exponential', got 'x'"),
        ('[log]\nlevel = "loud"\n', "hub.toml: log.level: expected 'debug', 'info', 'warning' or 'error', got 'loud'"),
        ('[store]\nurl = "mysql://x"\n', "hub.toml: store.url: not the address of a store; write sqlite:///FILE or "),
        ('[workflows]\nname = "a"\n', "hub.toml: workflows: expected a list of tables; write [[workflows]] with two brackets"),
        ('[[workflows]]\nname = "a b"\nclass_name = "A"\n', "hub.toml: workflows.0.name: 'a b' cannot be a name: "),
        ('[[workflows]]\nname = "a"\nclass_name = "A"\nbinding = "a-b"\n', "hub.toml: workflows.0.binding: 'a-b' cannot be an attribute"),
        ('[[workflows]]\nname = "a"\nclass_name = "A"\nbinding = "class"\n', "hub.toml: workflows.0.binding: 'class' cannot be"),
        ('[[workflows]]\nclass_name = "A"\n', "hub.toml: workflows.0.name: is required"),
        ("triggers = [1]\n", "hub.toml: triggers.0: expected a table, got 1"),
        (WORKFLOW + TRIGGER.replace("order", "odrer"), 'hub.toml: triggers.0.workflow: there is no workflow "odrer"; did you mean order?'),
        (WORKFLOW + WORKFLOW, 'hub.toml: workflows.1.name: "order" is taken by workflows.0.name; choose another'),
        (WORKFLOW + TRIGGER * 2, 'hub.toml: triggers.1.name: "http-order" is taken by triggers.0.name'),
        (WORKFLOW + '[vars]\nORDER = "x"\n', "hub.toml: vars.ORDER: self.env.ORDER is workflows.0.binding already; choose another name"),
        ("name = 1\n", "hub.toml: not valid TOML: Cannot overwrite a value (at line 3, column 9)"),
        (WORKFLOW + "limits = { steps = 25001 }\n", "hub.toml: workflows.0.limits.steps: expected at most 25000, got 25001"),
        (WORKFLOW + "limits = { steps = 0 }\n", "hub.toml: workflows.0.limits.steps: expected at least 1, got 0"),
        (WORKFLOW + "limits = { steps = true }\n", "hub.toml: workflows.0.limits.steps: expected a whole number, got true"),
        (WORKFLOW + "limits = { step = 5 }\n", "hub.toml: workflows.0.limits.step: unknown key; did you mean steps?"),
        (WORKFLOW + "limits = 5\n", "hub.toml: workflows.0.limits: expected a table, got 5"),
        ("[limits]\nsteps = 25001\n", "hub.toml: limits.steps: expected at most 25000, got 25001"),
        ("[limits]\nstate_bytes = 0\n", "hub.toml: limits.state_bytes: expected at least 1, got 0"),
        ("[runner]\nmax_recoveries = -1\n", "hub.toml: runner.max_recoveries: expected at least 0, got -1"),
        ('[retention]\nsuccess = "never"\n', "hub.toml: retention.success: "),
        ("[retention]\nerror = 0\n", 'hub.toml: retention.error: must be longer than nothing, or "forever"'),
        (
            WORKFLOW + 'default_retention = { sucess_retention = "1 day" }\n',
            "hub.toml: workflows.0.default_retention.sucess_retention: unknown key; did you mean success_retention?",
        ),
        (
            WORKFLOW + 'default_retention = { error_retention = "2 mins" }\n',
            "hub.toml: workflows.0.default_retention.error_retention: unknown unit \"mins\" in '2 mins'; known units: ",
        ),
        ("x = = 1\n", "hub.toml: not valid TOML: Invalid value (at line 3, column 5)"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_path_and_what_to_do(load: Load, text: str, told: str) -> None:
    assert message(load, text).startswith(told)


def test_all_mistakes_are_told_at_once_and_a_misspelt_key_only_once(load: Load) -> None:
    lines = message(load, '[[workflows]]\nname = "a"\nclas_name = "A"\n[runner]\nslots = 0\n').splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("did you mean class_name?")
    assert lines[1].endswith("runner.slots: expected at least 1, got 0")


def test_the_path_of_the_first_mistake_is_kept(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load("[server]\nport = -1\n")
    assert caught.value.path == "server.port"


def test_a_mistake_names_the_variable_or_the_command_line_that_it_came_from(load: Load) -> None:
    assert message(load, "", {"HUB_SERVER_PORT": "x"}) == "HUB_SERVER_PORT: server.port: expected a whole number, got 'x'"
    assert message(load, "", {"HUB_NAME": "a b"}).startswith("HUB_NAME: name: 'a b' cannot be a name")
    assert message(load, "", server={"port": -1}) == "command line: server.port: expected at least 0, got -1"
    told = message(load, "[server]\nport = 1\n", {"HUB_SERVER_PORT": "x"}, server={"host": "localhost"})
    assert told.startswith("HUB_SERVER_PORT: ")


def test_a_misspelt_variable_is_an_error(load: Load) -> None:
    told = message(load, "", {"HUB_SERVER_PROT": "1"})
    assert told == "HUB_SERVER_PROT: unknown environment variable; did you mean HUB_SERVER_PORT?"


def test_a_secret_is_never_shown(load: Load) -> None:
    settings = load('[server]\ntoken = "s3cret"\n[vars]\nKEY = "${KEY}"\n', {"KEY": "k3y", "HUB_STORE_URL": "postgresql://u:passw0rd@h/d"})
    for secret in ("s3cret", "k3y", "passw0rd"):
        assert secret not in repr(settings)
    assert "55667" not in message(load, "[server]\ntoken = 55667\n")


def test_a_missing_file_is_told_with_the_folder_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"there is no hub\.toml in {tmp_path}.*`hub init NAME`"):
        load_settings(tmp_path)
    with pytest.raises(ConfigError, match="nowhere is not a folder.*`hub init NAME`"):
        load_settings(tmp_path / "nowhere")


def test_a_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigError, match="not UTF-8 at byte 8"):
        load_settings(tmp_path)
    (tmp_path / "hub.toml").unlink()
    (tmp_path / "hub.toml").mkdir()
    with pytest.raises(ConfigError, match=r"hub\.toml: cannot be read: Is a directory"):
        load_settings(tmp_path)


# ---- the door


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_this_machine_alone_needs_no_token(load: Load, host: str) -> None:
    server = load('[server]\nauth = "off"\n', server={"host": host}).server
    assert (server.host, server.loopback) == (host, True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "hub.example.com", "localhost.example.com"])
def test_a_host_that_others_can_reach_cannot_do_without_tokens(load: Load, host: str) -> None:
    told = message(load, '[server]\nauth = "off"\n', server={"host": host})
    assert told.startswith(f"hub.toml: server.auth: {host!r} can be reached from other machines")
    assert "hub tokens create admin --scope admin" in told
    assert not load("", server={"host": host}).server.loopback  # whether there is a stored token, the store knows


def test_further_names_of_the_hub_come_from_the_file_or_a_variable(load: Load) -> None:
    assert load('[server]\nhosts = ["hub.example.com", "hub"]\n').server.hosts == ("hub.example.com", "hub")
    assert load("", {"HUB_SERVER_HOSTS": "hub.example.com, hub"}).server.hosts == ("hub.example.com", "hub")
    told = message(load, '[server]\nhosts = ["https://hub.example.com"]\n')
    assert "server.hosts.0: 'https://hub.example.com' is not the name of a host" in told


# ---- what a node does


def test_a_node_takes_in_and_executes_everything_unless_told_otherwise(load: Load) -> None:
    assert (load().node.roles, load().node.workflows) == (tuple(Role), ())
    settings = load(WORKFLOW + '[node]\nroles = ["run"]\nworkflows = ["order"]\n')
    assert (settings.node.roles, settings.node.workflows) == ((Role.RUN,), ("order",))


def test_roles_and_workflows_of_a_node_come_from_variables_and_flags_too(load: Load) -> None:
    environ = {"HUB_NODE_ROLES": "intake, run", "HUB_NODE_WORKFLOWS": "order"}
    settings = load(WORKFLOW + '[node]\nroles = ["run"]\n', environ)
    assert (settings.node.roles, settings.node.workflows) == (tuple(Role), ("order",))
    assert load(WORKFLOW, environ, node={"roles": "intake", "workflows": None}).node.roles == (Role.INTAKE,)


def test_a_role_or_a_workflow_that_does_not_exist_is_refused_with_what_there_is(load: Load) -> None:
    told = message(load, '[node]\nroles = ["runs"]\n')
    assert "node.roles.0" in told
    assert "intake" in told
    assert "node.roles" in message(load, "[node]\nroles = []\n")
    told = message(load, WORKFLOW, {"HUB_NODE_WORKFLOWS": "order,ordr"})
    assert told.endswith('there is no workflow "ordr"; did you mean order?')
    assert "HUB_NODE_WORKFLOWS" in told


# ---- limits and retention


def test_a_name_has_at_most_64_characters(load: Load) -> None:
    assert load(WORKFLOW.replace('"order"', f'"{"n" * 64}"')).workflows[0].name == "n" * 64
    assert "at most 64" in message(load, WORKFLOW.replace('"order"', f'"{"n" * 65}"'))


def test_limits_are_as_documented_unless_set(load: Load) -> None:
    settings = load()
    assert (settings.limits.steps, settings.limits.state_bytes, settings.runner.max_recoveries) == (10_000, 1 << 30, 100)
    settings = load("[limits]\nsteps = 25000\nstate_bytes = 5\n", {"HUB_RUNNER_MAX_RECOVERIES": "3"})
    assert (settings.limits.steps, settings.limits.state_bytes, settings.runner.max_recoveries) == (25_000, 5, 3)


@pytest.mark.parametrize("steps", [1, 25_000])
def test_a_workflow_may_have_as_many_steps_as_it_says_itself_else_as_all_may(load: Load, steps: int) -> None:
    settings = load(WORKFLOW + "limits = {}\n[limits]\nsteps = 7\n")
    assert settings.steps_of(settings.workflows[0]) == 7
    settings = load(WORKFLOW + f"limits = {{ steps = {steps} }}\n[limits]\nsteps = 7\n")
    assert settings.steps_of(settings.workflows[0]) == steps


def test_instances_are_kept_for_ever_unless_told(load: Load) -> None:
    settings = load(WORKFLOW)
    assert settings.retention_of(settings.workflows[0]) == Retention()


def test_a_workflow_keeps_its_instances_as_it_says_itself_else_as_all_do(load: Load) -> None:
    common = '[retention]\nsuccess = "7 days"\nerror = 60000\n'
    settings = load(WORKFLOW + common)
    assert settings.retention_of(settings.workflows[0]) == Retention(success=timedelta(days=7), error=timedelta(minutes=1))
    settings = load(WORKFLOW + 'default_retention = { success_retention = "1 hour" }\n' + common)
    assert settings.retention_of(settings.workflows[0]) == Retention(success=timedelta(hours=1), error=timedelta(minutes=1))
    settings = load(WORKFLOW + 'default_retention = { success_retention = "forever", error_retention = 5 }\n' + common)
    assert settings.retention_of(settings.workflows[0]) == Retention(success=None, error=timedelta(milliseconds=5))
    assert load("", {"HUB_RETENTION_ERROR": "1 day"}).retention.error == timedelta(days=1)


# ---- schedules


def test_schedules_of_a_workflow_become_cron_triggers(load: Load) -> None:
    settings = load(WORKFLOW + 'schedules = ["*/5 * * * *", "0 7 * * *"]\n')
    expected = [("cron-order", "*/5 * * * *"), ("cron-order-2", "0 7 * * *")]
    assert [(trigger.name, trigger.options["cron"]) for trigger in settings.triggers] == expected
    assert {(trigger.kind, trigger.workflow, trigger.options["overlap"]) for trigger in settings.triggers} == {("cron", "order", "allow")}


def test_schedules_of_a_workflow_leave_overlaps_to_its_own_flow(load: Load) -> None:
    settings = load(WORKFLOW + 'schedules = "@hourly"\nflow = { singleton = { overlap = "queue_one" } }\n')
    assert settings.triggers[0].options == {"cron": "@hourly"}


def test_one_schedule_may_be_a_text_and_does_not_take_the_name_of_a_declared_trigger(load: Load) -> None:
    declared = '[[triggers]]\nkind = "cron"\nworkflow = "order"\ncron = "0 0 * * *"\n'
    settings = load(WORKFLOW + 'schedules = "0 7 * * *"\n' + declared)
    assert [trigger.name for trigger in settings.triggers] == ["cron-order", "cron-order-2"]


# ---- ${NAME}


def test_variables_are_filled_in_and_the_hubs_own_address_last(load: Load) -> None:
    settings = load('[vars]\nA = "${X}/${HUB_URL}"\nB = [1, {c = "${X}"}]\nC = 5\n', {"X": "x"})
    assert settings.expanded_vars("http://h:1") == {"A": "x/http://h:1", "B": [1, {"c": "x"}], "C": 5}


def test_what_a_variable_holds_is_not_expanded_again(load: Load) -> None:
    settings = load('[vars]\nA = "${X}"\nB = "$${X} costs $5"\n', {"X": "${HUB_URL} $${Y}"})
    assert settings.expanded_vars("http://h") == {"A": "${HUB_URL} $${Y}", "B": "${X} costs $5"}


def test_options_of_triggers_and_connectors_are_filled_in(load: Load) -> None:
    connector = '[[connectors]]\nkind = "http"\nbinding = "HTTP"\nheaders = {authorization = "Bearer ${KEY} $${KEY}"}\n'
    assert load(connector, {"KEY": "k"}).connectors[0].options == {"headers": {"authorization": "Bearer k ${KEY}"}}


def test_a_variable_that_is_not_set_is_told_with_its_place(load: Load) -> None:
    told = message(load, '[vars]\nA = "${NOPE}"\n')
    assert told == "hub.toml: vars.A: the environment variable NOPE is not set; set it, or write $${NOPE} for the text itself"
    told = message(load, '[[connectors]]\nkind = "http"\nbinding = "HTTP"\nbase_url = "${HUB_URL}"\n')
    assert told == "hub.toml: connectors.0: ${HUB_URL}, the hub's own address, is known in [vars] only"
