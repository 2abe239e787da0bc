"""The settings of a queue trigger: what they may be, and what may not stand together."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hub.core.errors import ConfigError
from hub.plugins import parse_options
from triggers.amqp import AmqpTrigger

URL = "amqp://guest:guest@localhost/"


def read(**options: Any) -> Any:
    return parse_options(AmqpTrigger, {"url": URL, "queue": "orders", **options}, "triggers.0")


def test_the_defaults_are_careful() -> None:
    config = read()

    assert (config.prefetch, config.topology, config.broker_buries) == (50, "passive", False)
    assert (config.max_batch_size, config.max_batch_timeout, config.max_retries) == (10, timedelta(seconds=5), 3)
    assert (config.retry_delay, config.dead_letter_queue) == (timedelta(0), None)


def test_a_declared_queue_has_dead_letters() -> None:
    config = read(topology="declare")

    assert (config.broker_buries, config.dead_queue) == (True, "orders.dead")
    assert read(topology="declare", dead_letter_queue="lost").dead_queue == "lost"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prefetch": 0}, "triggers.0.prefetch"),
        ({"prefetch": 2001}, "triggers.0.prefetch"),
        ({"url": "http://localhost"}, "not an address such as amqp://"),
        ({"url": "amqp://"}, "not an address such as amqp://"),
        ({"url": "amqp://localhost:99999"}, "not an address such as amqp://"),
        ({"queue": ""}, "1 to"),
        ({"queue": "q" * 255}, "1 to"),
        ({"queue": "amq.gen"}, "belong to the broker"),
        ({"topology": "declared"}, "triggers.0.topology"),
        ({"max_batch_size": 0}, "triggers.0.max_batch_size"),
        ({"max_batch_size": 101}, "triggers.0.max_batch_size"),
        ({"max_batch_timeout": "61 seconds"}, "from 0"),
        ({"retry_delay": "25 hours"}, "to 1 day"),
        ({"heartbeat": "0 seconds"}, "from 1 second"),
        ({"heartbeat": "soon"}, "duration"),
        ({"delivery_limit": 0}, "triggers.0.delivery_limit"),
        ({"bindings": [{"exchange": "shop"}]}, 'topology = "declare"'),
        ({"topology": "declare", "dead_letters": "hub"}, "leave dead_letters out"),
        ({"dead_letters": "broker", "dead_letter_queue": "lost"}, "leave dead_letter_queue out"),
        ({"dead_letter_queue": "orders"}, "the queue itself"),
        ({"max_batch_sise": 5}, "max_batch_size"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_path(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(**options)


def test_the_password_is_never_shown() -> None:
    config = read(url="amqp://guest:hunter2@localhost/")

    assert "hunter2" not in repr(config)
    with pytest.raises(ConfigError) as caught:
        read(url="ampq://guest:hunter2@localhost/")
    assert "hunter2" not in str(caught.value)
