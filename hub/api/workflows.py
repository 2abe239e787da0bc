"""The workflow resources of the REST API: workflows and their versions.

Reads the engine port and shapes the results; keeps nothing but the ids of workflows.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from hub.api.bulk import BulkJobs
from hub.api.envelope import result_info, timestamp
from hub.api.operation import Answer, Call
from hub.api.results import Done, VersionGraph, VersionItem, WorkflowChange, WorkflowItem, WorkflowSchedule
from hub.api.shapes import PageQuery, UpdateBody, WorkflowListQuery
from hub.core.delivery import TriggerView
from hub.core.desk import Desk
from hub.core.errors import Conflict, NotFound
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

    def __init__(self, engine: Engine, desk: Desk, directory: Directory, bulk: BulkJobs) -> None:
        self._engine = engine
        self._desk = desk
        self._directory = directory
        self._bulk = bulk

    async def list(self, call: Call[WorkflowListQuery, None]) -> Answer:
        """Return one page of workflows."""
        query = call.query
        page = await self._engine.find(WorkflowQuery(search=query.search, limit=query.per_page, offset=query.offset))
        info = result_info(count=len(page.items), per_page=query.per_page, page=query.page, total=page.total, cursor=None)
        schedules = schedules_of(await self._desk.triggers())
        return Answer(result=[workflow_item(record, schedules.get(record.name)) for record in page.items], info=info)

    async def get(self, call: Call[None, None]) -> Answer:
        """Return one workflow."""
        record = await self._engine.workflow(call.workflow)
        return Answer(result=workflow_item(record, schedules_of(await self._desk.triggers()).get(record.name)))

    async def update(self, call: Call[None, UpdateBody]) -> Answer:
        """Accept an update that changes nothing, as a deployment of the same project sends it; refuse any other."""
        record = await self._engine.workflow(call.workflow)
        _refuse_changes(record, call.body, await self._desk.triggers())
        page = await self._engine.find(VersionQuery(workflow=record.name, limit=1))
        return Answer(
            result=WorkflowChange(
                id=record.id,
                name=record.name,
                script_name=record.script_name,
                class_name=record.class_name,
                version_id=page.items[0].id,
                created_on=timestamp(record.created_at),
                modified_on=timestamp(record.modified_at),
                triggered_on=timestamp(record.triggered_at),
                is_deleted=0,
                terminator_running=int(self._bulk.terminating(record.name)),
            )
        )

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
        return Answer(result=await self._version(call))

    async def graph(self, call: Call[None, None]) -> Answer:
        """Return one version with its graph, which there is none of."""
        item = await self._version(call)
        return Answer(
            result=VersionGraph(
                id=item["id"],
                workflow_id=item["workflow_id"],
                class_name=item["class_name"],
                created_on=item["created_on"],
                modified_on=item["modified_on"],
                graph=None,
            )
        )

    async def _version(self, call: Call[None, None]) -> VersionItem:
        workflow_id = await self._directory.id_of(call.workflow)
        wanted = call.path["version"]
        page = await self._engine.find(VersionQuery(workflow=call.workflow, id=wanted, limit=1))
        if not page.items:
            raise NotFound(f'workflow "{call.workflow}" has no version "{wanted}"', code="version.not_found")
        return version_item(page.items[0], workflow_id)


def _refuse_changes(record: WorkflowRecord, body: UpdateBody, triggers: Iterable[TriggerView]) -> None:
    """Raise Conflict when an update asks for something else than what the project declares: it would not outlive the next start."""
    cure = f'workflows are declared in hub.toml: change the [[workflows]] table of "{record.name}" there and start the hub again'
    for key, is_now, wanted in (
        ("script_name", record.script_name, body.script_name),
        ("class_name", record.class_name, body.class_name),
    ):
        if is_now != wanted:
            raise Conflict(f'{key} of "{record.name}" is "{is_now}" and cannot become "{wanted}" here; {cure}', code="workflow.declared")
    declared = sorted(str(view.settings["cron"]) for view in triggers if view.record.workflow == record.name and "cron" in view.settings)
    wishes = [key for key in body.wishes if key != "schedules" or body.crons != declared]
    if wishes:
        raise Conflict(f"{', '.join(wishes)} cannot be set here; {cure}", code="workflow.declared")


def schedules_of(triggers: Iterable[TriggerView]) -> dict[str, list[WorkflowSchedule]]:
    """Return the schedules of each workflow that are going to create an instance. One that is paused, or has ended, is not."""
    found: dict[str, list[WorkflowSchedule]] = {}
    for view in triggers:
        cron, next_at = view.settings.get("cron"), view.health.facts.get("next_at")
        if view.record.workflow is not None and isinstance(cron, str) and isinstance(next_at, str):
            schedule = WorkflowSchedule(cron=cron, next_instance=timestamp(datetime.fromisoformat(next_at)))
            found.setdefault(view.record.workflow, []).append(schedule)
    return found


def workflow_item(record: WorkflowRecord, schedules: list[WorkflowSchedule] | None = None) -> WorkflowItem:
    """Shape a workflow; every status has a count."""
    item = WorkflowItem(
        id=record.id,
        name=record.name,
        script_name=record.script_name,
        class_name=record.class_name,
        created_on=timestamp(record.created_at),
        modified_on=timestamp(record.modified_at),
        triggered_on=timestamp(record.triggered_at),
        instances={status.value: record.counts.get(status, 0) for status in Status},
    )
    if schedules:
        item["schedules"] = schedules
    return item


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
