"""One verb for many instances, in the background: jobs that go through all instances of a workflow that match a filter.

Owns the jobs of this process and what is told of them. A job goes page by page over the instances that existed when it began, so that it
ends whatever is created meanwhile, and none is met twice. `stop` ends all jobs; what is done by then stays so, and the same order carries
on with the rest. Where the store is away a job waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from hub.core.clock import Clock
from hub.core.errors import Conflict, HubError, NotFound, Unavailable
from hub.core.ids import new_id
from hub.core.model import FINAL, InstanceQuery, Source, Status
from hub.core.ports import Engine, Log
from hub.core.writes import Verb

_AT_ONCE = 100  # one page, steered together so that they share a commit
_KEPT = 100  # jobs that have ended, to be asked about
_RUNNING = 4  # at once; more would only stand in each other's way
_TOLD = 10  # instances whose reason is told
_AGAIN_S = 1.0  # between two tries on a store that is away


class Action(StrEnum):
    """What a job does to each instance."""

    PAUSE = "pause"
    RESUME = "resume"
    TERMINATE = "terminate"
    RESTART = "restart"
    DELETE = "delete"


LIVE = frozenset(Status) - FINAL
DEFAULT_STATUSES = {
    Action.PAUSE: LIVE - {Status.PAUSED, Status.WAITING_FOR_PAUSE, Status.ROLLING_BACK},
    Action.RESUME: frozenset({Status.PAUSED, Status.WAITING_FOR_PAUSE}),
    Action.TERMINATE: LIVE,
    Action.RESTART: FINAL,  # and none that works, unless somebody says so
    Action.DELETE: FINAL,
}


class JobPhase(StrEnum):
    """How far a job has come."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"  # by somebody, or because the server stops
    FAILED = "failed"  # by a defect; the log says more


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOrder:
    """What is wanted: `filter` names the workflow, and the statuses if they are not those that the action is for."""

    action: Action
    filter: InstanceQuery
    rollback: bool = False
    cascade: bool = False

    def query(self, until: datetime) -> InstanceQuery:
        """Return the instances that the order is about at a moment."""
        filter = self.filter
        last = until if filter.created_to is None else min(until, filter.created_to)
        return replace(filter, statuses=filter.statuses or DEFAULT_STATUSES[self.action], created_to=last, ascending=True)


@dataclass(slots=True, kw_only=True)
class Job:
    """A job and what has become of its instances. `failed` = refused (an instance has ended, say); `told` has the reasons of the first."""

    id: str
    order: BulkOrder
    total: int
    started_at: datetime
    ended_at: datetime | None = None
    phase: JobPhase = JobPhase.RUNNING
    done: int = 0
    failed: int = 0
    told: list[tuple[str, HubError]] = field(default_factory=list)

    @property
    def workflow(self) -> str:
        """The workflow whose instances it goes through."""
        return self.order.filter.workflow or ""


class BulkJobs:
    """The jobs of this process, the newest ones."""

    def __init__(self, engine: Engine, clock: Clock, log: Log) -> None:
        self._engine = engine
        self._clock = clock
        self._log = log
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def count(self, order: BulkOrder) -> int:
        """Return how many instances an order is about now."""
        page = await self._engine.find(replace(order.query(self._clock.now()), limit=0, total=True))
        return page.total or 0

    async def start(self, order: BulkOrder) -> Job:
        """Start a job over the instances that exist now. Raises: Conflict when too many jobs run."""
        now = self._clock.now()
        if len(self._tasks) >= _RUNNING:
            raise Conflict(f"{_RUNNING} jobs run already; wait for the end of one, or stop one", code="job.too_many")
        job = Job(id=new_id(now), order=order, total=0, started_at=now)
        self._jobs[job.id] = job
        counted = asyncio.Event()
        task = self._tasks[job.id] = asyncio.create_task(self._run(job, counted), name=f"bulk {order.action} {job.workflow}")
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))
        await counted.wait()
        for old in [each.id for each in self._jobs.values() if each.id not in self._tasks][:-_KEPT]:
            del self._jobs[old]
        return job

    def of(self, workflow: str) -> Sequence[Job]:
        """Return the jobs of a workflow, newest first."""
        return [job for job in reversed(self._jobs.values()) if job.workflow == workflow]

    def job(self, workflow: str, id: str) -> Job:
        """Return one job of this node. Raises: NotFound."""
        job = self._jobs.get(id)
        if job is None or job.workflow != workflow:
            told = f'workflow "{workflow}" has no job "{id}" here; only the node that started a job knows it, until it ends: ask that node'
            raise NotFound(told, code="job.not_found")
        return job

    def terminating(self, workflow: str) -> bool:
        """Whether a job that terminates is at work on that workflow."""
        running = (self._jobs[id] for id in self._tasks)
        return any(job.workflow == workflow and job.order.action is Action.TERMINATE for job in running)

    async def end(self, job: Job) -> None:
        """Stop a job; when this returns it does nothing any more."""
        task = self._tasks.get(job.id)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def stop(self) -> None:
        """End the jobs and wait for their end."""
        await asyncio.gather(*[self.end(self._jobs[id]) for id in list(self._tasks)])

    async def _run(self, job: Job, counted: asyncio.Event) -> None:
        try:
            job.total = await self.count(job.order)
            counted.set()
            await self._go_through(job)
            job.phase = JobPhase.DONE
        except asyncio.CancelledError:
            job.phase = JobPhase.STOPPED
            raise
        except Exception as error:
            job.phase = JobPhase.FAILED
            self._log.error("job.failed", job=job.id, exc_info=error)
        finally:
            counted.set()
            job.ended_at = self._clock.now()
            told = {"job": job.id, "workflow": job.workflow, "action": job.order.action.value, "phase": job.phase.value}
            self._log.info("job.ended", **told, done=job.done, failed=job.failed)

    async def _go_through(self, job: Job) -> None:
        query: InstanceQuery | None = replace(job.order.query(job.started_at), limit=_AT_ONCE)
        while query is not None:
            try:
                page = await self._engine.find(query)
            except Unavailable:
                await self._clock.sleep(_AGAIN_S)
                continue
            left = [instance.id for instance in page.items]
            while left := await self._act_on(job, left):
                await self._clock.sleep(_AGAIN_S)
            query = None if page.cursor is None else replace(query, cursor=page.cursor)

    async def _act_on(self, job: Job, ids: list[str]) -> list[str]:
        """Do it to some instances; return those for which the store was away."""
        results = await asyncio.gather(*[self._act(job, id) for id in ids])
        for id, error in zip(ids, results, strict=True):
            if error is None:
                job.done += 1
            elif not isinstance(error, Unavailable):
                job.failed += 1
                job.told += [(id, error)] if len(job.told) < _TOLD else []
        return [id for id, error in zip(ids, results, strict=True) if isinstance(error, Unavailable)]

    async def _act(self, job: Job, id: str) -> HubError | None:
        order, workflow = job.order, job.workflow
        try:
            if order.action is Action.DELETE:
                await self._engine.delete(workflow, id)
            elif order.action is Action.RESTART:
                await self._engine.restart(workflow, id)
            else:
                verb, wishes = Verb(order.action.value), {"rollback": order.rollback, "cascade": order.cascade}
                await self._engine.steer(workflow, id, verb, **wishes, source=Source.API)
        except (Conflict, NotFound, Unavailable) as error:  # it ended or went away in the meantime, or it must be tried again
            return error
        return None
