"""The live list of steps: what each event makes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub.cli.story import Story

START = datetime(2026, 11, 22, 6, tzinfo=UTC)


def event(type: str, step: str | None = None, *, at_s: float = 0, **fields: Any) -> dict[str, Any]:
    """Return an event as the stream sends it."""
    named = {} if step is None else {"stepName": step}
    return {"eventId": 1, "instanceId": "x", "type": type, "timestamp": (START.timestamp() + at_s) * 1000, **named, **fields}


def told(*events: dict[str, Any], at_s: float = 10, height: int = 20) -> tuple[str, list[str]]:
    """Return the status and the lines after these events."""
    story = Story()
    for each in events:
        story.tell(each)
    return story.status, [line.plain for line in story.shown(START + timedelta(seconds=at_s), height)]


def test_a_step_runs_and_is_done() -> None:
    began = (event("workflow_started"), event("step_started", "charge-1"), event("attempt_started", "charge-1", attempt=1))

    assert told(*began) == ("running", ["  ▶ charge-1  10.0 s"])
    ended = (event("attempt_completed", "charge-1", at_s=2), event("step_completed", "charge-1", at_s=2), event("workflow_completed"))
    assert told(*began, *ended) == ("complete", ["  ✅ charge-1  2.0 s"])


def test_a_failed_attempt_says_why_and_when_it_is_tried_again() -> None:
    error = {"name": "OSError", "message": "no route"}
    failed = (event("step_started", "call-1"), event("attempt_errored", "call-1", attempt=1, error=error, retryDelayMs=60_000))

    assert told(*failed)[1] == ["  🔁 call-1  10.0 s  OSError: no route; again in 1 minute"]
    again = event("attempt_started", "call-1", attempt=2)
    assert told(*failed, again)[1] == ["  ▶ call-1  10.0 s  attempt 2  OSError: no route; again in 1 minute"]
    last = (event("attempt_errored", "call-1", at_s=5, attempt=2, error=error), event("step_errored", "call-1", at_s=5))
    assert told(*failed, again, *last)[1] == ["  ❌ call-1  5.0 s  attempt 2  OSError: no route"]


@pytest.mark.parametrize(
    ("events", "line"),
    [
        ((event("sleep_started", "nap-1", durationMs=3_600_000),), "  💤 nap-1  10.0 s  until 2026-11-22 07:00:00"),
        ((event("sleep_started", "nap-1", durationMs=1000), event("sleep_completed", "nap-1", at_s=1)), "  ✅ nap-1  1.0 s"),
        ((event("wait_started", "ok-1", eventType="approved"),), '  👀 ok-1  10.0 s  for the event "approved"'),
        (
            (event("wait_started", "ok-1", eventType="a"), event("wait_timed_out", "ok-1", at_s=9)),
            "  ❌ ok-1  9.0 s  no event came in time",
        ),
        (
            (event("step_started", "ship-1", child={"workflow_name": "shipping", "instance_id": "s1"}),),
            "  ▶ ship-1  10.0 s  shipping s1",
        ),
        ((event("rollback_step_started", "pay-1"), event("rollback_step_completed", "pay-1", at_s=1)), "  ✅ ↩ pay-1  1.0 s"),
        ((event("step_started", "two\nlines\x1b[31m-1"),), "  ▶ two lines\\x1b[31m-1  10.0 s"),
    ],
)
def test_each_kind_of_step_has_its_line(events: tuple[dict[str, Any], ...], line: str) -> None:
    assert told(*events)[1] == [line]


def test_only_the_newest_steps_are_shown_where_there_is_no_room() -> None:
    events = [event("step_started", f"s-{number}") for number in range(1, 31)]

    lines = told(*events, height=5)[1]
    assert lines[0] == "  … 25 earlier steps"
    assert [line.split()[1] for line in lines[1:]] == [f"s-{number}" for number in range(26, 31)]


def test_a_restart_begins_a_new_list() -> None:
    assert told(event("step_started", "a-1"), event("workflow_errored"), event("workflow_queued")) == ("queued", [])


def test_an_event_of_a_newer_hub_is_passed_over() -> None:
    assert told(event("step_started", "a-1"), event("step_dreamt", "a-1"), event("step_dreamt", "b-1"))[1] == ["  ▶ a-1  10.0 s"]
