"""What a workflow author sees: the entry points, the event, the step object, and the environment.

The step object itself is made by the engine; here is only its shape. Nothing in this module runs a workflow.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, TypeVar, overload

from hub.core.delivery import Provenance
from hub.core.model import Schedule

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Duration = str | int | float | timedelta  # a plain number is milliseconds
Retries = Mapping[str, Any]  # "limit", "delay" (a Duration, or a function of ctx and error), "backoff", "jitter"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowEvent(Mapping[str, Any]):
    """What started an instance. Readable as attributes and, in both spellings, as a mapping: `event["instanceId"]`.

    It goes over its camelCase names, so that `dict(event)` has the shape of the original API; `schedule` is there if a schedule started it,
    and `trigger` if any trigger did: its name, and what the source told of the event.
    """

    payload: Any
    timestamp: datetime
    instance_id: str
    workflow_name: str
    schedule: Schedule | None = None
    trigger: Provenance | None = None

    def __getitem__(self, name: str) -> Any:
        """Return a field by its Python or its camelCase name. Raises: KeyError."""
        field = _CAMEL.get(name, name)
        if field not in _FIELDS or (field in _OPTIONAL and getattr(self, field) is None):
            raise KeyError(name)
        value = getattr(self, field)
        if isinstance(value, Schedule):
            return {"cron": value.cron, "scheduledTime": int(value.scheduled_at.timestamp() * 1000)}
        return value.shown() if isinstance(value, Provenance) else value

    def __iter__(self) -> Iterator[str]:
        return iter([*_KEYS, *(name for name in _OPTIONAL if getattr(self, name) is not None)])

    def __len__(self) -> int:
        return len(_KEYS) + sum(getattr(self, name) is not None for name in _OPTIONAL)


_CAMEL = {"instanceId": "instance_id", "workflowName": "workflow_name"}
_KEYS = ("payload", "timestamp", "instanceId", "workflowName")
_OPTIONAL = ("schedule", "trigger")
_FIELDS = frozenset({"payload", "timestamp", "instance_id", "workflow_name", *_OPTIONAL})


class StepCallable(Protocol[T_co]):
    """A decorated step: awaiting its call runs it, or returns what is recorded."""

    def __call__(self) -> Coroutine[Any, Any, T_co]: ...


class WorkflowStep(Protocol):
    """The durable operations of a running instance."""

    @overload
    def do(
        self,
        name: str,
        body: Callable[..., Awaitable[T]],
        /,
        *,
        retries: Retries | None = None,
        timeout: Duration | None = None,
        sensitive: Literal["output"] | None = None,
        config: Mapping[str, Any] | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: Mapping[str, Any] | None = None,
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def do(
        self,
        name: str,
        body: Callable[..., T],
        /,
        *,
        retries: Retries | None = None,
        timeout: Duration | None = None,
        sensitive: Literal["output"] | None = None,
        config: Mapping[str, Any] | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: Mapping[str, Any] | None = None,
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def do(self, name: str, config: Mapping[str, Any], body: Callable[..., Any], /) -> Coroutine[Any, Any, Any]: ...
    @overload
    def do(
        self,
        name: str | None = None,
        /,
        *,
        depends: Sequence[Callable[..., Any]] | None = None,
        concurrent: bool = False,
        retries: Retries | None = None,
        timeout: Duration | None = None,
        sensitive: Literal["output"] | None = None,
        config: Mapping[str, Any] | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: Mapping[str, Any] | None = None,
    ) -> Callable[[Callable[..., Any]], StepCallable[Any]]:
        """Run a step once and record its result; after a crash the recorded result is returned and the body does not run.

        With a body it is awaited at once; without one it decorates a function, whose parameters name the steps that it depends on
        (`ctx` is the step context). `retries["delay"]` may be a function of (`ctx`, `error`). `sensitive="output"` hides the result from
        everybody but the program. `rollback` undoes the step when the run fails later; it is called with what it asks for by name of
        `ctx`, `error`, `output` and `step_name`. Raises: what the body raised last, when its attempts are used
        up; an exception class that is neither Python's nor the hub's comes back as StepFailed with its `name`.
        """
        ...

    async def run_workflow(
        self, name: str, workflow: str, params: Any = None, /, *, id: str | None = None, timeout: Duration | None = None
    ) -> Any:
        """Start another workflow once, wait durably for its end, and return its output.

        Raises: the child's error, WaitTimeout (the child goes on), or StepFailed whose `name` is "Terminated" (somebody ended the child),
        "Conflict" (the id is taken) or "NotFound" (the workflow was deleted).
        """
        ...

    async def sleep(self, name: str, duration: Duration, /) -> None:
        """Wait durably for at least that long."""
        ...

    async def sleep_until(self, name: str, until: datetime | float, /) -> None:
        """Wait durably until a moment (aware datetime, or milliseconds since 1970); a past one continues at once."""
        ...

    async def wait_for_event(
        self, name: str, event_type: str | None = None, /, *, type: str | None = None, timeout: Duration = "24 hours"
    ) -> dict[str, Any]:
        """Wait for an event: `{"payload", "timestamp", "type"}`. Raises: WaitTimeout."""
        ...


class Env(Mapping[str, Any]):
    """The bindings of a project: workflows, connectors, variables. Attribute and item access both work."""

    def __init__(self, bindings: Mapping[str, Any]) -> None:
        self._bindings = dict(bindings)

    def __getattr__(self, name: str) -> Any:
        """Return a binding. Raises: AttributeError with the nearest name."""
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._bindings[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._bindings, 1)
            hint = f'; did you mean "{near[0]}"?' if near else f"; there are {', '.join(sorted(self._bindings)) or 'none'}"
            raise AttributeError(f'no binding "{name}" in hub.toml{hint}') from None

    def __getitem__(self, name: str) -> Any:
        return self._bindings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._bindings)

    def __len__(self) -> int:
        return len(self._bindings)


class _Entrypoint:
    """What both entry points share: `self.ctx` and `self.env`."""

    def __init__(self, ctx: Any, env: Env) -> None:
        self.ctx = ctx
        self.env = env


class WorkflowEntrypoint(_Entrypoint):
    """A workflow: subclass it and write `run`. One object is made for each run of an instance."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        """Do the work; the returned value is the instance's output. Steps are durable, code between them runs again on a replay."""
        raise TypeError(f"{type(self).__name__} has no `async def run(self, event, step)`")


class WorkerEntrypoint(_Entrypoint):
    """The handlers beside workflows, asynchronous or not.

    `fetch(self, request)` answers every address that the hub does not use itself; triggers that are bound to no workflow call
    `queue(self, batch)` and `scheduled(self, controller)`. One object is made for each call.
    """
