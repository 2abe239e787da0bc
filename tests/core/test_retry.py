"""Retry policies: reading, refusing with a path, back-off, and the stored form."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.model import Backoff, StepConfig
from hub.core.retry import MAX_DELAY, delay_after, describe_config, dump_config, load_config, parse_config

DEFAULTS = StepConfig()


def test_nothing_given_is_the_defaults() -> None:
    assert parse_config(None, defaults=DEFAULTS) is DEFAULTS
    assert parse_config({}, defaults=DEFAULTS) == DEFAULTS


def test_the_documented_shape_is_read() -> None:
    config = {"retries": {"limit": 3, "delay": "5 second", "backoff": "linear"}, "timeout": "15 minutes"}
    expected = StepConfig(limit=3, delay=timedelta(seconds=5), backoff=Backoff.LINEAR, timeout=timedelta(minutes=15))
    assert parse_config(config, defaults=DEFAULTS) == expected


def test_keywords_are_the_same_as_a_dict() -> None:
    retries = {"limit": 0, "delay": 250}
    assert parse_config(None, defaults=DEFAULTS, retries=retries, timeout="1 hour") == parse_config(
        {"retries": retries, "timeout": "1 hour"}, defaults=DEFAULTS
    )


def test_partial_retries_keep_the_other_defaults() -> None:
    read = parse_config({"retries": {"limit": 1}}, defaults=DEFAULTS)
    assert read == StepConfig(limit=1, delay=DEFAULTS.delay, backoff=DEFAULTS.backoff, timeout=DEFAULTS.timeout)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"retrys": {}}, 'retrys: unknown key; did you mean "retries"?'),
        ({"jitter": 1}, "jitter: unknown key; known keys: retries, timeout, sensitive"),
        ({"retries": {"dealy": 1}}, 'retries.dealy: unknown key; did you mean "delay"?'),
        ({"retries": 3}, "retries: expected a dict"),
        ("fast", "config: expected a dict"),
        ({"retries": {"limit": True}}, "retries.limit: expected a whole number"),
        ({"retries": {"limit": -1}}, "retries.limit: expected a whole number"),
        ({"retries": {"limit": 10_001}}, "retries.limit: expected a whole number"),
        ({"retries": {"limit": float("inf")}}, "retries.limit: expected a whole number"),
        ({"retries": {"limit": "5"}}, "retries.limit: expected a whole number"),
        ({"retries": {"delay": "soon"}}, "retries.delay: 'soon' is not a duration"),
        ({"retries": {"delay": None}}, "retries.delay: expected a duration"),
        ({"retries": {"backoff": "cubic"}}, "retries.backoff: expected one of constant, linear, exponential"),
        ({"retries": {"backoff": []}}, "retries.backoff: expected one of"),
        ({"retries": {"jiter": 1}}, 'retries.jiter: unknown key; did you mean "jitter"?'),
        ({"retries": {"jitter": 1.01}}, "retries.jitter: expected a number from 0 to 1"),
        ({"retries": {"jitter": -0.1}}, "retries.jitter: expected a number from 0 to 1"),
        ({"retries": {"jitter": float("nan")}}, "retries.jitter: expected a number from 0 to 1"),
        ({"retries": {"jitter": True}}, "retries.jitter: expected a number from 0 to 1"),
        ({"retries": {"jitter": "half"}}, "retries.jitter: expected a number from 0 to 1"),
        ({"sensitive": "input"}, 'sensitive: expected "output", got \'input\''),
        ({"sensitive": True}, 'sensitive: expected "output", got True'),
        ({"sensitive": None}, 'sensitive: expected "output", got None'),
        ({"timeout": 0}, "timeout: must be more than zero"),
        ({"timeout": "-1 second"}, "timeout: '-1 second' is negative"),
        ({"timeout": None}, "timeout: expected a duration"),
    ],
)
def test_a_wrong_policy_is_refused_with_the_path_of_the_key(config: Any, message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        parse_config(config, defaults=DEFAULTS)


def test_the_same_key_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="^timeout: given twice"):
        parse_config({"timeout": 1}, defaults=DEFAULTS, timeout=2)
    with pytest.raises(ValueError, match="^sensitive: given twice"):
        parse_config({"sensitive": "output"}, defaults=DEFAULTS, sensitive="output")


@pytest.mark.parametrize("jitter", [0, 0.25, 1])
def test_jitter_is_a_part_of_the_delay(jitter: float) -> None:
    assert parse_config({"retries": {"jitter": jitter}}, defaults=DEFAULTS) == StepConfig(jitter=float(jitter))


def test_an_output_can_be_marked_as_sensitive() -> None:
    marked = StepConfig(sensitive=True)
    assert parse_config({"sensitive": "output"}, defaults=DEFAULTS) == marked
    assert parse_config(None, defaults=DEFAULTS, sensitive="output") == marked
    assert parse_config({"timeout": "1 minute"}, defaults=marked).sensitive


@pytest.mark.parametrize(
    ("backoff", "seconds"),
    [(Backoff.CONSTANT, [5, 5, 5, 5]), (Backoff.LINEAR, [5, 10, 15, 20]), (Backoff.EXPONENTIAL, [5, 10, 20, 40])],
)
def test_delays_of_each_backoff(backoff: Backoff, seconds: list[int]) -> None:
    config = StepConfig(delay=timedelta(seconds=5), backoff=backoff)
    assert [delay_after(config, attempt).total_seconds() for attempt in (1, 2, 3, 4)] == seconds


@pytest.mark.parametrize("backoff", list(Backoff))
def test_the_last_allowed_attempt_does_not_overflow(backoff: Backoff) -> None:
    config = StepConfig(delay=timedelta(days=1), backoff=backoff)
    expected = timedelta(days=1) if backoff is Backoff.CONSTANT else MAX_DELAY
    assert delay_after(config, 10_000) == expected
    assert delay_after(StepConfig(delay=timedelta(), backoff=backoff), 10_000) == timedelta()
    assert delay_after(StepConfig(delay=timedelta.max, backoff=backoff), 10_000) == MAX_DELAY


_DURATIONS = st.timedeltas(min_value=timedelta())
CONFIGS = st.builds(
    StepConfig,
    limit=st.integers(0, 10_000),
    delay=_DURATIONS,
    backoff=st.sampled_from(Backoff),
    timeout=_DURATIONS,
    jitter=st.floats(0, 1),
    dynamic=st.booleans(),
    sensitive=st.booleans(),
)


@given(CONFIGS)
def test_the_stored_form_is_read_back(config: StepConfig) -> None:
    assert load_config(dump_config(config)) == config


def test_the_stored_form_of_an_older_version_is_read() -> None:
    old = '{"limit":3,"delay_us":1500,"backoff":"linear","timeout_us":60000000}'
    policy = StepConfig(limit=3, delay=timedelta(microseconds=1500), backoff=Backoff.LINEAR, timeout=timedelta(minutes=1))
    assert load_config(old) == policy
    assert dump_config(policy) == old  # a part that is off takes no room in the journal


@given(CONFIGS, st.integers(1, 10_000))
def test_a_later_attempt_never_waits_less(config: StepConfig, attempt: int) -> None:
    assert delay_after(config, attempt) <= delay_after(config, attempt + 1) <= MAX_DELAY


def test_described_in_the_shape_of_the_api() -> None:
    assert describe_config(DEFAULTS) == {
        "retries": {"limit": 5, "delay": 10_000, "backoff": "exponential"},
        "timeout": 600_000,
    }
    assert describe_config(StepConfig(delay=timedelta(microseconds=1500)))["retries"]["delay"] == 1.5


def test_what_is_rarely_used_is_described_where_it_is() -> None:
    described = describe_config(StepConfig(dynamic=True, jitter=0.5, sensitive=True))
    assert described == {
        "retries": {"limit": 5, "delay": "[dynamic]", "backoff": "exponential", "jitter": 0.5},
        "timeout": 600_000,
        "sensitive": "output",
    }
