"""The describe object, field by field."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub.api.describe import describe_instance, describe_step, describe_steps
from hub.core.codec import encode
from hub.core.deliveries import encode_provenance
from hub.core.delivery import Provenance
from hub.core.errors import ErrorInfo, NotFound
from hub.core.model import (
    Attempt,
    Backoff,
    Entry,
    Instance,
    Kind,
    Rollback,
    Schedule,
    Snapshot,
    Source,
    State,
    Status,
    StepConfig,
    Termination,
)

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BUSY = ErrorInfo(name="ValueError", message="busy", stack="line 1\nline 2")


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def text(seconds: int) -> str:
    return f"2026-01-02T03:04:{5 + seconds:02d}.000Z"


def instance(**changes: Any) -> Instance:
    head = Instance(
        key=1, workflow="orders", id="o-1", status=Status.RUNNING, created_at=T0, modified_at=T0, source=Source.API, version="v1"
    )
    return replace(head, **changes)


def step(**changes: Any) -> Entry:
    entry = Entry(kind=Kind.STEP, name="charge", count=1, ordinal=1, state=State.RUNNING, started_at=at(1))
    return replace(entry, **changes)


def failed(number: int, start: float, end: float) -> Attempt:
    return Attempt(name="charge", count=1, number=number, started_at=at(start), ended_at=at(end), error=BUSY)


def only_step(entry: Entry, *attempts: Attempt) -> dict[str, Any]:
    (shown,) = describe_steps(Snapshot(instance=instance(), entries=(entry,), attempts=attempts))
    return dict(shown)


# ---- the head


def test_a_queued_instance_has_begun_and_ended_nothing() -> None:
    shown = describe_instance(Snapshot(instance=instance(status=Status.QUEUED, params=encode({"a": 1}))))
    assert shown == {
        "id": "o-1",
        "status": "queued",
        "params": {"a": 1},
        "trigger": {"source": "api"},
        "versionId": "v1",
        "version_last_run_id": "v1",
        "queued": text(0),
        "start": None,
        "end": None,
        "success": None,
        "output": None,
        "error": None,
        "rollback": None,
        "step_count": 0,
        "steps": [],
    }


@pytest.mark.parametrize(
    ("status", "success"),
    [(status, None) for status in Status if status not in (Status.COMPLETE, Status.ERRORED, Status.TERMINATED)]
    + [(Status.COMPLETE, True), (Status.ERRORED, False), (Status.TERMINATED, False)],
)
def test_success_is_null_until_the_end(status: Status, success: bool | None) -> None:
    assert describe_instance(Snapshot(instance=instance(status=status)))["success"] is success


def test_params_and_output_of_an_instance_are_json_values() -> None:
    value = {"when": T0, "raw": b"\x00", "pair": (1, 2)}
    shown = describe_instance(Snapshot(instance=instance(status=Status.COMPLETE, params=encode(value), output=encode(value))))
    assert shown["params"] == shown["output"] == {"when": "2026-01-02T03:04:05+00:00", "raw": "AA==", "pair": [1, 2]}


def test_an_error_has_name_message_and_our_stack() -> None:
    shown = describe_instance(Snapshot(instance=instance(status=Status.ERRORED, error=BUSY)))
    assert shown["error"] == {"name": "ValueError", "message": "busy", "stack": "line 1\nline 2"}


def test_an_error_without_a_stack_has_no_such_key() -> None:
    shown = describe_instance(Snapshot(instance=instance(status=Status.ERRORED, error=replace(BUSY, stack=None))))
    assert shown["error"] == {"name": "ValueError", "message": "busy"}


def test_a_cron_instance_tells_its_occurrence_in_milliseconds() -> None:
    head = instance(source=Source.CRON, schedule=Schedule(cron="* * * * *", scheduled_at=T0))
    shown = describe_instance(Snapshot(instance=head))
    assert shown["schedule"] == {"cron": "* * * * *", "scheduledTime": int(T0.timestamp() * 1000)}
    assert shown["trigger"] == {"source": "cron"}


def test_an_instance_of_a_trigger_tells_where_it_comes_from() -> None:
    origin = Provenance(name="hook", key="k", headers={"x-a": "b"}, metadata={"at": T0}, occurred_at=T0, delivery="d-1")
    shown = describe_instance(Snapshot(instance=instance(source=Source.EVENT, trigger="hook", provenance=encode_provenance(origin))))
    assert shown["trigger"] == {
        "source": "event",
        "name": "hook",
        "key": "k",
        "headers": {"x-a": "b"},
        "metadata": {"at": "2026-01-02T03:04:05+00:00"},
        "occurred_on": shown["queued"],
        "delivery_id": "d-1",
    }


def test_an_instance_whose_event_told_nothing_tells_the_name_of_its_trigger() -> None:
    shown = describe_instance(Snapshot(instance=instance(source=Source.EVENT, trigger="hook")))
    assert shown["trigger"] == {"source": "event", "name": "hook"}


def test_simple_leaves_the_steps_out_and_keeps_their_count() -> None:
    shown = describe_instance(Snapshot(instance=instance(), entries=(step(),)), simple=True)
    assert "steps" not in shown
    assert shown["step_count"] == 1


def test_descending_order_turns_the_steps_round() -> None:
    snapshot = Snapshot(instance=instance(), entries=(step(), step(count=2, ordinal=2)))
    assert [item["name"] for item in describe_instance(snapshot)["steps"]] == ["charge-1", "charge-2"]  # type: ignore[typeddict-item]
    assert [item["name"] for item in describe_instance(snapshot, descending=True)["steps"]] == ["charge-2", "charge-1"]  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("by", "told"),
    [
        (None, {"trigger": {"source": "unknown"}}),
        (Termination(source=Source.API), {"trigger": {"source": "api"}}),
        (Termination(source=Source.BINDING, cascade=True), {"trigger": {"source": "binding"}, "cascade": True}),
    ],
)
def test_a_terminated_instance_ends_with_a_termination_that_says_who_wanted_it(by: Termination | None, told: dict[str, Any]) -> None:
    shown = describe_instance(Snapshot(instance=instance(status=Status.TERMINATED, terminated_by=by), entries=(step(),)))
    assert shown["steps"][-1] == {"type": "termination", **told}
    assert shown["step_count"] == 1


# ---- steps


def test_a_done_step_lists_its_successful_attempt() -> None:
    entry = step(state=State.DONE, ended_at=at(2), output=encode({"ok": 1}))
    assert only_step(entry) == {
        "type": "step",
        "name": "charge-1",
        "start": text(1),
        "end": text(2),
        "success": True,
        "output": '{"ok":1}',
        "config": {"retries": {"limit": 5, "delay": 10_000, "backoff": "exponential"}, "timeout": 600_000},
        "attempts": [{"start": text(1), "end": text(2), "success": True, "error": None}],
    }


def test_failed_attempts_stand_before_the_successful_one() -> None:
    entry = step(state=State.DONE, attempt=2, attempt_started_at=at(4), ended_at=at(5), output=encode(1))
    shown = only_step(entry, failed(1, 1, 2))
    assert [(item["start"], item["end"], item["success"]) for item in shown["attempts"]] == [
        (text(1), text(2), False),
        (text(4), text(5), True),
    ]
    assert shown["attempts"][0]["error"]["message"] == "busy"


def test_the_last_failed_attempt_of_a_failed_step_is_told_by_the_entry() -> None:
    entry = step(state=State.FAILED, attempt=2, attempt_started_at=at(4), ended_at=at(5), error=BUSY)
    shown = only_step(entry, failed(1, 1, 2))
    assert shown["success"] is False
    assert [item["success"] for item in shown["attempts"]] == [False, False]
    assert shown["attempts"][1]["end"] == text(5)


def test_an_attempt_that_has_a_row_is_listed_once() -> None:
    entry = step(state=State.FAILED, attempt=1, ended_at=at(2), error=BUSY)
    assert len(only_step(entry, failed(1, 1, 2))["attempts"]) == 1


def test_a_running_step_lists_the_attempt_that_is_under_way() -> None:
    entry = step(state=State.RUNNING, attempt=2, attempt_started_at=at(4))
    shown = only_step(entry, failed(1, 1, 2))
    assert (shown["success"], shown["end"], shown["output"]) == (None, None, None)
    assert shown["attempts"][1] == {"start": text(4), "end": None, "success": None, "error": None}
    assert "retries_at" not in shown


def test_a_step_between_two_attempts_tells_when_the_next_one_comes() -> None:
    shown = only_step(step(state=State.WAITING, attempt=1, wake_at=at(30)), failed(1, 1, 2))
    assert shown["success"] is None
    assert shown["retries_at"] == text(30)
    assert len(shown["attempts"]) == 1


def test_a_step_of_an_instance_that_has_ended_has_no_next_attempt() -> None:
    entry = step(state=State.WAITING, attempt=1, wake_at=at(30))
    snapshot = Snapshot(instance=instance(status=Status.TERMINATED), entries=(entry,), attempts=(failed(1, 1, 2),))
    assert "retries_at" not in describe_steps(snapshot)[0]


def test_a_step_shows_the_policy_that_it_was_begun_with() -> None:
    policy = StepConfig(limit=1, delay=timedelta(milliseconds=1.5), backoff=Backoff.LINEAR, timeout=timedelta(seconds=2))
    assert only_step(step(config=policy))["config"] == {"retries": {"limit": 1, "delay": 1.5, "backoff": "linear"}, "timeout": 2000}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("abc", '"abc"'),
        (None, None),
        (0, "0"),
        (False, "false"),
        ([1, "é"], '[1,"é"]'),
        (2**80, str(2**80)),
        (T0, '"2026-01-02T03:04:05+00:00"'),
    ],
)
def test_the_output_of_a_step_is_the_json_text_of_its_value(value: Any, shown: str | None) -> None:
    assert only_step(step(state=State.DONE, ended_at=at(2), output=encode(value)))["output"] == shown


def test_a_long_output_is_shown_whole() -> None:
    value = "x" * 900_000
    assert json.loads(only_step(step(state=State.DONE, ended_at=at(2), output=encode(value)))["output"]) == value


# ---- sleeps and waits


def test_an_unfinished_sleep_ends_when_it_will_end() -> None:
    entry = step(kind=Kind.SLEEP, name="nap", state=State.WAITING, wake_at=at(9))
    assert only_step(entry) == {"type": "sleep", "name": "nap-1", "start": text(1), "end": text(9), "finished": False, "error": None}


def test_a_finished_sleep_ends_when_it_ended() -> None:
    shown = only_step(step(kind=Kind.SLEEP, name="nap", state=State.DONE, wake_at=at(9), ended_at=at(10), output=encode(None)))
    assert (shown["finished"], shown["end"]) == (True, text(10))


def test_a_wait_ends_at_its_deadline_and_names_its_event() -> None:
    entry = step(kind=Kind.EVENT, name="approval", state=State.WAITING, wake_at=at(9), event_type="approved")
    assert only_step(entry) == {
        "type": "waitForEvent",
        "name": "approval-1",
        "start": text(1),
        "end": text(9),
        "finished": False,
        "error": None,
        "event_type": "approved",
    }


def test_a_finished_wait_shows_what_came() -> None:
    shown = only_step(step(kind=Kind.EVENT, state=State.DONE, ended_at=at(2), event_type="go", output=encode({"payload": 1})))
    assert (shown["finished"], shown["output"]) == (True, '{"payload":1}')


def test_a_wait_whose_time_ran_out_is_finished_with_its_error() -> None:
    shown = only_step(step(kind=Kind.EVENT, state=State.FAILED, ended_at=at(2), event_type="go", error=BUSY))
    assert (shown["finished"], shown["output"]) == (True, None)
    assert shown["error"]["name"] == "ValueError"


# ---- rollback, children, and what stays hidden


def test_a_rollback_tells_its_outcome_and_the_error_of_the_handler_that_failed() -> None:
    well = describe_instance(Snapshot(instance=instance(status=Status.ERRORED, rollback=Rollback(complete=True))))
    ill = describe_instance(Snapshot(instance=instance(status=Status.ERRORED, rollback=Rollback(complete=False, error=BUSY))))
    assert well["rollback"] == {"outcome": "complete", "error": None}
    assert ill["rollback"] == {"outcome": "failed", "error": {"name": "ValueError", "message": "busy", "stack": "line 1\nline 2"}}


def test_a_rollback_handler_is_a_step_of_its_own_with_its_own_attempts() -> None:
    undo = step(kind=Kind.ROLLBACK, ordinal=2, state=State.DONE, attempt=2, started_at=at(5), attempt_started_at=at(7), ended_at=at(8))
    missed = replace(failed(1, 5, 6), kind=Kind.ROLLBACK)
    entries = (step(state=State.FAILED, ended_at=at(2), error=BUSY), undo)
    did, undid = describe_steps(Snapshot(instance=instance(status=Status.ERRORED), entries=entries, attempts=(missed,)))
    assert (did["type"], undid["type"]) == ("step", "rollback")
    assert [attempt["start"] for attempt in did["attempts"]] == [text(1)]  # type: ignore[typeddict-item]
    assert [(a["start"], a["success"]) for a in undid["attempts"]] == [(text(5), False), (text(7), True)]  # type: ignore[typeddict-item]


def test_a_workflow_that_was_started_is_a_step_that_names_the_instance() -> None:
    entry = step(kind=Kind.CHILD, name="ship", state=State.WAITING, child="shipping/s/1", wake_at=at(31))
    assert only_step(entry) == {
        "type": "step",
        "name": "ship-1",
        "start": text(1),
        "end": None,
        "success": None,
        "output": None,
        "config": {"retries": {"limit": 0, "delay": 0, "backoff": "constant"}, "timeout": 30_000},
        "attempts": [{"start": text(1), "end": None, "success": None, "error": None}],
        "child": {"workflow_name": "shipping", "instance_id": "s/1"},
    }


def test_a_child_that_is_waited_for_without_end_has_no_timeout() -> None:
    entry = step(kind=Kind.CHILD, state=State.FAILED, child="a/b", ended_at=at(2), error=BUSY)
    shown = only_step(entry)
    assert (shown["config"]["timeout"], shown["success"], shown["attempts"][0]["error"]["message"]) == ("none", False, "busy")


def test_a_child_names_its_parent_as_long_as_that_is_kept() -> None:
    parent = instance(key=2, workflow="orders", id="o-9")
    assert describe_instance(Snapshot(instance=instance()), parent=parent)["parent"] == {"workflow_name": "orders", "instance_id": "o-9"}
    assert "parent" not in describe_instance(Snapshot(instance=instance()))


def test_the_version_that_ran_last_may_be_another_than_the_one_it_began_with() -> None:
    shown = describe_instance(Snapshot(instance=instance(version="v1", version_ran="v2")))
    assert (shown["versionId"], shown["version_last_run_id"]) == ("v1", "v2")


def test_an_instance_that_stands_still_tells_why() -> None:
    shown = describe_instance(Snapshot(instance=instance(status=Status.PAUSED, error=BUSY)))
    assert (shown["status"], shown["success"]) == ("paused", None)
    assert shown["error"]["message"] == "busy"  # type: ignore[index]


@pytest.mark.parametrize("value", ["secret", None, {"card": "4711"}])
def test_a_sensitive_output_is_shown_nowhere(value: Any) -> None:
    entry = step(state=State.DONE, ended_at=at(2), output=encode(value), config=StepConfig(sensitive=True))
    assert only_step(entry)["output"] == "[REDACTED]"
    assert only_step(entry)["config"]["sensitive"] == "output"
    assert describe_step(Snapshot(instance=instance(), entries=(entry,)), "charge-1", Kind.STEP)["output"] == "[REDACTED]"


def test_a_sensitive_step_without_an_output_has_nothing_to_hide() -> None:
    assert only_step(step(config=StepConfig(sensitive=True)))["output"] is None


def test_a_delay_that_a_function_gives_is_dynamic() -> None:
    assert only_step(step(config=StepConfig(dynamic=True, jitter=0.5)))["config"]["retries"] == {
        "limit": 5, "delay": "[dynamic]", "backoff": "exponential", "jitter": 0.5,
    }  # fmt: skip


# ---- one step


@pytest.mark.parametrize(
    ("entry", "status"),
    [
        (step(state=State.RUNNING), "running"),
        (step(state=State.WAITING, wake_at=at(9)), "running"),
        (step(state=State.DONE), "complete"),
        (step(state=State.FAILED), "errored"),
        (step(kind=Kind.EVENT, state=State.WAITING), "waiting"),
        (step(kind=Kind.EVENT, state=State.DONE), "complete"),
        (step(kind=Kind.EVENT, state=State.FAILED), "errored"),
    ],
)
def test_one_step_has_a_status_of_four(entry: Entry, status: str) -> None:
    assert describe_step(Snapshot(instance=instance(), entries=(entry,)), "charge-1", entry.kind)["status"] == status


def test_one_step_gives_its_output_as_a_value() -> None:
    snapshot = Snapshot(instance=instance(), entries=(step(state=State.DONE, output=encode({"ok": [1]})),))
    assert describe_step(snapshot, "charge-1", Kind.STEP) == {"status": "complete", "error": None, "output": {"ok": [1]}}


def test_running_with_an_error_means_between_two_attempts() -> None:
    snapshot = Snapshot(instance=instance(), entries=(step(state=State.WAITING, wake_at=at(9)),), attempts=(failed(1, 1, 2),))
    shown = describe_step(snapshot, "charge-1", Kind.STEP)
    assert shown["status"] == "running"
    assert shown["error"] is not None


def test_one_attempt_of_a_step_can_be_asked_for() -> None:
    entry = step(state=State.DONE, attempt=2, attempt_started_at=at(4), ended_at=at(5), output=encode(7))
    snapshot = Snapshot(instance=instance(), entries=(entry,), attempts=(failed(1, 1, 2),))
    assert describe_step(snapshot, "charge-1", Kind.STEP, attempt=1)["status"] == "errored"
    assert describe_step(snapshot, "charge-1", Kind.STEP, attempt=2)["output"] == 7
    with pytest.raises(NotFound, match="no attempt 3"):
        describe_step(snapshot, "charge-1", Kind.STEP, attempt=3)


@pytest.mark.parametrize(("name", "kind"), [("charge", Kind.STEP), ("charge-2", Kind.STEP), ("charge-1", Kind.EVENT)])
def test_a_step_is_found_by_name_counter_and_type(name: str, kind: Kind) -> None:
    with pytest.raises(NotFound, match=name):
        describe_step(Snapshot(instance=instance(), entries=(step(),)), name, kind)


def test_a_started_workflow_is_found_as_a_step_unless_a_step_has_its_name() -> None:
    child = step(kind=Kind.CHILD, name="ship", state=State.DONE, child="shipping/s-1", output=encode(3), ordinal=2)
    snapshot = Snapshot(instance=instance(), entries=(step(name="ship", state=State.RUNNING), child))
    assert describe_step(snapshot, "ship-1", Kind.STEP)["status"] == "running"
    alone = Snapshot(instance=instance(), entries=(child,))
    for found in (describe_step(snapshot, "ship-1", Kind.CHILD), describe_step(alone, "ship-1", Kind.STEP)):
        assert found == {
            "status": "complete", "error": None, "output": 3, "child": {"workflow_name": "shipping", "instance_id": "s-1"},
        }  # fmt: skip


def test_an_attempt_of_a_rollback_handler_is_not_one_of_its_step() -> None:
    undo = step(kind=Kind.ROLLBACK, ordinal=2, state=State.RUNNING, attempt=2)
    missed = replace(failed(1, 5, 6), kind=Kind.ROLLBACK)
    snapshot = Snapshot(instance=instance(), entries=(step(state=State.DONE, output=encode(1)), undo), attempts=(missed,))
    assert describe_step(snapshot, "charge-1", Kind.STEP, attempt=1)["status"] == "complete"
    assert describe_step(snapshot, "charge-1", Kind.ROLLBACK, attempt=1)["error"] is not None


def test_a_wait_among_steps_of_the_same_name_is_told_apart() -> None:
    wait = step(kind=Kind.EVENT, state=State.WAITING, event_type="go", ordinal=2)
    snapshot = Snapshot(instance=instance(), entries=(step(state=State.DONE), wait), attempts=(failed(1, 1, 2),))
    assert describe_step(snapshot, "charge-1", Kind.EVENT) == {"status": "waiting", "error": None, "output": None, "event_type": "go"}
