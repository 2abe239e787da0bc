"""The shapes of REST results, field by field as Cloudflare's API has them, with some of our own.

TypedDicts: they cost nothing at run time and feed the OpenAPI document.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict


class WorkflowSchedule(TypedDict):
    """A schedule of a workflow, and when its next instance starts."""

    cron: str
    next_instance: str


class WorkflowItem(TypedDict):
    """A workflow with its instances counted by status."""

    id: str
    name: str
    script_name: str
    class_name: str
    created_on: str
    modified_on: str
    triggered_on: str | None
    instances: dict[str, int]
    schedules: NotRequired[list[WorkflowSchedule]]


class VersionItem(TypedDict):
    """A version of a workflow's code."""

    id: str
    workflow_id: str
    class_name: str
    created_on: str
    modified_on: str
    has_dag: bool
    language: Literal["python"]


class WorkflowChange(TypedDict):
    """A workflow after an update; the last two are numbers, 0 or 1."""

    id: str
    name: str
    script_name: str
    class_name: str
    version_id: str
    created_on: str
    modified_on: str
    triggered_on: str | None
    is_deleted: int
    terminator_running: int


class VersionGraph(TypedDict):
    """A version with the graph of its steps. There is none of a program in Python: what it does next is decided while it runs."""

    id: str
    workflow_id: str
    class_name: str
    created_on: str
    modified_on: str
    graph: None


class CreatedItem(TypedDict):
    """An instance that is on disk. `duplicate` = it was there already; `output` and `error` are those of one whose end was waited for."""

    id: str
    status: str
    version_id: str | None
    workflow_id: str
    trigger_source: str
    duplicate: NotRequired[Literal[True]]
    output: NotRequired[Any]
    error: NotRequired[ErrorItem | None]


class InstanceItem(TypedDict):
    """An instance in a list; the last three only where there is something to tell."""

    id: str
    status: str
    version_id: str | None
    workflow_id: str
    trigger_source: str

    created_on: str
    modified_on: str
    started_on: str | None
    ended_on: str | None
    trigger_name: NotRequired[str]
    tags: NotRequired[list[str]]
    metadata: NotRequired[dict[str, str | bool | int | float]]


class ErrorItem(TypedDict):
    """An error as the journal keeps it; the stack is the author's own frames."""

    name: str
    message: str
    stack: NotRequired[str]


class AttemptItem(TypedDict):
    """One attempt of a step; `success` and `end` are null while it runs."""

    start: str
    end: str | None
    success: bool | None
    error: ErrorItem | None


class ChildItem(TypedDict):
    """Another instance: one that a step has started, or the one that started this."""

    workflow_name: str
    instance_id: str


class StepItem(TypedDict):
    """A `step.do`, a rollback handler, or a workflow that was started (`child`).

    `output` is the JSON text of the whole value, or `[REDACTED]`; `retries_at` is there between two attempts.
    """

    type: Literal["step", "rollback"]
    name: str
    start: str
    end: str | None
    success: bool | None
    output: str | None
    config: dict[str, Any]
    attempts: list[AttemptItem]
    retries_at: NotRequired[str]
    child: NotRequired[ChildItem]


class SleepItem(TypedDict):
    """A sleep; `end` is when it ends or ended."""

    type: Literal["sleep"]
    name: str
    start: str
    end: str | None
    finished: bool
    error: ErrorItem | None


class WaitItem(TypedDict):
    """A wait for an event; `end` is its deadline until it has ended."""

    type: Literal["waitForEvent"]
    name: str
    start: str
    end: str | None
    finished: bool
    error: ErrorItem | None
    event_type: str | None
    output: NotRequired[str | None]


class TriggerItem(TypedDict):
    """Which door something came through; of an instance that a trigger has created also its name, and what the source told of the event."""

    source: str
    name: NotRequired[str]
    key: NotRequired[str]
    subject: NotRequired[str]
    headers: NotRequired[dict[str, str]]
    metadata: NotRequired[dict[str, Any]]
    occurred_on: NotRequired[str | None]
    delivery_id: NotRequired[str]


class TerminationItem(TypedDict):
    """The last item of an instance that was terminated; `cascade` = together with the instance that started it."""

    type: Literal["termination"]
    trigger: TriggerItem
    cascade: NotRequired[bool]


class ScheduleItem(TypedDict):
    """The cron occurrence that created an instance; milliseconds since 1970."""

    cron: str
    scheduledTime: int


AnyStepItem = StepItem | SleepItem | WaitItem | TerminationItem


class RollbackItem(TypedDict):
    """How the rollback handlers ended; the error is that of the handler that failed."""

    outcome: Literal["complete", "failed"]
    error: ErrorItem | None


class InstanceDetail(TypedDict):
    """An instance with its steps. `versionId` is the version of the code with which it began; `error` also tells why it stands still."""

    id: str
    status: str
    params: Any
    trigger: TriggerItem
    versionId: str | None
    version_last_run_id: str | None
    queued: str
    start: str | None
    end: str | None
    success: bool | None
    output: Any
    error: ErrorItem | None
    rollback: RollbackItem | None
    step_count: int
    parent: NotRequired[ChildItem]
    schedule: NotRequired[ScheduleItem]
    tags: NotRequired[list[str]]
    metadata: NotRequired[dict[str, str | bool | int | float]]
    steps: NotRequired[list[AnyStepItem]]


class StepDetail(TypedDict):
    """One step with its whole output as a JSON value. `running` with an error means: between two attempts."""

    status: Literal["running", "waiting", "complete", "errored"]
    error: ErrorItem | None
    output: Any
    event_type: NotRequired[str | None]
    child: NotRequired[ChildItem]


class EventItem(TypedDict):
    """One event of a stream, its `data`. The other fields depend on the type: stepName, attempt, output, error and more."""

    instanceId: str
    eventId: int
    timestamp: int
    type: str


class LogItem(TypedDict):
    """A line that an attempt of a step has logged. A list that starts after its `cursor` has all that comes later."""

    timestamp: str
    level: Literal["debug", "info", "warning", "error", "critical"]
    message: str
    logger: str | None
    type: Literal["step", "rollback"]
    step: str
    attempt: int
    cursor: str


class StatusChange(TypedDict):
    """The status after a verb."""

    status: str
    timestamp: str


class EventSent(TypedDict):
    """An event that is on disk."""

    instanceId: str
    timestamp: str


class Done(TypedDict):
    """Something was carried out."""

    status: Literal["ok"]
    success: bool


class JobState(TypedDict):
    """Whether a background job was started."""

    status: Literal["ok", "already_running"]


class DeletedItem(TypedDict):
    """An instance that is gone."""

    id: str


class DeleteFault(TypedDict):
    """An instance that could not be deleted, and why."""

    id: str
    code: int
    message: str


class DeletedBatch(TypedDict):
    """The result of deleting several instances."""

    deleted: list[DeletedItem]
    errors: list[DeleteFault]


class Health(TypedDict):
    """Whether the hub works; `reason` when it does not."""

    status: Literal["ok", "unavailable"]
    reason: NotRequired[str]
