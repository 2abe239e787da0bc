"""One run of one instance: its program's task, its claim, and the decision whether it stays in memory, is parked, or ends.

Everything durable goes through the committer, with the token of the claim; a FENCED or MISSING outcome drops the execution at once.
It never reads the store. Quiescence is examined in one function, `_examine`, which is asked for whenever a wait is added or a body ends.
The invariant: after `Park`, `Finish` or a drop nothing of this execution runs any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from hub.core.current import CURRENT
from hub.core.errors import ErrorInfo, HubError, NonRetryableError, Rejected, describe, rebuild
from hub.core.lifecycle import TERMINATED
from hub.core.model import Entry, InboxEvent, Kind, Rollback, Snapshot, Status, Wish
from hub.core.replay import Answer, Call, DoCall, Failed, Hit, Interrupted, Replay, Take
from hub.core.values import changed
from hub.core.writes import Begin, Finish, Outcome, Park, RollBack, StartWait, Verdict, Write
from hub.engine.attempt import Running, Services
from hub.engine.rollback import Rollbacks, Undoing
from hub.engine.waits import NO_WAITS, Waits, release

IDLE_S = 0.1  # a program of several tasks is quiet for that long before it is parked: one of them may be between two steps
PATIENCE_S = 1.0  # … and for that long before it is said to contradict its journal

Program = Callable[[], Awaitable[Any]]
RunUndo = Callable[[Undoing, Exception], Awaitable[None]]


class Execution:
    """Runs the program of one claimed instance until it finishes, parks or is dropped."""

    def __init__(self, snapshot: Snapshot, services: Services) -> None:
        head = snapshot.instance
        self.snapshot = snapshot
        self.key = head.key
        self.token = head.token
        self.services = services
        self.replay = Replay(snapshot.entries, snapshot.inbox, inbox_seen=head.inbox_seq)
        self.rollbacks = Rollbacks()
        self.begun = head.started_at is not None
        self.committing = 0  # writes that a part of the program awaits
        self.finishing = False  # the program has ended, and so has the need for a slot; the end is on its way to the disk
        self.parked_until: datetime | None = None  # when a parked instance is due again
        self._started_at = head.started_at or services.clock.now()
        self._resident = timedelta(0) if head.limited else services.resident  # others need the place of one that only waits
        self._waits = NO_WAITS
        self._running: set[Running] = set()
        self._gated: list[asyncio.Future[None]] = []
        self._held: list[tuple[Entry, asyncio.Future[None]]] = []  # new entries while the program has not caught up with its journal
        self._leaving: Status | None = None
        self._unwinding = head.status is Status.ROLLING_BACK  # the program only registers its handlers once more
        self._rolling = False  # the handlers run
        self.over = self._parking = self._looking = self._strands = False
        self._moves = 0
        self._task: asyncio.Task[Status | None] | None = None

    @property
    def ending(self) -> bool:
        """Whether nothing that is still running counts any more."""
        return self.over or self._parking

    # ---- for the runner

    def start(self, program: Program, undo: RunUndo, ended: Callable[[Execution, Status | None], None]) -> None:
        """Run the program in a task of its own; `ended` is called once, with the final status or None (parked or dropped)."""
        self._task = asyncio.get_running_loop().create_task(self._main(program, undo), name=f"instance-{self.key}")
        self._task.add_done_callback(partial(self._done, ended))

    def leave(self, status: Status) -> None:
        """Start no further step; park as soon as no body runs: PAUSED by the operator's wish, QUEUED because the node stops."""
        if not self.over and self._leaving is not Status.QUEUED:
            self._leaving = status
            self._look()

    def stay(self) -> None:
        """Take a pause back that has not come about yet."""
        if self._leaving is Status.PAUSED and not self._parking:
            self._leaving = None
            gated, self._gated = self._gated, []
            release(gated)

    def unwind(self) -> None:
        """End the program where it is, cancel its bodies, and run the rollback handlers."""
        if not self.ending and not self._unwinding and not self._rolling:
            self._unwinding = True
            self._stop_program()

    def part(self) -> None:
        """Park now, whatever runs: bodies are cancelled, and the attempt counts as interrupted."""
        if not self.ending:
            self._cancel_bodies()
            self._park(Status.QUEUED, self.services.now())

    def drop(self) -> None:
        """End without a write: the claim is lost or the instance has ended elsewhere. Bodies are cancelled at once."""
        if self.over:
            return
        self.over = True
        self._stop_program()
        self._waits = NO_WAITS  # which lead back to here, as the task does: no circle is left, and the memory is free at once

    def deliver(self, event: InboxEvent) -> None:
        """Hand over an event that came while the instance is in memory."""
        take = self.replay.deliver(event)
        if take is not None and not self._waits.end(take):
            self.replay.put_back(event)

    def begin(self, started: tuple[Entry, ...]) -> None:
        """Tell the store, without waiting, that the instance runs and which attempts are under way."""
        if not self.ending:
            self.begun = True
            version = self.services.version_of(self.snapshot.instance.workflow)
            self.write_behind(Begin(instance=self.key, token=self.token, at=self._started_at, started=started, version=version))

    # ---- for the operations

    async def ask(self, call: Call, task: asyncio.Task[Any] | None) -> Answer:
        """Ask the replay, from that task. A new entry is kept from beginning until the program has asked for all its journal holds."""
        if self.over:
            raise asyncio.CancelledError
        if self._rolling and not (isinstance(call, DoCall) and call.kind is Kind.ROLLBACK):
            raise NonRetryableError(f'"{call.name}": no new step can begin while the instance is rolled back')
        self._moves += 1
        if task is not self._task:
            self._strands = True
        answer = self.replay.begin(call, self.services.clock.now())
        if self._unwinding or self._held or self.replay.catching_up:
            await self._turn_of(answer)
        return answer

    async def _turn_of(self, answer: Answer) -> None:
        if self._unwinding and not self._rolling and not isinstance(answer, Hit | Failed):
            await self._wait_at_gate()
        if self._held and not self.replay.catching_up:
            held, self._held = self._held, []
            release([future for _, future in held])
        if not self.replay.catching_up or isinstance(answer, Hit | Failed | Interrupted):
            return
        if answer.fresh and answer.entry.kind is not Kind.ROLLBACK:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._held.append((answer.entry, future))
            self._look()
            await future

    async def open(self, entry: Entry, timeout: timedelta, task: asyncio.Task[Any] | None) -> Running:
        """Let an attempt begin in that task, as soon as the instance may go on."""
        services = self.services
        clock = services.clock
        while self._leaving is not None or self._parking or services.lease.over_at(clock.monotonic(), clock.now()):
            await services.lease.certain()  # whoever has taken the instance over may have run the step already
            if self._leaving is not None or self._parking:
                await self._wait_at_gate()
        since = clock.monotonic()
        running = Running(self, entry, timeout, since, task)
        self._running.add(running)
        if self.rollbacks.undos and entry.kind is Kind.STEP:  # the handler of a step is registered before it begins
            self.rollbacks.begun(entry)
        services.watch(running)
        return running

    def close(self, running: Running) -> None:
        """Take note that an attempt is over and what is to be stored of it is on disk."""
        running.live = False
        self._running.discard(running)
        self._moved()

    async def wait(self, entry: Entry, fresh: bool) -> Take | None:
        """Return the event that ends a wait, or None when its time has come; perhaps in another execution."""
        if entry.wake_at is not None and entry.wake_at <= self.services.now():
            return None
        if self._waits is NO_WAITS:
            self._waits = Waits(self.services.clock, self._look)
        future = self._waits.add(entry, fresh=fresh)
        self._look()
        try:
            return await future
        finally:
            self._waits.remove(entry)
            self._moved()

    async def commit(self, write: Write, *, also: Collection[Verdict] = ()) -> Outcome:
        """Commit a write and heed its outcome; verdicts in `also` are the caller's business."""
        self.committing += 1
        try:
            outcome = await self.services.committer.submit(write)
        finally:
            self.committing -= 1
            self._moved()
        if outcome.verdict not in also and not self._heed(outcome):
            raise asyncio.CancelledError
        return outcome

    def _heed(self, outcome: Outcome) -> bool:
        """Act on what an outcome says beside the verdict. Returns whether the execution may go on."""
        if outcome.verdict is not Verdict.APPLIED:
            self.drop()
            return False
        if outcome.wish is Wish.PAUSE:
            self.leave(Status.PAUSED)
        elif outcome.wish is Wish.ROLL_BACK:
            self.unwind()
        return True

    def write_behind(self, write: Write) -> None:
        """Submit a write that nobody waits for; later writes commit after it."""
        self.services.committer.submit(write).add_done_callback(self._observe)

    # ---- the program

    async def _main(self, program: Program, undo: RunUndo) -> Status | None:
        CURRENT.set(None)  # of the task: whoever has made the instance may have done so from within a step
        output: bytes | None = None
        error: ErrorInfo | None = None
        try:
            output = self.services.encoded(await program())
        except asyncio.CancelledError as cancelled:
            if self.ending or (self._task is not None and self._task.cancelling() and not self._unwinding):
                raise
            if self._unwinding and self._task is not None:
                self._task.uncancel()
            error = describe(cancelled)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as raised:
            error = describe(raised)
        if self.ending:  # the program went on although it was cancelled: a replay will tell
            return None
        if self._unwinding:
            return await self._roll_back(error, undo)
        if self.replay.catching_up:
            await self.services.clock.sleep(IDLE_S)  # tasks that nobody awaits may still be on their way
            if self.replay.catching_up:
                self._park(Status.PAUSED, None, self.replay.contradiction(None))
                return None
        if error is not None and self.rollbacks.in_reverse(self.replay):
            await self.commit(RollBack(instance=self.key, token=self.token, at=self.services.now(), error=error))
            return await self._roll_back(error, undo)
        return await self._finish(Status.COMPLETE if error is None else Status.ERRORED, output, error)

    async def _roll_back(self, error: ErrorInfo | None, undo: RunUndo) -> Status | None:
        """Run the handlers, the latest step's first; the first one that fails for good ends the rollback."""
        self._rolling = True
        self._cancel_bodies()
        head = self.snapshot.instance
        status = head.ends_as or (Status.TERMINATED if self._unwinding else Status.ERRORED)
        cause = head.error or (TERMINATED if status is Status.TERMINATED else error) or TERMINATED
        rollback = Rollback(complete=True)
        for undoing in self.rollbacks.in_reverse(self.replay):
            try:
                await undo(undoing, rebuild(cause))
            except Exception as failed:
                if self.ending:
                    return None
                rollback = Rollback(complete=False, error=describe(failed))
                break
        return await self._finish(status, None, cause if status is Status.ERRORED else None, rollback)

    async def _finish(
        self, status: Status, output: bytes | None, error: ErrorInfo | None, rollback: Rollback | None = None
    ) -> Status | None:
        self._parking = True  # whatever the program left running must not write any more
        if self._running:
            self._cancel_bodies()
        kept, version = output if error is None else None, self.services.version_of(self.snapshot.instance.workflow)
        finish = Finish(
            instance=self.key, token=self.token, at=self.services.now(), status=status, started_at=self._started_at, output=kept,
            error=error, rollback=rollback, version=version,
        )  # fmt: skip
        self.finishing = True
        self.services.finishing()
        try:
            outcome = await self.services.committer.submit(finish)
        except Rejected as refused:  # a value that the store cannot hold: the instance must end all the same
            status, error = Status.ERRORED, ErrorInfo(name="Rejected", message=refused.message)
            outcome = await self.services.committer.submit(changed(finish, status=status, output=None, error=error))
        self._task = None
        self.drop()
        if outcome.verdict is not Verdict.APPLIED:
            return None
        if status is Status.ERRORED and error is not None:
            told = f"{error.name}: {error.message}"
            self.services.tell("warning", self.snapshot.instance, "instance.errored", error=told, stack=error.stack)
        return status

    # ---- staying and parking

    def _moved(self) -> None:
        """Take note that a part of the program goes on, and look what is left when it stands still again."""
        self._moves += 1
        if self._waits is not NO_WAITS or self._leaving is not None or self._unwinding:
            self._look()

    def _look(self) -> None:
        """Ask for an examination in the next turn of the loop; many requests are one."""
        if not self._looking and not self.over:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._examine, None)

    def _examine(self, moves: int | None) -> None:
        """Decide whether the execution stays in memory, and park it when nothing but waiting is left."""
        self._looking = False
        if self.ending:
            return
        quiet = not self._strands or moves == self._moves
        waiting = Status.ROLLING_BACK if self._rolling else Status.WAITING
        if self._running or self.committing or self._waits.ended:
            self._stay_in_memory()
        elif self._leaving is Status.QUEUED and self._waits and not self._gated and not self._strands:
            self._park(waiting, self._waits.earliest())
        elif self._leaving is not None:
            self._park(self._leaving, self.services.now())
        elif self._unwinding and not self._rolling:
            self._when_quiet(quiet, IDLE_S, self._stop_program)
        elif self._held:
            self._when_quiet(quiet, PATIENCE_S, lambda: self._park(Status.PAUSED, None, self.replay.contradiction(self._held[0][0])))
        elif self._waits:
            earliest = self._waits.earliest()
            soon = earliest is not None and earliest - self.services.now() <= self._resident
            if soon or not quiet:
                self._stay_in_memory()
            if not soon:
                self._when_quiet(quiet, IDLE_S, lambda: self._park(waiting, earliest))

    def _when_quiet(self, quiet: bool, pause_s: float, then: Callable[[], None]) -> None:
        """Do it if the program stands still; else look again after a pause."""
        if quiet:
            then()
        else:
            asyncio.get_running_loop().call_later(pause_s, self._examine, self._moves)

    def _stay_in_memory(self) -> None:
        for entry in self._waits.take_fresh():
            self.write_behind(StartWait(instance=self.key, token=self.token, entry=entry))
        self._waits.arm()

    def _park(self, status: Status, wake_at: datetime | None, error: ErrorInfo | None = None) -> None:
        if error is not None:
            self.services.tell("error", self.snapshot.instance, "instance.contradicts_its_journal", error=error.message)
        self._parking = True
        self.parked_until = wake_at
        entries = () if error is not None else self._waits.take_fresh()
        park = Park(
            instance=self.key, token=self.token, at=self.services.now(), status=status, wake_at=wake_at, error=error, entries=entries,
            inbox_seen=self.replay.inbox_seen, started_at=self._started_at,
            version=self.services.version_of(self.snapshot.instance.workflow),
        )  # fmt: skip
        self.services.committer.submit(park).add_done_callback(self._parked)

    def _parked(self, future: asyncio.Future[Outcome]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None and not isinstance(error, HubError):
            self.services.tell("error", self.snapshot.instance, "instance.park_failed", error=str(error))
        self.drop()

    # ---- the end of things

    async def _wait_at_gate(self) -> None:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gated.append(gate)
        self._look()
        await gate

    def _done(self, ended: Callable[[Execution, Status | None], None], task: asyncio.Task[Status | None]) -> None:
        self._task = None
        ended(self, None if task.cancelled() or task.exception() else task.result())

    def _stop_program(self) -> None:
        """Cancel everything that the program does or waits for."""
        if self._running:
            self._cancel_bodies()
        self._waits.cancel()
        for future in (*self._gated, *(held for _, held in self._held)):
            future.cancel()
        self._gated, self._held = [], []
        if self._task is not None:
            self._task.cancel()

    def _cancel_bodies(self) -> None:
        for running in self._running:
            running.live = False
            if running.task is not None and running.task is not self._task:
                running.task.cancel()
        if self._task is not None and any(running.task is self._task for running in self._running):
            self._task.cancel()

    def _observe(self, future: asyncio.Future[Outcome]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._heed(future.result())
