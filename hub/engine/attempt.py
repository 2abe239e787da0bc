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

from hub.core.clock import Clock
from hub.core.current import CURRENT, CurrentStep
from hub.core.errors import StepTimeout
from hub.core.logs import Logged, LogLimits
from hub.core.model import Entry, Instance, Snapshot, StepConfig
from hub.core.ports import Log
from hub.engine.committer import Committer
from hub.engine.rehearsal import Rehearsal
from hub.engine.threads import ThreadPool

SHORT_S = 0.05  # timeouts below this are armed at once; longer ones when the attempt has outlived the watch's first look

Body = Callable[[Entry, StepConfig], Awaitable[Any]]


class Announcer(Protocol):
    """An execution, as the watch sees it."""

    @property
    def begun(self) -> bool: ...
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
    resident: timedelta  # waits up to this long stay in memory
    result_bytes: int
    state_bytes: int  # of all results of one instance
    logs: LogLimits
    version_of: Callable[[str], str | None]  # the version of a workflow's code that this node runs
    watch: Callable[[Running], None]  # told of every attempt, so that long ones become visible
    failed_attempt: Callable[[], None]  # telemetry
    rehearsal: Rehearsal | None = None  # only in tests

    def now(self) -> datetime:
        """Return the wall clock."""
        return self.clock.now()

    def tell(self, level: Literal["info", "warning", "error"], instance: Instance, event: str, **pairs: Any) -> None:
        """Write a line about an instance into the log; a program must not fail because nobody reads it any more."""
        with suppress(OSError, ValueError):
            getattr(self.log, level)(event, workflow=instance.workflow, instance=instance.id, **pairs)


class Running:
    """One attempt under way. The watch makes it visible and arms its timeout when it is not over soon."""

    __slots__ = ("_config", "_current", "_deadline", "_since", "entry", "execution", "live", "task")

    def __init__(self, execution: Announcer, entry: Entry, config: StepConfig, since: float) -> None:
        self.execution = execution
        self.entry = entry
        self.live = True
        self.task = asyncio.current_task()
        self._config = config
        self._since = since
        instance, services = execution.snapshot.instance, execution.services
        name = (instance.workflow, instance.id, entry.kind, entry.name, entry.count)
        self._current = CurrentStep(*name, entry.attempt, services.logs, services.now)
        self._deadline: asyncio.Timeout | None = None

    @property
    def since(self) -> float:
        """When it began, on the monotonic clock."""
        return self._since

    async def run(self, body: Body) -> Any:
        """Run the body under its timeout. Raises: what the body raises, or StepTimeout; a late result is discarded."""
        timeout_s = self._config.timeout.total_seconds()
        token = CURRENT.set(self._current)
        try:
            async with asyncio.timeout(timeout_s if timeout_s < SHORT_S else None) as self._deadline:
                value = await body(self.entry, self._config)
        except TimeoutError:
            if self._deadline is None or not self._deadline.expired():
                raise  # the body's own
            raise self._timed_out() from None
        finally:
            CURRENT.reset(token)
        if self._deadline.expired():  # the body swallowed its cancellation
            raise self._timed_out()
        return value

    def logged(self) -> Logged | None:
        """Return what the attempt has logged, now that it is over."""
        return self._current.logged()

    def arm(self, now: float) -> None:
        """Start the clock of the timeout, for an attempt that is not over soon."""
        if self.live and self._deadline is not None and self._deadline.when() is None:
            rest_s = self._config.timeout.total_seconds() - (now - self._since)
            self._deadline.reschedule(asyncio.get_running_loop().time() + max(0.0, rest_s))

    def cancelled(self) -> bool:
        """Whether a cancellation is meant for the attempt's task, and is not just an error that the body let out."""
        return self.task is None or self.task.cancelling() > 0

    def _timed_out(self) -> StepTimeout:
        return StepTimeout(f"Execution timed out after {self._config.timeout // timedelta(milliseconds=1)}ms")
