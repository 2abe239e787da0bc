"""What one REST operation is: a row of the route table, the call that its handler gets, the answer that it gives.

Values only; knows no server and no resource. The same row feeds the router, the access rule and the OpenAPI document: they cannot differ.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from hub.api.envelope import Note, ResultInfo
from hub.core.access import ANYBODY, Caller, Scope
from hub.core.stream import InstanceEvent

Q = TypeVar("Q")
B = TypeVar("B")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[Q, B]):
    """A request whose path, query and body have been read and checked."""

    path: Mapping[str, str]
    query: Q
    body: B
    last_event: str | None = None  # what a stream that was cut off had told last
    prefer: str = ""  # the header of that name
    caller: Caller = ANYBODY

    @property
    def workflow(self) -> str:
        """The workflow's name in the path."""
        return self.path["workflow"]

    @property
    def instance(self) -> str:
        """The instance's id in the path."""
        return self.path["instance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A result that goes into the envelope."""

    result: Any
    info: ResultInfo | None = None
    messages: tuple[Note, ...] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A body that goes out as it is."""

    body: bytes
    content_type: str = "application/json"
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """Events that go out as they come."""

    events: AsyncIterator[InstanceEvent]


Handler = Callable[[Call[Any, Any]], Awaitable[Answer | Plain | Live]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One row of the route table."""

    name: str  # operationId
    method: str
    path: str  # with {parameters}
    handler: Handler
    summary: str
    scope: Scope | None  # what the caller needs; None = open to everybody, without a token
    query: type[BaseModel] | None = None
    body: Any = None  # the type of the JSON body; None = a body is not read
    result: Any = None  # the type of `result`, or of the whole body when it is not enveloped
    listing: bool = False  # `result_info` is there
    enveloped: bool = True
    content_type: str = "application/json"
    local: bool = False  # only for programs of this machine
    by_any_name: bool = False  # whatever the hub is called in the request: those who look after a container have names of their own
    accepted: str | None = None  # what 202 says, if it can be the answer
    errors: tuple[str, ...] = ()  # code words beside those that any operation may answer

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return self.method != "GET"
