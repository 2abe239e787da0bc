"""The instance resources of the REST API: create, list, describe, steer, send events, delete.

Shapes requests and results; every rule is the engine's.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

from hub.api import problems
from hub.api.bulk import Action, BulkJobs, BulkOrder
from hub.api.describe import describe_instance, describe_step, error_item
from hub.api.envelope import Note, result_info, timestamp
from hub.api.operation import Answer, Call, Live
from hub.api.patience import LONGEST, Patience
from hub.api.results import (
    CreatedItem,
    DeletedBatch,
    DeletedItem,
    DeleteFault,
    Done,
    EventSent,
    InstanceItem,
    JobState,
    LogItem,
    StatusChange,
)
from hub.api.shapes import (
    CreateBody,
    CreateQuery,
    DeleteBatchBody,
    DescribeQuery,
    InstanceListQuery,
    LogListQuery,
    StatusBody,
    StepQuery,
    SubscribeQuery,
    TerminateAllQuery,
)
from hub.api.workflows import Directory
from hub.core.clock import Clock
from hub.core.codec import plain
from hub.core.errors import NotFound, Rejected, Unavailable
from hub.core.labels import read_labels
from hub.core.logs import LogQuery, StoredLine
from hub.core.model import FINAL, Instance, InstanceQuery, Kind, Source, Status
from hub.core.outside import parse_json
from hub.core.ports import Created, CreateRequest, Engine
from hub.core.preference import asked_wait
from hub.core.retention import AS_THE_WORKFLOW, read_retention
from hub.core.writes import Verb


class Instances:
    """Handlers of `/workflows/{workflow}/instances`."""

    def __init__(self, engine: Engine, directory: Directory, bulk: BulkJobs, clock: Clock, patience: Patience) -> None:
        self._engine = engine
        self._directory = directory
        self._bulk = bulk
        self._clock = clock
        self._patience = patience

    async def create(self, call: Call[CreateQuery, CreateBody]) -> Answer:
        """Create one instance; it is on disk when this returns. Who waits for its end gets 202 when it has not come in time."""
        wait = asked_wait(call.query.wait, call.prefer, LONGEST)
        created = await self._engine.create(_request(call.workflow, call.body))
        item = _created_item(created, await self._directory.id_of(call.workflow))
        if wait is None:
            return Answer(result=item)
        with contextlib.suppress(NotFound, Unavailable):  # it was created whatever becomes of the wait: an error would bring it again
            ended = await self._patience.end_of(self._engine, call.workflow, created.id, wait.timeout)
            item["status"] = ended.status.value
            if ended.status in FINAL:
                item["output"] = None if ended.output is None else plain(ended.output)
                item["error"] = error_item(ended.error)
                return Answer(result=item, headers=wait.headers)
        return Answer(result=item, status=202, headers=wait.headers)

    async def create_batch(self, call: Call[None, list[CreateBody]]) -> Answer:
        """Create up to 100 instances in one commit; what could not be created is told in `messages`."""
        workflow_id = await self._directory.id_of(call.workflow)
        batch = await self._engine.create_batch([_request(call.workflow, item) for item in call.body])
        messages = tuple(
            Note(code=problems.number(error.code), message=problems.worded(error.code, f"[{error.index}]: {error.message}"))
            for error in batch.errors
        )
        return Answer(result=[_created_item(created, workflow_id) for created in batch.created], messages=messages)

    async def list(self, call: Call[InstanceListQuery, None]) -> Answer:
        """Return one page of a workflow's instances, newest first unless asked otherwise."""
        workflow_id = await self._directory.id_of(call.workflow)
        query = call.query
        number = None if query.cursor is not None else query.page or 1
        page = await self._engine.find(
            InstanceQuery(
                workflow=call.workflow,
                statuses=query.status,
                created_from=query.date_start,
                created_to=query.date_end,
                modified_from=query.modified_start,
                modified_to=query.modified_end,
                ended_from=query.ended_start,
                ended_to=query.ended_end,
                trigger=query.trigger,
                version=query.version,
                labels=query.labels,
                ascending=query.direction == "asc",
                limit=query.per_page,
                offset=0 if number is None else (number - 1) * query.per_page,
                cursor=query.cursor,
                total=number is not None,
            )
        )
        info = result_info(count=len(page.items), per_page=query.per_page, page=number, total=page.total, cursor=page.cursor)
        return Answer(result=[_instance_item(instance, workflow_id) for instance in page.items], info=info)

    async def describe(self, call: Call[DescribeQuery, None]) -> Answer:
        """Return one instance with its steps; `latest` is the newest one."""
        snapshot = await self._engine.describe(call.workflow, call.instance)
        parent = await self._parent_of(snapshot.instance)
        result = describe_instance(snapshot, parent=parent, descending=call.query.order == "desc", simple=call.query.simple)
        return Answer(result=result)

    async def step(self, call: Call[StepQuery, None]) -> Answer:
        """Return one step with its whole output."""
        snapshot = await self._engine.describe(call.workflow, call.instance)
        return Answer(result=describe_step(snapshot, call.query.name, Kind(call.query.type), call.query.attempt))

    async def logs(self, call: Call[LogListQuery, None]) -> Answer:
        """Return one page of what the steps of an instance have logged, in the order in which their attempts ended."""
        instance = await self._engine.instance(call.workflow, call.instance)
        asked = call.query
        query = LogQuery(
            instance=instance.key, step=asked.step, attempt=asked.attempt, level=asked.level, limit=asked.per_page, cursor=asked.cursor
        )
        page = await self._engine.find(query)
        info = result_info(count=len(page.items), per_page=asked.per_page, page=None, total=None, cursor=page.cursor)
        return Answer(result=[_log_item(stored) for stored in page.items], info=info)

    async def subscribe(self, call: Call[SubscribeQuery, None]) -> Live:
        """Follow one instance: its history, then what happens."""
        cursor = call.query.cursor if call.last_event is None else _number(call.last_event)
        return Live(events=await self._engine.subscribe(call.workflow, call.instance, cursor, call.query.types))

    async def edit_status(self, call: Call[None, StatusBody]) -> Answer:
        """Pause, resume, terminate or restart an instance."""
        body = call.body
        if body.status == "restart":
            status = await self._engine.restart(call.workflow, call.instance, body.restart_point)
        else:
            status = await self._engine.steer(
                call.workflow, call.instance, Verb(body.status), rollback=body.rollback, cascade=body.cascade, source=Source.API
            )
        return Answer(result=StatusChange(status=status.value, timestamp=timestamp(self._clock.now())))

    async def send_event(self, call: Call[None, Any]) -> Answer:
        """Put an event into the inbox of an instance; the body is its payload."""
        sent_at = await self._engine.send_event(call.workflow, call.instance, call.path["type"], call.body)
        return Answer(result=EventSent(instanceId=call.instance, timestamp=timestamp(sent_at)))

    async def delete(self, call: Call[None, None]) -> Answer:
        """Forget one instance."""
        await self._engine.delete(call.workflow, call.instance)
        return Answer(result=Done(status="ok", success=True))

    async def delete_batch(self, call: Call[None, DeleteBatchBody]) -> Answer:
        """Forget several instances; one result for each position of the request, a repeated id is deleted once."""
        await self._directory.id_of(call.workflow)
        wanted = list(dict.fromkeys(call.body.instances))
        faults = dict(zip(wanted, await asyncio.gather(*[self._try_delete(call.workflow, id) for id in wanted]), strict=True))
        result = DeletedBatch(deleted=[], errors=[])
        for id in call.body.instances:
            fault = faults[id]
            if fault is None:
                result["deleted"].append(DeletedItem(id=id))
            else:
                result["errors"].append(fault)
        return Answer(result=result)

    async def terminate_all(self, call: Call[TerminateAllQuery, None]) -> Answer:
        """Start terminating every instance of a status in the background; without a status all that have not ended."""
        await self._directory.id_of(call.workflow)
        if self._bulk.terminating(call.workflow):
            return Answer(result=JobState(status="already_running"))
        statuses = frozenset({Status(call.query.status)}) if call.query.status else frozenset()
        await self._bulk.start(BulkOrder(action=Action.TERMINATE, filter=InstanceQuery(workflow=call.workflow, statuses=statuses)))
        return Answer(result=JobState(status="ok"))

    async def _parent_of(self, instance: Instance) -> Instance | None:
        """Return the instance that started another one, as long as it is kept."""
        if instance.parent is None:
            return None
        page = await self._engine.find(InstanceQuery(key=instance.parent.key, limit=1))
        return page.items[0] if page.items else None

    async def _try_delete(self, workflow: str, id: str) -> DeleteFault | None:
        try:
            await self._engine.delete(workflow, id)
        except (NotFound, Rejected) as error:
            return DeleteFault(id=id, code=problems.number(error.code), message=problems.worded(error.code, error.message))
        return None


def _request(workflow: str, body: CreateBody) -> CreateRequest:
    retention = AS_THE_WORKFLOW if body.instance_retention is None else read_retention(body.instance_retention.model_dump())
    return CreateRequest(
        workflow=workflow,
        id=body.instance_id,
        params=_params(body.params),
        source=Source.API,
        retention=retention,
        labels=read_labels(body.tags, body.metadata),
        idempotent=body.idempotent,
    )


def _number(last_event: str) -> int:
    if not (last_event.isascii() and last_event.isdecimal()):
        raise Rejected(f'Last-Event-ID: "{last_event}" is not the number of an event', code="subscription.invalid_options")
    return int(last_event)


def _params(value: Any) -> Any:
    """Read a text as JSON where it is JSON: the SDKs send `params` so; any other text is a text."""
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except Rejected:
        return value


def _log_item(stored: StoredLine) -> LogItem:
    line = stored.line
    return LogItem(
        timestamp=timestamp(line.at),
        level=cast(Any, line.level),
        message=line.message,
        logger=line.logger,
        type=cast(Any, stored.kind.value),
        step=f"{stored.name}-{stored.count}",
        attempt=stored.attempt,
        cursor=stored.cursor,
    )


def _created_item(created: Created, workflow_id: str) -> CreatedItem:
    item = CreatedItem(
        id=created.id,
        status=created.status.value,
        version_id=created.version,
        workflow_id=workflow_id,
        trigger_source=Source.API.value,
    )
    if created.duplicate:
        item["duplicate"] = True
    return item


def _instance_item(instance: Instance, workflow_id: str) -> InstanceItem:
    item = InstanceItem(
        id=instance.id,
        status=instance.status.value,
        version_id=instance.version,
        workflow_id=workflow_id,
        trigger_source=instance.source.value,
        created_on=timestamp(instance.created_at),
        modified_on=timestamp(instance.modified_at),
        started_on=timestamp(instance.started_at),
        ended_on=timestamp(instance.ended_at),
    )
    if instance.trigger is not None:
        item["trigger_name"] = instance.trigger
    if instance.labels.tags:
        item["tags"] = list(instance.labels.tags)
    if instance.labels.metadata:
        item["metadata"] = dict(instance.labels.metadata)
    return item
