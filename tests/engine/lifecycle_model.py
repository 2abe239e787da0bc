"""What the control verbs make of an instance, as a plain model: values in, values out; no store, no event loop, no clock of its own.

A `Run` is one instance that goes through a script of commands. What an engine does between two verbs is a row of small moves, `path`, and
a verb may come between any two of them; so the model never says what must be, but what may be, and a test compares that with what is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hub.core.model import FINAL, Kind, Status

NAP_S, WAIT_S, RETRY_S = 3600.0, 6000.0, 3000.0
FAILURES = 2  # of a "retry", before it succeeds
KINDS = {"nap": Kind.SLEEP, "wait": Kind.EVENT}  # of the entries of commands; all others are steps
UNDONE = frozenset({"step", "held", "broken", "retry"})  # they have a rollback handler


class Refused(Exception):
    """A verb that is refused; the message is its code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One instance. `script` is of: step, held, broken, retry, nap, wait, and at its end return or fail.

    `at` commands are done and `begun` have an entry in the journal; `held` = a body or a handler stands at its gate, and somebody must
    release it. `story` is what statuses it has had since its creation or its last restart.
    """

    script: tuple[str, ...]
    status: Status = Status.QUEUED
    claimed: bool = False
    at: int = 0
    begun: int = 0
    held: bool = False
    ending: bool = False  # what tells its end is on its way to the store, and overtaken by nothing but a termination
    fails: int = 0
    due: float | None = None
    paused_at: float | None = None
    called: bool = False  # an event wakes it, whatever it waits for
    inbox: tuple[int, ...] = ()
    taken: tuple[tuple[int, int], ...] = ()  # command and event
    undo: tuple[int, ...] = ()  # commands whose handlers are still to run
    ends_as: Status | None = None
    error: str | None = None
    rolled_back: bool | None = None
    story: tuple[Status, ...] = (Status.QUEUED,)

    @property
    def word(self) -> str:
        """The command that comes next, or is under way."""
        return self.script[self.at]

    @property
    def output(self) -> list[int] | None:
        """What a complete run returns."""
        return [event for _, event in self.taken] if self.status is Status.COMPLETE else None


def path(run: Run, now: float) -> Iterator[Run]:
    """Return a run as it is, and after each move that it makes by itself; the last one stands still."""
    moved: Run | None = run
    while moved is not None:
        yield moved
        moved = _move(moved, now)


def settled(run: Run, before: float, now: float) -> Run:
    """Return a run as it stands still, after the time has passed from one moment to another."""
    *_, run = path(run, before)
    while run.status is Status.WAITING and run.due is not None and run.due <= now:
        *_, run = path(run, run.due)
    return run


def _move(run: Run, now: float) -> Run | None:
    if run.held or run.status in FINAL or run.status is Status.PAUSED:
        return None
    if run.status is Status.WAITING:
        woken = run.called or (run.due is not None and run.due <= now)
        return _to(run, Status.RUNNING, claimed=True, called=False) if woken else None
    if not run.claimed:
        return _to(run, Status.RUNNING if run.status is Status.QUEUED else run.status, claimed=True)
    if run.status is Status.ROLLING_BACK:
        return _end_after_all(run) if run.ending else _undo(run)
    return _command(run, now)


def _command(run: Run, now: float) -> Run:
    pausing, done = run.status is Status.WAITING_FOR_PAUSE, replace(run, at=run.at + 1, begun=run.at + 1, due=None, fails=0)
    if run.word in ("return", "fail") and not run.ending:
        return replace(run, ending=True)
    if run.word == "return":
        return _end(run, Status.COMPLETE)
    if run.word == "fail":
        return _fail(run, "ValueError")
    if run.word in ("nap", "wait"):
        begun = replace(run, begun=run.at + 1, due=now + (NAP_S if run.word == "nap" else WAIT_S) if run.due is None else run.due)
        if run.word == "wait" and run.inbox:
            return replace(done, inbox=run.inbox[1:], taken=(*run.taken, (run.at, run.inbox[0])))
        if begun.due is not None and begun.due <= now:
            return done if run.word == "nap" else _fail(replace(begun, due=None), "WaitTimeout")
        return _park(begun, now) if begun == run else begun  # what comes between the two does not keep the entry from being written
    if pausing or (run.due is not None and run.due > now):
        return _park(run, now)
    if run.word == "held":
        return replace(run, held=True, begun=run.at + 1)
    if run.word == "retry" and run.fails < FAILURES:
        return replace(run, begun=run.at + 1, fails=run.fails + 1, due=now + RETRY_S)
    return done


def _park(run: Run, now: float) -> Run:
    if run.status is Status.WAITING_FOR_PAUSE:
        return _to(run, Status.PAUSED, claimed=False, paused_at=now)
    return _to(run, Status.WAITING, claimed=False)


def _fail(run: Run, error: str) -> Run:
    undo = _handlers(run)
    if not undo:
        return _end(replace(run, error=error), Status.ERRORED)
    return _to(run, Status.ROLLING_BACK, ending=False, ends_as=Status.ERRORED, error=error, undo=undo)


def _handlers(run: Run) -> tuple[int, ...]:
    return tuple(number for number in reversed(range(run.begun)) if run.script[number] in UNDONE)


def _end_after_all(run: Run) -> Run:
    """Return a run that was over before it was told to roll back."""
    if run.word == "return":
        return _end(run, Status.COMPLETE)
    return _fail(run, "ValueError")


def _undo(run: Run) -> Run:
    word = run.script[run.undo[0]] if run.undo else None
    if word == "held":
        return replace(run, held=True)
    if word in (None, "broken"):
        assert run.ends_as is not None
        return _end(replace(run, rolled_back=word is None), run.ends_as)
    return replace(run, undo=run.undo[1:])


def _end(run: Run, status: Status) -> Run:
    error = run.error if status is Status.ERRORED else None
    return _to(run, status, claimed=False, held=False, ending=False, due=None, paused_at=None, undo=(), ends_as=None, error=error)


def _to(run: Run, status: Status, **changes: object) -> Run:
    story = run.story if run.status is status else (*run.story, status)
    return replace(run, status=status, story=story, **changes)  # type: ignore[arg-type]


# ---- what somebody does to it. Raises: Refused


def pause(run: Run, now: float) -> Run:
    """Let it stand still, as soon as nothing runs."""
    if run.status in FINAL or run.status is Status.ROLLING_BACK:
        raise Refused("instance.cannot_pause")
    if run.status in (Status.PAUSED, Status.WAITING_FOR_PAUSE):
        return run
    return _to(run, Status.WAITING_FOR_PAUSE) if run.claimed else _to(run, Status.PAUSED, paused_at=now, called=False)


def resume(run: Run, now: float) -> Run:
    """Let it go on; its timers move by as much as it stood still."""
    if run.status in FINAL or run.status is Status.ROLLING_BACK:
        raise Refused("instance.cannot_resume")
    if run.status is Status.WAITING_FOR_PAUSE:
        return _to(run, Status.RUNNING)
    if run.status is not Status.PAUSED or run.paused_at is None:
        return run
    return _to(run, Status.QUEUED, paused_at=None, due=None if run.due is None else run.due + now - run.paused_at)


def terminate(run: Run, _now: float) -> Run:
    """End it at once."""
    if run.status in FINAL:
        raise Refused("instance.cannot_terminate")
    return _end(run, Status.TERMINATED)


def roll_back(run: Run, _now: float) -> Run:
    """End it after its rollback handlers."""
    if run.status in FINAL:
        raise Refused("instance.cannot_terminate")
    if run.status is Status.ROLLING_BACK:
        return run
    ends = {"ends_as": Status.TERMINATED, "undo": _handlers(run)}
    return _to(run, Status.ROLLING_BACK, held=False, due=None, paused_at=None, called=False, **ends)


def restart(run: Run, _now: float, origin: tuple[int, Kind | None] | None = None) -> Run:
    """Run it again, from the beginning or from a command, named by its number and the kind of its entry."""
    if origin is None:
        return Run(script=run.script)
    number, kind = origin
    if number >= run.begun or kind not in (None, KINDS.get(run.script[number], Kind.STEP)):
        raise Refused("instance.cannot_restart")
    return Run(script=run.script, at=number, begun=number, taken=tuple(taken for taken in run.taken if taken[0] < number))


def send(run: Run, _now: float, event: int) -> Run:
    """Send it an event."""
    if run.status in FINAL:
        raise Refused("instance.cannot_send_event")
    return replace(run, inbox=(*run.inbox, event), called=run.status is Status.WAITING)


def release(run: Run) -> Run:
    """Open the gate at which it stands."""
    if not run.held:
        return run
    if run.status is Status.ROLLING_BACK:
        return replace(run, held=False, undo=run.undo[1:])
    return replace(run, held=False, at=run.at + 1)


def lose_node(run: Run, now: float) -> Iterator[Run]:
    """Return what may be left of it when its node is gone: whether the start of a body was written is not known."""
    lost = replace(run, claimed=False, held=False, ending=False)
    if run.claimed and run.status is Status.WAITING_FOR_PAUSE:
        lost = _to(lost, Status.PAUSED, paused_at=now)
    yield lost
    if run.held and run.begun > run.at:
        yield replace(lost, begun=run.at)
