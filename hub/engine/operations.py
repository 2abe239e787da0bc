"""The durable operations of one execution: run a step over its attempts, sleep, wait for an event, run another workflow.

Each asks the replay, does what the answer says, and commits the outcome before the program sees it. Waiting, parking and the end of the
execution are `Execution`'s part.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple, cast

from hub.core import codec
from hub.core.current import CURRENT
from hub.core.duration import format_duration, parse_duration
from hub.core.errors import ErrorInfo, NonRetryableError, StepInterrupted, WaitTimeout, describe, rebuild
from hub.core.family import read_end
from hub.core.flow import Flow
from hub.core.logs import Logged
from hub.core.model import Attempt, Entry, InboxEvent, Kind, NewInstance, State, StepConfig
from hub.core.replay import (
    Answer,
    Call,
    ChildCall,
    DoCall,
    EventCall,
    Failed,
    Hit,
    Interrupted,
    SleepCall,
    Start,
    StartInstance,
    Take,
    WaitEvent,
    WaitUntil,
)
from hub.core.retry import delay_after
from hub.core.values import changed
from hub.core.writes import FailAttempt, SettleStep, StartChild, Verdict
from hub.engine.attempt import Body
from hub.engine.execution import Execution
from hub.engine.rollback import Undo

LONGEST_WAIT = timedelta(days=365)
DELAY_FUNCTION_S = 5.0  # how long an author's delay function may take
_NO_CHILD = {Verdict.CONFLICT: "Conflict", Verdict.MISSING: "NotFound"}  # why a child was not started, as the parent's program catches it

Delay = Callable[[Entry, StepConfig, Exception], Awaitable[Any]]  # gives the base delay


class Job(DoCall, frozen=True, kw_only=True, gc=True):  # its body may be part of a circle
    """A step that is to be run: what `step.do` was given."""

    body: Body
    value_of: Callable[[bytes], Any]
    delay: Delay | None = None
    undo: Undo | None = None


class Done(NamedTuple):
    """A step that has just been settled: what is stored of its result, and what a replay reads of that without a class to make."""

    output: bytes
    value: Any


class Operations:
    """What the step object and the rollback handlers call."""

    def __init__(self, execution: Execution, max_steps: int) -> None:
        self._execution = execution
        self._max_steps = max_steps
        self._instance = execution.snapshot.instance
        self._rehearsal = execution.services.rehearsal
        self._defaults = execution.services.defaults
        self._now = execution.services.clock.now
        entries = execution.snapshot.entries
        self._steps = sum(entry.kind is Kind.STEP for entry in entries) if entries else 0
        self._stored_bytes = sum(len(entry.output or b"") for entry in entries) if entries else 0

    @property
    def execution(self) -> Execution:
        """The execution that runs the operations."""
        return self._execution

    async def do(self, job: Job) -> Any:
        """Run a step to its end, over all its attempts, and return what a replay would return."""
        execution, task = self._execution, asyncio.current_task()
        if job.undo is not None:  # before it is asked for: a run that only registers its handlers does not get beyond an unfinished step
            execution.rollbacks.register(job.name, execution.replay.count(Kind.STEP, job.name) + 1, job.undo)
        answer: Answer | Done = await execution.ask(job, task)
        if type(answer) is Start and answer.fresh and job.kind is Kind.STEP:
            self._count_step()
        while True:
            if type(answer) is Done:
                return answer.value if job.value_of is codec.decode else job.value_of(answer.output)
            if type(answer) is Hit:
                return job.value_of(answer.output)
            if type(answer) is Start:
                answer = await self._attempt(answer.entry, job, task)
            elif type(answer) is WaitUntil:
                await execution.wait(answer.entry, answer.fresh)
                answer = Start(execution.replay.next_attempt(answer.entry, self._now()))
            elif type(answer) is Interrupted:
                lost = StepInterrupted(f"the process ended during attempt {answer.entry.attempt}")
                answer = await self._fail(answer.entry, lost, job, interrupted=True)
            elif type(answer) is Failed:
                raise rebuild(answer.error)

    async def sleep(self, call: SleepCall) -> None:
        """Wait durably."""
        if self._rehearsal is not None and self._rehearsal.skips_sleep(self._instance, call.name):
            call = changed(call, duration=timedelta(0), until=None)
        answer = await self._asked(call)
        if type(answer) is WaitUntil and answer.fresh:
            answer = await self._allowed(answer)
        if type(answer) is Failed:
            raise rebuild(answer.error)
        if type(answer) is WaitUntil:
            await self._execution.wait(answer.entry, answer.fresh)
            done = changed(answer.entry, state=State.DONE, ended_at=self._now())
            self._execution.replay.record(done)
            self._execution.write_behind(self._settled(done))

    async def wait_for_event(self, call: EventCall) -> bytes:
        """Wait durably for an event and return its encoded value. Raises: WaitTimeout."""
        forced = self._rehearsal is not None and self._rehearsal.times_out(self._instance, call.name)
        if forced:
            call = changed(call, timeout=timedelta(0))
        answer = await self._asked(call)
        if forced and type(answer) is Take:
            self._execution.replay.put_back(answer.event)
            answer = WaitEvent(answer.entry, answer.fresh)
        if type(answer) is Failed:
            raise rebuild(answer.error)
        if type(answer) is Hit:
            return answer.output
        event = await self._event(answer, f'no event of type "{call.type}" came within {format_duration(call.timeout)}')
        output = codec.encode({"payload": codec.decode(event.payload), "timestamp": event.sent_at, "type": event.type})
        await self._settle(_entry_of(answer), State.DONE, output=output, consumes=event.seq)
        return output

    async def run_workflow(self, call: ChildCall, new: Callable[[Entry], tuple[NewInstance, Flow]]) -> bytes:
        """Start another workflow, wait for its end, and return its encoded output. Raises: its error, or WaitTimeout."""
        answer = await self._asked(call)
        if type(answer) is StartInstance:
            answer = await self._start_child(answer.entry, *new(answer.entry))
        if type(answer) is Failed:
            raise rebuild(answer.error)
        if type(answer) is Hit:
            return answer.output
        event = await self._event(answer, _child_is_late(_entry_of(answer), call.timeout))
        end, entry = read_end(event.payload), _entry_of(answer)
        if end.error is not None:
            await self._settle(entry, State.FAILED, error=end.error, consumes=event.seq)
            raise rebuild(end.error)
        output = end.output or b"null"
        await self._settle(entry, State.DONE, output=output, consumes=event.seq)
        return output

    async def _asked(self, call: Call) -> Answer:
        return await self._execution.ask(call, asyncio.current_task())

    # ---- attempts

    async def _attempt(self, entry: Entry, job: Job, task: asyncio.Task[Any] | None) -> Answer | Done:
        execution = self._execution
        config = entry.config or self._defaults
        body = job.body
        if self._rehearsal is not None and (mock := self._rehearsal.body(self._instance, entry)) is not None:
            body = _only(mock)
        running, done = await execution.open(entry, config.timeout, task), None
        token = CURRENT.set(running)
        raised: BaseException | None = None
        try:
            try:
                value = await body(entry, config)
            except BaseException as error:
                raised = error
            finally:
                CURRENT.reset(token)
            raised = running.end(raised)
            if raised is None:
                try:
                    done = self._kept(entry, value)
                except BaseException as error:
                    raised = error
            running.live = False
            if done is None:
                raised = cast(BaseException, raised)
                if isinstance(raised, (KeyboardInterrupt, GeneratorExit)) or (  # meant for the process, and for a coroutine thrown away
                    isinstance(raised, asyncio.CancelledError) and (execution.ending or running.cancelled())
                ):
                    raise raised
                return await self._fail(entry, raised, job, logged=running.logged())
            settled = changed(entry, state=State.DONE, ended_at=self._now(), output=done.output)
            await execution.commit(self._settled(settled, None, running.logged()))
            execution.replay.record(settled)
            return done
        finally:
            raised = None  # it knows this frame: together they would be a circle
            execution.close(running)

    def _kept(self, entry: Entry, value: Any) -> Done:
        """Write the result of a step. Raises: NonRetryableError when it cannot be stored."""
        services = self._execution.services
        try:
            done = Done(*codec.keep(value, what="result"))
        except (TypeError, ValueError) as error:
            raise NonRetryableError(f'the result of step "{entry.name}" cannot be stored: {error}') from error
        size = len(done.output)
        if size > services.result_bytes:
            raise NonRetryableError(too_large(f'the result of step "{entry.name}"', size, services.result_bytes))
        together = self._stored_bytes + size
        if together > services.state_bytes:
            raise NonRetryableError(
                f"the results of this instance would be {together:,} bytes together; at most {services.state_bytes:,} are kept "
                "(limits.state_bytes)"
            )
        self._stored_bytes = together
        return done

    async def _fail(
        self, entry: Entry, error: BaseException, job: Job, *, interrupted: bool = False, logged: Logged | None = None
    ) -> Answer:
        """Record a failed attempt: back off, or settle the step as failed when no attempt is left."""
        execution = self._execution
        execution.services.failed_attempt()
        config = entry.config or self._defaults
        ended_at, info = self._now(), describe(error)
        delay = timedelta(0)
        last = isinstance(error, NonRetryableError) or entry.attempt > config.limit
        if not last and not interrupted:
            try:
                delay = await _delay(config, entry, error, job.delay)
            except NonRetryableError as broken:
                last, info = True, describe(broken)
        if last:
            await self._settle(entry, State.FAILED, error=info, logged=logged)
            self._tell("step.failed", entry, info, stack=info.stack)
            return Failed(info)
        if self._rehearsal is not None and self._rehearsal.skips_delay(self._instance, entry.name):
            delay = timedelta(0)
        waiting = changed(entry, state=State.WAITING, wake_at=ended_at + delay)
        attempt = Attempt(
            kind=entry.kind,
            name=entry.name,
            count=entry.count,
            number=entry.attempt,
            started_at=entry.attempt_started_at or entry.started_at,
            ended_at=ended_at,
            error=info,
            retry_at=waiting.wake_at,
        )
        failed = FailAttempt(instance=execution.key, token=execution.token, entry=waiting, attempt=attempt, logged=logged)
        await execution.commit(failed)
        execution.replay.record(waiting)
        self._tell("attempt.failed", entry, info, retry_in_s=delay.total_seconds())
        return WaitUntil(waiting, False)

    def _tell(self, event: str, entry: Entry, info: ErrorInfo, **more: Any) -> None:
        told = {"step": entry.name, "attempt": entry.attempt, "error": f"{info.name}: {info.message}", **more}
        self._execution.services.tell("info", self._instance, event, **told)

    # ---- waits

    async def _allowed(self, answer: WaitUntil) -> Answer:
        """Refuse a sleep until a moment that is too far away, once and for all: later it would not be."""
        entry = answer.entry
        if entry.wake_at is None or entry.wake_at - entry.started_at <= LONGEST_WAIT:
            return answer
        error = NonRetryableError(f'sleep "{entry.name}": at most {LONGEST_WAIT.days} days')
        info = ErrorInfo(name=error.name, message=str(error))
        await self._settle(entry, State.FAILED, error=info)
        return Failed(info)

    async def _event(self, answer: Answer, late: str) -> InboxEvent:
        """Return the event that ends a wait. Raises: WaitTimeout, which is recorded then."""
        if type(answer) is Take:
            return answer.event
        entry = _entry_of(answer)
        take = await self._execution.wait(entry, isinstance(answer, WaitEvent) and answer.fresh)
        if take is not None:
            return take.event
        self._execution.replay.expire(entry)
        error = WaitTimeout(late)
        await self._settle(entry, State.FAILED, error=ErrorInfo(name=error.name, message=late))
        raise error

    async def _start_child(self, entry: Entry, new: NewInstance, flow: Flow) -> Answer:
        execution = self._execution
        start = StartChild(instance=execution.key, token=execution.token, entry=entry, new=new, flow=flow)
        outcome = await execution.commit(start, also=_NO_CHILD.keys())
        if outcome.verdict in _NO_CHILD:
            info = ErrorInfo(name=_NO_CHILD[outcome.verdict], message=outcome.reason or "")
            await self._settle(entry, State.FAILED, error=info)  # ends the execution, if it is the parent that is missing
            return Failed(info)
        execution.replay.record(entry)
        return execution.replay.await_child(entry)

    async def _settle(  # what may come of an entry
        self,
        entry: Entry,
        state: State,
        *,
        output: bytes | None = None,
        error: ErrorInfo | None = None,
        consumes: int | None = None,
        logged: Logged | None = None,
    ) -> None:
        if entry.kind in (Kind.EVENT, Kind.CHILD):
            self._stored_bytes += len(output or b"")
        settled = changed(entry, state=state, ended_at=self._now(), output=output, error=error)
        await self._execution.commit(self._settled(settled, consumes, logged))
        self._execution.replay.record(settled)

    def _settled(self, entry: Entry, consumes: int | None = None, logged: Logged | None = None) -> SettleStep:
        return SettleStep(instance=self._execution.key, token=self._execution.token, entry=entry, consumes=consumes, logged=logged)

    def _count_step(self) -> None:
        self._steps += 1
        if self._steps > self._max_steps:
            raise NonRetryableError(
                f"the limit of {self._max_steps:,} steps an instance has been reached (limits.steps of the workflow or of the hub); "
                "let another workflow do the rest: step.run_workflow"
            )


def _only(mock: Callable[[], Awaitable[Any]]) -> Body:
    return lambda _entry, _config: mock()


def too_large(what: str, size: int, limit: int) -> str:
    """Return the message for a value over the limit of results."""
    return f"{what} is {size:,} bytes; at most {limit:,} are stored (limits.result_bytes)"


def _entry_of(answer: Answer) -> Entry:
    if isinstance(answer, Hit | Failed):
        raise TypeError("a settled answer has no entry")
    return answer.entry


def _child_is_late(entry: Entry, timeout: timedelta | None) -> str:
    within = "in time" if timeout is None else f"within {format_duration(timeout)}"
    return f'"{entry.child}" did not end {within}; it goes on by itself'


async def _delay(config: StepConfig, entry: Entry, error: BaseException, function: Delay | None) -> timedelta:
    """Return how long to back off. Raises: NonRetryableError when the author's delay function is broken."""
    if function is not None:
        try:
            base = await _in_time(function(entry, config, error if isinstance(error, Exception) else Exception(str(error))))
            config = replace(config, delay=parse_duration(base, what="the delay function's result"))
        except Exception as broken:
            reason = str(broken) if isinstance(broken, _TooSlow) else f"{type(broken).__name__}: {broken}"
            raise NonRetryableError(f'the delay function of step "{entry.name}" failed: {reason}', "NonRetryableDelayError") from broken
    delay = delay_after(config, entry.attempt)
    return delay * (1 + config.jitter * random.random()) if config.jitter else delay  # noqa: S311  # spread, not a secret


class _TooSlow(Exception):
    """A delay function did not end in time."""


async def _in_time(base: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(DELAY_FUNCTION_S) as deadline:
            return await base
    except TimeoutError:
        if deadline.expired():
            raise _TooSlow(f"took more than {DELAY_FUNCTION_S:g} s") from None
        raise  # the function's own
