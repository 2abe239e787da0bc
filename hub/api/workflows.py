"""The workflow resources of the REST API: workflows and their versions.

Reads the engine port and shapes the results; keeps nothing but the ids of workflows.
"""

from __future__ import annotations

from hub.api.envelope import result_info, timestamp
from hub.api.operation import Answer, Call
from hub.api.results import Done, VersionItem, WorkflowItem
from hub.api.shapes import PageQuery, WorkflowListQuery
from hub.core.errors import NotFound
from hub.core.model import Status, Version, VersionQuery, WorkflowQuery, WorkflowRecord
from hub.core.ports import Engine


class Directory:
    """The ids of workflows by name, so that creating an instance does not read its workflow each time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ids: dict[str, str] = {}

    async def id_of(self, name: str) -> str:
        """Return the id of a workflow. Raises: NotFound."""
        known = self._ids.get(name)
        if known is None:
            known = self._ids[name] = (await self._engine.workflow(name)).id
        return known

    def forget(self, name: str) -> None:
        """Ask again next time."""
        self._ids.pop(name, None)


class Workflows:
    """Handlers of `/workflows`."""

    def __init__(self, engine: Engine, directory: Directory) -> None:
        self._engine = engine
        self._directory = directory

    async def list(self, call: Call[WorkflowListQuery, None]) -> Answer:
        """Return one page of workflows."""
        query = call.query
        page = await self._engine.find(WorkflowQuery(search=query.search, limit=query.per_page, offset=query.offset))
        info = result_info(count=len(page.items), per_page=query.per_page, page=query.page, total=page.total, cursor=None)
        return Answer(result=[workflow_item(record) for record in page.items], info=info)

    async def get(self, call: Call[None, None]) -> Answer:
        """Return one workflow."""
        return Answer(result=workflow_item(await self._engine.workflow(call.workflow)))

    async def delete(self, call: Call[None, None]) -> Answer:
        """Forget a workflow with its instances."""
        self._directory.forget(call.workflow)
        await self._engine.delete_workflow(call.workflow)
        return Answer(result=Done(status="ok", success=True))

    async def versions(self, call: Call[PageQuery, None]) -> Answer:
        """Return one page of a workflow's versions."""
        workflow_id = await self._directory.id_of(call.workflow)
        query = call.query
        page = await self._engine.find(VersionQuery(workflow=call.workflow, limit=query.per_page, offset=query.offset))
        info = result_info(count=len(page.items), per_page=query.per_page, page=query.page, total=page.total, cursor=None)
        return Answer(result=[version_item(version, workflow_id) for version in page.items], info=info)

    async def version(self, call: Call[None, None]) -> Answer:
        """Return one version."""
        workflow_id = await self._directory.id_of(call.workflow)
        wanted = call.path["version"]
        page = await self._engine.find(VersionQuery(workflow=call.workflow, id=wanted, limit=1))
        if not page.items:
            raise NotFound(f'workflow "{call.workflow}" has no version "{wanted}"', code="version.not_found")
        return Answer(result=version_item(page.items[0], workflow_id))


def workflow_item(record: WorkflowRecord) -> WorkflowItem:
    """Shape a workflow; every status has a count."""
    return WorkflowItem(
        id=record.id,
        name=record.name,
        script_name=record.script_name,
        class_name=record.class_name,
        created_on=timestamp(record.created_at),
        modified_on=timestamp(record.modified_at),
        triggered_on=timestamp(record.triggered_at),
        instances={status.value: record.counts.get(status, 0) for status in Status},
    )


def version_item(version: Version, workflow_id: str) -> VersionItem:
    """Shape a version; it never changes after its creation."""
    created = timestamp(version.created_at)
    return VersionItem(
        id=version.id,
        workflow_id=workflow_id,
        class_name=version.class_name,
        created_on=created,
        modified_on=created,
        has_dag=False,
        language="python",
    )
