"""Flow control in hub.toml: what the tables become, and which of them exclude each other."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.core.codec import encode
from hub.core.delivery import TriggerEvent
from hub.core.errors import ConfigError, Rejected
from hub.core.flow import NONE, Batch, Concurrency, Debounce, DebounceMode, Flow, OnLimit, Overlap, Rate, Singleton
from hub.core.model import Schedule
from hub.engine.flows import Flows
from hub.flow_schema import (
    CONFLICTS,
    BatchSettings,
    ConcurrencySettings,
    DebounceSettings,
    FlowSettings,
    RateSettings,
    SingletonSettings,
)
from hub.flows import cancel_rules, flow_rules
from hub.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
HEAD = 'name = "shop"\nmain = "workflows.py"\n'
WORKFLOW = '[[workflows]]\nname = "order"\nclass_name = "Order"\n'
TRIGGER = '[[triggers]]\nkind = "http"\nname = "hook"\nworkflow = "order"\n'
Load = Callable[[str], Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load the settings of a project with this text after its name."""

    def load(text: str) -> Settings:
        (tmp_path / "hub.toml").write_text(HEAD + text, encoding="utf-8")
        return load_settings(tmp_path, environ={})

    return load


def of_workflow(load: Load, table: str) -> Settings:
    return load(f"{WORKFLOW}[workflows.flow]\n{table}\n")


def refusal(load: Load, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return caught.value.message.partition("hub.toml: ")[2]


def flows_of(settings: Settings) -> Flows:
    """Compile the flow of the first workflow, and of the first trigger if there is one."""
    workflow = settings.workflows[0]
    own = {each.name: flow_rules(each.flow, f"trigger/{each.name}", "triggers.0.flow") for each in settings.triggers}
    return Flows(
        {workflow.name: flow_rules(workflow.flow, f"workflow/{workflow.name}", "workflows.0.flow")},
        own,
        cancel_rules(workflow.name, workflow.cancel_on, "workflows.0.cancel_on"),
    )


# ---- what the tables become


def test_every_rule_becomes_what_the_store_decides_by(load: Load) -> None:
    settings = of_workflow(
        load,
        """
        idempotency_window = "24 hours"
        rate_limit = { limit = 10, period = "1 minute", burst = 5, key = "payload.user" }
        batch = { max_wait = "10 seconds", key = "payload.user" }
        singleton = { overlap = "queue_one", key = "payload.id" }
        start_deadline = "1 hour"
        throttle = { limit = 1, period = "1 second" }
        concurrency = [{ limit = 5 }, { limit = 2, key = "payload.user", on_limit = "cancel_oldest" }]
        priority = 60
        backlog = 7
        """,
    )

    flow = flows_of(settings).of_params("order", encode({"user": "kim", "id": [1, {"b": 2, "a": None}]}))

    user = 'workflow/order payload.user\n"kim"'
    assert flow == Flow(
        window=timedelta(days=1),
        rate=Rate(key=user, limit=10, period=timedelta(minutes=1), burst=5),
        batch=Batch(key=user, max_size=100, max_wait=timedelta(seconds=10), max_bytes=1 << 20),
        singleton=Singleton(key='workflow/order payload.id\n[1,{"a":null,"b":2}]', overlap=Overlap.QUEUE_ONE),
        start_deadline=timedelta(hours=1),
        throttle=Rate(key="workflow/order\nnull", limit=1, period=timedelta(seconds=1)),
        concurrency=(
            Concurrency(key="workflow/order\nnull", limit=5),
            Concurrency(key=user, limit=2, on_limit=OnLimit.CANCEL_OLDEST),
        ),
        priority=timedelta(minutes=1),
        backlog=7,
    )


def test_a_debounce_a_delay_and_a_single_limit(load: Load) -> None:
    settings = of_workflow(
        load,
        'debounce = { period = "5 seconds", max_delay = "1 minute", mode = "leading" }\ndelay = "1 minute"\nconcurrency = { limit = 3 }',
    )

    flow = flows_of(settings).of_params("order", encode({}))

    scope = "workflow/order\nnull"
    assert flow.debounce == Debounce(
        key=scope, period=timedelta(seconds=5), max_delay=timedelta(minutes=1), mode=DebounceMode.LEADING
    )  # fmt: skip
    assert (flow.delay, flow.concurrency) == (timedelta(minutes=1), (Concurrency(key=scope, limit=3),))


def test_without_rules_there_is_nothing_to_ask(load: Load) -> None:
    flows = flows_of(load(WORKFLOW + TRIGGER))

    assert flows.of_params("order", encode({})) is NONE
    assert flows.of_event("hook", "order", TriggerEvent(payload={}, key="k")) is NONE


def test_the_rules_of_a_trigger_stand_over_those_of_its_workflow_one_by_one(load: Load) -> None:
    settings = load(
        f'{WORKFLOW}[workflows.flow]\nconcurrency = {{ limit = 1 }}\nbacklog = 9\npriority = "payload.p"\n'
        f"{TRIGGER}[triggers.flow]\nconcurrency = {{ limit = 7 }}\npriority = 5\n"
    )
    flows = flows_of(settings)

    event = flows.of_event("hook", "order", TriggerEvent(payload={"p": 100}))
    other = flows.of_params("order", encode({"p": 100}))

    assert event == Flow(concurrency=(Concurrency(key="trigger/hook\nnull", limit=7),), backlog=9, priority=timedelta(seconds=5))
    assert other == Flow(concurrency=(Concurrency(key="workflow/order\nnull", limit=1),), backlog=9, priority=timedelta(seconds=100))


@pytest.mark.parametrize(
    ("value", "seconds"), [(60, 60.0), (0.5, 0.5), (9999, 600.0), (-5, 0.0), (None, 0.0), ("60", 0.0), (True, 0.0), (float("nan"), 0.0)]
)
def test_a_head_start_of_an_expression_is_kept_within_its_range(load: Load, value: Any, seconds: float) -> None:
    flows = flows_of(of_workflow(load, 'priority = "payload"'))

    assert flows.of_params("order", encode(value)).priority == timedelta(seconds=seconds)


def test_keys_see_what_a_trigger_tells_and_long_ones_become_their_hash(load: Load) -> None:
    settings = load(f'{WORKFLOW}{TRIGGER}[triggers.flow]\nconcurrency = {{ limit = 1, key = "[trigger, headers.host, key, subject]" }}\n')
    flows = flows_of(settings)

    def key(subject: str) -> str:
        event = TriggerEvent(payload={}, key="k", headers={"host": "h"}, subject=subject)
        return flows.of_event("hook", "order", event).concurrency[0].key

    assert key("s").endswith('\n["hook","h","k","s"]')
    assert len(key("x" * 10_000)) < 200
    assert key("x" * 10_000) != key("x" * 9_999)


def test_an_overlap_that_the_event_brings_counts_the_instances_of_its_trigger(load: Load) -> None:
    flows = flows_of(load(WORKFLOW + TRIGGER))

    flow = flows.of_event("nightly", "order", TriggerEvent(payload={}, overlap=Overlap.SKIP))

    assert flow == Flow(singleton=Singleton(key="trigger/nightly\nnull", overlap=Overlap.SKIP))


def test_an_overlap_that_the_event_brings_is_about_the_instances_that_the_flow_counts_where_it_does(load: Load) -> None:
    flows = flows_of(of_workflow(load, 'singleton = { overlap = "queue_one", key = "payload.id" }'))

    flow = flows.of_event("nightly", "order", TriggerEvent(payload={"id": 7}, overlap=Overlap.SKIP))

    assert flow == Flow(singleton=Singleton(key="workflow/order payload.id\n7", overlap=Overlap.SKIP))


@pytest.mark.parametrize("own", [Overlap.SKIP, Overlap.QUEUE_ALL])
def test_what_a_schedule_does_by_itself_counts_where_nobody_says_anything_about_overlaps(load: Load, own: Overlap) -> None:
    schedule = Schedule(cron="@daily", scheduled_at=datetime(2026, 3, 1, tzinfo=UTC))
    slot = TriggerEvent(payload={}, schedule=schedule, overlap_default=own)
    silent, outspoken = flows_of(load(WORKFLOW + TRIGGER)), flows_of(of_workflow(load, 'singleton = { overlap = "cancel_running" }'))

    assert silent.of_event("nightly", "order", slot) == Flow(singleton=Singleton(key="trigger/nightly\nnull", overlap=own))
    assert outspoken.of_event("nightly", "order", slot).singleton == Singleton(key="workflow/order\nnull", overlap=Overlap.CANCEL_RUNNING)


def test_keys_see_params_as_the_instance_will(load: Load) -> None:
    @dataclass
    class Order:
        id: int

    flows = flows_of(of_workflow(load, 'singleton = { overlap = "skip", key = "payload.id" }'))

    singleton = flows.of_params("order", encode(Order(7))).singleton
    assert singleton is not None
    assert singleton.key == "workflow/order payload.id\n7"


def test_cancel_keys_of_event_and_payload_meet_only_for_the_same_value_and_rule(load: Load) -> None:
    settings = load(
        WORKFLOW
        + 'cancel_on = [{ trigger = "hook", event = "payload.order", params = "id" },'
        + '{ trigger = "hook", event = "payload.user", params = "user" }]\n'
        + TRIGGER
    )
    flows = flows_of(settings)

    of_order = flows.of_params("order", encode({"id": 7, "user": "7"})).cancels
    of_event = [key for key, _ in flows.cancelled("hook", TriggerEvent(payload={"order": 7, "user": 7}))]

    assert len(set(of_order)) == len(set(of_event)) == 2
    assert set(of_order) & set(of_event) == {of_order[0]}
    assert flows.of_params("order", encode({"id": None})) is NONE
    assert flows.cancelled("hook", TriggerEvent(payload={})) == []
    assert (flows.cancels("hook"), flows.cancels("other")) == (True, False)


def test_a_key_that_cannot_be_evaluated_refuses_the_event_and_names_its_rule(load: Load) -> None:
    flows = flows_of(of_workflow(load, 'throttle = { limit = 1, period = "1 second", key = "length(payload.n)" }'))

    with pytest.raises(Rejected, match="the flow's throttle fails") as refused:
        flows.of_params("order", encode({"n": 5}))

    assert refused.value.code == "flow.invalid"


# ---- mistakes

EVENLY = 'throttle = { limit = 1, period = "1 second" }'
LEGAL = {
    "limits of different keys": 'concurrency = [{ limit = 5 }, { limit = 1, key = "payload.user", on_limit = "drop_new" }]',
    "a batch that waits its turn": f'batch = {{ max_wait = "1 second" }}\nsingleton = {{ overlap = "queue_all" }}\n{EVENLY}',
    "a leading burst with everything": 'debounce = { period = "1 second", max_delay = "2 seconds", mode = "leading" }\ndelay = "1 second"\n'
    'singleton = { overlap = "cancel_running" }\nconcurrency = { limit = 2, key = "payload.user", on_limit = "cancel_oldest" }',
    "skip with a limit": 'singleton = { overlap = "skip", key = "payload.id" }\nconcurrency = { limit = 5 }',
    "drop_new alone": 'rate_limit = { limit = 9, period = "1 second", burst = 9 }\n'
    'concurrency = { limit = 1, on_limit = "drop_new" }\nbacklog = 5',
}


@pytest.mark.parametrize("table", LEGAL.values(), ids=LEGAL)
def test_what_can_be_meant_together_is_accepted(load: Load, table: str) -> None:
    assert of_workflow(load, table).workflows[0].flow != FlowSettings()


BATCH, BURST = 'batch = { max_wait = "1 second" }', 'debounce = { period = "1 second", max_delay = "9 seconds" }'
COLLECT = 'debounce = { period = "1 second", max_delay = "9 seconds", mode = "collect" }'
DROP = 'concurrency = { limit = 1, on_limit = "drop_new" }'
ILLEGAL = [
    (0, [BATCH, BURST], "debounce"),
    (0, [BATCH, BURST.replace("}", ', mode = "leading" }')], "debounce"),
    (1, ['debounce = { period = "9 seconds", max_delay = "9 seconds" }'], "debounce.period"),
    (1, ['debounce = { period = "10 seconds", max_delay = "9 seconds" }'], "debounce.period"),
    *((2, [waits, 'delay = "1 second"'], "delay") for waits in (BATCH, BURST, COLLECT)),
    *(
        (3, [waits, f'singleton = {{ overlap = "{overlap}" }}'], "singleton.overlap")
        for waits in (BATCH, BURST, COLLECT)
        for overlap in ("skip", "cancel_running", "terminate_running")
    ),
    (4, ['singleton = { overlap = "skip", key = "payload.id" }', DROP], "concurrency"),
    (5, ['singleton = { overlap = "queue_all", key = "payload.id" }', 'concurrency = { limit = 1, key = "payload.id" }'], "concurrency"),
    *((6, [DROP, rule], "concurrency") for rule in (BATCH, BURST, COLLECT, 'delay = "1 second"', EVENLY)),
    *(
        (6, [DROP, f'singleton = {{ overlap = "{overlap}", key = "payload.id" }}'], "concurrency")
        for overlap in ("queue_one", "queue_all", "cancel_running")
    ),
    (7, ['concurrency = [{ limit = 1, key = "a" }, { limit = 2, key = "a" }]'], "concurrency"),
    (7, ["concurrency = [{ limit = 1 }, { limit = 2 }]"], "concurrency"),
    (8, ['rate_limit = { limit = 1, period = "1 second", burst = 2 }'], "rate_limit.burst"),
    (9, ['throttle = { limit = 1, period = "1 second", burst = 2 }'], "throttle.burst"),
]


@pytest.mark.parametrize(("number", "rules", "key"), ILLEGAL)
def test_rules_that_exclude_each_other_are_refused_with_the_key_and_the_reason(load: Load, number: int, rules: list[str], key: str) -> None:
    of_both = refusal(load, f"{WORKFLOW}[workflows.flow]\n" + "\n".join(rules))

    words = CONFLICTS[number].words.replace("`", "")
    assert of_both == f"workflows.0.flow.{key}: {words} is not possible: {CONFLICTS[number].reason}"


@pytest.mark.parametrize(("number", "rules", "key"), [case for case in ILLEGAL if len(case[1]) == 2])
def test_a_rule_of_a_trigger_that_excludes_one_of_its_workflow_is_refused_at_the_trigger(
    load: Load, number: int, rules: list[str], key: str
) -> None:
    first, second = rules

    told = refusal(load, f"{WORKFLOW}[workflows.flow]\n{first}\n{TRIGGER}[triggers.flow]\n{second}\n")

    assert told.startswith(f"triggers.0.flow.{key}: ")
    assert CONFLICTS[number].reason in told


def test_every_pair_of_the_documentation_is_refused_and_every_refusal_documented() -> None:
    assert {number for number, _, _ in ILLEGAL} == set(range(len(CONFLICTS)))
    section = (ROOT / "README.md").read_text().split("## Flow control")[1].split("\n## ")[0]
    table = section.split("| not possible | because |\n|---|---|\n")[1].split("\n\n")[0]
    assert [tuple(row.strip("| ").split(" | ")) for row in table.strip().splitlines()] == [(each.words, each.reason) for each in CONFLICTS]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("rate_limt = { limit = 1 }", "workflows.0.flow.rate_limt: unknown key; did you mean rate_limit?"),
        ('rate_limit = { period = "1 second" }', "workflows.0.flow.rate_limit.limit: is required"),
        ('rate_limit = { limit = 0, period = "1 second" }', "workflows.0.flow.rate_limit.limit: expected at least 1, got 0"),
        ('throttle = { limit = 1, period = "0 seconds" }', "workflows.0.flow.throttle.period: must be at least 1 millisecond"),
        ('debounce = { period = "1 second" }', "workflows.0.flow.debounce.max_delay: is required"),
        ('debounce = { period = "1 second", max_delay = "1 minute", mode = "last" }', "workflows.0.flow.debounce.mode: expected"),
        ('singleton = { overlap = "allow" }', "workflows.0.flow.singleton.overlap: allow is what happens without"),
        ("concurrency = { limit = true }", "workflows.0.flow.concurrency.0.limit: expected a whole number, got true"),
        ("concurrency = [{ limit = 1 }, { limt = 2 }]", "workflows.0.flow.concurrency.1.limt: unknown key; did you mean limit?"),
        ("priority = 601", "workflows.0.flow.priority: must be 0 to 600 seconds"),
        ("priority = 1.5", "workflows.0.flow.priority: expected a number of seconds, or an expression"),
        ("backlog = 0", "workflows.0.flow.backlog: expected at least 1, got 0"),
        ('idempotency_window = "31 days"', "workflows.0.flow.idempotency_window: must be at most 30 days"),
        ('batch = { max_wait = "1 second", max_bytes = 99999999 }', "workflows.0.flow.batch.max_bytes: expected at most 26214400"),
    ],
)
def test_a_wrong_value_is_named_by_the_path_of_its_key(load: Load, table: str, told: str) -> None:
    assert refusal(load, f"{WORKFLOW}[workflows.flow]\n{table}\n").startswith(told)


@pytest.mark.parametrize(
    ("table", "path"),
    [
        ('throttle = { limit = 1, period = "1 second", key = "payload." }', "workflows.0.flow.throttle.key"),
        ('concurrency = [{ limit = 1 }, { limit = 1, key = "nope(x)" }]', "workflows.0.flow.concurrency.1.key"),
        ('priority = "payload["', "workflows.0.flow.priority"),
    ],
)
def test_a_broken_expression_is_found_when_the_project_loads(load: Load, table: str, path: str) -> None:
    settings = of_workflow(load, table)

    with pytest.raises(ConfigError) as caught:
        flow_rules(settings.workflows[0].flow, "workflow/order", "workflows.0.flow")

    assert caught.value.path == path


def test_cancel_on_names_a_trigger_that_there_is(load: Load) -> None:
    cancels = 'cancel_on = [{ trigger = "hok", event = "payload", params = "id" }]\n'

    assert refusal(load, WORKFLOW + cancels + TRIGGER) == 'workflows.0.cancel_on.0.trigger: there is no trigger "hok"; did you mean hook?'


def test_the_reference_shows_every_key_of_every_rule() -> None:
    reference = tomllib.loads((ROOT / "config" / "reference.toml").read_text())
    shown: dict[str, Any] = {}
    for table in (*reference["workflows"], *reference["triggers"]):
        shown = table.get("flow", {}) | shown
    assert set(shown) == {each.name for each in fields(FlowSettings)}
    kinds = {"rate_limit": RateSettings, "throttle": RateSettings, "batch": BatchSettings, "debounce": DebounceSettings}
    for rule, kind in {**kinds, "singleton": SingletonSettings}.items():
        assert set(shown[rule]) == {each.name for each in fields(kind)}, rule
    assert {key for each in shown["concurrency"] for key in each} | {"key"} == {each.name for each in fields(ConcurrencySettings)}
