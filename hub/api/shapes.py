"""The shapes of REST requests, field by field as Cloudflare's API has them: pydantic models, which check and feed the OpenAPI document.

Unknown keys of a query are ignored, as the original does. Those of a body are refused, but for what official clients send.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from hub.api.strict import StrictBody
from hub.core.admission import nearest_name
from hub.core.errors import Rejected
from hub.core.labels import MAX_TAGS, Labels, read_labels
from hub.core.model import Kind, Status
from hub.core.outside import parse_json
from hub.core.writes import RestartPoint

MAX_BATCH = 100
MAX_PAGE = 1_000_000  # keeps offsets inside a database's integers
ADDRESSABLE_ID = r"^[a-zA-Z0-9, */#_-]+$"  # also ids that a cron schedule made
MAX_ADDRESSABLE_ID = 271

_DATE_ONLY = re.compile(r"\d{4}-\d{2}-\d{2}")


# ---- queries


def moment(value: object) -> object:
    """Read ISO 8601; a missing offset means UTC."""
    if not isinstance(value, str):
        return value
    try:
        read = datetime.fromisoformat(value)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f'"{value}" is not a time; write it as 2026-01-31T23:59:59Z or 2026-01-31') from None


def end_moment(value: object) -> object:
    """Read ISO 8601; a date alone means its last millisecond."""
    whole_day = isinstance(value, str) and _DATE_ONLY.fullmatch(value)
    return moment(f"{value}T23:59:59.999Z" if whole_day else value)


def words_of(kind: type[StrEnum], what: str = "a status") -> Callable[[object], object]:
    """Return what reads one word of a kind, or several with commas between. `what` names one in the message."""

    def read(value: object) -> object:
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            words = value
        elif isinstance(value, str):
            words = [word.strip() for word in value.split(",")]
        else:
            return value
        unknown = [word for word in words if word not in [*kind]]
        if unknown:
            raise ValueError(f'"{unknown[0]}" is not {what}; there are {", ".join(kind)}')
        return frozenset(kind(word) for word in words)

    return read


StatusFilter = Annotated[frozenset[Status], BeforeValidator(words_of(Status)), WithJsonSchema({"type": "string", "examples": list(Status)})]


Moment = Annotated[datetime, BeforeValidator(moment)]
EndMoment = Annotated[datetime, BeforeValidator(end_moment)]


class PageQuery(BaseModel):
    """Which page of a list."""

    page: int = Field(default=1, ge=1, le=MAX_PAGE)
    per_page: int = Field(default=50, ge=1, le=100)

    @property
    def offset(self) -> int:
        """How many items come before the page."""
        return (self.page - 1) * self.per_page


class SpanQuery(BaseModel):
    """Which page of a list that goes on with a cursor, and of what span of time."""

    per_page: int = Field(default=50, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=500)
    date_start: Moment | None = None
    date_end: EndMoment | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.date_start and self.date_end and self.date_start > self.date_end:
            raise ValueError("date_start is later than date_end")
        return self


class WorkflowListQuery(PageQuery):
    """Which workflows."""

    search: str | None = Field(default=None, max_length=64, description="part of a name")


class InstanceListQuery(BaseModel):
    """Which instances of a workflow. `page` and `cursor` exclude each other."""

    page: int | None = Field(default=None, ge=1, le=MAX_PAGE)
    per_page: int = Field(default=50, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=500)
    direction: Literal["asc", "desc"] = "desc"
    status: StatusFilter = frozenset()
    date_start: Moment | None = None
    date_end: EndMoment | None = None
    modified_start: Moment | None = None
    modified_end: EndMoment | None = None
    ended_start: Moment | None = None
    ended_end: EndMoment | None = None
    trigger: str | None = Field(default=None, max_length=200, description="name of the trigger that has created them")
    version: str | None = Field(default=None, max_length=100, description="id of the version with which they were created")
    tag: str | None = Field(default=None, max_length=2000, description="tags with commas between; all of them are carried")
    metadata: str | None = Field(
        default=None, max_length=10_000, description="`key=value`, several with commas between, or a JSON object; all of them are carried",
        examples=["customer=4711"],
    )  # fmt: skip

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.page is not None and self.cursor is not None:
            raise ValueError("page and cursor exclude each other; send one of them")
        for name in ("date", "modified", "ended"):
            first, last = getattr(self, f"{name}_start"), getattr(self, f"{name}_end")
            if first and last and first > last:
                raise ValueError(f"{name}_start is later than {name}_end")
        return self

    @property
    def labels(self) -> Labels:
        """The labels that are asked for. Raises: Rejected with code `query`."""
        tags = [] if self.tag is None else [tag.strip() for tag in self.tag.split(",") if tag.strip()]
        try:
            return read_labels(tags, _pairs(self.metadata or ""))
        except Rejected as error:
            raise Rejected(error.message, code="query") from None


def _pairs(text: str) -> dict[str, Any]:
    """Read metadata as a query has it. Raises: Rejected."""
    if text.startswith("{"):
        read: dict[str, Any] = parse_json(text)  # an object, or malformed
        return read
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    wrong = next((key for key, sign, _ in pairs if not sign), None)
    if wrong is not None:
        raise Rejected(f'metadata: "{wrong[:60]}" has no =; write key=value', code="query")
    return {key.strip(): value for key, _, value in pairs}


class CreateQuery(BaseModel):
    """Whether to wait for the end."""

    wait: str | None = Field(
        default=None, max_length=20, examples=["30s"],
        description="for how long to wait for the end of the instance, a minute at most; the header `Prefer: wait=30` says the same",
    )  # fmt: skip


class DescribeQuery(BaseModel):
    """How much of an instance."""

    order: Literal["asc", "desc"] = "asc"
    simple: bool = Field(default=False, description="leave the steps out; step_count stays")


class StepQuery(BaseModel):
    """Which step of an instance."""

    name: str = Field(description="with its counter: charge-1")
    type: Literal["step", "waitForEvent", "sleep", "rollback", "workflow"] = Field(
        default="step", description="a step that runs a workflow is found as `step` and as `workflow`"
    )
    attempt: int | None = Field(default=None, ge=1)


class SubscribeQuery(BaseModel):
    """Which events of an instance. A stream that was cut off goes on with the header `Last-Event-ID`, which beats `cursor`."""

    cursor: int | None = Field(default=None, ge=0, description="eventId of the last event that was seen")
    filter: str | None = Field(default=None, max_length=1000, description="types of events, with commas between; default all")

    @property
    def types(self) -> list[str] | None:
        """The wanted types; None = all."""
        return None if self.filter is None else [type.strip() for type in self.filter.split(",")]


class LogListQuery(BaseModel):
    """Which lines of an instance's log."""

    step: str | None = Field(default=None, max_length=300, description="name of a step, with its counter (`charge-1`) or without")
    attempt: int | None = Field(default=None, ge=1, le=MAX_PAGE)
    level: Literal["debug", "info", "warning", "error", "critical"] | None = Field(default=None, description="and all that is more serious")
    per_page: int = Field(default=100, ge=1, le=1000)
    cursor: str | None = Field(default=None, max_length=500, description="that of the last line which was seen")


class TerminateAllQuery(BaseModel):
    """Which instances to terminate; without a status all that have not ended."""

    status: Literal["queued", "running", "paused", "waitingForPause", "waiting"] | None = None


# ---- request bodies


class UpdateBody(BaseModel):
    """A workflow as it shall be. Workflows are declared in the project, so only what they already are is accepted."""

    script_name: str
    class_name: str
    limits: dict[str, Any] | None = None
    concurrency: dict[str, Any] | None = None
    schedules: list[Any] | None = None
    default_retention: dict[str, Any] | None = None
    jurisdiction: str | None = None

    @property
    def wishes(self) -> list[str]:
        """The keys, beside the two that are required, under which something is asked for."""
        return [key for key in ("limits", "concurrency", "schedules", "default_retention", "jurisdiction") if getattr(self, key)]

    @property
    def crons(self) -> list[str]:
        """The expressions of `schedules`, sorted, with single spaces."""
        named = (each.get("cron") if isinstance(each, dict) else each for each in self.schedules or ())
        return sorted(" ".join(str(cron).split()) for cron in named)


class RetentionBody(StrictBody):
    """How long an instance is kept after its end; an absent key means as the workflow says. A number is milliseconds."""

    success_retention: str | int | float | None = Field(default=None, examples=["7 days", "forever"])
    error_retention: str | int | float | None = Field(default=None, examples=["30 days"])


class CreateBody(StrictBody):
    """A new instance. `params` is any JSON value; a text that holds JSON is read as JSON, because the SDKs send it so."""

    model_config = ConfigDict(populate_by_name=True)
    tolerated: ClassVar[frozenset[str]] = frozenset({"location_hint"})

    instance_id: str | None = Field(default=None, validation_alias=AliasChoices("instance_id", "id"))
    params: Any = Field(default_factory=dict)
    instance_retention: RetentionBody | None = Field(default=None, description="default: as the workflow says")
    tags: list[str] | None = Field(default=None, max_length=MAX_TAGS, examples=[["urgent"]])
    metadata: dict[str, str | bool | int | float] | None = Field(default=None, examples=[{"customer": 4711}])
    idempotent: bool = Field(
        default=False, description="an instance of that id which was created with the same params is the answer, and no conflict"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.idempotent and self.instance_id is None:
            raise ValueError("idempotent: a repetition is known by its id; send instance_id")
        return self

    @classmethod
    def told(cls, key: str, known: set[str]) -> str:
        """Say what is wrong with a key: it may be one of the payload itself."""
        near = nearest_name(key, known)
        cure = near if near.startswith("; did") else '; what the instance shall get belongs under "params"'
        return f'"{key[:60]}" is no key of this body{cure}'


CreateBatchBody = Annotated[list[CreateBody], Field(min_length=1, max_length=MAX_BATCH)]


class OriginBody(StrictBody):
    """The step from which to run again."""

    name: str
    count: int = Field(default=1, ge=1)
    type: Literal["do", "step", "sleep", "waitForEvent", "workflow"] = Field(
        default="do", description="a step that runs a workflow is found as `do` and as `workflow`"
    )


class StatusBody(StrictBody):
    """What an instance shall do."""

    status: Literal["pause", "resume", "terminate", "restart"]
    origin: OriginBody | None = Field(default=None, alias="from")
    rollback: bool = Field(default=False, description="terminate: run the rollback handlers first")
    cascade: bool = Field(default=False, description="the same for the workflows that it has started and that have not ended")

    @property
    def restart_point(self) -> RestartPoint | None:
        """Where a restart begins, in the engine's words; None = at the start."""
        if self.origin is None:
            return None
        kind = Kind.STEP if self.origin.type == "do" else Kind(self.origin.type)
        return RestartPoint(name=self.origin.name, count=self.origin.count, kind=kind)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.origin is not None and self.status != "restart":
            raise ValueError("from: only a restart starts from a step")
        if self.rollback and self.status != "terminate":
            raise ValueError("rollback: only a termination runs the rollback handlers")
        if self.cascade and self.status == "restart":
            raise ValueError("cascade: a restart does not reach the workflows that the instance has started")
        return self


InstanceId = Annotated[str, Field(pattern=ADDRESSABLE_ID, max_length=MAX_ADDRESSABLE_ID)]


class DeleteBatchBody(StrictBody):
    """The ids of the instances to forget."""

    instances: list[InstanceId] = Field(min_length=1, max_length=MAX_BATCH)
