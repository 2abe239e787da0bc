"""The story that a history tells: which events, in which order, under which numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub.core.codec import encode
from hub.core.errors import ErrorInfo, Rejected
from hub.core.history import HistoryEvent, HistoryKind
from hub.core.model import FINAL, Attempt, Entry, Instance, Kind, Rollback, State, Status, StepConfig
from hub.core.stream import IDS, TYPES, InstanceEvent, Stream, check_options

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


def failed(number: int, kind: Kind = Kind.STEP, *, retry: float | None = 5) -> Attempt:
    began, ended = at(number * 10), at(number * 10 + 1)
    retry_at = None if retry is None else ended + timedelta(seconds=retry)
    return Attempt(name="charge", count=1, number=number, started_at=began, ended_at=ended, retry_at=retry_at, error=BUSY, kind=kind)


LAST = entry(attempt=2, attempt_started_at=at(16), ended_at=at(17))
Told = HistoryKind | tuple[HistoryKind, Entry] | Attempt
BEGAN, ATTEMPTED, SETTLED = HistoryKind.BEGAN, HistoryKind.ATTEMPTED, HistoryKind.SETTLED
FRAME: list[Told] = [HistoryKind.QUEUED, HistoryKind.STARTED]


def whole(entry: Entry) -> list[Told]:
    """Return what is known of an entry that was written once."""
    return [(BEGAN, entry), (SETTLED, entry)]


def history(*told: Told, first: int = 1) -> list[HistoryEvent]:
    """Return what happened, with numbers; the beginning and the end of one entry share a number when they stand side by side."""
    items: list[HistoryEvent] = []
    rev = first - 1
    for number, one in enumerate(told):
        joined = isinstance(one, tuple) and one[0] is SETTLED and number > 0 and told[number - 1] == (BEGAN, one[1])
        rev += not joined
        if isinstance(one, HistoryKind):
            items.append(HistoryEvent(rev=rev, at=at(rev), kind=one))
        elif isinstance(one, Attempt):
            items.append(HistoryEvent(rev=rev, at=at(rev), kind=HistoryKind.FAILED, attempt=one))
        elif one[0] is ATTEMPTED:
            began = one[1].attempt_started_at or one[1].started_at
            items.append(HistoryEvent(rev=rev, at=began, kind=ATTEMPTED, entry=LAST, data={"attempt": one[1].attempt}))
        else:
            items.append(HistoryEvent(rev=rev, at=at(rev), kind=one[0], entry=one[1]))
    return items


def story(*told: Told, of: Instance | None = None, stream: Stream | None = None) -> list[InstanceEvent]:
    return list((stream or Stream()).tell(of or head(), history(*told)))


def types(events: Sequence[InstanceEvent]) -> list[str]:
    return [event.type for event in events]


def inner(*told: Told) -> list[tuple[str, dict[str, Any]]]:
    return [(event.type, event.fields) for event in story(*told)]


# ---- the instance


@pytest.mark.parametrize(
    ("kind", "type"),
    [
        (HistoryKind.QUEUED, "workflow_queued"),
        (HistoryKind.STARTED, "workflow_started"),
        (HistoryKind.RUNNING, "workflow_running"),
        (HistoryKind.PAUSED, "workflow_paused"),
        (HistoryKind.WAITING_FOR_PAUSE, "workflow_waiting_for_pause"),
        (HistoryKind.WAITING, "workflow_waiting"),
        (HistoryKind.ROLLING_BACK, "rollback_started"),
        (HistoryKind.COMPLETE, "workflow_completed"),
        (HistoryKind.ERRORED, "workflow_errored"),
        (HistoryKind.TERMINATED, "workflow_terminated"),
    ],
)
def test_every_change_of_status_is_an_event(kind: HistoryKind, type: str) -> None:
    (event,) = story(kind)
    assert (event.type, event.at) == (type, at(1))


def test_that_an_instance_was_restarted_is_told_by_its_new_beginning() -> None:
    assert types(story(HistoryKind.RESTARTED, *FRAME)) == ["workflow_queued", "workflow_started"]


def test_an_instance_tells_its_params_and_its_output() -> None:
    events = story(*FRAME, HistoryKind.COMPLETE, of=head(status=Status.COMPLETE, output=encode({"b": 2})))
    assert [event.fields for event in events] == [{}, {"params": {"a": 1}}, {"output": {"b": 2}}]


@pytest.mark.parametrize("kind", [HistoryKind.ERRORED, HistoryKind.PAUSED])
def test_an_instance_tells_the_error_that_ended_or_stopped_it(kind: HistoryKind) -> None:
    assert story(kind, of=head(error=BUSY))[-1].fields == FAILURE


def test_an_instance_that_somebody_paused_has_no_error() -> None:
    assert story(HistoryKind.PAUSED)[-1].fields == {}


@pytest.mark.parametrize("kind", [kind for kind in HistoryKind if kind.value in set(Status)])
def test_the_stream_ends_with_the_instance_even_when_the_end_is_filtered_out(kind: HistoryKind) -> None:
    for stream in (Stream(), Stream(filter=frozenset({"step_started"})), Stream(cursor=10**9)):
        story(HistoryKind.STARTED, kind, stream=stream)
        assert stream.ended is (Status(kind.value) in FINAL)


def test_a_stream_that_has_ended_goes_on_when_the_instance_is_restarted() -> None:
    stream = Stream()
    story(HistoryKind.COMPLETE, stream=stream)
    list(stream.tell(head(), history(HistoryKind.QUEUED, first=5)))
    assert not stream.ended


# ---- steps


def test_a_step_that_was_written_once_is_told_whole() -> None:
    assert inner(*whole(entry())) == [
        ("step_started", {"stepName": "charge-1", **POLICY}),
        ("attempt_started", {"stepName": "charge-1", "attempt": 1}),
        ("attempt_completed", {"stepName": "charge-1", "attempt": 1}),
        ("step_completed", {"stepName": "charge-1", "output": 7}),
    ]


def test_a_long_step_is_told_as_it_goes() -> None:
    stream = Stream()
    began, settled = history((BEGAN, entry(state=State.RUNNING)), (SETTLED, entry()))
    assert types(list(stream.tell(head(), [began]))) == ["step_started", "attempt_started"]
    assert types(list(stream.tell(head(), [settled]))) == ["attempt_completed", "step_completed"]


def test_failed_attempts_tell_their_error_and_the_wait_after_them() -> None:
    running = entry(state=State.RUNNING, attempt=2, attempt_started_at=at(16))
    expected = [
        ("step_started", {"stepName": "charge-1", **POLICY}),
        ("attempt_started", {"stepName": "charge-1", "attempt": 1}),
        ("attempt_errored", {"stepName": "charge-1", "attempt": 1, **FAILURE, "retryDelayMs": 5000}),
        ("attempt_started", {"stepName": "charge-1", "attempt": 2}),
        ("attempt_completed", {"stepName": "charge-1", "attempt": 2}),
        ("step_completed", {"stepName": "charge-1", "output": 7}),
    ]
    for began in (entry(state=State.WAITING, wake_at=at(16)), LAST):
        assert inner((BEGAN, began), failed(1), (SETTLED, LAST)) == expected
        assert inner((BEGAN, began), failed(1), (ATTEMPTED, running), (SETTLED, LAST)) == expected


@pytest.mark.parametrize("seen", [False, True])
def test_a_later_attempt_that_failed_is_told_once_with_its_wait(seen: bool) -> None:
    running = entry(state=State.RUNNING, attempt=2, attempt_started_at=at(20))
    told: list[Told] = [(ATTEMPTED, running)] if seen else []
    assert inner((BEGAN, LAST), failed(1, retry=None), *told, failed(2, retry=0))[2:] == [
        ("attempt_errored", {"stepName": "charge-1", "attempt": 1, **FAILURE}),
        ("attempt_started", {"stepName": "charge-1", "attempt": 2}),
        ("attempt_errored", {"stepName": "charge-1", "attempt": 2, **FAILURE, "retryDelayMs": 0}),
    ]


def test_a_failed_step_is_told_with_its_last_attempt() -> None:
    assert inner(*whole(entry(state=State.FAILED, ended_at=at(3), error=BUSY))) == [
        ("step_started", {"stepName": "charge-1", **POLICY}),
        ("attempt_started", {"stepName": "charge-1", "attempt": 1}),
        ("attempt_errored", {"stepName": "charge-1", "attempt": 1, **FAILURE}),
        ("step_errored", {"stepName": "charge-1"}),
    ]


def test_a_step_that_began_again_after_a_restart_is_another_one() -> None:
    assert types(story(*whole(entry()), HistoryKind.QUEUED, *whole(entry()))).count("attempt_started") == 2


@pytest.mark.parametrize("value", [7, None, {"card": 4711}])
def test_a_sensitive_output_is_not_told(value: Any) -> None:
    hidden = entry(output=encode(value), config=StepConfig(sensitive=True))
    assert inner(*whole(hidden))[-1][1]["output"] == "[REDACTED]"


def test_a_workflow_that_is_started_is_a_step_that_names_it() -> None:
    child = {"child": {"workflow_name": "shipping", "instance_id": "s/1"}}
    waiting = entry(Kind.CHILD, State.WAITING, child="shipping/s/1")
    assert inner((BEGAN, waiting)) == [
        ("step_started", {"stepName": "charge-1", **child}),
        ("attempt_started", {"stepName": "charge-1", "attempt": 1}),
    ]
    ended = (SETTLED, entry(Kind.CHILD, child="shipping/s/1"))
    assert [type for type, _ in inner((BEGAN, waiting), ended)][2:] == ["attempt_completed", "step_completed"]


# ---- waits


@pytest.mark.parametrize(
    ("told", "events"),
    [
        ([(BEGAN, entry(Kind.SLEEP, State.WAITING, wake_at=at(62)))], [("sleep_started", {"durationMs": 60_000})]),
        (whole(entry(Kind.SLEEP, wake_at=at(2.5))), [("sleep_started", {"durationMs": 500}), ("sleep_completed", {})]),
        ([(BEGAN, entry(Kind.EVENT, State.WAITING, event_type="go"))], [("wait_started", {"eventType": "go"})]),
        (whole(entry(Kind.EVENT, event_type="go")), [("wait_started", {"eventType": "go"}), ("wait_completed", {})]),
        (
            whole(entry(Kind.EVENT, State.FAILED, event_type="go", error=BUSY)),
            [("wait_started", {"eventType": "go"}), ("wait_timed_out", {})],
        ),
    ],
)
def test_a_wait_tells_its_beginning_and_its_end(told: list[Told], events: list[tuple[str, dict[str, Any]]]) -> None:
    assert inner(*told) == [(type, {"stepName": "charge-1", **fields}) for type, fields in events]


# ---- rollback


@pytest.mark.parametrize(
    ("rollback", "told"),
    [(Rollback(complete=True), ("rollback_completed", {})), (Rollback(complete=False, error=BUSY), ("rollback_errored", FAILURE))],
)
@pytest.mark.parametrize("kind", [HistoryKind.ERRORED, HistoryKind.TERMINATED])
def test_a_rollback_is_told_before_the_end(rollback: Rollback, told: tuple[str, Any], kind: HistoryKind) -> None:
    events = story(HistoryKind.ROLLING_BACK, kind, of=head(rollback=rollback))
    assert types(events) == ["rollback_started", told[0], f"workflow_{kind.value}"]
    assert events[1].fields == told[1]


def test_a_handler_has_attempts_of_its_own() -> None:
    waiting = entry(Kind.ROLLBACK, State.WAITING, wake_at=at(12))
    broken = entry(Kind.ROLLBACK, State.FAILED, attempt=2, attempt_started_at=at(12), ended_at=at(13), error=BUSY)
    assert inner(*whole(entry()), (BEGAN, waiting), failed(1, Kind.ROLLBACK, retry=1), (SETTLED, broken))[4:] == [
        ("rollback_step_started", {"stepName": "charge-1"}),
        ("rollback_attempt_started", {"stepName": "charge-1", "attempt": 1}),
        ("rollback_attempt_errored", {"stepName": "charge-1", "attempt": 1, **FAILURE, "retryDelayMs": 1000}),
        ("rollback_attempt_started", {"stepName": "charge-1", "attempt": 2}),
        ("rollback_attempt_errored", {"stepName": "charge-1", "attempt": 2, **FAILURE}),
        ("rollback_step_errored", {"stepName": "charge-1", **FAILURE}),
    ]


def test_a_handler_that_succeeds_returns_nothing() -> None:
    assert inner(*whole(entry(Kind.ROLLBACK)))[-1] == ("rollback_step_completed", {"stepName": "charge-1"})


# ---- numbers, cursor, filter

NAP = entry(Kind.SLEEP, name="nap", wake_at=at(60), ended_at=at(60))
WHOLE: list[Told] = [
    *FRAME,
    (BEGAN, LAST),
    failed(1),
    (ATTEMPTED, LAST),
    (BEGAN, NAP),
    (SETTLED, LAST),
    HistoryKind.WAITING,
    HistoryKind.RUNNING,
    (SETTLED, NAP),
    *whole(entry(count=2)),
    HistoryKind.ROLLING_BACK,
    *whole(entry(Kind.ROLLBACK)),
    HistoryKind.ERRORED,
]
ENDED = head(status=Status.ERRORED, error=BUSY, rollback=Rollback(complete=True), ended_at=at(70))


def test_numbers_grow_and_fit_between_those_of_the_next_item() -> None:
    ids = [event.id for event in story(*WHOLE, of=ENDED)]
    assert ids == sorted(set(ids))
    assert {event_id // IDS for event_id in ids} == {item.rev for item in history(*WHOLE)}


@pytest.mark.parametrize("seen", range(24))
def test_whoever_comes_back_with_its_last_number_misses_nothing_and_gets_nothing_twice(seen: int) -> None:
    events = story(*WHOLE, of=ENDED)
    cursor = events[seen - 1].id if seen else 0
    assert story(*WHOLE, of=ENDED, stream=Stream(cursor=cursor)) == events[seen:]


def test_it_makes_no_difference_in_how_many_parts_the_history_comes() -> None:
    whole, parts = story(*WHOLE, of=ENDED), Stream()
    assert [event for item in history(*WHOLE) for event in parts.tell(ENDED, [item])] == whole


def test_the_beginning_of_an_entry_tells_nothing_of_its_end() -> None:
    """A store gives the last state of an entry for its beginning too: whoever came in between must still hear of the end."""
    for last in (LAST, NAP, entry(Kind.EVENT, event_type="go"), entry(Kind.CHILD, child="a/b")):
        assert all(type.endswith("_started") for type, _ in inner((BEGAN, last)))


def test_an_attempt_that_was_seen_running_is_not_told_to_have_started_again() -> None:
    running = entry(state=State.RUNNING, attempt=2, attempt_started_at=at(16))
    assert [type for type, _ in inner((BEGAN, running), failed(1), (ATTEMPTED, running), (SETTLED, LAST))].count("attempt_started") == 2


def test_only_the_wanted_types_are_told() -> None:
    wanted = frozenset({"step_completed", "sleep_started"})
    assert types(story(*WHOLE, of=ENDED, stream=Stream(filter=wanted))) == ["sleep_started", "step_completed", "step_completed"]


def test_every_type_of_event_is_one_that_a_subscriber_may_ask_for() -> None:
    assert {event.type for event in story(*WHOLE, of=ENDED)} <= TYPES
    assert len(TYPES) == 9 + 6 + 5 + 9  # of the instance, of steps, of waits, of the rollback


def test_an_event_has_the_shape_of_the_api() -> None:
    assert story(HistoryKind.QUEUED)[0].shown() == {
        "instanceId": "o-1",
        "eventId": IDS,
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
