"""`[[queues.producers]]` and `[[queues.consumers]]`: wrangler's words become bindings and triggers, and mistakes have their path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from hub.core.errors import ConfigError
from hub.project import forget, load_project
from hub.settings import Settings, load_settings
from hub.triggering import Declared, declared_triggers

HEAD = 'name = "shop"\nmain = "workflows.py"\n[[workflows]]\nname = "order"\nclass_name = "Order"\nschedules = ["@daily"]\n'
CODE = """
from hub import WorkerEntrypoint, WorkflowEntrypoint

class Order(WorkflowEntrypoint):
    async def run(self, event, step): ...

class Default(WorkerEntrypoint):
    async def queue(self, batch): ...
"""
Load = Callable[[str], tuple[Settings, list[Declared]]]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    def load(text: str) -> tuple[Settings, list[Declared]]:
        (tmp_path / "hub.toml").write_text(HEAD + text)
        (tmp_path / "workflows.py").write_text(CODE)
        settings = load_settings(tmp_path, environ={})
        return settings, declared_triggers(settings, load_project(tmp_path, "workflows.py", ["Order"]).worker)

    yield load
    forget(tmp_path)


def test_a_consumer_is_a_trigger_of_its_own_behind_all_others(load: Load) -> None:
    settings, triggers = load(
        '[[queues.consumers]]\nqueue = "clicks"\nmax_batch_timeout = 2\n[[queues.consumers]]\nqueue = "clicks"\n'
        '[[triggers]]\nkind = "queue"\nqueue = "orders"\nworkflow = "order"\n'
    )

    assert [(each.spec.name, each.spec.kind, each.spec.workflow, each.calls) for each in triggers] == [
        ("queue-order", "queue", "order", None),
        ("cron-order", "cron", "order", None),
        ("queue-clicks", "queue", None, "queue"),
        ("queue-clicks-2", "queue", None, "queue"),
    ]
    assert settings.trigger_places == ("triggers.0", "workflows.0.schedules", "queues.consumers.0", "queues.consumers.1")


def test_a_producer_has_a_binding_a_queue_and_a_delay_in_seconds(load: Load) -> None:
    settings, _ = load('[[queues.producers]]\nbinding = "CLICKS"\nqueue = "clicks"\ndelivery_delay = 60\n')

    (producer,) = settings.queues.producers
    assert (producer.binding, producer.queue, producer.delivery_delay) == ("CLICKS", "clicks", timedelta(minutes=1))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[queues.consumers]]\nqueue = "a"\nmax_batchsize = 1\n', r"queues\.consumers\.0\.max_batchsize.*max_batch_size"),
        ('[[queues.consumers]]\nqueue = "a"\nmax_retries = 101\n', r"queues\.consumers\.0\.max_retries"),
        ("[[queues.consumers]]\nmax_retries = 1\n", r"queues\.consumers\.0\.queue"),
        ('[[queues.producers]]\nbinding = "A"\n', r"queues\.producers\.0\.queue"),
        ('[[queues.producers]]\nbinding = "A"\nqueue = "or ders"\n', r"queues\.producers\.0\.queue.*invalid name of a queue"),
        ('[[queues.producers]]\nbinding = "A"\nqueue = "a"\ndelivery_delay = 86401\n', r"queues\.producers\.0\.delivery_delay.*1 day"),
        ('[vars]\nA = 1\n[[queues.producers]]\nbinding = "A"\nqueue = "a"\n', r"self\.env\.A is .* already"),
        ("[queues]\nproducer = []\n", r"queues\.producer.*producers"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_path(load: Load, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load(text)
