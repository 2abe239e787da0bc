"""From `[[triggers]]` to what the engine hosts: rules, handlers, and what operators see of the settings."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.core.delivery import TriggerEvent
from hub.core.errors import ConfigError, Rejected
from hub.core.workflow import Env
from hub.engine.rules import Rules
from hub.project import forget, load_project
from hub.settings import load_settings
from hub.triggering import Declared, declared_triggers, handler_of, hosted_triggers

HEAD = 'name = "shop"\nmain = "workflows.py"\n[[workflows]]\nname = "order"\nclass_name = "Order"\n'
HTTP = '[[triggers]]\nkind = "http"\nname = "hook"\nworkflow = "order"\n'
PROJECT = """
from pydantic import BaseModel
from hub import WorkerEntrypoint, WorkflowEntrypoint

class Order(WorkflowEntrypoint):
    async def run(self, event, step): ...

class Item(BaseModel):
    id: int
    price: float | None = None
"""
WORKER = """
class Default(WorkerEntrypoint):
    async def queue(self, batch):
        return ("queue", batch, self.env.NAME)

    def scheduled(self, controller):
        return ("scheduled", controller, self.env.NAME)
"""
SCHEMA = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}
Load = Callable[..., list[Declared]]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    (tmp_path / "order.schema.json").write_text(json.dumps(SCHEMA))

    def load(text: str, code: str = PROJECT, **files: str) -> list[Declared]:
        (tmp_path / "hub.toml").write_text(HEAD + text)
        (tmp_path / "workflows.py").write_text(code)
        for name, content in files.items():
            (tmp_path / name.replace("__", ".")).write_text(content)
        settings = load_settings(tmp_path, environ={"PASSWORD": "hunter2"})
        project = load_project(settings.project, settings.main, ["Order"])
        return declared_triggers(settings, project.worker)

    yield load
    forget(tmp_path)


def applied(rules: Rules, payload: Any, **fields: Any) -> TriggerEvent | None:
    return rules.apply("hook", TriggerEvent(payload=payload, **fields), lambda error: pytest.fail(str(error)))


# ---- rules


def test_a_trigger_without_rules_changes_nothing(load: Load) -> None:
    (hook,) = load(HTTP)

    assert hook.rules == Rules()
    assert (hook.spec.name, hook.spec.kind, hook.spec.workflow, hook.spec.enabled) == ("hook", "http", "order", True)


def test_the_rules_of_a_trigger_are_compiled(load: Load) -> None:
    rules = 'filter = "payload.id > `1`"\nkey = "payload.id"\nmap = "{id: payload.id}"\nschema = "order.schema.json"\nenabled = false\n'
    (hook,) = load(HTTP + rules)

    assert not hook.spec.enabled
    assert applied(hook.rules, {"id": 1}) is None
    passed = applied(hook.rules, {"id": 2, "x": 1}, key="source")
    assert passed is not None
    assert (passed.payload, passed.key) == ({"id": 2}, "2")
    with pytest.raises(Rejected, match=r'payload\.id: 2\.5 is not of type "integer" \(order\.schema\.json\)'):
        applied(hook.rules, {"id": 2.5})


@pytest.mark.parametrize("place", ["workflows.py", "models.py"])
def test_a_model_of_the_project_can_be_the_contract(load: Load, place: str) -> None:
    (hook,) = load(HTTP + f'schema = "{place}:Item"\n', models__py=PROJECT)

    assert applied(hook.rules, {"id": 1, "more": True}) == TriggerEvent(payload={"id": 1, "more": True})
    with pytest.raises(Rejected, match=r"payload\.id: Field required \(.*py:Item\)") as caught:
        applied(hook.rules, {})
    assert caught.value.code == "payload.schema"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HTTP + 'filter = "payload ="\n', "triggers.0.filter: 'payload =' is not an expression: "),
        (HTTP + 'key = "lenght(payload)"\n', r"triggers.0.key: .* no function lenght\(\)"),
        (HTTP + 'map = ""\n', "triggers.0.map: must not be empty"),
        (HTTP + 'filter_error = "drop"\n', "triggers.0.filter_error: expected 'accept' or 'reject'"),
        (HTTP + "enabled = 7\n", "triggers.0.enabled: "),
        (HTTP + 'schema = "order.yaml"\n', 'triggers.0.schema: "order.yaml" is neither a JSON Schema such as'),
        (HTTP + 'schema = "nowhere.json"\n', "triggers.0.schema: .*nowhere.json cannot be read: No such file"),
        (HTTP + 'schema = "broken.json"\n', "triggers.0.schema: broken.json: not valid JSON: "),
        (HTTP + 'schema = "wrong.json"\n', r"triggers.0.schema: wrong.json is no JSON Schema: \$.type: "),
        (HTTP + 'schema = "far.json"\n', 'triggers.0.schema: far.json refers to "http://example.com/x", which is not there'),
        (HTTP + 'schema = "above.json"\n', 'triggers.0.schema: above.json refers to "../hub.toml"'),
        (HTTP + 'schema = "inside.json"\n', r"triggers.0.schema: inside.json: Pointer '/\$defs/id' does not exist"),
        (HTTP + 'schema = "workflows.py:Itm"\n', 'triggers.0.schema: workflows.py has no "Itm"; did you mean Item?'),
        (HTTP + 'schema = "../x.py:Item"\n', "triggers.0.schema: there is no ../x.py in "),
        (HTTP + 'schema = "bad.py:Item"\n', "triggers.0.schema: bad.py does not import"),
        (HTTP + 'fliter = "payload"\n', r"triggers.0.fliter: unknown key; did you mean filter\?"),
        ('[[triggers]]\nkind = "http"\nworkflo = "order"\n', r"triggers.0.workflo: unknown key; did you mean workflow\?"),
        ('[[triggers]]\nkind = "http"\n', 'triggers.0.workflow: a trigger of kind "http" needs the workflow that it starts'),
    ],
)
def test_a_mistake_is_told_with_its_path_before_anything_starts(load: Load, text: str, told: str) -> None:
    files = {
        "broken__json": "{",
        "wrong__json": '{"type": "strng"}',
        "far__json": '{"$ref": "http://example.com/x"}',
        "above__json": '{"$ref": "../hub.toml"}',
        "inside__json": '{"properties": {"id": {"$ref": "#/$defs/id"}}}',
        "bad__py": "raise RuntimeError",
    }

    with pytest.raises(ConfigError, match=told):
        load(text, **files)


# ---- handlers

CRON = '[[triggers]]\nkind = "cron"\nname = "tick"\ncron = "0 * * * *"\n'


def test_a_trigger_without_a_workflow_needs_its_handler(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"triggers.0.workflow: .* write `async def scheduled\(self, controller\)` in a WorkerEntrypoint"):
        load(CRON)


def test_a_trigger_without_a_workflow_has_no_rules(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"triggers.0.filter: works on events that start a workflow"):
        load(CRON + 'filter = "payload"\n', PROJECT + WORKER)


@pytest.mark.parametrize("method", ["queue", "scheduled"])
async def test_a_handler_is_called_in_a_new_object_with_the_environment_of_the_moment(load: Load, method: str) -> None:
    (tick,) = load(CRON, PROJECT + WORKER)
    worker = sys.modules["workflows"].Default
    values = {"NAME": "first"}
    calls = []

    async def in_thread(call: Callable[[], Any]) -> Any:
        calls.append(call)
        return call()

    handler = handler_of(worker, method, lambda: Env(values), in_thread)
    values["NAME"] = "second"

    assert await handler("argument") == (method, "argument", "second")
    assert len(calls) == (method == "scheduled")  # the synchronous one
    assert tick.calls == "scheduled"
    (spec,) = hosted_triggers([tick], worker, lambda: Env(values), in_thread)
    assert spec.workflow is None
    assert spec.handler is not None
    assert await spec.handler(7) == ("scheduled", 7, "second")


def test_a_nameless_trigger_without_a_workflow_is_called_by_its_kind(load: Load) -> None:
    (tick,) = load(CRON.replace('name = "tick"\n', ""), PROJECT + WORKER)

    assert tick.spec.name == "cron"


# ---- what is kept of the settings


def test_operators_see_the_settings_without_secrets(load: Load) -> None:
    verify = '[triggers.verify]\npreset = "github"\nsecrets = ["hunter2"]\n'
    amqp = HTTP.replace("http", "amqp").replace("hook", "queue") + 'url = "amqp://guest:${PASSWORD}@localhost/"\nqueue = "orders"\n'

    hook, queue = load(HTTP + 'filter = "payload"\nmethods = ["PUT"]\n' + verify + amqp)

    assert hook.spec.settings == {"filter": "payload", "methods": ["PUT"], "verify": {"preset": "github", "secrets": "***"}}
    assert queue.spec.settings == {"url": "amqp://guest:***@localhost/", "queue": "orders"}


def test_only_a_schedule_has_a_digest_and_only_its_own_keys_change_it(load: Load) -> None:
    cron = CRON + 'workflow = "order"\n'
    (hook,), (tick,), (filtered,), (other,), (off,) = (
        load(text)
        for text in (HTTP, cron, cron + 'filter = "payload"\n', cron.replace("0 * * * *", "1 * * * *"), cron + "enabled = false\n")
    )

    assert hook.spec.digest == ""
    assert len({tick.spec.digest, filtered.spec.digest, other.spec.digest, off.spec.digest}) == 3
    assert tick.spec.digest == filtered.spec.digest


def test_a_trigger_that_only_cancels_calls_no_handler_and_says_whose_instances_it_cancels(load: Load) -> None:
    (stop,) = load('cancel_on = [{ trigger = "stop", event = "payload.id", params = "id" }]\n[[triggers]]\nkind = "http"\nname = "stop"\n')

    assert (stop.calls, stop.spec.workflow, stop.spec.settings) == (None, None, {"cancels": ["order"]})
