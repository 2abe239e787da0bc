"""Replay is a pure machine: journal and calls in, answers out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from hub.core.errors import ErrorInfo
from hub.core.model import Entry, InboxEvent, Kind, State
from hub.core.replay import (
    DoCall,
    EventCall,
    Failed,
    Hit,
    Interrupted,
    Replay,
    SleepCall,
    Start,
    Take,
    WaitEvent,
    WaitUntil,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def entry(kind: Kind = Kind.STEP, name: str = "a", count: int = 1, state: State = State.DONE, **more: object) -> Entry:
    """Return a journal entry with defaults."""
    return Entry(kind=kind, name=name, count=count, ordinal=1, state=state, started_at=NOW, **more)  # type: ignore[arg-type]


def event(seq: int, type: str = "go", at: datetime = NOW) -> InboxEvent:
    """Return an event of the inbox."""
    return InboxEvent(seq=seq, type=type, payload=str(seq).encode(), sent_at=at)


def wait(name: str = "w", type: str = "go", timeout: timedelta = HOUR) -> EventCall:
    """Return a call of wait_for_event."""
    return EventCall(name=name, type=type, timeout=timeout)


def test_a_step_that_is_not_in_the_journal_starts_with_its_first_attempt() -> None:
    answer = Replay().begin(DoCall(name="a"), NOW)
    assert isinstance(answer, Start)
    assert (answer.entry.name, answer.entry.count, answer.entry.ordinal, answer.entry.attempt) == ("a", 1, 1, 1)


def test_names_are_counted_for_each_kind_in_the_order_of_the_calls() -> None:
    replay = Replay()
    answers = [replay.begin(call, NOW) for call in (DoCall(name="a"), DoCall(name="a"), SleepCall(name="a", duration=HOUR), wait("a"))]
    entries = [answer.entry for answer in answers]  # type: ignore[union-attr]
    assert [(e.kind, e.count, e.ordinal) for e in entries] == [
        (Kind.STEP, 1, 1),
        (Kind.STEP, 2, 2),
        (Kind.SLEEP, 1, 3),
        (Kind.EVENT, 1, 4),
    ]


def test_new_entries_are_ordered_behind_all_that_is_recorded() -> None:
    replay = Replay([replace(entry(), ordinal=7)])
    assert isinstance(replay.begin(DoCall(name="a"), NOW), Hit)
    answer = replay.begin(DoCall(name="b"), NOW)
    assert isinstance(answer, Start)
    assert answer.entry.ordinal == 8


def test_a_settled_step_is_never_started_again() -> None:
    error = ErrorInfo(name="ValueError", message="no")
    replay = Replay([entry(output=b"[1]"), entry(name="b", state=State.FAILED, error=error)])
    assert replay.begin(DoCall(name="a"), NOW) == Hit(b"[1]")
    assert replay.begin(DoCall(name="b"), NOW) == Failed(error)


def test_between_two_attempts_the_rest_of_the_delay_is_waited() -> None:
    waiting = entry(state=State.WAITING, attempt=2, wake_at=NOW + HOUR)
    assert Replay([waiting]).begin(DoCall(name="a"), NOW) == WaitUntil(waiting, False)
    answer = Replay([waiting]).begin(DoCall(name="a"), NOW + HOUR)
    assert isinstance(answer, Start)
    assert (answer.entry.attempt, answer.entry.attempt_started_at, answer.entry.started_at) == (3, NOW + HOUR, NOW)


def test_an_attempt_with_a_start_record_but_no_end_was_interrupted() -> None:
    running = entry(state=State.RUNNING, attempt=2)
    assert Replay([running]).begin(DoCall(name="a"), NOW) == Interrupted(running)


def test_a_sleep_keeps_the_end_that_was_recorded() -> None:
    asleep = entry(Kind.SLEEP, state=State.WAITING, wake_at=NOW + HOUR)
    assert Replay([asleep]).begin(SleepCall(name="a", duration=9 * HOUR), NOW + 5 * HOUR) == WaitUntil(asleep, False)
    done = replace(asleep, state=State.DONE)
    assert Replay([done]).begin(SleepCall(name="a", duration=9 * HOUR), NOW) == Hit(b"null")


def test_sleep_until_is_keyed_like_every_step_however_much_time_has_passed() -> None:
    asleep = entry(Kind.SLEEP, state=State.WAITING, wake_at=NOW + HOUR)
    call = SleepCall(name="a", until=NOW + HOUR)
    assert Replay([asleep]).begin(call, NOW + 100 * HOUR) == WaitUntil(asleep, False)


def test_a_kept_event_is_taken_by_the_first_wait_of_its_type() -> None:
    replay = Replay(inbox=[event(1, "other"), event(2), event(3)])
    first, second, third = (replay.begin(wait(name), NOW) for name in "abc")
    assert isinstance(first, Take)
    assert isinstance(second, Take)
    assert (first.event.seq, second.event.seq) == (2, 3)
    assert isinstance(third, WaitEvent)
    assert replay.inbox_seen == 3


def test_a_new_event_goes_to_the_oldest_waiter_and_only_to_it() -> None:
    replay = Replay()
    waiters = [replay.begin(wait(name), NOW) for name in "ab"]
    take = replay.deliver(event(1))
    assert take is not None
    assert take.entry == waiters[0].entry  # type: ignore[union-attr]
    assert replay.deliver(event(1)) is None
    second = replay.deliver(event(2))
    assert second is not None
    assert second.entry.name == "b"
    assert replay.deliver(event(3)) is None
    assert isinstance(replay.begin(wait("c"), NOW), Take)


def test_a_waiter_whose_time_is_over_takes_no_event_any_more() -> None:
    replay = Replay()
    answer = replay.begin(wait(), NOW)
    assert isinstance(answer, WaitEvent)
    replay.expire(answer.entry)
    assert replay.deliver(event(1)) is None
    assert isinstance(replay.begin(wait("next"), NOW), Take)


def test_an_event_that_came_after_the_deadline_does_not_satisfy_the_wait() -> None:
    waiting = entry(Kind.EVENT, "w", state=State.WAITING, wake_at=NOW + HOUR, event_type="go")
    late = Replay([waiting], [event(1, at=NOW + 2 * HOUR)]).begin(wait(), NOW + 3 * HOUR)
    assert late == WaitEvent(waiting, False)
    in_time = Replay([waiting], [event(1, at=NOW + HOUR)]).begin(wait(), NOW + 3 * HOUR)
    assert isinstance(in_time, Take)


def test_a_sleep_that_was_refused_stays_refused() -> None:
    error = ErrorInfo(name="NonRetryableError", message="too far")
    refused = entry(Kind.SLEEP, "far", state=State.FAILED, error=error)
    assert Replay([refused]).begin(SleepCall(name="far", until=NOW), NOW) == Failed(error)


def test_what_the_program_has_not_asked_for_is_unfinished() -> None:
    replay = Replay([entry(), replace(entry(name="b"), ordinal=2)])
    replay.begin(DoCall(name="a"), NOW)
    assert [e.name for e in replay.unfinished()] == ["b"]


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(0, 30))
def test_a_replay_from_any_prefix_of_the_journal_starts_exactly_the_rest(names: list[str], done: int) -> None:
    first = Replay()
    journal = []
    for name in names:
        answer = first.begin(DoCall(name=name), NOW)
        assert isinstance(answer, Start)
        journal.append(replace(answer.entry, state=State.DONE, output=b"1"))
    again = Replay(journal[:done])
    answers = [again.begin(DoCall(name=name), NOW) for name in names]
    assert [isinstance(answer, Hit) for answer in answers] == [n < done for n in range(len(names))]
    fresh = [answer.entry.ordinal for answer in answers if isinstance(answer, Start)]
    assert fresh == list(range(min(done, len(names)) + 1, len(names) + 1))
