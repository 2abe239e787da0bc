"""The lifecycle of an instance: every write on every state, from one table."""

from __future__ import annotations

from copy import copy
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from hub.core.errors import ErrorInfo
from hub.core.lifecycle import TERMINATED, Head, begins_at, decide, holds
from hub.core.model import FINAL, Attempt, Entry, Kind, NewInstance, Retention, State, Status, Wish
from hub.core.writes import (
    Begin,
    DeleteInstance,
    FailAttempt,
    Finish,
    Park,
    Restart,
    RestartPoint,
    RollBack,
    SendEvent,
    SettleStep,
    StartChild,
    StartWait,
    Steer,
    Verb,
    Verdict,
    Write,
)

TOKEN = 3
ERROR = ErrorInfo(name="ValueError", message="no")

# A row for each state that an instance can be in: `*` = claimed. A column for each write. A cell is the state after the write; `=` the same
# state, `fenced` and `conflict` a refusal that changes nothing, `gone` a deleted instance, `-` what no execution writes there.
CLAIM_TABLE = """
                 begin    settle fail   wait   child  roll-back    sleep       back-off    hand-on     to-pause    complete error
queued           fenced   fenced fenced fenced fenced fenced       fenced      fenced      fenced      fenced      fenced   fenced
queued*          running* =      =      =      =      rollingBack* waiting     -           queued      queued      complete errored
running*         =        =      =      =      =      rollingBack* waiting     -           queued      queued      complete errored
waitingForPause* =        =      =      =      =      rollingBack* paused      -           paused      paused      complete errored
rollingBack*     =        =      =      =      =      =            rollingBack rollingBack rollingBack rollingBack complete errored
rollingBack      fenced   fenced fenced fenced fenced fenced       fenced      fenced      fenced      fenced      fenced   fenced
waiting          fenced   fenced fenced fenced fenced fenced       fenced      fenced      fenced      fenced      fenced   fenced
paused           fenced   fenced fenced fenced fenced fenced       fenced      fenced      fenced      fenced      fenced   fenced
complete         fenced   fenced fenced fenced fenced fenced       fenced      fenced      fenced      fenced      fenced   fenced
errored          fenced   fenced fenced fenced fenced fenced       fenced      fenced      fenced      fenced      fenced   fenced
terminated       fenced   fenced fenced fenced fenced fenced       fenced      fenced      fenced      fenced      fenced   fenced
"""
FREE_TABLE = """
                 event     pause             resume    terminate   undo          restart  delete
queued           =         paused            =         terminated  rollingBack   =        gone
queued*          =         waitingForPause*  =         terminated  rollingBack*  queued   gone
running*         =         waitingForPause*  =         terminated  rollingBack*  queued   gone
waitingForPause* =         =                 running*  terminated  rollingBack*  queued   gone
rollingBack*     =         conflict          conflict  terminated  =             queued   gone
rollingBack      =         conflict          conflict  terminated  =             queued   gone
waiting          =         paused            =         terminated  rollingBack   queued   gone
paused           =         =                 queued    terminated  rollingBack   queued   gone
complete         conflict  conflict          conflict  conflict    conflict      queued   gone
errored          conflict  conflict          conflict  conflict    conflict      queued   gone
terminated       conflict  conflict          conflict  conflict    conflict      queued   gone
"""


def at(seconds: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def head(state: str, **fields: Any) -> Head:
    """Return the head of an instance in that state, as the writes that lead there leave it."""
    status = Status(state.rstrip("*"))
    claimed, final = state.endswith("*"), status in FINAL
    plain: dict[str, Any] = {
        "key": 7,
        "id": "one",
        "status": status,
        "node": 1 if claimed else None,
        "token": TOKEN,
        "wish": Wish.PAUSE if status is Status.WAITING_FOR_PAUSE else Wish.NONE,
        "ends_as": Status.ERRORED if status is Status.ROLLING_BACK else None,
        "inbox_seq": 0,
        "wake_at": at(60) if state in ("waiting", "rollingBack") else at(0) if state == "queued" else None,
        "paused_at": at(5) if status is Status.PAUSED else None,
        "started_at": None if status is Status.QUEUED else at(1),
        "ended_at": at(8) if final else None,
        "modified_at": at(5),
    }
    return Head(**{**plain, **fields})


def entry() -> Entry:
    return Entry(kind=Kind.STEP, name="charge", count=1, ordinal=1, state=State.DONE, started_at=at(1))


def park(token: int = TOKEN, *, status: Status = Status.WAITING, wake_at: datetime | None = None, seen: int = 0) -> Park:
    return Park(instance=7, token=token, at=at(10), status=status, wake_at=wake_at, inbox_seen=seen, started_at=at(9))


def finish(token: int = TOKEN, status: Status = Status.COMPLETE) -> Finish:
    return Finish(instance=7, token=token, at=at(10), status=status, started_at=at(9), output=b"1", error=ERROR)


def steer(verb: Verb, seconds: float = 10) -> Steer:
    return Steer(instance=7, verb=verb, at=at(seconds))


def write(name: str, token: int = TOKEN) -> Any:
    """Return the write of that column."""
    failed = Attempt(name="charge", count=1, number=1, started_at=at(1), ended_at=at(2), error=ERROR)
    return {
        "begin": Begin(instance=7, token=token, at=at(10)),
        "settle": SettleStep(instance=7, token=token, entry=entry()),
        "fail": FailAttempt(instance=7, token=token, entry=entry(), attempt=failed),
        "wait": StartWait(instance=7, token=token, entry=entry()),
        "child": StartChild(instance=7, token=token, entry=entry(), new=NewInstance(workflow="w", id="c", params=b"1", created_at=at(10))),
        "roll-back": RollBack(instance=7, token=token, at=at(10), error=ERROR),
        "sleep": park(token, wake_at=at(70)),
        "back-off": park(token, status=Status.ROLLING_BACK, wake_at=at(70)),
        "hand-on": park(token, status=Status.QUEUED, wake_at=at(10)),
        "to-pause": park(token, status=Status.PAUSED),
        "complete": finish(token),
        "error": finish(token, Status.ERRORED),
        "event": SendEvent(instance=7, type="ok", payload=b"1", at=at(10)),
        "pause": steer(Verb.PAUSE),
        "resume": steer(Verb.RESUME),
        "terminate": steer(Verb.TERMINATE),
        "undo": Steer(instance=7, verb=Verb.TERMINATE, at=at(10), rollback=True),
        "restart": Restart(instance=7, at=at(10), origin=RestartPoint(name="charge")),
        "delete": DeleteInstance(instance=7),
    }[name]


def cells(table: str) -> list[tuple[str, str, str]]:
    """Return state, write and result of each cell."""
    columns, *rows = [line.split() for line in table.strip().splitlines()]
    return [(row[0], column, cell) for row in rows for column, cell in zip(columns, row[1:], strict=True) if cell != "-"]


CELLS = cells(CLAIM_TABLE) + cells(FREE_TABLE)
STATES = list(dict.fromkeys(state for state, _, _ in CELLS))
COLUMNS = list(dict.fromkeys(column for _, column, _ in CELLS))
CLAIMED = [state for state in STATES if state.endswith("*")]
FENCED_COLUMNS = list(dict.fromkeys(column for _, column, _ in cells(CLAIM_TABLE)))


def state_of(head: Head) -> str:
    return "gone" if head.deleted else head.status.value + ("*" if head.node is not None else "")


def assert_sound(head: Head) -> None:
    """Check what holds for a head in every state."""
    assert (head.ended_at is not None) == head.final
    assert (head.paused_at is not None) == (head.status is Status.PAUSED)
    assert (head.wish is Wish.PAUSE) == (head.status is Status.WAITING_FOR_PAUSE)
    assert (head.wish is Wish.ROLL_BACK) <= (head.status is Status.ROLLING_BACK and head.node is not None)
    assert (head.ends_as is not None) == (head.status is Status.ROLLING_BACK)
    assert (head.node is not None) <= (head.status in (Status.QUEUED, Status.RUNNING, Status.WAITING_FOR_PAUSE, Status.ROLLING_BACK))
    assert (head.wake_at is not None) <= (head.node is None and head.status in (Status.QUEUED, Status.WAITING, Status.ROLLING_BACK))
    to_claim = head.node is None and head.status in (Status.QUEUED, Status.ROLLING_BACK)
    assert to_claim <= (head.wake_at is not None)  # or nobody would ever claim it


def test_the_table_has_every_state_and_every_write() -> None:
    assert {state.rstrip("*") for state in STATES} == set(Status) - {Status.UNKNOWN}  # which is never stored
    on_an_instance = {kind for kind in get_args(Write) if "instance" in {field.name for field in fields(kind)}}
    assert {type(write(column)) for column in COLUMNS} == on_an_instance
    assert len(CELLS) == len(STATES) * len(COLUMNS) - 3  # a handler backs off only while rolling back


@pytest.mark.parametrize(("state", "column", "cell"), CELLS)
def test_every_write_on_every_state(state: str, column: str, cell: str) -> None:
    before = head(state)
    assert_sound(before)
    after = copy(before)

    verdict = decide(after, write(column))

    if cell in ("fenced", "conflict"):
        assert verdict == cell
        assert after == before
    else:
        assert verdict is Verdict.APPLIED
        assert state_of(after) == (state if cell == "=" else cell)
        assert after.token == before.token
        assert after.changed or after.deleted or (after == before and cell == "=")
        assert_sound(after)


@pytest.mark.parametrize("token", [TOKEN - 1, TOKEN + 1])
@pytest.mark.parametrize("state", CLAIMED)
@pytest.mark.parametrize("column", FENCED_COLUMNS)
def test_a_write_with_another_token_is_fenced(state: str, column: str, token: int) -> None:
    before = head(state)
    after = copy(before)

    assert decide(after, write(column, token)) is Verdict.FENCED
    assert after == before


@pytest.mark.parametrize("column", COLUMNS)
def test_what_does_not_exist_is_missing(column: str) -> None:
    gone = head("running*", deleted=True)
    before = copy(gone)

    assert decide(None, write(column)) is Verdict.MISSING
    assert decide(gone, write(column)) is Verdict.MISSING
    assert gone == before


@pytest.mark.parametrize("state", STATES)
def test_a_token_holds_while_the_instance_is_claimed(state: str) -> None:
    assert holds(head(state), TOKEN) == state.endswith("*")
    assert not holds(head(state), TOKEN + 1)


# ---- the fields beside the status


@pytest.mark.parametrize(("column", "started"), [("begin", 10), ("sleep", 9), ("complete", 9)])
def test_the_first_start_is_kept(column: str, started: float) -> None:
    fresh, begun = head("queued*"), head("running*")

    decide(fresh, write(column))
    decide(begun, write(column))

    assert (fresh.started_at, begun.started_at) == (at(started), at(1))


@pytest.mark.parametrize("column", ["begin", "sleep", "complete", "pause", "terminate", "restart"])
def test_a_change_of_state_is_dated(column: str) -> None:
    changed = head("queued*")

    decide(changed, write(column))

    assert changed.modified_at == at(10)


def test_a_parked_instance_is_due_when_it_asked_for() -> None:
    sleeping, listening = head("running*"), head("running*")

    decide(sleeping, park(wake_at=at(70)))
    decide(listening, park(wake_at=None))

    assert (sleeping.wake_at, listening.wake_at) == (at(70), None)


@pytest.mark.parametrize(("seen", "wake"), [(1, 10), (2, 70), (3, 70)])
def test_a_park_that_has_not_seen_the_last_event_is_due_at_once(seen: int, wake: float) -> None:
    parked = head("running*", inbox_seq=2)

    decide(parked, park(wake_at=at(70), seen=seen))

    assert parked.wake_at == at(wake)


def test_a_park_towards_a_pause_that_was_taken_back_is_due_at_once() -> None:
    parked = head("running*")

    decide(parked, park(status=Status.PAUSED))

    assert (parked.status, parked.wake_at) == (Status.QUEUED, at(10))


def test_a_pause_is_dated_and_its_end_forgets_the_date() -> None:
    paused = head("waiting")

    decide(paused, steer(Verb.PAUSE, 20))
    assert (paused.paused_at, paused.wake_at) == (at(20), None)
    decide(paused, steer(Verb.PAUSE, 30))
    assert paused.paused_at == at(20)
    decide(paused, steer(Verb.RESUME, 40))
    assert paused.paused_at is None
    assert paused.wake_at == at(40)


@pytest.mark.parametrize(("wake", "expected"), [(70, 10), (4, 4), (None, 10)])
def test_an_event_wakes_a_waiting_instance_and_never_makes_it_later(wake: float | None, expected: float) -> None:
    waiting = head("waiting", wake_at=None if wake is None else at(wake))

    decide(waiting, write("event"))

    assert (waiting.wake_at, waiting.inbox_seq) == (at(expected), 1)


@pytest.mark.parametrize("state", ["queued", "queued*", "running*", "paused"])
def test_an_event_is_counted_and_wakes_nobody_who_does_not_wait(state: str) -> None:
    before = head(state, inbox_seq=4)
    after = copy(before)

    decide(after, write("event"))

    assert (after.inbox_seq, after.wake_at, after.changed) == (5, before.wake_at, True)


def test_the_end_keeps_the_result() -> None:
    ended = head("running*")

    decide(ended, finish())

    assert (ended.output, ended.error, ended.result_changed, ended.ended_at) == (b"1", ERROR, True, at(10))


def test_terminate_leaves_the_result_alone() -> None:
    ended = head("running*")

    decide(ended, write("terminate"))

    assert (ended.result_changed, ended.ended_at) == (False, at(10))


@pytest.mark.parametrize("state", STATES)
def test_restart_begins_anew_and_due_at_once(state: str) -> None:
    again = head(state, output=b"1", error=ERROR, recoveries=4, inbox_seq=6)

    decide(again, write("restart"))

    assert (again.wake_at, again.started_at, again.output, again.error, again.recoveries) == (at(10), None, None, None, 0)
    assert again.result_changed  # or the old result would stay on disk
    assert again.inbox_seq == 6  # numbers of events are never given twice
    assert not holds(again, TOKEN)


# ---- rolling back


def test_a_failed_program_rolls_back_and_then_ends_with_its_error() -> None:
    failed = head("running*")

    decide(failed, write("roll-back"))
    assert (failed.ends_as, failed.error, failed.result_changed) == (Status.ERRORED, ERROR, True)
    decide(failed, finish(status=Status.ERRORED))

    assert (failed.status, failed.ends_as) == (Status.ERRORED, None)


def test_a_termination_with_rollback_asks_the_execution_and_keeps_its_reason() -> None:
    running = head("running*")

    decide(running, write("undo"))
    assert (running.wish, running.ends_as, running.error) == (Wish.ROLL_BACK, Status.TERMINATED, TERMINATED)
    decide(running, write("roll-back"))

    assert (running.wish, running.ends_as, running.error) == (Wish.NONE, Status.TERMINATED, TERMINATED)


def test_a_termination_with_rollback_of_an_unclaimed_instance_is_due_at_once() -> None:
    waiting = head("waiting")

    decide(waiting, write("undo"))

    assert (waiting.wake_at, waiting.wish) == (at(10), Wish.NONE)


def test_a_handler_that_backs_off_is_due_when_it_asked_for() -> None:
    undoing = head("rollingBack*")

    decide(undoing, write("back-off"))

    assert undoing.wake_at == at(70)


@pytest.mark.parametrize("column", ["sleep", "hand-on", "to-pause"])
def test_a_park_that_had_not_heard_of_the_rollback_is_due_at_once(column: str) -> None:
    undoing = head("rollingBack*")

    decide(undoing, write(column))

    assert undoing.wake_at == at(10)


@pytest.mark.parametrize(
    ("column", "expires"),
    [("complete", at(10) + timedelta(days=1)), ("error", at(10) + timedelta(days=2)), ("terminate", at(10) + timedelta(days=2))],
)
def test_the_end_says_until_when_an_instance_is_kept(column: str, expires: datetime) -> None:
    kept = Retention(success=timedelta(days=1), error=timedelta(days=2))
    ended, for_ever = head("running*", retention=kept), head("running*")

    decide(ended, write(column))
    decide(for_ever, write(column))
    assert (ended.expires_at, for_ever.expires_at) == (expires, None)

    decide(ended, write("restart"))
    assert ended.expires_at is None


@pytest.mark.parametrize("column", ["begin", "sleep", "complete"])
def test_the_version_that_ran_last_is_kept(column: str) -> None:
    unknown, told = head("running*", version_ran="v1"), head("running*", version_ran="v1")

    decide(unknown, write(column))
    decide(told, replace(write(column), version="v2"))

    assert (unknown.version_ran, told.version_ran) == ("v1", "v2")


@pytest.mark.parametrize(
    ("kind", "ordinal"),
    [(None, 2), (Kind.STEP, 4), (Kind.SLEEP, 2), (Kind.EVENT, None), (Kind.CHILD, 3), (Kind.ROLLBACK, None)],
)
def test_a_restart_begins_at_an_entry_that_the_program_has_asked_for(kind: Kind | None, ordinal: int | None) -> None:
    begun = {Kind.ROLLBACK: 1, Kind.SLEEP: 2, Kind.CHILD: 3, Kind.STEP: 4}
    assert begins_at(RestartPoint(name="a", kind=kind), begun) == ordinal


def test_a_started_workflow_is_a_step_where_no_step_has_its_name() -> None:
    assert begins_at(RestartPoint(name="a", kind=Kind.STEP), {Kind.SLEEP: 1, Kind.CHILD: 2}) == 2
    assert begins_at(RestartPoint(name="a", kind=Kind.STEP), {Kind.SLEEP: 1, Kind.ROLLBACK: 2}) is None
