"""The shapes of jobs that do the same to many instances: requests and results."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from typing_extensions import TypedDict

from hub.api.bulk import Action, BulkOrder
from hub.api.shapes import EndMoment, Moment, words_of
from hub.api.strict import StrictBody
from hub.core.labels import MAX_TAGS, read_labels
from hub.core.model import InstanceQuery, Status

_Statuses = Annotated[
    frozenset[Status],
    BeforeValidator(words_of(Status)),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"enum": [*Status]}}], "examples": ["waiting,paused"]}),
]


class FilterBody(StrictBody):
    """Which instances; all conditions hold together. Without a status: those that the action is for."""

    status: _Statuses = frozenset()
    trigger: str | None = None
    version: str | None = None
    tags: list[str] | None = Field(default=None, max_length=MAX_TAGS)
    metadata: dict[str, str | bool | int | float] | None = None
    date_start: Moment | None = None
    date_end: EndMoment | None = None
    modified_start: Moment | None = None
    modified_end: EndMoment | None = None
    ended_start: Moment | None = None
    ended_end: EndMoment | None = None

    def query(self, workflow: str) -> InstanceQuery:
        """Return the filter in the engine's words. Raises: Rejected (labels)."""
        return InstanceQuery(
            workflow=workflow,
            statuses=self.status,
            trigger=self.trigger,
            version=self.version,
            labels=read_labels(self.tags, self.metadata),
            created_from=self.date_start,
            created_to=self.date_end,
            modified_from=self.modified_start,
            modified_to=self.modified_end,
            ended_from=self.ended_start,
            ended_to=self.ended_end,
        )


class JobBody(StrictBody):
    """What to do to which instances; an empty filter means all that the action is for. A dry run only counts them."""

    action: Action
    filter: FilterBody
    dry_run: bool = False
    rollback: bool = Field(default=False, description="terminate: run the rollback handlers first")
    cascade: bool = Field(default=False, description="the same for the workflows that they have started and that have not ended")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rollback and self.action is not Action.TERMINATE:
            raise ValueError("rollback: only a termination runs the rollback handlers")
        if self.cascade and self.action in (Action.RESTART, Action.DELETE):
            raise ValueError(f"cascade: a {self.action} does not reach the workflows that the instances have started")
        return self

    def order(self, workflow: str) -> BulkOrder:
        """Return the order in the engine's words. Raises: Rejected (labels)."""
        return BulkOrder(action=self.action, filter=self.filter.query(workflow), rollback=self.rollback, cascade=self.cascade)


class JobFault(TypedDict):
    """An instance that the action was refused for, and why."""

    id: str
    code: int
    message: str


class JobItem(TypedDict):
    """A job. `total` is how many instances there were when it began, `errors` the first of those that failed. A dry run has no id."""

    id: NotRequired[str]
    action: Literal["pause", "resume", "terminate", "restart", "delete"]
    state: Literal["dry_run", "running", "done", "stopped", "failed"]
    total: int
    done: int
    failed: int
    errors: list[JobFault]
    started_on: NotRequired[str]
    ended_on: NotRequired[str | None]
