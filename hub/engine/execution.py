"""One run of one instance: asks the replay, runs step bodies, waits, parks, finishes.

Everything durable goes through the committer, with the token of the claim; a FENCED or MISSING outcome drops the execution at once.
It never reads the store. Quiescence is examined in one function, `_examine`, which is asked for whenever a wait is added or a body ends.
The invariant: after `Park`, `Finish` or a drop nothing of this execution runs any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hub.core import codec
from hub.core.errors import (
    ErrorInfo,
    HubError,
    NonRetryableError,
    Rejected,
    StepInterrupted,
    WaitTimeout,
    describe,
    rebuild,
)
from hub.core.model import Attempt, Entry, InboxEvent, Snapshot, State, Status, StepConfig, Wish
from hub.core.replay import (
    Answer,
    Call,
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
from hub.core.retry import delay_after
from hub.core.writes import Begin, FailAttempt, Finish, Outcome, Park, SettleStep, StartWait, Verdict, Write
from hub.engine.attempt import Body, Running, Services
from hub.engine.waits import Waits

IDLE_S = 0.1  # a program of several tasks is quiet for that long before it is parked: one of them may be between two steps
PATIENCE_S = 1.0  # … and for that long before it is said to contradict its journal


class Execution:
    """Runs the program of one claimed instance until it finishes, parks or is dropped."""

    def __init__(self, snapshot: Snapshot, services: Services) -> None:
        head = snapshot.instance
        self.snapshot = snapshot
        self.key = head.key
        self.services = services
        self.begun = head.started_at is not None
        self.over = False
        self.parked_until: datetime | None = None  # when a parked instance is due again
        self._token = head.token
        self._started_at = head.started_at or services.clock.now()
        self._replay = Replay(snapshot.entries, snapshot.inbox)
        self._waits = Waits(services.clock, self._look)
        self._running: set[Running] = set()
        self._gated: list[asyncio.Future[None]] = []
        self._held: list[tuple[Entry, asyncio.Future[None]]] = []  # new entries while the program has not caught up with its journal
        self._leaving: Status | None = None
        self._parking = False
        self._looking = False
        self._strands = False
        self._moves = 0
        self._task: asyncio.Task[Status | None] | None = None

    # ---- for the runner

    def start(self, program: Callable[[], Awaitable[Any]], ended: Callable[[Execution, Status | None], None]) -> None:
        """Run the program in a task of its own; `ended` is called once, with the final status or None (parked or dropped)."""
        self._task = asyncio.create_task(self._main(program), name=f"instance-{self.key}")
        self._task.add_done_callback(lambda task: ended(self, None if task.cancelled() or task.exception() else task.result()))

    def leave(self, status: Status) -> None:
        """Start no further step; park as soon as no body runs: PAUSED by the operator's wish, QUEUED because the node stops."""
        if not self.over and self._leaving is not Status.QUEUED:
            self._leaving = status
            self._look()

    def stay(self) -> None:
        """Take a pause back that has not come about yet."""
        if self._leaving is Status.PAUSED and not self._parking:
            self._leaving = None
            self._open_gate()

    def part(self) -> None:
        """Park now, whatever runs: bodies are cancelled, and the attempt counts as interrupted."""
        if not self.over and not self._parking:
            self._cancel_bodies()
            self._park(Status.QUEUED, self.services.clock.now())

    def drop(self) -> None:
        """End without a write: the claim is lost or the instance has ended elsewhere. Bodies are cancelled at once."""
        if self.over:
            return
        self.over = True
        self._cancel_bodies()
        self._waits.cancel()
        for gate in (*self._gated, *(held for _, held in self._held)):
            gate.cancel()
        if self._task is not None:
            self._task.cancel()

    def deliver(self, event: InboxEvent) -> None:
        """Hand over an event that came while the instance is in memory."""
        take = self._replay.deliver(event)
        if take is not None:
            self._waits.end(take)

    @property
    def inbox_seen(self) -> int:
        """The last inbox number that has been taken in."""
        return self._replay.inbox_seen

    def begin(self, started: tuple[Entry, ...]) -> None:
        """Tell the store, without waiting, that the instance runs and which attempts are under way."""
        if not self.over and not self._parking:
            self.begun = True
            self._behind(Begin(instance=self.key, token=self._token, at=self._started_at, started=started))

    # ---- for the step object

    async def do(self, name: str, config: StepConfig | None, body: Body, value_of: Callable[[bytes], Any]) -> Any:
        """Run a step to its end, over all its attempts, and return what a replay would return."""
        answer = self._ask(DoCall(name=name, config=config))
        if self._replay.catching_up:
            await self._hold(answer)
        while True:
            if type(answer) is Hit:
                return value_of(answer.output)
            if type(answer) is Start:
                answer = await self._attempt(answer.entry, body)
            elif type(answer) is WaitUntil:
                await self._wait(answer.entry, answer.fresh)
                answer = Start(self._replay.next_attempt(answer.entry, self._now()))
            elif type(answer) is Interrupted:
                lost = StepInterrupted(f"the process ended during attempt {answer.entry.attempt}")
                answer = await self._fail(answer.entry, lost, timedelta(0))
            elif type(answer) is Failed:
                raise rebuild(answer.error)

    async def sleep(self, call: SleepCall) -> None:
        """Wait durably."""
        answer = self._ask(call)
        if self._replay.catching_up:
            await self._hold(answer)
        if type(answer) is WaitUntil:
            await self._wait(answer.entry, answer.fresh)
            done = replace(answer.entry, state=State.DONE, ended_at=self._now())
            self._replay.record(done)
            self._behind(SettleStep(instance=self.key, token=self._token, entry=done))

    async def wait_for_event(self, call: EventCall) -> bytes:
        """Wait durably for an event and return its encoded value. Raises: WaitTimeout."""
        answer = self._ask(call)
        if self._replay.catching_up:
            await self._hold(answer)
        if type(answer) is Failed:
            raise rebuild(answer.error)
        if type(answer) is Hit:
            return answer.output
        if type(answer) is WaitEvent:
            take = await self._wait(answer.entry, answer.fresh)
            if take is None:
                return await self._expire(answer.entry, call)
            answer = take
        if type(answer) is not Take:
            raise AssertionError(answer)
        event, now = answer.event, self._now()
        output = codec.encode({"payload": codec.decode(event.payload), "timestamp": event.sent_at, "type": event.type})
        done = replace(answer.entry, state=State.DONE, ended_at=now, output=output)
        await self._commit(SettleStep(instance=self.key, token=self._token, entry=done, consumes=event.seq))
        self._replay.record(done)
        return output

    # ---- the program

    async def _main(self, program: Callable[[], Awaitable[Any]]) -> Status | None:
        output: bytes | None = None
        error: ErrorInfo | None = None
        try:
            output = codec.encode(await program())
            if len(output) > self.services.result_bytes:
                raise NonRetryableError(_too_large("the workflow's result", len(output), self.services.result_bytes))
        except asyncio.CancelledError as cancelled:
            if self.over or self._parking:
                raise
            error = describe(cancelled)
        except (Exception, SystemExit) as raised:
            error, output = describe(raised), None
        if self.over or self._parking:  # the program went on although it was cancelled: a replay will tell
            return None
        if self._replay.catching_up:
            await self.services.clock.sleep(IDLE_S)  # tasks that nobody awaits may still be on their way
            if self._replay.catching_up:
                self._park(Status.PAUSED, None, self._replay.contradiction(None))
                return None
        status = Status.COMPLETE if error is None else Status.ERRORED
        self._parking = True  # whatever the program left running must not write any more
        self._cancel_bodies()
        finish = Finish(
            instance=self.key,
            token=self._token,
            at=self._now(),
            status=status,
            started_at=self._started_at,
            output=output,
            error=error,
        )
        try:
            outcome = await self.services.committer.submit(finish)
        except Rejected as refused:  # a value that the store cannot hold: the instance must end all the same
            status, error = Status.ERRORED, ErrorInfo(name="Rejected", message=refused.message)
            outcome = await self.services.committer.submit(replace(finish, status=status, output=None, error=error))
        self._task = None
        self.drop()
        return status if outcome.verdict is Verdict.APPLIED else None

    # ---- attempts

    async def _attempt(self, entry: Entry, body: Body) -> Answer:
        while self._leaving is not None or self._parking:
            await self._wait_at_gate()
        config = entry.config or self.services.defaults
        running = Running(self, entry, config, self.services.clock.monotonic())
        self._running.add(running)
        self.services.watch(running)
        try:
            try:
                output = self._encode(entry, await running.run(body))
            except (Exception, SystemExit, asyncio.CancelledError) as error:
                running.live = False
                if isinstance(error, asyncio.CancelledError) and (self.over or self._parking or running.cancelled()):
                    raise
                return await self._fail(entry, error, None)
            running.live = False
            done = replace(entry, state=State.DONE, ended_at=self._now(), output=output)
            await self._commit(SettleStep(instance=self.key, token=self._token, entry=done))
            self._replay.record(done)
            return Hit(output)
        finally:
            running.live = False
            self._running.discard(running)
            self._moves += 1
            if self._waits or self._leaving is not None:
                self._look()

    def _encode(self, entry: Entry, value: Any) -> bytes:
        try:
            output = codec.encode(value)
        except (TypeError, ValueError) as error:
            raise NonRetryableError(f'the result of step "{entry.name}" cannot be stored: {error}') from error
        if len(output) > self.services.result_bytes:
            what = f'the result of step "{entry.name}"'
            raise NonRetryableError(_too_large(what, len(output), self.services.result_bytes))
        return output

    async def _fail(self, entry: Entry, error: BaseException, delay: timedelta | None) -> Answer:
        """Record a failed attempt: back off, or settle the step as failed when no attempt is left."""
        now, info = self._now(), describe(error)
        self.services.failed_attempt()
        config = entry.config or self.services.defaults
        if isinstance(error, NonRetryableError) or entry.attempt > config.limit:
            failed = replace(entry, state=State.FAILED, ended_at=now, error=info)
            await self._commit(SettleStep(instance=self.key, token=self._token, entry=failed))
            self._replay.record(failed)
            return Failed(info)
        pause = delay_after(config, entry.attempt) if delay is None else delay
        waiting = replace(entry, state=State.WAITING, wake_at=now + pause)
        attempt = Attempt(
            name=entry.name,
            count=entry.count,
            number=entry.attempt,
            started_at=entry.attempt_started_at or entry.started_at,
            ended_at=now,
            error=info,
        )
        await self._commit(FailAttempt(instance=self.key, token=self._token, entry=waiting, attempt=attempt))
        self._replay.record(waiting)
        return WaitUntil(waiting, False)

    async def _expire(self, entry: Entry, call: EventCall) -> bytes:
        self._replay.expire(entry)
        error = WaitTimeout(f'no event of type "{call.type}" came within {call.timeout}')
        info = ErrorInfo(name=error.name, message=str(error))
        failed = replace(entry, state=State.FAILED, ended_at=self._now(), error=info)
        await self._commit(SettleStep(instance=self.key, token=self._token, entry=failed))
        self._replay.record(failed)
        raise error

    # ---- waiting and parking

    async def _wait(self, entry: Entry, fresh: bool) -> Take | None:
        if entry.wake_at is not None and entry.wake_at <= self._now():
            return None
        future = self._waits.add(entry, fresh=fresh)
        self._look()
        try:
            return await future
        finally:
            self._waits.remove(entry)
            self._moves += 1

    def _look(self) -> None:
        """Ask for an examination in the next turn of the loop; many requests are one."""
        if not self._looking and not self.over:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._examine, None)

    def _examine(self, moves: int | None) -> None:
        """Decide whether the execution stays in memory, and park it when nothing but waiting is left."""
        self._looking = False
        if self.over or self._parking:
            return
        if self._running:
            self._stay_in_memory()
        elif self._leaving is Status.QUEUED and self._waits and not self._gated:
            self._park(Status.WAITING, self._waits.earliest())
        elif self._leaving is not None:
            self._park(self._leaving, self._now())
        elif self._held:
            if not self._strands or moves == self._moves:
                self._park(Status.PAUSED, None, self._replay.contradiction(self._held[0][0]))
            else:
                asyncio.get_running_loop().call_later(PATIENCE_S, self._examine, self._moves)
        elif self._waits:
            earliest = self._waits.earliest()
            if earliest is not None and earliest - self._now() <= self.services.resident:
                self._stay_in_memory()
            elif not self._strands or moves == self._moves:
                self._park(Status.WAITING, earliest)
            else:
                self._stay_in_memory()
                asyncio.get_running_loop().call_later(IDLE_S, self._examine, self._moves)

    def _stay_in_memory(self) -> None:
        for entry in self._waits.take_fresh():
            self._behind(StartWait(instance=self.key, token=self._token, entry=entry))
        self._waits.arm()

    def _park(self, status: Status, wake_at: datetime | None, error: ErrorInfo | None = None) -> None:
        if error is not None:
            self.services.log.error("instance.contradicts_its_journal", instance=self.snapshot.instance.id, error=error.message)
        self._parking = True
        self.parked_until = wake_at
        park = Park(
            instance=self.key,
            token=self._token,
            at=self._now(),
            status=status,
            wake_at=wake_at,
            inbox_seen=self._replay.inbox_seen,
            started_at=self._started_at,
            entries=() if error is not None else self._waits.take_fresh(),
            error=error,
        )
        self.services.committer.submit(park).add_done_callback(self._parked)

    def _parked(self, future: asyncio.Future[Outcome]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None and not isinstance(error, HubError):
            self.services.log.error("instance.park_failed", instance=self.snapshot.instance.id, error=str(error))
        self.drop()

    # ---- gates and writes

    def _ask(self, call: Call) -> Answer:
        """Ask the replay. Nothing of an execution that is over goes on."""
        if self.over:
            raise asyncio.CancelledError
        self._moves += 1
        if asyncio.current_task() is not self._task:
            self._strands = True
        answer = self._replay.begin(call, self._now())
        if self._held and not self._replay.catching_up:
            held, self._held = self._held, []
            for _, future in held:
                if not future.done():
                    future.set_result(None)
        return answer

    async def _hold(self, answer: Answer) -> None:
        """Keep a new entry from beginning until the program has asked for all that its journal holds."""
        if isinstance(answer, Hit | Failed | Interrupted) or not answer.fresh:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held.append((answer.entry, future))
        self._look()
        await future

    async def _wait_at_gate(self) -> None:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gated.append(gate)
        self._look()
        await gate

    def _open_gate(self) -> None:
        gated, self._gated = self._gated, []
        for gate in gated:
            if not gate.done():
                gate.set_result(None)

    def _cancel_bodies(self) -> None:
        for running in self._running:
            running.live = False
            if running.task is not None and running.task is not self._task:
                running.task.cancel()
        if self._task is not None and any(running.task is self._task for running in self._running):
            self._task.cancel()

    async def _commit(self, write: Write) -> None:
        outcome = await self.services.committer.submit(write)
        if not self._heed(outcome):
            raise asyncio.CancelledError

    def _behind(self, write: Write) -> None:
        """Submit a write that nobody waits for; later writes commit after it."""
        self.services.committer.submit(write).add_done_callback(self._observe)

    def _observe(self, future: asyncio.Future[Outcome]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._heed(future.result())

    def _heed(self, outcome: Outcome) -> bool:
        """Act on what an outcome says beside the verdict. Returns whether the execution may go on."""
        if outcome.verdict is not Verdict.APPLIED:
            self.drop()
            return False
        if outcome.wish is Wish.PAUSE:
            self.leave(Status.PAUSED)
        return True

    def _now(self) -> datetime:
        return self.services.clock.now()


def _too_large(what: str, size: int, limit: int) -> str:
    return f"{what} is {size:,} bytes; at most {limit:,} are stored (limits.result_bytes)"
