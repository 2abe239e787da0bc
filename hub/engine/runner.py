"""The runner: holds the slots of this node, claims what is due, executes it, and keeps the node's lease.

It learns of changes from outside through `Store.signals` and through `refresh`. It never decides what a write means. The invariant: an
instance is executed only with a claim of this node, either returned by `Store.claim` or born with it, and only if its workflow is one that
this node knows and may execute; all others are left to other nodes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

from hub.core.clock import Clock
from hub.core.errors import ErrorInfo, HubError
from hub.core.logs import LOG_LIMITS, LogLimits
from hub.core.model import InboxQuery, Instance, InstanceQuery, Snapshot, Status, StepConfig, Wish
from hub.core.nodes import SOMETHING_DUE, NodeAbout, Role
from hub.core.ports import Log, Store
from hub.core.queues import KEPT
from hub.core.writes import Finish
from hub.engine.attempt import Services
from hub.engine.committer import Committer
from hub.engine.execution import Execution
from hub.engine.intake import Intake
from hub.engine.lease import Lease
from hub.engine.operations import Operations
from hub.engine.program import Program
from hub.engine.rehearsal import Rehearsal
from hub.engine.step import Step
from hub.engine.telemetry import Telemetry
from hub.engine.threads import ThreadPool
from hub.engine.watch import Watch

CLAIM = 256  # instances a claim: enough for one shared read, few enough that other nodes get some
_FLUSH_S = 5.0  # for the last writes of a node that stops
RETRY_S = 0.5  # the pause after the store was away
_ALWAYS = datetime.max.replace(tzinfo=UTC)
_MOMENT_S = 0.001  # a pause is not shorter: what rounding leaves of one would pass no time at all
_LOOKS = 4  # for instances of dead nodes in one lease: with the lease itself that is how long a take-over takes


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """How much a node runs at once and how it stops."""

    roles: tuple[Role, ...] = tuple(Role)
    workflows: tuple[str, ...] = ()  # whose instances this node executes; none = those of all that it knows
    version: str = ""  # of the hub, for whoever looks at the nodes
    slots: int = 1000
    threads: int = 32
    grace: timedelta = timedelta(seconds=10)
    resident: timedelta = timedelta(seconds=1)
    lease: timedelta = timedelta(seconds=10)
    poll: timedelta = timedelta(seconds=5)  # without a signal the store is asked at least that often
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
        self._own = _executed(programs, options)
        self._lease = Lease(self._store, self._clock, options.lease, self._look_at_all)
        self._poll_s = min(options.poll, options.lease / _LOOKS).total_seconds()
        self._resident: dict[int, Execution] = {}
        self._unsure: list[int] = []  # keys of what this node was given while others may have taken it for dead
        self._reserved = 0
        self._finishing = 0  # of the resident ones: their programs have ended, and their slots are free
        self._backlog = True  # until the first claim has told what an earlier run left behind
        self._stopping = self._stopped = False
        self._claimed_at = float("-inf")
        self._awake_at = _ALWAYS  # when the claim loop looks again by itself
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._claiming: asyncio.Task[None] | None = None
        self._loops: list[asyncio.Task[None]] = []
        self._watch = Watch(self._clock)
        self._threads = ThreadPool(options.threads)
        self._services = Services(
            committer=wiring.committer,
            clock=wiring.clock,
            log=wiring.log,
            threads=self._threads,
            defaults=options.defaults,
            plain=None if options.defaults == StepConfig() else options.defaults,
            resident=options.resident,
            result_bytes=options.result_bytes,
            state_bytes=options.state_bytes,
            logs=options.logs,
            version_of=intake.version_of,
            lease=self._lease,
            watch=self._watch.over,
            finishing=self._finish,
            failed_attempt=wiring.telemetry.attempt_failed,
            rehearsal=wiring.rehearsal,
        )
        wiring.telemetry.resident = lambda: len(self._resident)

    @property
    def node(self) -> int | None:
        """The number of this node, once it has a lease."""
        return self._lease.node

    @property
    def threads(self) -> ThreadPool:
        """The pool for synchronous bodies and handlers."""
        return self._threads

    # ---- life

    async def start(self, url: str | None = None) -> None:
        """Register the node and begin to claim; returns when the lease is on disk. `url` is where it listens, if it does."""
        options = self._options
        await self._lease.take(
            NodeAbout(
                host=socket.gethostname(),
                pid=os.getpid(),
                version=options.version,
                url=url,
                roles=options.roles,
                workflows=self._own,
                slots=options.slots if self._own else 0,
            )
        )
        self._loops = [
            asyncio.create_task(self._keep(self._lease.keep, "lease"), name="runner-lease"),
            asyncio.create_task(self._keep(self._listen, "signals"), name="runner-signals"),
        ]
        if self._own:
            self._claiming = asyncio.create_task(self._keep(self._claim_due, "claim"), name="runner-claim")

    def retire(self) -> None:
        """Claim nothing more, and let go at once of all that no running body holds: other nodes go on with it. Safe twice."""
        if self._stopping:
            return
        self._stopping = True
        self._wake.set()
        for execution in list(self._resident.values()):
            execution.leave(Status.QUEUED)

    async def stop(self) -> None:
        """Retire, give running bodies the grace period, park everything, give the lease back. Safe twice."""
        if self._stopped:
            return
        self._stopped = True
        self.retire()
        if self._claiming is not None:
            if self._unsure:  # it asks what is still ours, perhaps a store that is away; without a lease others take that over
                self._claiming.cancel()
            await asyncio.wait({self._claiming})  # a claim under way is waited for: its instances are parked, too
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._emptied(), self._options.grace.total_seconds())
        if self._resident:
            self._log.warning("runner.grace_over", interrupted=len(self._resident), hint="they run again at the next start")
            for execution in list(self._resident.values()):
                execution.part()
            with contextlib.suppress(TimeoutError):  # of a store that is away
                await asyncio.wait_for(self._committer.flush(), _FLUSH_S)
            for execution in list(self._resident.values()):
                execution.drop()
            await self._emptied()
        for loop in self._loops:  # not before: whoever holds running bodies needs its lease, and hears what is wished of them
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._watch.close()
        self._threads.close()
        with contextlib.suppress(HubError):
            await self._lease.give_back()

    async def _emptied(self) -> None:
        while self._resident:
            self._empty.clear()
            await self._empty.wait()

    # ---- intake

    def reserve(self, workflow: str) -> int | None:
        """Take a slot for an instance that is about to be created; returns the node that it is born claimed by, or None.

        A newcomer never overtakes instances that are already waiting in the store. A reserved slot is given back with `release`, or
        used with `adopt`.
        """
        if workflow not in self._own:
            return None  # it waits in the store for a node that executes it
        if self._stopping or self._backlog or self.node is None or self._free() <= 0:
            self._backlog = True  # what is created now waits in the store; the next free slot must look there
            return None
        self._reserved += 1
        return self.node

    def release(self) -> None:
        """Give a reserved slot back."""
        self._reserved -= 1
        self._wake.set()

    def adopt(self, instance: Instance) -> None:
        """Execute an instance that was born claimed, in its reserved slot."""
        self._reserved -= 1
        self._begin([Snapshot(instance=instance)], instance.created_at)

    # ---- changes from outside

    async def refresh(self, key: int) -> None:
        """Bring an instance in memory up to date with the store: events that came, a wish of the operator, the loss of the claim."""
        execution = self._resident.get(key)
        if execution is None or execution.over:
            return
        page = await self._store.find(InstanceQuery(key=key, limit=1))
        head = page.items[0] if page.items else None
        if head is None or head.node != self.node or head.token != execution.snapshot.instance.token:
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

    async def _look_at_all(self) -> None:
        """Find out what is still ours after others may have taken this node for dead; what is not is dropped. Raises: Unavailable."""
        self._log.warning("runner.lease_lapsed", node=self.node, instances=len(self._resident))
        for key in list(self._resident):
            await self.refresh(key)

    # ---- loops

    async def _keep(self, loop: Callable[[], Awaitable[None]], label: str) -> None:
        """Run a loop until it is cancelled, or ends while the node stops: what goes wrong is told, and tried again after a pause."""
        while True:
            try:
                await loop()
                if self._stopping:
                    return
            except HubError as error:
                self._log.warning("runner.store_away", loop=label, error=error.message, retry_in_s=RETRY_S)
            except Exception as error:
                self._log.error("runner.loop_failed", loop=label, error=f"{type(error).__name__}: {error}")
            await self._clock.sleep(RETRY_S)

    async def _claim_due(self) -> None:
        """Claim what is due whenever a slot is free; look for instances of dead nodes several times in a lease."""
        poll_s = self._poll_s
        while self.node is not None and not self._stopping:
            if self._unsure:
                await self._make_sure()
            self._wake.clear()
            self._awake_at = _ALWAYS  # while the store is asked, every new time may be news
            free = min(self._free(), CLAIM)
            if free <= 0:
                await self._pause(poll_s)
                continue
            now, monotonic = self._clock.now(), self._clock.monotonic()
            due = await self._store.next_due(now, self._own)
            wait = poll_s if due is None else min(poll_s, (due - now).total_seconds())
            overdue = self._claimed_at + poll_s - monotonic
            if wait > 0 and overdue > 0:
                self._backlog = False
                await self._pause(max(min(wait, overdue), _MOMENT_S))
                continue
            claimed = await self._store.claim(self.node, free, now, self._own)
            full = len(claimed) == free  # then there may be more of dead nodes: look again at once
            self._claimed_at = float("-inf") if full else monotonic
            self._telemetry.recovered += sum(snapshot.instance.recoveries > 0 for snapshot in claimed)
            self._begin(claimed, now)
            self._backlog = full

    async def _pause(self, seconds: float) -> None:
        """Return after that time, or at once when something may have become due."""
        self._awake_at = self._clock.now() + timedelta(seconds=seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def _listen(self) -> None:
        async for key in self._store.signals():
            if key == SOMETHING_DUE:
                self._wake.set()
            else:
                await self.refresh(key)

    # ---- executing

    def _free(self) -> int:
        return self._options.slots - len(self._resident) + self._finishing - self._reserved - len(self._unsure)

    def _begin(self, claimed: Sequence[Snapshot], asked: datetime) -> None:
        """Execute what was asked for at a moment, unless others may have taken this node for dead since: then they may have it by now."""
        if self._lease.over_since(asked):
            self._unsure += [snapshot.instance.key for snapshot in claimed]
            self._wake.set()
            return
        for snapshot in claimed:
            self._execute(snapshot)

    async def _make_sure(self) -> None:
        """Execute what is still ours of what we are unsure of. Raises: Unavailable."""
        while self._unsure:
            snapshot = await self._lease.surely(partial(self._store.load, self._unsure[0]))
            key = self._unsure.pop(0)
            if snapshot is not None and snapshot.instance.node == self.node and key not in self._resident:
                self._execute(snapshot)

    def _execute(self, snapshot: Snapshot) -> None:
        instance = snapshot.instance
        if instance.recoveries > self._options.max_recoveries:
            self._give_up(instance)
            return
        zombie = self._resident.get(instance.key)
        if zombie is not None:  # it has not heard yet that its claim was lost: to a node that has given the instance up since
            zombie.drop()
        program = self._programs[instance.workflow]
        execution = self._resident[instance.key] = Execution(snapshot, self._services)
        step = Step(Operations(execution, program.steps), self._intake)
        execution.start(partial(program.run, instance, step), step.undo, self._ended)
        if not execution.begun:
            self._watch.start_of(execution)
        if self._stopping:
            execution.leave(Status.QUEUED)

    def _give_up(self, instance: Instance) -> None:
        """End an instance that keeps killing its process, so that the others can go on."""
        self._log.error("instance.too_many_recoveries", workflow=instance.workflow, instance=instance.id, recoveries=instance.recoveries)
        now = self._clock.now()
        message = f"its process died {instance.recoveries} times while it ran; look for what kills it, then restart the instance"
        error, started_at = ErrorInfo(name="TooManyRecoveries", message=message), instance.started_at or now
        self._committer.submit(
            Finish(instance=instance.key, token=instance.token, at=now, status=Status.ERRORED, started_at=started_at, error=error)
        )

    def _finish(self) -> None:
        """Free the slot of a program that has ended."""
        self._finishing += 1
        if self._backlog:
            self._wake.set()

    def _ended(self, execution: Execution, status: Status | None) -> None:
        self._watch.end_of(execution)
        if self._resident.get(execution.key) is execution:
            del self._resident[execution.key]
        self._telemetry.completed += status is Status.COMPLETE
        self._telemetry.errored += status is Status.ERRORED
        parked_until = execution.parked_until
        if execution.finishing:  # its slot has been free for a while
            self._finishing -= 1
        elif self._backlog or (parked_until is not None and parked_until < self._awake_at):
            self._wake.set()
        if not self._resident:
            self._empty.set()


def _executed(programs: Mapping[str, Program], options: RunnerOptions) -> tuple[str, ...]:
    """Return the workflows whose instances the node executes."""
    if Role.RUN not in options.roles:
        return ()
    return tuple(name for name in programs if not options.workflows or name in options.workflows)
