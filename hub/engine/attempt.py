"""An attempt that is under way, and what all executions of a node share.

Owns the attempt's timeout. Whether the attempt is retried, and what is stored of it, is the execution's part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from hub.core import codec
from hub.core.clock import Clock
from hub.core.current import CurrentStep
from hub.core.errors import NonRetryableError, StepTimeout
from hub.core.logs import LogLimits
from hub.core.model import Entry, Instance, Snapshot, StepConfig
from hub.core.ports import Log
from hub.engine.committer import Committer
from hub.engine.lease import Lease
from hub.engine.rehearsal import Rehearsal
from hub.engine.threads import ThreadPool

SHORT = timedelta(milliseconds=50)  # timeouts below this are armed at once; longer ones when the watch first looks at the attempt

Body = Callable[[Entry, StepConfig], Awaitable[Any]]


class Announcer(Protocol):
    """An execution, as the watch sees it."""

    @property
    def begun(self) -> bool: ...
    @property
    def committing(self) -> int: ...
    @property
    def snapshot(self) -> Snapshot: ...
    @property
    def services(self) -> Services: ...
    def begin(self, started: tuple[Entry, ...]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What every execution of a node shares."""

    committer: Committer
    clock: Clock
    log: Log
    threads: ThreadPool
    defaults: StepConfig
    plain: StepConfig | None  # what is recorded of a step that says nothing; None = the documented defaults
    resident: timedelta  # waits up to this long stay in memory
    result_bytes: int
    state_bytes: int  # of all results of one instance
    logs: LogLimits
    lease: Lease
    version_of: Callable[[str], str | None]  # the version of a workflow's code that this node runs
    watch: Callable[[Running], None]  # told of every attempt, so that long ones become visible
    finishing: Callable[[], None]  # told when a program has ended, before its end is on disk
    failed_attempt: Callable[[], None]  # telemetry
    rehearsal: Rehearsal | None = None  # only in tests

    def now(self) -> datetime:
        """Return the wall clock."""
        return self.clock.now()

    def encoded(self, output: Any) -> bytes:
        """Write the output of a workflow. Raises: NonRetryableError, TypeError, ValueError: it cannot be stored."""
        written = codec.encode(output, what="output")
        if len(written) > self.result_bytes:
            limit = self.result_bytes
            raise NonRetryableError(f"the workflow's output is {len(written):,} bytes; at most {limit:,} are stored (limits.result_bytes)")
        return written

    def tell(self, level: Literal["info", "warning", "error"], instance: Instance, event: str, **pairs: Any) -> None:
        """Write a line about an instance into the log; a program must not fail because nobody reads it any more."""
        with suppress(OSError, ValueError):
            getattr(self.log, level)(event, workflow=instance.workflow, instance=instance.id, **pairs)


class Running(CurrentStep):
    """One attempt under way. The watch makes it visible and arms its timeout when it is not over soon."""

    __slots__ = ("_cancellations", "_expired", "_timeout", "_timer", "entry", "execution", "live", "since", "task")

    def __init__(self, execution: Announcer, entry: Entry, timeout: timedelta, since: float, task: asyncio.Task[Any] | None) -> None:
        instance, services = execution.snapshot.instance, execution.services
        CurrentStep.__init__(
            self, instance.workflow, instance.id, entry.kind, entry.name, entry.count, entry.attempt, services.logs, services.clock.now
        )
        self.execution = execution
        self.entry = entry
        self.live = True
        self.since = since  # when it began, on the monotonic clock
        self.task = task
        self._cancellations = 0 if task is None else task.cancelling()  # that are older than the attempt
        self._timeout = timeout
        self._timer: asyncio.TimerHandle | None = None
        self._expired = False
        if timeout < SHORT:
            self._arm(timeout.total_seconds())

    def arm(self, now: float) -> None:
        """Start the clock of the timeout, for an attempt that is not over soon."""
        if self.live and self._timer is None:
            self._arm(max(0.0, self._timeout.total_seconds() - (now - self.since)))

    def end(self, raised: BaseException | None) -> BaseException | None:
        """Stop the clock, and return what the body has come to: an error, or None for a result. Too late a result is a StepTimeout."""
        if self._timer is None:
            return raised
        self._timer.cancel()
        if not self._expired or self.task is None:
            return raised
        cancelled = self.task.uncancel() > self._cancellations
        if raised is None or isinstance(raised, TimeoutError) or (isinstance(raised, asyncio.CancelledError) and not cancelled):
            return StepTimeout(f"Execution timed out after {self._timeout // timedelta(milliseconds=1)}ms")
        return raised  # of the body that was cancelled, or a cancellation by somebody else

    def cancelled(self) -> bool:
        """Whether a cancellation is meant for the attempt's task, and is not just an error that the body let out."""
        return self.task is None or self.task.cancelling() > 0

    def _arm(self, rest_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(rest_s, self._expire)

    def _expire(self) -> None:
        self._expired = True
        if self.task is not None:
            self.task.cancel()
