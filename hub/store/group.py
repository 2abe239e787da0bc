"""Planning one group of writes: from the writes and what the database knows to rows and outcomes.

Pure and the same for every database: no SQL, no I/O. `hub.core.lifecycle.decide` is the rule for heads; this module adds the rows beside
them. A later write of the group sees what the earlier ones did. Invariant: a write whose verdict is not APPLIED adds no row.

Restart, delete and (de)registering wipe rows that other writes of the same group may have made, and flow control asks for rows that they
may have changed. They are not planned here: `parts` cuts the group around them, and the store runs the parts one after the other in one
transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, cast, get_args

from hub.core import codec
from hub.core.errors import ErrorInfo
from hub.core.family import write_end
from hub.core.flow import NONE
from hub.core.labels import NO_LABELS
from hub.core.lifecycle import Head, decide
from hub.core.logs import Logged
from hub.core.model import Entry, Kind, NewInstance, Status
from hub.core.nodes import SOMETHING_DUE
from hub.core.writes import (
    NO_DELIVERY,
    OTHER_INPUT,
    REPLAYED,
    AccessWrite,
    Begin,
    CancelInstances,
    ChangeDelivery,
    CreateInstance,
    DeleteInstance,
    DeleteWorkflow,
    FailAttempt,
    Finish,
    KeepDelivery,
    MoveCursor,
    Outcome,
    Park,
    QueueWrite,
    RegisterTrigger,
    RegisterWorkflow,
    Restart,
    RollBack,
    SendEvent,
    SettleStep,
    StartChild,
    StartWait,
    Steer,
    SteerTrigger,
    Verdict,
    Write,
)
from hub.store import columns, lines, rows
from hub.store.plan import Existing, Known, Rows, Stored

Planned = CreateInstance | Begin | SettleStep | FailAttempt | StartWait | StartChild | RollBack | Park | Finish | SendEvent | Steer
Kept = KeepDelivery | ChangeDelivery | RegisterTrigger | SteerTrigger | MoveCursor
Alone = Restart | DeleteInstance | RegisterWorkflow | DeleteWorkflow | CancelInstances | Kept | QueueWrite | AccessWrite
_ALONE = frozenset(get_args(Alone))
_FLOWING = frozenset({CreateInstance, StartChild})  # alone, too, when they bring rules of flow control
_RECEIVED = frozenset({Verdict.APPLIED, Verdict.JOINED, Verdict.DUPLICATE})
_DELETED = ErrorInfo(name="Deleted", message="the child was deleted")


def parts(writes: Sequence[Write]) -> Iterator[list[Planned] | Alone | CreateInstance | StartChild]:
    """Cut a group into runs that can be planned together and writes that must run alone, in order."""
    run: list[Any] = []
    for write in writes:
        kind = type(write)
        if kind in _ALONE or (kind in _FLOWING and cast(CreateInstance, write).flow is not NONE):
            if run:
                yield run
            run = []
            yield cast(Alone, write)
        else:
            run.append(write)
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
        self._revs = known.revs
        self._ended: dict[int, int] = {}  # the revision of the end, by key
        self._rare: set[int] = set()  # keys of heads with columns that a plain instance never fills
        self.rows = Rows()
        self.touched: set[int] = set()
        self.freed: dict[int, Head] = {}  # heads that have given something free which rules of flow control give to others

    def add(self, write: Planned) -> Outcome:
        """Plan one write and return its outcome, valid once the rows are on disk."""
        if isinstance(write, CreateInstance):
            return self._create(write)
        if isinstance(write, StartChild):
            return self._start_child(write)
        key = write.instance
        head = self._known.heads.get(key)
        if head is None or head.deleted:
            return answer(Verdict.MISSING, key, head)
        paused_at, was, node = head.paused_at, head.status, head.node
        if head.ends_as is not None:
            self._rare.add(key)
        verdict = decide(head, write)
        if verdict is Verdict.APPLIED:
            self._ADDED[type(write)](self, write, head)
            if head.status is not was:
                self._tell(head, was)
            if head.flow and (head.final or head.status is Status.PAUSED or (node is not None and head.node is None)):
                self.freed[key] = head
            if paused_at is not None and head.status is Status.QUEUED:  # resumed
                self.rows.shifts.append((columns.micros(head.modified_at) - columns.micros(paused_at), key))
        return answer(verdict, key, head)

    def finish(self) -> None:
        """Add the rows of all heads that the group has changed, in the order of their keys, in which every group touches them."""
        for key in sorted(self._known.heads):
            head = self._known.heads[key]
            if head.result_changed:
                rare = head.ends_as or head.terminated_by or head.expires_at or head.rollback or key in self._rare
                if not rare:
                    self.rows.results.append(rows.result_row(head, self._ended.get(key)))
                else:
                    self.rows.all.append(rows.all_row(head, self._ended.get(key)))
            elif head.final and head.changed:
                self.rows.ends.append(rows.end_row(head, self._ended.get(key)))
            elif head.changed:
                self.rows.heads.append(rows.head_row(head))

    def in_the_way(self, write: CreateInstance) -> Outcome | None:
        """Return what keeps a write from creating an instance, whatever its flow says; None = nothing."""
        new, known = write.new, self._known
        if write.replays is not None:
            stored = known.deliveries.get(write.replays)
            if stored is None:
                return Outcome(verdict=Verdict.MISSING, reason=NO_DELIVERY)
            if stored.replayed:
                return Outcome(verdict=Verdict.CONFLICT, id=stored.instance_id, reason=REPLAYED)
        event = None if new.trigger is None or new.dedupe_key is None else (new.trigger, new.dedupe_key)
        if event is not None and event in known.seen:
            return self._collides(Verdict.DUPLICATE, known.seen[event])
        if self._decided(write):
            return Outcome(verdict=Verdict.DUPLICATE)
        if new.workflow not in known.workflows:
            return Outcome(verdict=Verdict.MISSING)
        place = (new.workflow, new.id)
        if place not in known.taken:
            return None
        taken = Verdict.CONFLICT if write.cursor is None else Verdict.DUPLICATE  # the id of a slot is made of the slot: it has its instance
        if not write.idempotent:
            return self._collides(taken, known.taken[place])
        if codec.same(new.params, known.taken[place].params or b""):
            return self._collides(Verdict.DUPLICATE, known.taken[place])
        return replace(self._collides(Verdict.CONFLICT, known.taken[place]), reason=OTHER_INPUT)

    def _decided(self, write: CreateInstance) -> bool:
        """Whether another node has decided on the slot already: for an instance that is gone, or for none."""
        cursor = self._known.cursors.get(write.new.trigger or "")
        return write.cursor is not None and cursor is not None and columns.micros(write.cursor) <= cursor

    def join(self, write: CreateInstance, outcome: Outcome) -> None:
        """Plan that an event became part of the instance which the outcome names."""
        new = write.new
        if new.trigger is not None and new.dedupe_key is not None:
            self.rows.seen.append((new.trigger, new.dedupe_key, outcome.instance, columns.micros(new.created_at)))
        self._settle_delivery(write, outcome)

    def _create(self, write: CreateInstance) -> Outcome:
        outcome = self.in_the_way(write) or self._insert(write)
        if outcome.verdict in _RECEIVED:
            self._settle_delivery(write, outcome)
        return outcome

    def _settle_delivery(self, write: CreateInstance, outcome: Outcome) -> None:
        """Add what receiving an event changes beside the instance: the trigger's cursor, and the stored delivery that it came from."""
        new = write.new
        if write.cursor is not None and new.trigger is not None:
            cursor = columns.micros(write.cursor)
            latest = max(cursor, self._known.cursors.get(new.trigger, cursor))
            self.rows.cursors[new.trigger] = self._known.cursors[new.trigger] = latest
        if write.replays is not None:
            self.rows.settled.append((outcome.id, new.workflow, columns.micros(new.created_at), write.replays))
            self._known.deliveries[write.replays] = Stored(True, outcome.id)

    def key_of(self, new: NewInstance) -> int | None:
        """Return the number of an instance that the group has created."""
        created = self._known.taken.get((new.workflow, new.id))
        return None if created is None else created.key

    def _insert(self, write: CreateInstance) -> Outcome:
        new, known = write.new, self._known
        workflow, key = known.workflows[new.workflow], next(known.keys)
        head = rows.born(new, key=key, node=write.node)
        queued, started = next(self._revs), None if write.node is None else next(self._revs)
        self.rows.instances.append(rows.instance_row(new, key=key, workflow=workflow, head=head, queued=queued, started=started))
        created_at = columns.micros(new.created_at)
        if new.labels is not NO_LABELS:
            self.rows.labels.extend([(workflow, name, value, created_at, key) for name, value in new.labels.filed()])
        self.rows.triggered[workflow] = max(created_at, self.rows.triggered.get(workflow, created_at))
        known.heads[key] = head
        known.taken[new.workflow, new.id] = existing = Existing(key, new.id, head.status, new.params)
        if new.trigger is not None and new.dedupe_key is not None:
            self.rows.seen.append((new.trigger, new.dedupe_key, key, created_at))
            known.seen[new.trigger, new.dedupe_key] = existing
        if write.node is None:
            self.touched.add(SOMETHING_DUE)
        return answer(Verdict.APPLIED, key, head)

    def _start_child(self, write: StartChild) -> Outcome:
        head = self._known.heads.get(write.instance)
        verdict = decide(head, write)
        if verdict is not Verdict.APPLIED or head is None:
            return answer(verdict, write.instance, head)
        new = write.new
        child = self._create(CreateInstance(new=new))
        if child.verdict is Verdict.MISSING:
            return replace(answer(Verdict.MISSING, head.key, head), reason=f'there is no workflow "{new.workflow}"')
        if child.verdict is not Verdict.APPLIED or child.instance is None:
            taken = f'an instance "{new.id}" of workflow "{new.workflow}" exists already'
            return replace(answer(Verdict.CONFLICT, head.key, head), reason=taken)
        self.rows.steps.append(rows.entry_row(head.key, write.entry, next(self._revs)))
        self._known.awaited[child.instance] = (head.key, write.entry.event_type or "")
        return answer(verdict, head.key, head)

    def delete(self, key: int) -> Outcome:
        """Plan what the deletion of an instance tells its parent; the rows are the store's to delete, after those of this plan."""
        head = self._known.heads.get(key)
        outcome = answer(Verdict.APPLIED, key, head)
        verdict = decide(head, DeleteInstance(instance=key))
        if verdict is not Verdict.APPLIED or head is None:
            return answer(verdict, key, head)
        if not head.final:
            # A deletion carries no time; that of the child's last change is never in the future, so the parent is due at once.
            self._tell_parent(head, head.modified_at, write_end(Status.TERMINATED, error=_DELETED))
        return outcome

    def _tell(self, head: Head, was: Status) -> None:
        """Add to the history what has become of an instance. Its first start is told by the claim; a node that stops tells nothing."""
        if head.final:
            self._ended[head.key] = next(self._revs)
        elif (was, head.status) != (Status.QUEUED, Status.RUNNING) and (head.status is not Status.QUEUED or was is Status.PAUSED):
            self.rows.history.append((head.key, next(self._revs), head.status.value, columns.micros(head.modified_at), None))

    def _tell_parent(self, child: Head, at: datetime, end: bytes) -> None:
        """Send the end of a child to its parent, if the parent waits for it.

        A child that is restarted after its end may tell it a second time while the parent has not yet consumed the first: that event is
        never taken, because the entry that it belongs to settles once, and its type is of no other entry.
        """
        place = self._known.awaited.pop(child.key, None)
        if place is not None:
            self.add(SendEvent(instance=place[0], type=place[1], payload=end, at=at))

    def _collides(self, verdict: Verdict, with_: Existing) -> Outcome:
        head = self._known.heads.get(with_.key)
        return Outcome(verdict=verdict, instance=with_.key, id=with_.id, status=with_.status if head is None else head.status)

    def _begin(self, write: Begin, head: Head) -> None:
        self._entries(head, write.started)
        later = [entry for entry in write.started if entry.attempt > 1]
        self.rows.begun.extend([rows.begun_row(head.key, entry, next(self._revs)) for entry in later])

    def _settle(self, write: SettleStep, head: Head) -> None:
        self.rows.steps.append(rows.entry_row(head.key, write.entry, next(self._revs)))
        if write.logged is not None:
            self._log(head.key, write.entry, write.logged)
        if write.consumes is not None:
            self.rows.consumed.append((head.key, write.consumes))
        if write.entry.kind is Kind.CHILD:  # it waits no longer
            place, awaited = (head.key, write.entry.event_type), self._known.awaited
            self._known.awaited = {child: waiter for child, waiter in awaited.items() if waiter != place}

    def _fail(self, write: FailAttempt, head: Head) -> None:
        self.rows.steps.append(rows.entry_row(head.key, write.entry, next(self._revs)))
        self.rows.attempts.append(rows.attempt_row(head.key, write.attempt, next(self._revs)))
        if write.logged is not None:
            self._log(head.key, write.entry, write.logged)

    def _log(self, instance: int, entry: Entry, logged: Logged) -> None:
        added = lines.rows_of(instance, entry, logged, next(self._revs), self._known.logged.get(instance, 0))
        if added:
            self._known.logged[instance] = lines.total_of(added[-1])
            self.rows.lines.extend(added)

    def _wait(self, write: StartWait, head: Head) -> None:
        self.rows.steps.append(rows.entry_row(head.key, write.entry, next(self._revs)))

    def _park(self, write: Park, head: Head) -> None:
        self._entries(head, write.entries)
        self._wake(write, head)

    def _finish(self, write: Finish, head: Head) -> None:
        if head.parent is not None:
            self._tell_parent(head, write.at, write_end(write.status, write.output, write.error))

    def _roll_back(self, write: RollBack, head: Head) -> None:
        """Add nothing: the head tells it all."""

    def _send(self, write: SendEvent, head: Head) -> None:
        self.rows.events.append((head.key, head.inbox_seq, write.type, write.payload, columns.micros(write.at)))
        self.touched.add(head.key)
        self._wake(write, head)

    def _steer(self, write: Steer, head: Head) -> None:
        self.touched.add(head.key)
        self._wake(write, head)
        if head.parent is not None and head.final:
            self._tell_parent(head, write.at, write_end(head.status, error=write.error))

    def _entries(self, head: Head, entries: Sequence[Entry]) -> None:
        self.rows.steps.extend([rows.entry_row(head.key, entry, next(self._revs)) for entry in entries])

    def _wake(self, write: SendEvent | Steer | Park, head: Head) -> None:
        if due(head, write):
            self.touched.add(SOMETHING_DUE)

    # What each kind of write adds beside the head.
    _ADDED: ClassVar[dict[type, Callable[[Group, Any, Head], None]]] = {
        Begin: _begin,
        SettleStep: _settle,
        FailAttempt: _fail,
        StartWait: _wait,
        RollBack: _roll_back,
        Park: _park,
        Finish: _finish,
        SendEvent: _send,
        Steer: _steer,
    }


def due(head: Head, write: SendEvent | Steer | Park | Restart) -> bool:
    """Whether a node can claim the instance at the time of that write."""
    return head.node is None and head.wake_at is not None and head.wake_at <= write.at
