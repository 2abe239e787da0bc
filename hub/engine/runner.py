"""The runner: holds the slots of this node, claims what is due, executes it, and keeps the node's lease.

It learns of changes from outside through `Store.signals` and through `refresh`. It never decides what a write means. The invariant: an
instance is executed only with a claim of this node, either returned by `Store.claim` or born with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hub.core import codec
from hub.core.clock import Clock
from hub.core.deliveries import provenance_of
from hub.core.errors import ErrorInfo, HubError
from hub.core.logs import LOG_LIMITS, LogLimits
from hub.core.model import Entry, InboxQuery, Instance, InstanceQuery, Snapshot, Status, StepConfig, Wish
from hub.core.ports import Log, Store
from hub.core.queues import KEPT
from hub.core.workflow import WorkflowEntrypoint, WorkflowEvent
from hub.core.writes import Finish, Park
from hub.engine.attempt import Announcer, Running, Services
from hub.engine.committer import Committer
from hub.engine.execution import Execution
from hub.engine.intake import Intake
from hub.engine.operations import Operations
from hub.engine.rehearsal import Rehearsal
from hub.engine.step import Step
from hub.engine.telemetry import Telemetry
from hub.engine.threads import ThreadPool

CLAIM = 256  # instances a claim: enough for one shared read, few enough that other nodes get some
WATCH_S = 0.02  # an attempt that outlives this gets a start record; shorter ones cost nothing
RETRY_S = 0.5  # the pause after the store was away
_ALWAYS = datetime.max.replace(tzinfo=UTC)
UNKNOWN_S = 60.0  # how long an instance waits whose workflow this node does not know


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """How much a node runs at once and how it stops."""

    slots: int = 1000
    threads: int = 32
    grace: timedelta = timedelta(seconds=10)
    resident: timedelta = timedelta(seconds=1)
    lease: timedelta = timedelta(seconds=10)
    poll: timedelta = timedelta(seconds=5)  # without a signal the store is asked that often, and dead nodes are looked for
    prune_every: timedelta = timedelta(minutes=1)
    deliveries_kept: timedelta | None = timedelta(days=30)  # stored ones that are not held; None = for ever
    messages_kept: timedelta | None = KEPT  # of the hub's own queues
    payload_bytes: int = 1 << 20
    result_bytes: int = 1 << 20
    state_bytes: int = 1 << 30
    logs: LogLimits = LOG_LIMITS
    steps: int = 10_000
    max_recoveries: int = 100  # an instance whose process dies more often than that is ended
    defaults: StepConfig = StepConfig()


class Wiring(NamedTuple):
    """The services of a node that the runner works with."""

    store: Store
    committer: Committer
    clock: Clock
    log: Log
    telemetry: Telemetry
    rehearsal: Rehearsal | None = None


class Program(NamedTuple):
    """What the runner knows of a workflow: how to make one, and how many steps an instance may have."""

    make: Callable[[], WorkflowEntrypoint]
    steps: int


class Runner:
    """Executes instances of the workflows in `programs`."""

    def __init__(
        self,
        wiring: Wiring,
        programs: Mapping[str, Program],
        intake: Intake,
        options: RunnerOptions,
    ) -> None:
        self._store, self._committer, self._clock, self._log, self._telemetry, _ = wiring
        self._programs = programs
        self._intake = intake
        self._options = options
        self._node: int | None = None
        self._resident: dict[int, Execution] = {}
        self._reserved = 0
        self._backlog = True  # until the first claim has told what an earlier run left behind
        self._stopping = False
        self._claimed_at = float("-inf")
        self._awake_at = _ALWAYS  # when the claim loop looks again by itself
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._young: deque[tuple[float, Announcer, Running | None]] = deque()
        self._watching: asyncio.TimerHandle | None = None
        self._threads = ThreadPool(options.threads)
        self._services = Services(
            committer=wiring.committer,
            clock=wiring.clock,
            log=wiring.log,
            threads=self._threads,
            defaults=options.defaults,
            resident=options.resident,
            result_bytes=options.result_bytes,
            state_bytes=options.state_bytes,
            logs=options.logs,
            version_of=intake.version_of,
            watch=self._watch,
            failed_attempt=wiring.telemetry.attempt_failed,
            rehearsal=wiring.rehearsal,
        )
        wiring.telemetry.resident = lambda: len(self._resident)

    @property
    def node(self) -> int | None:
        """The number of this node, once it has a lease."""
        return self._node

    @property
    def threads(self) -> ThreadPool:
        """The pool for synchronous bodies and handlers."""
        return self._threads

    # ---- life

    async def start(self) -> None:
        """Register the node and begin to claim; returns when the lease is on disk."""
        self._node = await self._store.renew(None, self._options.lease, self._clock.now())
        self._loops = [
            asyncio.create_task(self._keep(self._claim_due, "claim"), name="runner-claim"),
            asyncio.create_task(self._keep(self._renew, "lease"), name="runner-lease"),
            asyncio.create_task(self._keep(self._listen, "signals"), name="runner-signals"),
        ]

    async def stop(self) -> None:
        """Claim nothing more, give running bodies the grace period, park everything, give the lease back."""
        if self._stopping:
            return
        self._stopping = True
        self._wake.set()
        for loop in self._loops[1:]:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)  # a claim under way is waited for: its instances are parked below
        for execution in list(self._resident.values()):
            execution.leave(Status.QUEUED)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._emptied(), self._options.grace.total_seconds())
        if self._resident:
            self._log.warning("runner.grace_over", interrupted=len(self._resident), hint="they run again at the next start")
            for execution in list(self._resident.values()):
                execution.part()
            await self._committer.flush()
            for execution in list(self._resident.values()):
                execution.drop()
            await self._emptied()
        if self._watching is not None:
            self._watching.cancel()
        self._threads.close()
        if self._node is not None:
            with contextlib.suppress(HubError):
                await self._store.renew(self._node, timedelta(0), self._clock.now())

    async def _emptied(self) -> None:
        while self._resident:
            self._empty.clear()
            await self._empty.wait()

    # ---- intake

    def reserve(self) -> int | None:
        """Take a slot for an instance that is about to be created; returns the node that it is born claimed by, or None.

        A newcomer never overtakes instances that are already waiting in the store. A reserved slot is given back with `release`, or
        used with `adopt`.
        """
        if self._stopping or self._backlog or self._node is None or self._free() <= 0:
            self._backlog = True  # what is created now waits in the store; the next free slot must look there
            return None
        self._reserved += 1
        return self._node

    def release(self) -> None:
        """Give a reserved slot back."""
        self._reserved -= 1
        self._wake.set()

    def adopt(self, instance: Instance) -> None:
        """Execute an instance that was born claimed, in its reserved slot."""
        self._reserved -= 1
        self._execute(Snapshot(instance=instance))

    # ---- changes from outside

    async def refresh(self, key: int) -> None:
        """Bring an instance in memory up to date with the store: events that came, a wish of the operator, the loss of the claim."""
        execution = self._resident.get(key)
        if execution is None or execution.over:
            return
        page = await self._store.find(InstanceQuery(key=key, limit=1))
        head = page.items[0] if page.items else None
        if head is None or head.node != self._node or head.token != execution.snapshot.instance.token:
            execution.drop()
        elif head.wish is Wish.PAUSE:
            execution.leave(Status.PAUSED)
        elif head.wish is Wish.ROLL_BACK:
            execution.unwind()
        else:
            execution.stay()
            if head.inbox_seq > execution.replay.inbox_seen:
                events = await self._store.find(InboxQuery(instance=key, after=execution.replay.inbox_seen))
                for event in events.items:
                    execution.deliver(event)

    # ---- loops

    async def _keep(self, loop: Callable[[], Awaitable[None]], label: str) -> None:
        """Run a loop for ever: what goes wrong is told, and tried again after a pause."""
        while not self._stopping:
            try:
                await loop()
            except HubError as error:
                self._log.warning("runner.store_away", loop=label, error=error.message, retry_in_s=RETRY_S)
            except Exception as error:
                self._log.error("runner.loop_failed", loop=label, error=f"{type(error).__name__}: {error}")
            if not self._stopping:
                await self._clock.sleep(RETRY_S)

    async def _claim_due(self) -> None:
        """Claim what is due whenever a slot is free; look for instances of dead nodes at least every `poll`."""
        poll_s = self._options.poll.total_seconds()
        while self._node is not None and not self._stopping:
            self._wake.clear()
            self._awake_at = _ALWAYS  # while the store is asked, every new time may be news
            free = min(self._free(), CLAIM)
            if free <= 0:
                await self._pause(poll_s)
                continue
            now, monotonic = self._clock.now(), self._clock.monotonic()
            due = await self._store.next_due(now)
            wait = poll_s if due is None else min(poll_s, (due - now).total_seconds())
            overdue = self._claimed_at + poll_s - monotonic
            if wait > 0 and overdue > 0:
                self._backlog = False
                await self._pause(min(wait, overdue))
                continue
            claimed = await self._store.claim(self._node, free, now)
            self._claimed_at = monotonic
            for snapshot in claimed:
                self._telemetry.recovered += snapshot.instance.recoveries > 0
                self._execute(snapshot)
            self._backlog = len(claimed) == free

    async def _pause(self, seconds: float) -> None:
        """Return after that time, or at once when something may have become due."""
        self._awake_at = self._clock.now() + timedelta(seconds=seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(self._options.lease.total_seconds() / 3)
            await self._store.renew(self._node, self._options.lease, self._clock.now())

    async def _listen(self) -> None:
        async for key in self._store.signals():
            if key == 0:
                self._wake.set()
            else:
                await self.refresh(key)

    # ---- executing

    def _free(self) -> int:
        return self._options.slots - len(self._resident) - self._reserved

    def _execute(self, snapshot: Snapshot) -> None:
        instance = snapshot.instance
        program = self._programs.get(instance.workflow)
        if program is None:
            self._put_off(instance)
            return
        if instance.recoveries > self._options.max_recoveries:
            self._give_up(instance)
            return
        execution = self._resident[instance.key] = Execution(snapshot, self._services)
        step = Step(Operations(execution, program.steps), self._intake)
        execution.start(lambda: _run(program.make, snapshot.instance, step), step.undo, self._ended)
        if not execution.begun:
            self._young.append((self._clock.monotonic(), execution, None))
            self._arm_watch()
        if self._stopping:
            execution.leave(Status.QUEUED)

    def _put_off(self, instance: Instance) -> None:
        """Leave an instance alone whose workflow is not in this project; another node, or a later start, may know it."""
        self._log.warning(
            "instance.workflow_unknown", workflow=instance.workflow, instance=instance.id, retry_in_s=UNKNOWN_S,
            hint=f'add a [[workflows]] entry named "{instance.workflow}" to hub.toml, or delete the instance',
        )
        now = self._clock.now()
        self._committer.submit(
            Park(
                instance=instance.key,
                token=instance.token,
                at=now,
                status=Status.QUEUED,
                wake_at=now + timedelta(seconds=UNKNOWN_S),
                inbox_seen=instance.inbox_seq,
                started_at=instance.started_at or now,
            )
        )

    def _give_up(self, instance: Instance) -> None:
        """End an instance that keeps killing its process, so that the others can go on."""
        self._log.error("instance.too_many_recoveries", workflow=instance.workflow, instance=instance.id, recoveries=instance.recoveries)
        now = self._clock.now()
        message = f"its process died {instance.recoveries} times while it ran; look for what kills it, then restart the instance"
        self._committer.submit(
            Finish(
                instance=instance.key,
                token=instance.token,
                at=now,
                status=Status.ERRORED,
                started_at=instance.started_at or now,
                error=ErrorInfo(name="TooManyRecoveries", message=message),
            )
        )

    def _ended(self, execution: Execution, status: Status | None) -> None:
        self._resident.pop(execution.key, None)
        self._telemetry.completed += status is Status.COMPLETE
        self._telemetry.errored += status is Status.ERRORED
        parked_until = execution.parked_until
        if self._backlog or (parked_until is not None and parked_until < self._awake_at):
            self._wake.set()
        if not self._resident:
            self._empty.set()

    # ---- the watch over attempts

    def _watch(self, running: Running) -> None:
        self._young.append((running.since, running.execution, running))
        self._arm_watch()

    def _arm_watch(self) -> None:
        if self._watching is None:
            self._watching = asyncio.get_running_loop().call_later(WATCH_S, self._look)

    def _look(self) -> None:
        """Make attempts visible that have outlived the watch, and start the clock of their timeouts."""
        self._watching = None
        now = self._clock.monotonic()
        begun: dict[Announcer, list[Entry]] = {}
        while self._young and self._young[0][0] <= now - WATCH_S:
            _, execution, running = self._young.popleft()
            if running is None:
                if not execution.begun:
                    begun.setdefault(execution, [])
            elif running.live:
                running.arm(now)
                begun.setdefault(execution, []).append(running.entry)
        for execution, entries in begun.items():
            execution.begin(tuple(entries))
        if self._young:
            self._arm_watch()


async def _run(make: Callable[[], WorkflowEntrypoint], instance: Instance, step: Step) -> Any:
    event = WorkflowEvent(
        payload=codec.decode(instance.params),
        timestamp=instance.created_at,
        instance_id=instance.id,
        workflow_name=instance.workflow,
        schedule=instance.schedule,
        trigger=provenance_of(instance),
    )
    return await make().run(event, step)
