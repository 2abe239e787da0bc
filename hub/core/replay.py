"""Pure replay: journal + call → *here is the value / run it / wait until / wait for an event*.

A synchronous object without clock, event loop or database; `now` is an argument. It owns the counters that make names unique, the order
in which entries began, and the matching of events to waits. It never writes: it returns the entries that the execution commits, and is
told with `record` what is on disk. The invariant: an entry that is recorded as settled is never started again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta

from hub.core.errors import ErrorInfo, Nondeterminism
from hub.core.family import inbox_type
from hub.core.model import Entry, InboxEvent, Kind, State, StepConfig
from hub.core.values import Value, changed

EntryId = tuple[Kind, str, int]


class DoCall(Value, frozen=True, kw_only=True):
    """`step.do`, or a rollback handler, which takes the number of its step."""

    name: str
    config: StepConfig | None = None  # None = the defaults
    kind: Kind = Kind.STEP
    count: int | None = None  # None = the next one of that name


class SleepCall(Value, frozen=True, kw_only=True):
    """`step.sleep` (a duration) or `step.sleep_until` (a moment)."""

    name: str
    duration: timedelta | None = None
    until: datetime | None = None


class EventCall(Value, frozen=True, kw_only=True):
    """`step.wait_for_event`."""

    name: str
    type: str
    timeout: timedelta


class ChildCall(Value, frozen=True, kw_only=True):
    """`step.run_workflow`. `child` is "workflow/id" of the instance to create, if there is none yet."""

    name: str
    child: str
    timeout: timedelta | None = None


Call = DoCall | SleepCall | EventCall | ChildCall


class Hit(Value, frozen=True):
    """The value is recorded: return it."""

    output: bytes


class Failed(Value, frozen=True):
    """The final error is recorded: raise it."""

    error: ErrorInfo


class Start(Value, frozen=True):
    """Run the attempt that the entry names. `fresh` = the entry is not on disk yet."""

    entry: Entry
    fresh: bool = False


class Interrupted(Value, frozen=True):
    """The process ended during the attempt that the entry names: it counts as a failed one."""

    entry: Entry


class WaitUntil(Value, frozen=True):
    """Wait until `entry.wake_at`. `fresh` = the entry is not on disk yet."""

    entry: Entry
    fresh: bool


class WaitEvent(Value, frozen=True):
    """Wait for an event until `entry.wake_at`. `fresh` = the entry is not on disk yet."""

    entry: Entry
    fresh: bool


class Take(Value, frozen=True):
    """The awaited event is there already: settle the entry with it. `fresh` = the entry is not on disk yet."""

    entry: Entry
    event: InboxEvent
    fresh: bool = False


class StartInstance(Value, frozen=True):
    """Create the child that the entry names, together with the entry; then ask with `await_child`."""

    entry: Entry
    fresh: bool = True


Answer = StartInstance | Hit | Failed | Start | Interrupted | WaitUntil | WaitEvent | Take


def entry_id(entry: Entry) -> EntryId:
    """Return what identifies an entry within its instance."""
    return entry.kind, entry.name, entry.count


class Replay:
    """The journal of one instance, asked call by call in the order of the program."""

    def __init__(self, entries: Iterable[Entry] = (), inbox: Iterable[InboxEvent] = (), *, inbox_seen: int = 0) -> None:
        self._entries: dict[EntryId, Entry] = {}
        self._unreached: set[EntryId] = set()
        self._counts: dict[tuple[Kind, str], int] = {}
        self._ordinal = 0
        self._inbox: dict[str, deque[InboxEvent]] = {}
        self._waiters: dict[str, deque[Entry]] = {}
        self.inbox_seen = inbox_seen  # what came up to it is in `inbox`, or consumed long ago
        for entry in entries:
            self.record(entry)
            if entry.kind is not Kind.ROLLBACK:
                self._unreached.add(entry_id(entry))
            self._ordinal = max(self._ordinal, entry.ordinal)
        for event in inbox:
            self._keep(event)

    def begin(self, call: Call, now: datetime) -> Answer:
        """Answer the next call of the program."""
        if isinstance(call, DoCall):
            return self._begin_step(call, now)
        if isinstance(call, SleepCall):
            return self._begin_sleep(call, now)
        if isinstance(call, ChildCall):
            return self._begin_child(call, now)
        return self._begin_wait(call, now)

    def await_child(self, entry: Entry) -> Answer:
        """Answer for a child that has been created: its end, when it is there already, or wait."""
        return self._take_or_wait(entry, False)

    def record(self, entry: Entry) -> None:
        """Take note of an entry that is on disk, or on its way there ahead of everything that follows."""
        self._entries[entry.kind, entry.name, entry.count] = entry

    def deliver(self, event: InboxEvent) -> Take | None:
        """Hand over an event that has just come: the oldest waiter of its type takes it, else it is kept."""
        if event.seq <= self.inbox_seen:
            return None
        waiters = self._waiters.get(event.type)
        if waiters:
            self.inbox_seen = event.seq
            return Take(waiters.popleft(), event)
        self._keep(event)
        return None

    def put_back(self, event: InboxEvent) -> None:
        """Keep an event whose waiter had given up before it could be told, before all that came later."""
        self._inbox.setdefault(event.type, deque()).appendleft(event)

    def expire(self, entry: Entry) -> None:
        """Forget a waiter whose time is over."""
        waiters = self._waiters.get(entry.event_type or "")
        if waiters and entry in waiters:
            waiters.remove(entry)

    def known(self, kind: Kind, name: str, count: int) -> Entry | None:
        """Return what is recorded of an entry."""
        return self._entries.get((kind, name, count))

    def count(self, kind: Kind, name: str) -> int:
        """Return the number of the last call with that name."""
        return self._counts.get((kind, name), 0)

    @property
    def catching_up(self) -> bool:
        """Whether the journal holds entries that the program has not asked for yet: nothing new may begin before it has."""
        return bool(self._unreached)

    def unfinished(self) -> list[Entry]:
        """Return recorded entries that the program has not asked for yet."""
        return sorted((self._entries[key] for key in self._unreached), key=lambda entry: entry.ordinal)

    def contradiction(self, asked: Entry | None) -> ErrorInfo:
        """Return the error that names what the program asks for (None = its end) and what its journal says instead."""
        rivals = self.unfinished()
        rival = next((e for e in rivals if asked is not None and (e.name, e.count) == (asked.name, asked.count)), rivals[0])
        wants = "ends" if asked is None else f"asks for {_shown(asked)}"
        more = f" and {len(rivals) - 1} more" if len(rivals) > 1 else ""
        return ErrorInfo(
            name=Nondeterminism.__name__,
            message=f"the program {wants}, but its journal has {_shown(rival)}{more}, which it has not asked for. "
            "Nothing was executed. Mend the code and resume the instance, or restart it",
        )

    def next_attempt(self, entry: Entry, now: datetime) -> Entry:
        """Return the entry as it is while its next attempt runs."""
        return changed(
            entry, state=State.RUNNING, attempt=entry.attempt + 1, attempt_started_at=now, wake_at=None, error=None, ended_at=None
        )

    def _begin_step(self, call: DoCall, now: datetime) -> Answer:
        key, known = self._next(call.kind, call.name, call.count)
        if known is None:
            return Start(self._fresh(key, State.RUNNING, now, config=call.config), True)
        if known.state is State.DONE:
            return Hit(known.output or b"null")
        if known.state is State.FAILED:
            return Failed(known.error or ErrorInfo(name="StepFailed", message="unknown"))
        if known.state is State.RUNNING:
            return Interrupted(known)
        if known.wake_at is not None and known.wake_at > now:
            return WaitUntil(known, False)
        return Start(self.next_attempt(known, now))

    def _begin_sleep(self, call: SleepCall, now: datetime) -> Answer:
        key, known = self._next(Kind.SLEEP, call.name)
        if known is not None and known.state is State.FAILED:
            return Failed(known.error or ErrorInfo(name="StepFailed", message="unknown"))
        if known is not None:
            return Hit(b"null") if known.state is State.DONE else WaitUntil(known, False)
        until = call.until if call.until is not None else now + (call.duration or timedelta(0))
        return WaitUntil(self._fresh(key, State.WAITING, now, wake_at=until), True)

    def _begin_wait(self, call: EventCall, now: datetime) -> Answer:
        key, known = self._next(Kind.EVENT, call.name)
        if known is not None and known.state is State.DONE:
            return Hit(known.output or b"null")
        if known is not None and known.state is State.FAILED:
            return Failed(known.error or ErrorInfo(name="WaitTimeout", message="unknown"))
        entry = known or self._fresh(key, State.WAITING, now, wake_at=now + call.timeout, event_type=call.type)
        return self._take_or_wait(entry, known is None)

    def _begin_child(self, call: ChildCall, now: datetime) -> Answer:
        key, known = self._next(Kind.CHILD, call.name)
        if known is None:
            wake_at = None if call.timeout is None else now + call.timeout
            entry = self._fresh(key, State.WAITING, now, wake_at=wake_at, event_type=inbox_type(key[1], key[2]))
            return StartInstance(changed(entry, child=call.child))
        if known.state is State.DONE:
            return Hit(known.output or b"null")
        if known.state is State.FAILED:
            return Failed(known.error or ErrorInfo(name="StepFailed", message="unknown"))
        return self._take_or_wait(known, False)

    def _take_or_wait(self, entry: Entry, fresh: bool) -> Take | WaitEvent:
        type = entry.event_type or ""
        kept = self._inbox.get(type)
        if kept and (entry.wake_at is None or kept[0].sent_at <= entry.wake_at):
            return Take(entry, kept.popleft(), fresh)
        self._waiters.setdefault(type, deque()).append(entry)
        return WaitEvent(entry, fresh)

    def _next(self, kind: Kind, name: str, count: int | None = None) -> tuple[EntryId, Entry | None]:
        if count is None:
            count = self._counts[kind, name] = self._counts.get((kind, name), 0) + 1
        key = (kind, name, count)
        self._unreached.discard(key)
        return key, self._entries.get(key)

    def _fresh(
        self,
        key: EntryId,
        state: State,
        now: datetime,
        *,
        wake_at: datetime | None = None,
        event_type: str | None = None,
        config: StepConfig | None = None,
    ) -> Entry:
        self._ordinal += 1
        return Entry(
            kind=key[0],
            name=key[1],
            count=key[2],
            ordinal=self._ordinal,
            state=state,
            started_at=now,
            wake_at=wake_at,
            event_type=event_type,
            config=config,
        )

    def _keep(self, event: InboxEvent) -> None:
        self.inbox_seen = max(self.inbox_seen, event.seq)
        self._inbox.setdefault(event.type, deque()).append(event)


_WORDS = {Kind.STEP: "step", Kind.SLEEP: "sleep", Kind.EVENT: "wait for event", Kind.CHILD: "workflow", Kind.ROLLBACK: "rollback"}


def _shown(entry: Entry) -> str:
    return f'{_WORDS[entry.kind]} "{entry.name}" number {entry.count}'
