"""The story that a history tells: which events, in which order, under which numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub.core.codec import encode
from hub.core.errors import ErrorInfo, Rejected
from hub.core.model import FINAL, Attempt, Entry, Instance, Kind, Rollback, State, Status, StepConfig
from hub.core.stream import IDS, TYPES, HistoryEvent, InstanceEvent, Stream, check_options

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BUSY = ErrorInfo(name="ValueError", message="busy", stack="line 1")
FAILURE = {"error": {"name": "ValueError", "message": "busy"}}
POLICY = {"config": {"retries": {"limit": 5, "delay": 10_000, "backoff": "exponential"}, "timeout": 600_000}}


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def head(**changes: Any) -> Instance:
    base = Instance(
        key=1, workflow="orders", id="o-1", status=Status.RUNNING, created_at=T0, modified_at=T0, started_at=at(1), params=encode({"a": 1})
    )
    return replace(base, **changes)


def entry(kind: Kind = Kind.STEP, state: State = State.DONE, **changes: Any) -> Entry:
    base = Entry(kind=kind, name="charge", count=1, ordinal=1, state=state, started_at=at(2))
    settled = {"ended_at": at(3), "output": encode(7)} if state is State.DONE else {}
    return replace(base, **{**settled, **changes})


def failed(number: int, kind: Kind = Kind.STEP) -> Attempt:
    return Attempt(name="charge", count=1, number=number, started_at=at(number * 10), ended_at=at(number * 10 + 1), error=BUSY, kind=kind)


Told = Status | Entry | tuple[Entry, Attempt]


def history(*told: Told, first: int = 1) -> list[HistoryEvent]:
    items = []
    for rev, one in enumerate(told, start=first):
        if isinstance(one, Status):
            items.append(HistoryEvent(rev=rev, at=at(rev), status=one))
        elif isinstance(one, Entry):
            items.append(HistoryEvent(rev=rev, at=at(rev), entry=one))
        else:
            items.append(HistoryEvent(rev=rev, at=at(rev), entry=one[0], attempt=one[1]))
    return items


def story(*told: Told, of: Instance | None = None, stream: Stream | None = None) -> list[InstanceEvent]:
    return list((stream or Stream()).tell(of or head(), history(*told)))


def types(events: Sequence[InstanceEvent]) -> list[str]:
    return [event.type for event in events]


def inner(*told: Told, of: Instance | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Return what is told of the journal, without the frame of the instance."""
    return [(event.type, event.fields) for event in story(Status.QUEUED, *told, of=of) if not event.type.startswith("workflow_")]


# ---- the instance


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        ([Status.QUEUED], ["queued"]),
        ([Status.QUEUED, Status.RUNNING], ["queued", "started"]),
        ([Status.RUNNING], ["queued", "started"]),
        ([Status.QUEUED, Status.COMPLETE], ["queued", "started", "completed"]),
        ([Status.QUEUED, Status.TERMINATED], ["queued", "terminated"]),
        ([Status.QUEUED, Status.WAITING, Status.RUNNING], ["queued", "started", "waiting", "running"]),
        ([Status.RUNNING, Status.RUNNING], ["queued", "started"]),
        (
            [Status.QUEUED, Status.RUNNING, Status.WAITING_FOR_PAUSE, Status.PAUSED, Status.QUEUED, Status.RUNNING],
            ["queued", "started", "waiting_for_pause", "paused", "queued", "running"],
        ),
        ([Status.QUEUED, Status.RUNNING, Status.ERRORED], ["queued", "started", "errored"]),
    ],
)
def test_the_statuses_of_an_instance_tell_its_story(statuses: list[Status], told: list[str]) -> None:
    assert types(story(*statuses)) == [f"workflow_{type}" for type in told]


def test_an_instance_tells_its_params_and_its_output() -> None:
    events = story(Status.QUEUED, Status.COMPLETE, of=head(status=Status.COMPLETE, output=encode({"b": 2})))
    assert [event.fields for event in events] == [{}, {"params": {"a": 1}}, {"output": {"b": 2}}]


@pytest.mark.parametrize("status", [Status.ERRORED, Status.PAUSED])
def test_an_instance_tells_the_error_that_ended_or_stopped_it(status: Status) -> None:
    assert story(Status.RUNNING, status, of=head(status=status, error=BUSY))[-1].fields == FAILURE


def test_an_instance_that_somebody_paused_has_no_error() -> None:
    assert story(Status.RUNNING, Status.PAUSED)[-1].fields == {}


def test_a_restarted_instance_starts_again() -> None:
    stream = Stream()
    before = list(stream.tell(head(), history(Status.QUEUED, Status.RUNNING, entry())))
    again = head(started_at=at(40))
    redone = replace(entry(), started_at=at(41), ended_at=at(42))
    after = list(stream.tell(again, history(Status.QUEUED, Status.RUNNING, redone, first=10)))
    steps = ["step_started", "attempt_started", "attempt_completed", "step_completed"]
    assert types(before) == types(after) == ["workflow_queued", "workflow_started", *steps]


@pytest.mark.parametrize("status", Status)
def test_the_stream_ends_with_the_instance_even_when_the_end_is_filtered_out(status: Status) -> None:
    ended = status in FINAL
    for stream in (Stream(), Stream(filter=frozenset({"step_started"})), Stream(cursor=10**9)):
        story(Status.RUNNING, status, stream=stream)
        assert stream.ended is ended


# ---- steps


def test_a_step_that_is_one_row_is_told_whole() -> None:
    assert inner(entry()) == [
        ("step_started", {"stepName": "charge-1", **POLICY}),
        ("attempt_started", {"stepName": "charge-1", "attempt": 1}),
        ("attempt_completed", {"stepName": "charge-1", "attempt": 1}),
        ("step_completed", {"stepName": "charge-1", "output": 7}),
    ]


def test_a_step_starts_the_instance_that_was_never_seen_running() -> None:
    assert types(story(entry()))[:3] == ["workflow_queued", "workflow_started", "step_started"]


def test_a_long_step_is_told_as_it_goes() -> None:
    first, second = history(entry(state=State.RUNNING), entry())
    stream = Stream()
    assert types(list(stream.tell(head(), [first])))[2:] == ["step_started", "attempt_started"]
    assert types(list(stream.tell(head(), [second]))) == ["attempt_completed", "step_completed"]


def test_failed_attempts_tell_their_error_and_the_wait_after_them() -> None:
    waiting = entry(state=State.WAITING, wake_at=at(16))
    assert inner((waiting, failed(1)), entry(attempt=2, attempt_started_at=at(16), ended_at=at(17))) == [
        ("step_started", {"stepName": "charge-1", **POLICY}),
        ("attempt_started", {"stepName": "charge-1", "attempt": 1}),
        ("attempt_errored", {"stepName": "charge-1", "attempt": 1, **FAILURE, "retryDelayMs": 5000}),
        ("attempt_started", {"stepName": "charge-1", "attempt": 2}),
        ("attempt_completed", {"stepName": "charge-1", "attempt": 2}),
        ("step_completed", {"stepName": "charge-1", "output": 7}),
    ]


def test_a_wait_that_is_over_is_not_told_with_its_attempt() -> None:
    settled = entry(attempt=2, attempt_started_at=at(16), ended_at=at(17))
    assert inner((settled, failed(1)))[-1] == ("attempt_errored", {"stepName": "charge-1", "attempt": 1, **FAILURE})


def test_between_two_attempts_nothing_is_told_twice() -> None:
    waiting = entry(state=State.WAITING, wake_at=at(16))
    assert inner((waiting, failed(1)), waiting) == inner((waiting, failed(1)))


def test_a_failed_step_is_told_with_its_last_attempt() -> None:
    assert inner(entry(state=State.FAILED, ended_at=at(3), error=BUSY)) == [
        ("step_started", {"stepName": "charge-1", **POLICY}),
        ("attempt_started", {"stepName": "charge-1", "attempt": 1}),
        ("attempt_errored", {"stepName": "charge-1", "attempt": 1, **FAILURE}),
        ("step_errored", {"stepName": "charge-1"}),
    ]


@pytest.mark.parametrize("value", [7, None, {"card": 4711}])
def test_a_sensitive_output_is_not_told(value: Any) -> None:
    assert inner(entry(output=encode(value), config=StepConfig(sensitive=True)))[-1][1]["output"] == "[REDACTED]"


def test_a_workflow_that_is_started_is_a_step_that_names_it() -> None:
    child = {"child": {"workflow_name": "shipping", "instance_id": "s/1"}}
    waiting = entry(Kind.CHILD, State.WAITING, child="shipping/s/1")
    assert inner(waiting) == [
        ("step_started", {"stepName": "charge-1", **child}),
        ("attempt_started", {"stepName": "charge-1", "attempt": 1}),
    ]
    assert [type for type, _ in inner(waiting, entry(Kind.CHILD, child="shipping/s/1"))][2:] == ["attempt_completed", "step_completed"]


# ---- waits


@pytest.mark.parametrize(
    ("told", "events"),
    [
        ([entry(Kind.SLEEP, State.WAITING, wake_at=at(62))], [("sleep_started", {"durationMs": 60_000})]),
        (
            [entry(Kind.SLEEP, State.WAITING, wake_at=at(62)), entry(Kind.SLEEP, wake_at=at(62))],
            [("sleep_started", {"durationMs": 60_000}), ("sleep_completed", {})],
        ),
        ([entry(Kind.SLEEP, wake_at=at(2.5))], [("sleep_started", {"durationMs": 500}), ("sleep_completed", {})]),
        ([entry(Kind.EVENT, State.WAITING, event_type="go")], [("wait_started", {"eventType": "go"})]),
        ([entry(Kind.EVENT, event_type="go")], [("wait_started", {"eventType": "go"}), ("wait_completed", {})]),
        (
            [entry(Kind.EVENT, State.WAITING, event_type="go"), entry(Kind.EVENT, State.FAILED, event_type="go", error=BUSY)],
            [("wait_started", {"eventType": "go"}), ("wait_timed_out", {})],
        ),
    ],
)
def test_a_wait_tells_its_beginning_and_its_end(told: list[Entry], events: list[tuple[str, dict[str, Any]]]) -> None:
    assert inner(*told) == [(type, {"stepName": "charge-1", **fields}) for type, fields in events]


def test_entries_that_share_a_name_are_told_apart() -> None:
    kinds = [entry(), entry(Kind.SLEEP), entry(Kind.EVENT, event_type="go"), entry(count=2)]
    assert [type for type, _ in inner(*kinds)].count("step_started") == 2
    assert {"sleep_started", "wait_started"} <= {type for type, _ in inner(*kinds)}


# ---- rollback


@pytest.mark.parametrize(
    ("rollback", "told"),
    [(Rollback(complete=True), ("rollback_completed", {})), (Rollback(complete=False, error=BUSY), ("rollback_errored", FAILURE))],
)
@pytest.mark.parametrize("status", [Status.ERRORED, Status.TERMINATED])
def test_a_rollback_is_told_before_the_end(rollback: Rollback, told: tuple[str, Any], status: Status) -> None:
    events = story(Status.RUNNING, Status.ROLLING_BACK, status, of=head(status=status, rollback=rollback))
    assert types(events)[2:] == ["rollback_started", told[0], f"workflow_{status.value}"]
    assert events[3].fields == told[1]


def test_a_handler_has_attempts_of_its_own() -> None:
    waiting = entry(Kind.ROLLBACK, State.WAITING, wake_at=at(12))
    broken = entry(Kind.ROLLBACK, State.FAILED, attempt=2, attempt_started_at=at(12), ended_at=at(13), error=BUSY)
    assert inner(entry(), (waiting, failed(1, Kind.ROLLBACK)), broken)[4:] == [
        ("rollback_step_started", {"stepName": "charge-1"}),
        ("rollback_attempt_started", {"stepName": "charge-1", "attempt": 1}),
        ("rollback_attempt_errored", {"stepName": "charge-1", "attempt": 1, **FAILURE, "retryDelayMs": 1000}),
        ("rollback_attempt_started", {"stepName": "charge-1", "attempt": 2}),
        ("rollback_attempt_errored", {"stepName": "charge-1", "attempt": 2, **FAILURE}),
        ("rollback_step_errored", {"stepName": "charge-1", **FAILURE}),
    ]


def test_a_handler_that_succeeds_returns_nothing() -> None:
    assert inner(entry(Kind.ROLLBACK))[-1] == ("rollback_step_completed", {"stepName": "charge-1"})


# ---- numbers, cursor, filter

WHOLE: list[Told] = [
    Status.QUEUED,
    Status.RUNNING,
    entry(state=State.RUNNING),
    (entry(state=State.WAITING, wake_at=at(16)), failed(1)),
    entry(attempt=2, attempt_started_at=at(16), ended_at=at(17)),
    entry(Kind.SLEEP, State.WAITING, name="nap", wake_at=at(60)),
    Status.WAITING,
    Status.RUNNING,
    entry(Kind.SLEEP, name="nap", wake_at=at(60), ended_at=at(60)),
    Status.ROLLING_BACK,
    entry(Kind.ROLLBACK),
    Status.ERRORED,
]
ENDED = head(status=Status.ERRORED, error=BUSY, rollback=Rollback(complete=True), ended_at=at(70))


def test_numbers_grow_and_fit_between_those_of_the_next_item() -> None:
    ids = [event.id for event in story(*WHOLE, of=ENDED)]
    assert ids == sorted(set(ids))
    assert min(ids) > 0
    assert max(len(story(item)) for item in WHOLE) < IDS


@pytest.mark.parametrize("seen", range(20))
def test_whoever_comes_back_with_its_last_number_misses_nothing_and_gets_nothing_twice(seen: int) -> None:
    events = story(*WHOLE, of=ENDED)
    cursor = events[seen - 1].id if seen else 0
    assert story(*WHOLE, of=ENDED, stream=Stream(cursor=cursor)) == events[seen:]


def test_it_makes_no_difference_in_how_many_parts_the_history_comes() -> None:
    whole, parts = story(*WHOLE, of=ENDED), Stream()
    assert [event for item in history(*WHOLE) for event in parts.tell(ENDED, [item])] == whole


def test_what_a_store_has_forgotten_of_an_entry_is_told_late_but_told() -> None:
    kept = [item for item in history(*WHOLE) if item.rev not in (3, 6)]  # the first states of both entries were overwritten
    assert types(list(Stream().tell(ENDED, kept))).count("step_started") == 1
    assert sorted(types(list(Stream().tell(ENDED, kept)))) == sorted(types(story(*WHOLE, of=ENDED)))


@pytest.mark.parametrize(
    ("last", "end"),
    [
        (entry(attempt=2, attempt_started_at=at(16), ended_at=at(17)), ["attempt_started", "attempt_completed", "step_completed"]),
        (entry(Kind.SLEEP, wake_at=at(60)), ["sleep_completed"]),
        (entry(Kind.EVENT, event_type="go"), ["wait_completed"]),
        (entry(Kind.CHILD, child="a/b"), ["attempt_completed", "step_completed"]),
    ],
)
def test_the_beginning_of_an_entry_tells_nothing_of_its_end(last: Entry, end: list[str]) -> None:
    """A store keeps the number of the beginning and the last state: whoever came in between must still hear of the end."""
    items = [HistoryEvent(rev=1, at=at(2), entry=last, began=True), HistoryEvent(rev=9, at=at(17), entry=last)]
    beginning = list(Stream().tell(head(), items[:1]))
    assert types(list(Stream(cursor=beginning[-1].id).tell(head(), items))) == end


def test_only_the_wanted_types_are_told() -> None:
    wanted = frozenset({"step_completed", "sleep_started"})
    assert types(story(*WHOLE, of=ENDED, stream=Stream(filter=wanted))) == ["step_completed", "sleep_started"]


def test_every_type_of_event_is_one_that_a_subscriber_may_ask_for() -> None:
    assert {event.type for event in story(*WHOLE, of=ENDED)} <= TYPES
    assert len(TYPES) == 9 + 6 + 5 + 9  # of the instance, of steps, of waits, of the rollback


def test_an_event_has_the_shape_of_the_api() -> None:
    assert story(Status.QUEUED)[0].shown() == {
        "instanceId": "o-1",
        "eventId": IDS + 1,
        "timestamp": int(at(1).timestamp() * 1000),
        "type": "workflow_queued",
    }


@pytest.mark.parametrize(
    ("cursor", "filter", "told"),
    [
        (-1, None, "cursor: expected"),
        ("5", None, "cursor: expected"),
        (True, None, "cursor: expected"),
        (1.5, None, "cursor: expected"),
        (None, "step_started", "filter: expected a list"),
        (None, ["step_begun"], 'filter: "step_begun" is not a type of event; there are attempt_completed'),
        (None, [1], 'filter: "1" is not a type'),
    ],
)
def test_wrong_options_are_told(cursor: Any, filter: Any, told: str) -> None:
    with pytest.raises(Rejected, match=told):
        check_options(cursor, filter)


def test_options_may_be_left_out() -> None:
    assert check_options(None, None) == (0, None)
    assert check_options(7, ["step_started"]) == (7, frozenset({"step_started"}))
