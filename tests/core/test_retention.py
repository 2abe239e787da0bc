"""How long instances are kept: what a request says, over what its workflow says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hub.core.errors import Rejected
from hub.core.model import FOR_EVER, Retention
from hub.core.retention import AS_THE_WORKFLOW, RetentionWish, read_retention

DAY = timedelta(days=1)
WORKFLOW = Retention(success=2 * DAY, error=3 * DAY)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, WORKFLOW),
        ({"success_retention": None, "errorRetention": None}, WORKFLOW),
        ({"success_retention": "1 day"}, Retention(success=DAY, error=3 * DAY)),
        ({"errorRetention": 86_400_000}, Retention(success=2 * DAY, error=DAY)),
        ({"successRetention": "1 day", "error_retention": "5 days"}, Retention(success=DAY, error=5 * DAY)),
        ({"successRetention": "forever"}, Retention(error=3 * DAY)),
        ({"success_retention": "forever", "error_retention": "forever"}, FOR_EVER),
    ],
)
def test_a_key_that_a_request_leaves_out_is_as_the_workflow_says(given: dict[str, Any], kept: Retention) -> None:
    assert read_retention(given).over(WORKFLOW) == kept


def test_a_request_that_says_nothing_takes_the_very_value_of_its_workflow() -> None:
    assert AS_THE_WORKFLOW.over(FOR_EVER) is FOR_EVER
    assert RetentionWish().over(WORKFLOW) == WORKFLOW


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"succesRetention": 1}, "retention.succesRetention: unknown key; known keys: success_retention, error_retention"),
        ({"successRetention": 0}, "retention.success_retention: must be longer than nothing"),
        ({"successRetention": "1001 years"}, "retention.success_retention: must be at most 1000 years"),
        ({"error_retention": "2 mins"}, 'retention.error_retention: unknown unit "mins"'),
        ({"error_retention": "for ever"}, 'or write "forever"'),
        ({"error_retention": True}, "retention.error_retention: expected a duration"),
        ([1], "retention: expected an object, got list"),
        ("7 days", "retention: expected an object, got str"),
    ],
)
def test_a_wrong_retention_is_refused_with_its_key(given: Any, told: str) -> None:
    with pytest.raises(Rejected, match=told) as caught:
        read_retention(given)
    assert caught.value.code == "instance.invalid_retention"
