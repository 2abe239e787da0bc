"""The job resources of the REST API: do the same to many instances, look how far it has come, stop it."""

from __future__ import annotations

from typing import Any, cast

from hub.api import problems
from hub.api.bulk import BulkJobs, Job
from hub.api.envelope import result_info, timestamp
from hub.api.job_shapes import JobBody, JobFault, JobItem
from hub.api.operation import Answer, Call
from hub.api.workflows import Directory


class Jobs:
    """Handlers of `/workflows/{workflow}/jobs`."""

    def __init__(self, bulk: BulkJobs, directory: Directory) -> None:
        self._bulk = bulk
        self._directory = directory

    async def create(self, call: Call[None, JobBody]) -> Answer:
        """Start a job; a dry run only counts the instances."""
        await self._directory.id_of(call.workflow)
        order = call.body.order(call.workflow)
        if call.body.dry_run:
            total = await self._bulk.count(order)
            action = cast(Any, order.action.value)
            return Answer(result=JobItem(action=action, state="dry_run", total=total, done=0, failed=0, errors=[]))
        return Answer(result=_item(await self._bulk.start(order)))

    async def list(self, call: Call[None, None]) -> Answer:
        """Return the jobs of a workflow that this process runs or has run, newest first."""
        await self._directory.id_of(call.workflow)
        jobs = [_item(job) for job in self._bulk.of(call.workflow)]
        return Answer(result=jobs, info=result_info(count=len(jobs), per_page=len(jobs), page=None, total=None, cursor=None))

    async def get(self, call: Call[None, None]) -> Answer:
        """Return one job."""
        return Answer(result=_item(self._bulk.job(call.workflow, call.path["job"])))

    async def stop(self, call: Call[None, None]) -> Answer:
        """Stop a job; what it has done stays so."""
        job = self._bulk.job(call.workflow, call.path["job"])
        await self._bulk.end(job)
        return Answer(result=_item(job))


def _item(job: Job) -> JobItem:
    return JobItem(
        id=job.id,
        action=cast(Any, job.order.action.value),
        state=cast(Any, job.phase.value),
        total=max(job.total, job.done + job.failed),
        done=job.done,
        failed=job.failed,
        errors=[
            JobFault(id=id, code=problems.number(error.code), message=problems.worded(error.code, error.message)) for id, error in job.told
        ],
        started_on=timestamp(job.started_at),
        ended_on=timestamp(job.ended_at),
    )
