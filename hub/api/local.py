"""The second door: `wrangler workflows … --local`, which talks to a development server on its own machine and sends no token.

The rows below `LOCAL_ROOT` have the handlers of the REST API, with the differences that stand here. Who may come in is decided in
`dispatch.py`: programs of this machine, never a page in a browser, and where the hub wants a token nobody without one.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import cast

from pydantic import Field

from hub.api.envelope import ResultInfo
from hub.api.instances import Instances
from hub.api.operation import Answer, Call
from hub.api.results import Done
from hub.api.shapes import InstanceListQuery, WorkflowListQuery
from hub.core.clock import Clock
from hub.core.errors import NotFound
from hub.core.model import InstanceQuery, Status
from hub.core.ports import Engine

LOCAL_ROOT = "/cdn-cgi/local/explorer/api"
_AT_ONCE = 100  # deleted together, so that they share a commit


class LocalWorkflowListQuery(WorkflowListQuery):
    """Which workflows; this door's client reads one page and takes it for all."""

    per_page: int = Field(default=1000, ge=1, le=1000)


class LocalInstanceListQuery(InstanceListQuery):
    """Which instances of a workflow, by pages."""

    page: int | None = Field(default=1, ge=1, le=1_000_000)
    per_page: int = Field(default=25, ge=1, le=100)


class LocalDoor:
    """Handlers of this door that are not those of the REST API."""

    def __init__(self, engine: Engine, instances: Instances, clock: Clock) -> None:
        self._engine = engine
        self._instances = instances
        self._clock = clock

    async def list(self, call: Call[InstanceListQuery, None]) -> Answer:
        """Return one page of a workflow's instances, and how many there are in each status."""
        answer = await self._instances.list(call)
        counts = (await self._engine.workflow(call.workflow)).counts
        told = ResultInfo(**cast(ResultInfo, answer.info), status_counts={status.value: counts.get(status, 0) for status in Status})
        return replace(answer, info=told)

    async def clear(self, call: Call[None, None]) -> Answer:
        """Forget the instances of a workflow that exist now. The workflow stays: a development server runs on."""
        query = InstanceQuery(
            workflow=(await self._engine.workflow(call.workflow)).name, created_to=self._clock.now(), limit=_AT_ONCE
        )
        while found := (await self._engine.find(query)).items:
            await asyncio.gather(*[self._forget(call.workflow, instance.id) for instance in found])
        return Answer(result=Done(status="ok", success=True))

    async def _forget(self, workflow: str, id: str) -> None:
        with contextlib.suppress(NotFound):  # it went away in the meantime
            await self._engine.delete(workflow, id)
