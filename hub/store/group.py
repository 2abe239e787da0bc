"""Planning one group of writes: from the writes and what the database knows to rows and outcomes.

Pure and the same for every database: no SQL, no I/O. `hub.core.lifecycle.decide` is the rule for heads; this module adds the rows beside
them. A later write of the group sees what the earlier ones did. Invariant: a write whose verdict is not APPLIED adds no row.

Restart, delete and (de)registering wipe rows that other writes of the same group may have made. They are not planned here: `parts` cuts
the group around them, and the store runs the parts one after the other in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from hub.core.lifecycle import Head, decide
from hub.core.model import Entry, Status
from hub.core.writes import (
    Begin,
    CreateInstance,
    DeleteInstance,
    DeleteWorkflow,
    FailAttempt,
    Finish,
    Outcome,
    Park,
    RegisterWorkflow,
    Restart,
    SendEvent,
    SettleStep,
    StartWait,
    Steer,
    Verdict,
    Write,
)
from hub.store import rows
from hub.store.rows import Row

SOMETHING_DUE = 0  # the signal that is no key: keys start at 1

Planned = CreateInstance | Begin | SettleStep | FailAttempt | StartWait | Park | Finish | SendEvent | Steer
Alone = Restart | DeleteInstance | RegisterWorkflow | DeleteWorkflow
_ALONE = frozenset({Restart, DeleteInstance, RegisterWorkflow, DeleteWorkflow})


@dataclass(frozen=True, slots=True)
class Existing:
    """An instance that a new one collides with. `status` is None when it was deleted since."""

    key: int
    id: str
    status: Status | None


@dataclass(slots=True, kw_only=True)
class Known:
    """What the database says about the things that a group names; loaded inside its transaction."""

    heads: dict[int, Head]
    workflows: dict[str, int]  # key by name
    deliveries: dict[tuple[str, str], Existing]  # by trigger and dedupe key
    taken: dict[tuple[str, str], Existing]  # by workflow name and id
    keys: Iterator[int]  # numbers for new instances


@dataclass(slots=True)
class Rows:
    """The row operations of one group, a list for each kind, to be run in the order of these fields."""

    instances: list[Row] = field(default_factory=list)
    deliveries: list[Row] = field(default_factory=list)
    triggered: dict[int, int] = field(default_factory=dict)  # last creation time by key of the workflow
    steps: list[Row] = field(default_factory=list)
    attempts: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    consumed: list[Row] = field(default_factory=list)
    shifts: list[Row] = field(default_factory=list)  # by how many microseconds the timers of an instance move
    heads: list[Row] = field(default_factory=list)
    results: list[Row] = field(default_factory=list)  # heads whose output or error changes too


def parts(writes: Sequence[Write]) -> Iterator[list[Planned] | Alone]:
    """Cut a group into runs that can be planned together and writes that must run alone, in order."""
    run: list[Planned] = []
    for write in writes:
        if type(write) in _ALONE:
            if run:
                yield run
            run = []
            yield cast(Alone, write)
        else:
            run.append(cast(Planned, write))
    if run:
        yield run


def answer(verdict: Verdict, instance: int, head: Head | None) -> Outcome:
    """Return the outcome of a write on an instance that exists, or not."""
    if head is None or head.deleted:
        return Outcome(verdict=verdict, instance=instance)
    return Outcome(verdict=verdict, instance=instance, id=head.id, status=head.status, wish=head.wish)


class Group:
    """The plan of one run of writes: `add` each, then `finish`, then run `rows`, then signal `touched`."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self.rows = Rows()
        self.touched: set[int] = set()

    def add(self, write: Planned) -> Outcome:
        """Plan one write and return its outcome, valid once the rows are on disk."""
        if isinstance(write, CreateInstance):
            return self._create(write)
        head = self._known.heads.get(write.instance)
        paused_at = None if head is None else head.paused_at
        verdict = decide(head, write)
        if verdict is Verdict.APPLIED and head is not None:
            self._ADDED[type(write)](self, write, head)
            if paused_at is not None and head.status is Status.QUEUED:  # resumed
                self.rows.shifts.append((rows.micros(head.modified_at) - rows.micros(paused_at), head.key))
        return answer(verdict, write.instance, head)

    def finish(self) -> None:
        """Add the rows of all heads that the group has changed, in the order of their keys, in which every group touches them."""
        for key in sorted(self._known.heads):
            head = self._known.heads[key]
            if head.result_changed:
                self.rows.results.append(rows.result_row(head))
            elif head.changed:
                self.rows.heads.append(rows.head_row(head))

    def _create(self, write: CreateInstance) -> Outcome:
        new, known = write.new, self._known
        delivery = None if new.trigger is None or new.dedupe_key is None else (new.trigger, new.dedupe_key)
        if delivery is not None and delivery in known.deliveries:
            return self._collides(Verdict.DUPLICATE, known.deliveries[delivery])
        workflow = known.workflows.get(new.workflow)
        if workflow is None:
            return Outcome(verdict=Verdict.MISSING)
        place = (new.workflow, new.id)
        if place in known.taken:
            return self._collides(Verdict.CONFLICT, known.taken[place])
        key = next(known.keys)
        head = rows.born(new, key=key, node=write.node)
        self.rows.instances.append(rows.instance_row(new, key=key, workflow=workflow, head=head))
        created_at = rows.micros(new.created_at)
        self.rows.triggered[workflow] = max(created_at, self.rows.triggered.get(workflow, created_at))
        known.heads[key] = head
        known.taken[place] = Existing(key, new.id, head.status)
        if delivery is not None:
            self.rows.deliveries.append((*delivery, key, created_at))
            known.deliveries[delivery] = known.taken[place]
        if write.node is None:
            self.touched.add(SOMETHING_DUE)
        return answer(Verdict.APPLIED, key, head)

    def _collides(self, verdict: Verdict, with_: Existing) -> Outcome:
        head = self._known.heads.get(with_.key)
        return Outcome(verdict=verdict, instance=with_.key, id=with_.id, status=with_.status if head is None else head.status)

    def _begin(self, write: Begin, head: Head) -> None:
        self._entries(head, write.started)

    def _settle(self, write: SettleStep, head: Head) -> None:
        self.rows.steps.append(rows.entry_row(head.key, write.entry))
        if write.consumes is not None:
            self.rows.consumed.append((head.key, write.consumes))

    def _fail(self, write: FailAttempt, head: Head) -> None:
        self.rows.steps.append(rows.entry_row(head.key, write.entry))
        self.rows.attempts.append(rows.attempt_row(head.key, write.attempt))

    def _wait(self, write: StartWait, head: Head) -> None:
        self.rows.steps.append(rows.entry_row(head.key, write.entry))

    def _park(self, write: Park, head: Head) -> None:
        self._entries(head, write.entries)
        self._wake(write, head)

    def _finish(self, write: Finish, head: Head) -> None:
        """Add nothing: the head tells it all."""

    def _send(self, write: SendEvent, head: Head) -> None:
        self.rows.events.append((head.key, head.inbox_seq, write.type, write.payload, rows.micros(write.at)))
        self.touched.add(head.key)
        self._wake(write, head)

    def _steer(self, write: Steer, head: Head) -> None:
        self.touched.add(head.key)
        self._wake(write, head)

    def _entries(self, head: Head, entries: Sequence[Entry]) -> None:
        self.rows.steps.extend([rows.entry_row(head.key, entry) for entry in entries])

    def _wake(self, write: SendEvent | Steer | Park, head: Head) -> None:
        if due(head, write):
            self.touched.add(SOMETHING_DUE)

    # What each kind of write adds beside the head.
    _ADDED: ClassVar[dict[type, Callable[[Group, Any, Head], None]]] = {
        Begin: _begin,
        SettleStep: _settle,
        FailAttempt: _fail,
        StartWait: _wait,
        Park: _park,
        Finish: _finish,
        SendEvent: _send,
        Steer: _steer,
    }


def due(head: Head, write: SendEvent | Steer | Park | Restart) -> bool:
    """Whether a node can claim the instance at the time of that write."""
    return head.node is None and head.wake_at is not None and head.wake_at <= write.at
