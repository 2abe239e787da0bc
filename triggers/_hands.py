"""What becomes of a message of a queue: the gate before the hub, the grave of hopeless ones, and one instance for each of the others.

Knows no broker and no store: where a message came from, and how it is settled there, is the business of its `Taken`. Invariant: a message
is acknowledged only when what it asked for is on disk, or when it lies where somebody will find it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from hub.core.delivery import DeliveryStatus, TriggerEvent
from hub.core.errors import Rejected, Unavailable
from hub.core.ports import TriggerContext
from hub.core.queue import Message

LONGEST_PAUSE_S = 60.0
_FIRST_PAUSE_S = 1.0


class Taken(Protocol):
    """A message in hand, of whatever queue. How it is settled is written here; settling one that is another's by now does nothing."""

    @property
    def id(self) -> str | None:
        """The sender's id of it."""
        ...

    @property
    def leaves_dead(self) -> bool:
        """Whether its queue keeps dead letters where they are found, so that the hub need not."""
        ...

    def overdue(self) -> tuple[str, str] | None:
        """Return code and words when it has come back too often to be tried once more."""
        ...

    def event(self) -> TriggerEvent:
        """Return the event that it announces. Raises: Rejected."""
        ...

    def unread_event(self) -> TriggerEvent:
        """Return it as an event that can be stored although it cannot be read."""
        ...

    def bare_event(self) -> TriggerEvent:
        """Return it as an event that any store can hold: its bytes and nothing beside them."""
        ...

    def message(self, now: datetime) -> Message:
        """Return it as a handler gets it. Raises: Rejected."""
        ...

    def dead_event(self, message: Message) -> TriggerEvent:
        """Return the event to be kept of a message that its handler could not do."""
        ...

    async def ack(self) -> None:
        """Take it for good."""
        ...

    async def give_back(self) -> None:
        """Return it unseen."""
        ...

    async def remove(self, code: str) -> None:
        """Take it out of the queue as a dead letter."""
        ...

    async def again(self, attempt: int, delay: timedelta) -> timedelta | None:
        """Let it come again after a time, when there were that many attempts; else return how long to keep it in hand until then."""
        ...


class Habits(Protocol):
    """The settings that every consumer of a queue has."""

    @property
    def queue(self) -> str: ...
    @property
    def max_retries(self) -> int: ...
    @property
    def retry_delay(self) -> timedelta: ...
    @property
    def max_batch_size(self) -> int: ...
    @property
    def max_batch_timeout(self) -> timedelta: ...
    @property
    def max_concurrency(self) -> int: ...


class Gate:
    """Whether the hub takes what comes. Shut by the first refusal; how long, its keeper decides."""

    def __init__(self) -> None:
        self.message = ""
        self._wish: timedelta | None = None
        self._failures = 0
        self._open = asyncio.Event()
        self._open.set()
        self._shut = asyncio.Event()
        self._passed = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether messages may pass."""
        return self._open.is_set()

    async def opened(self) -> None:
        """Return when the gate is open."""
        await self._open.wait()

    async def closed(self) -> None:
        """Return when the gate is shut."""
        await self._shut.wait()

    async def passed(self) -> None:
        """Return when something has passed since the gate was opened again."""
        await self._passed.wait()

    def shut(self, error: Unavailable) -> None:
        """Let nothing pass, because the hub refused something for now."""
        self.message, self._wish = error.message, error.retry_after
        if self._open.is_set():
            self._failures += 1
            self._open.clear()
            self._passed.clear()
            self._shut.set()

    def pause_s(self) -> float:
        """Return how long to stay shut: what the hub asked for, else longer with every failure, up to a minute."""
        if self._wish is not None:
            return min(max(self._wish.total_seconds(), _FIRST_PAUSE_S), LONGEST_PAUSE_S)
        return min(_FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE_S)

    def open(self) -> None:
        """Let what waits try again."""
        self._shut.clear()
        self._open.set()

    def taken(self) -> None:
        """Note that the hub has taken something."""
        if self._open.is_set():
            self._failures = 0
            self._passed.set()


@dataclass(slots=True)
class Tally:
    """What the trigger's state tells of messages."""

    last_message_at: datetime | None = None
    settled_s: float = 0.0  # monotonic: when something was settled last, or when there was nothing to settle
    arrived_s: float = 0.0


class Hands:
    """Does its work on each message in a task of its own, and knows what is in hand."""

    def __init__(self, ctx: TriggerContext, habits: Habits) -> None:
        self.ctx = ctx
        self.habits = habits
        self.gate = Gate()
        self.tally = Tally()
        self._tasks: dict[asyncio.Task[None], Taken] = {}
        self._idle: set[asyncio.Task[Any] | None] = set()
        self._settled = asyncio.Event()

    @property
    def held(self) -> int:
        """How many messages are not settled."""
        return len(self._tasks)

    async def below(self, count: int) -> None:
        """Return when less than that many messages are not settled."""
        while len(self._tasks) >= count:
            self._settled.clear()
            await self._settled.wait()

    def take(self, taken: Taken) -> None:
        """Begin with a message."""
        self.note_arrival()
        self.begin(self._one(taken), taken)

    async def finish(self, grace: timedelta) -> None:
        """Let what is being worked on come to its end within a time, and give the rest back. Nothing is in hand afterwards."""
        await self._give_back({task: taken for task, taken in self._tasks.items() if task in self._idle})
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace.total_seconds())
        await self._give_back(dict(self._tasks))

    async def forget(self) -> None:
        """Drop what is in hand: its link is lost, and the broker delivers it again."""
        await self._cancel(dict(self._tasks))

    # ---- for those that do the work

    def begin(self, work: Coroutine[Any, Any, None], taken: Taken) -> None:
        """Work on a message in a task."""
        task = asyncio.create_task(work, name=f"trigger-{self.ctx.name}-message")
        self._tasks[task] = taken
        task.add_done_callback(self._done)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Mark the current task as one that only waits: a stop need not wait for it."""
        task = asyncio.current_task()
        self._idle.add(task)
        try:
            yield
        finally:
            self._idle.discard(task)

    def busy(self, task: asyncio.Task[Any] | None) -> None:
        """Say of a task that it does not only wait any more."""
        self._idle.discard(task)

    async def may_pass(self) -> None:
        """Return when the gate is open."""
        with self.waiting():
            await self.gate.opened()

    @property
    def patient(self) -> bool:
        """Whether messages may be in hand for as long as they like."""
        return not self.gate.is_open

    def note_beginning(self) -> None:
        """Note that messages may come from now on."""
        self.tally.arrived_s = self.tally.settled_s = self.ctx.clock.monotonic()

    def note_arrival(self) -> None:
        """Note that a message has come."""
        self.tally.last_message_at = self.ctx.clock.now()
        now = self.tally.arrived_s = self.ctx.clock.monotonic()
        if not self.held:
            self.tally.settled_s = now

    async def bury(self, taken: Taken, event: TriggerEvent, status: DeliveryStatus, code: str, message: str) -> None:
        """Keep a hopeless message as a delivery, unless its queue keeps it, then let the queue put it where its dead letters go."""
        kept = taken.leaves_dead
        while not kept:
            await self.may_pass()
            try:
                await self.ctx.keep(event, status, code=code, message=message)
                kept = True
            except Unavailable as error:
                self.gate.shut(error)
            except Rejected as error:  # the store cannot hold something that stands beside the body
                bare = taken.bare_event()
                if event == bare:
                    raise Rejected(f"the message can be stored in no form, it stays in the queue: {error.message}") from error
                event = bare
        self.gate.taken()
        await self.remove(taken, code, message)

    async def remove(self, taken: Taken, code: str, message: str) -> None:
        """Take a message that is kept out of the queue."""
        self.ctx.log.warning("queue.dead_letter", trigger=self.ctx.name, message_id=taken.id, code=code, reason=message)
        await taken.remove(code)

    async def check(self, taken: Taken) -> bool:
        """Whether the message may be worked on; one that has come back too often is buried."""
        overdue = taken.overdue()
        if overdue is None:
            return True
        await self.bury(taken, taken.unread_event(), DeliveryStatus.DEAD, *overdue)
        return False

    # ---- one message, one instance

    async def _one(self, taken: Taken) -> None:
        if not await self.check(taken):
            return
        try:
            event = taken.event()
        except Rejected as error:
            await self.bury(taken, taken.unread_event(), DeliveryStatus.REJECTED, error.code, error.message)
            return
        await self._emit(taken, event)

    async def _emit(self, taken: Taken, event: TriggerEvent) -> None:
        tries = 0
        while True:
            await self.may_pass()
            try:
                await self.ctx.emit(event)
            except Unavailable as error:
                self.gate.shut(error)
            except Rejected as error:  # the bus has kept it
                self.gate.taken()
                await self.remove(taken, error.code, error.message)
                return
            except Exception as error:  # a defect, ours or of the project's schema: it must neither block the queue nor spin
                tries += 1
                text = f"{type(error).__name__}: {error}"
                self.ctx.log.error("queue.emit_failed", trigger=self.ctx.name, attempt=tries, error=text)
                if tries > self.habits.max_retries:
                    await self.bury(taken, event, DeliveryStatus.DEAD, "queue.failed", text)
                    return
                with self.waiting():
                    await self.ctx.clock.sleep(max(_FIRST_PAUSE_S, self.habits.retry_delay.total_seconds()))
            else:
                self.gate.taken()
                await taken.ack()
                return

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._settled.set()
        self.tally.settled_s = self.ctx.clock.monotonic()
        if not task.cancelled() and (error := task.exception()) is not None:
            self.ctx.log.error("queue.message_failed", trigger=self.ctx.name, error=f"{type(error).__name__}: {error}")

    async def _give_back(self, tasks: dict[asyncio.Task[None], Taken]) -> None:
        await self._cancel(tasks)
        for taken in tasks.values():
            await taken.give_back()

    async def _cancel(self, tasks: dict[asyncio.Task[None], Taken]) -> None:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


async def first(*waits: Coroutine[Any, Any, Any]) -> None:
    """Return, or raise, as the first of these does; the others are cancelled."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
