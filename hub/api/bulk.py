"""Terminating many instances in the background. Owns one task a workflow; `stop` ends them all, and what is terminated by then stays so."""

from __future__ import annotations

import asyncio

from hub.core.clock import Clock
from hub.core.errors import Conflict, NotFound
from hub.core.model import InstanceQuery, Source, Status
from hub.core.ports import Engine, Log
from hub.core.writes import Verb

_AT_ONCE = 100  # one page, steered together so that they share a commit


class Terminations:
    """The running jobs by workflow."""

    def __init__(self, engine: Engine, clock: Clock, log: Log) -> None:
        self._engine = engine
        self._clock = clock
        self._log = log
        self._jobs: dict[str, asyncio.Task[None]] = {}

    def start(self, workflow: str, statuses: frozenset[Status]) -> bool:
        """Start a job over the instances that exist now; False = one is running for that workflow."""
        if workflow in self._jobs:
            return False
        job = asyncio.create_task(self._run(workflow, statuses), name=f"terminate-all {workflow}")
        self._jobs[workflow] = job
        job.add_done_callback(lambda _: self._jobs.pop(workflow, None))
        return True

    def running(self, workflow: str) -> bool:
        """Whether a job is at work on that workflow."""
        return workflow in self._jobs

    async def stop(self) -> None:
        """End the jobs and wait for their end."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    async def _run(self, workflow: str, statuses: frozenset[Status]) -> None:
        count, cursor, until = 0, None, self._clock.now()
        try:
            while True:
                query = InstanceQuery(workflow=workflow, statuses=statuses, created_to=until, limit=_AT_ONCE, cursor=cursor)
                page = await self._engine.find(query)
                count += sum(await asyncio.gather(*[self._terminate(workflow, instance.id) for instance in page.items]))
                if page.cursor is None:
                    break
                cursor = page.cursor
        except Exception as error:
            self._log.error("terminate_all.failed", workflow=workflow, terminated=count, exc_info=error)
        else:
            self._log.info("terminate_all.done", workflow=workflow, terminated=count)

    async def _terminate(self, workflow: str, id: str) -> bool:
        try:
            await self._engine.steer(workflow, id, Verb.TERMINATE, source=Source.API)
        except (Conflict, NotFound):
            return False  # it ended or went away in the meantime
        return True
