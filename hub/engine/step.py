"""The step object of a running instance: what the author wrote becomes calls of the execution.

Owns the two forms of `do`, dependencies by parameter name, and the checks of names and durations. Knows nothing of parking or storage.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hub.core import codec
from hub.core.admission import check_event_type, check_id
from hub.core.duration import parse_duration
from hub.core.errors import HubError, NonRetryableError, Rejected
from hub.core.flow import Flow
from hub.core.ids import new_id
from hub.core.model import Entry, Kind, NewInstance, Parent, Source, StepConfig
from hub.core.ports import CreateRequest
from hub.core.replay import ChildCall, EventCall, SleepCall
from hub.core.retry import describe_config, parse_config
from hub.core.workflow import Duration, Retries
from hub.engine.attempt import Body
from hub.engine.intake import Intake
from hub.engine.operations import LONGEST_WAIT, Delay, Job, Operations
from hub.engine.rollback import Undo, Undoing
from hub.engine.typed import Shape, shape_of

NAME_CHARS = 256
_DOCUMENTED = StepConfig()
_NO_VALUES: Mapping[str, Any] = {}
_SPREADING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class StepContext(dict[str, Any]):
    """What a body gets as `ctx`: `step` (name, count), `attempt` (from 1) and `config`; as items and as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            value = self[name]
        except KeyError:
            raise AttributeError(name) from None
        return StepContext(value) if isinstance(value, dict) else value


class DecoratedStep:
    """A function under `@step.do(…)`. Each call is an execution of its own; as a dependency it runs once and is remembered."""

    def __init__(self, step: Step, name: str, body: Callable[..., Any], policy: Policy, concurrent: bool) -> None:
        self.step = step
        self.name = name
        self.body = body
        self.policy = policy
        self.concurrent = concurrent
        self.depends: Sequence[DecoratedStep] | None = None
        self.last: asyncio.Future[Any] | None = None

    async def __call__(self) -> Any:
        """Run the step's dependencies, then the step."""
        last = self.last = asyncio.get_running_loop().create_future()
        try:
            values = await self._dependencies()
            result = await self.step.run(self.name, self.policy, self.body, values)
        except BaseException as error:
            self.last = None  # the next one to ask gets what the journal says
            if isinstance(error, Exception):
                last.set_exception(error)
                last.exception()  # read: a dependent may or may not be waiting
            else:
                last.cancel()
            raise
        last.set_result(result)
        return result

    async def resolve(self) -> Any:
        """Return the result, running the step only if it has not run and is not under way."""
        return await self() if self.last is None else await asyncio.shield(self.last)

    async def _dependencies(self) -> dict[str, Any]:
        wanted = self.step.dependencies(self)
        if not wanted:
            return {}
        if self.concurrent:
            return dict(zip(wanted, await asyncio.gather(*(dep.resolve() for dep in wanted.values())), strict=True))
        return {parameter: await dep.resolve() for parameter, dep in wanted.items()}


class Policy(NamedTuple):
    """How a step is run: its configuration (None = the documented defaults), delay function, and rollback handler."""

    config: StepConfig | None
    delay: Delay | None
    rollback: Callable[..., Any] | None
    rollback_config: StepConfig | None


class Step:
    """The durable operations of one running instance (`WorkflowStep`)."""

    def __init__(self, operations: Operations, intake: Intake) -> None:
        self._operations = operations
        self._services = operations.execution.services
        self._intake = intake
        self._decorated: dict[str, DecoratedStep] = {}
        self._plain = Policy(self._services.plain, None, None, None)  # of a step that says nothing

    def do(  # noqa: PLR0913  # the keywords that an author may give
        self,
        name: str | Callable[..., Any] | None = None,
        *args: Any,
        depends: Sequence[Any] | None = None,
        concurrent: bool = False,
        retries: Retries | None = None,
        timeout: Duration | None = None,
        sensitive: str | None = None,
        config: Mapping[str, Any] | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a step, or decorate one; see `WorkflowStep.do`."""
        if callable(name):  # @step.do without parentheses
            return self._decorate(None, name, self._plain, None, False)
        body: Callable[..., Any] | None
        if len(args) == 1 and callable(args[0]):
            body = args[0]
        else:
            body, config = _body_and_config(args, config)
        policy = self._plain
        silent = config is None and retries is None and timeout is None and sensitive is None
        if not silent or rollback is not None or rollback_config is not None:
            policy = self._policy(name, config, retries, timeout, sensitive, rollback, rollback_config)
        if body is not None:
            _check_parameters(name, body)
            return self.run(_checked(name or ""), policy, body, _NO_VALUES)
        return lambda function: self._decorate(name, function, policy, depends, concurrent)

    def _policy(  # as in `do`
        self,
        name: str | None,
        config: Mapping[str, Any] | None,
        retries: Retries | None,
        timeout: Duration | None,
        sensitive: str | None,
        rollback: Callable[..., Any] | None,
        rollback_config: Mapping[str, Any] | None,
    ) -> Policy:
        """Read what the author has said of a step. Raises: NonRetryableError with the step and the path of the key."""
        try:
            wanted, delay = self._config(config, retries=retries, timeout=timeout, sensitive=sensitive)
            undo, _ = self._config(rollback_config, what="rollback_config.")
            if rollback is not None and not callable(rollback):
                raise ValueError(f"rollback: expected a function, got a value of type {type(rollback).__name__}")
        except ValueError as error:
            raise NonRetryableError(f'step "{name}": {error}') from None
        return Policy(wanted, delay, rollback, undo)

    async def run_workflow(
        self, name: str, workflow: str, params: Any = None, /, *, id: str | None = None, timeout: Duration | None = None
    ) -> Any:
        """Start another workflow and wait durably for its output; see `WorkflowStep.run_workflow`."""
        execution = self._operations.execution
        request = CreateRequest(workflow=workflow, params={} if params is None else params, id=id, source=Source.BINDING)
        child_id = id or new_id(self._services.now())
        call = ChildCall(
            name=_checked(name), child=f"{workflow}/{child_id}", timeout=None if timeout is None else _wait(timeout, f'workflow "{name}"')
        )

        def new(entry: Entry) -> tuple[NewInstance, Flow]:
            parent = Parent(key=execution.key, inbox_type=entry.event_type or "")
            try:
                admitted = self._intake.admit(request, check_id, parent)
                flow = self._intake.flows.of_params(workflow, admitted.params)
            except HubError as error:
                raise NonRetryableError(f'workflow "{name}": {error.message}') from error
            return replace(admitted, id=child_id), flow

        return codec.decode(await self._operations.run_workflow(call, new))

    async def sleep(self, name: str, duration: Duration, /) -> None:
        """Wait durably for at least that long."""
        await self._operations.sleep(SleepCall(name=_checked(name), duration=_wait(duration, f'sleep "{name}"')))

    async def sleep_until(self, name: str, until: datetime | float, /) -> None:
        """Wait durably until a moment."""
        await self._operations.sleep(SleepCall(name=_checked(name), until=_moment(until, name)))

    async def wait_for_event(
        self, name: str, event_type: str | None = None, /, *, type: str | None = None, timeout: Duration = "24 hours"
    ) -> dict[str, Any]:
        """Wait for an event; see `WorkflowStep.wait_for_event`."""
        wanted = event_type or type
        if not wanted:
            raise NonRetryableError(f'wait "{name}": say which type of event: step.wait_for_event("{name}", "approved")')
        try:
            check_event_type(wanted)  # else it would wait for what nobody can send
        except Rejected as error:
            raise NonRetryableError(f'wait "{name}": {error.message}') from None
        call = EventCall(name=_checked(name), type=wanted, timeout=_wait(timeout, f'wait "{name}"'))
        value: dict[str, Any] = codec.decode(await self._operations.wait_for_event(call))
        return value

    def run(self, name: str, policy: Policy, body: Callable[..., Any], values: Mapping[str, Any]) -> Coroutine[Any, Any, Any]:
        """Run one step with the values of its dependencies."""
        shape, undo = shape_of(body), None
        if policy.rollback is not None:
            undo = Undo(handler=policy.rollback, config=policy.rollback_config, value_of=shape.value_of)
        attempt = self._attempt(body, shape, values)
        return self._operations.do(
            Job(name=name, config=policy.config, delay=policy.delay, body=attempt, value_of=shape.value_of, undo=undo)
        )

    async def undo(self, undoing: Undoing, error: Exception) -> None:
        """Run the rollback handler of one step, with its own attempts. Raises: its last error."""
        handler = undoing.undo.handler
        known = {"error": error, "output": undoing.output, "step_name": f"{undoing.name}-{undoing.number}"}
        shape = shape_of(handler)
        values = {name: value for name, value in known.items() if name in shape.parameters}
        job = Job(
            kind=Kind.ROLLBACK,
            name=undoing.name,
            count=undoing.number,
            config=undoing.undo.config,
            body=self._attempt(handler, shape, values),
            value_of=codec.decode,
        )
        await self._operations.do(job)

    def _attempt(self, function: Callable[..., Any], shape: Shape, values: Mapping[str, Any]) -> Body:
        """Return what calls a function for one attempt, with those values and the context if it wants that."""
        wants_ctx, asynchronous = "ctx" in shape.parameters, shape.asynchronous

        def attempt(entry: Entry, config: StepConfig) -> Awaitable[Any]:
            arguments = {**values, "ctx": _context(entry, config)} if wants_ctx else values
            return function(**arguments) if asynchronous else self._call_in_thread(function, arguments)

        return attempt

    async def _call_in_thread(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        result = await self._services.threads.run(lambda: function(**arguments))
        return await result if inspect.isawaitable(result) else result

    def _config(
        self, config: Mapping[str, Any] | None, *, what: str = "", **keywords: Any
    ) -> tuple[StepConfig | None, Delay | None]:
        """Read a policy; None = the documented defaults. Raises: ValueError with the path of the key."""
        config, keywords, function = _without_delay_function(config, keywords)
        try:
            wanted = parse_config(config, defaults=self._services.defaults, **keywords)
        except ValueError as error:
            raise ValueError(f"{what}{error}") from None
        if function is not None:
            wanted = replace(wanted, dynamic=True)
        return None if wanted == _DOCUMENTED else wanted, function and self._delay_of(function)

    def _delay_of(self, function: Callable[..., Any]) -> Delay:
        """Return an author's `delay(ctx, error)` as the operations call it; a synchronous one, too, holds up nothing else."""

        def delay(entry: Entry, config: StepConfig, error: Exception) -> Awaitable[Any]:
            shape = shape_of(function)
            values = {"error": error} if "error" in shape.parameters else _NO_VALUES
            return self._attempt(function, shape, values)(entry, config)

        return delay

    def dependencies(self, step: DecoratedStep) -> dict[str, DecoratedStep]:
        """Return which steps a decorated step needs, by parameter. Raises: TypeError for a parameter that names no step."""
        parameters = [name for name in inspect.signature(step.body).parameters if name != "ctx"]
        if step.depends is not None:
            if len(step.depends) != len(parameters):
                raise TypeError(
                    f'step "{step.name}" depends on {len(step.depends)} steps and has {len(parameters)} parameters beside ctx'
                )
            return dict(zip(parameters, step.depends, strict=True))
        missing = [name for name in parameters if name not in self._decorated]
        if missing:
            raise TypeError(f'Received unexpected parameter {missing[0]} in step "{step.name}": no step of that name is declared before it')
        return {name: self._decorated[name] for name in parameters}

    def _decorate(
        self,
        name: str | None,
        body: Callable[..., Any],
        policy: Policy,
        depends: Sequence[Any] | None,
        concurrent: bool,
    ) -> DecoratedStep:
        step = DecoratedStep(self, _checked(name if name is not None else body.__name__), body, policy, concurrent)
        if depends is not None:
            wrong = next((item for item in depends if not isinstance(item, DecoratedStep)), None)
            if wrong is not None:
                raise TypeError(f'step "{step.name}": depends takes decorated steps, not {wrong!r}')
            step.depends = list(depends)
        self._decorated[step.name] = step
        return step


def _body_and_config(
    args: tuple[Any, ...], config: Mapping[str, Any] | None
) -> tuple[Callable[..., Any] | None, Mapping[str, Any] | None]:
    """Sort the positional arguments after the name, which are not just a body: a config and a body, or nothing."""
    match args:
        case ():
            return None, config
        case (Mapping() as given, body) if callable(body) and config is None:
            return body, given
        case _:
            raise TypeError('step.do takes a name and a function: step.do("name", function), step.do("name", {"retries": …}, function)')


def _checked(name: str) -> str:
    if not isinstance(name, str):
        raise NonRetryableError(f"a step's name is text, not {type(name).__name__}")
    if len(name) > NAME_CHARS or not (name.isprintable() or all(char >= " " for char in name)):
        raise NonRetryableError(f"a step's name has at most {NAME_CHARS} characters and no control characters: {name[:40]!r}")
    return name


def _wait(duration: Duration, what: str) -> timedelta:
    try:
        wait = parse_duration(duration)
    except (TypeError, ValueError) as error:
        raise NonRetryableError(f"{what}: {error}") from None
    if wait > LONGEST_WAIT:
        raise NonRetryableError(f"{what}: at most {LONGEST_WAIT.days} days")
    return wait


def _moment(until: object, name: str) -> datetime:
    """Return the moment in UTC. Raises: NonRetryableError."""
    try:
        moment = datetime.fromtimestamp(until / 1000, UTC) if isinstance(until, int | float) else until
        if not isinstance(moment, datetime):
            raise NonRetryableError(
                f'sleep "{name}": until when? Expected a datetime, or milliseconds since 1970, got a value of type {type(until).__name__}'
            )
        if moment.tzinfo is None:
            raise NonRetryableError(f'sleep "{name}": {until} has no time zone; write datetime(…, tzinfo=UTC)')
        return moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise NonRetryableError(f'sleep "{name}": {until} is beyond the calendar, which ends with the year 9999') from None


def _check_parameters(name: str | None, body: Callable[..., Any]) -> None:
    """Refuse a body that nobody can call before it has failed in all its attempts. Raises: TypeError."""
    code = getattr(body, "__code__", None)
    if code is None or (code.co_argcount <= len(getattr(body, "__defaults__", None) or ()) and code.co_kwonlyargcount == 0):
        return  # there is nothing to learn, or nothing that it needs
    for parameter in inspect.signature(body).parameters.values():
        if parameter.name != "ctx" and parameter.default is parameter.empty and parameter.kind not in _SPREADING:
            raise TypeError(
                f'step "{name}": its function needs "{parameter.name}"; one that is given to step.do gets nothing but `ctx`. Write '
                f'step.do("{name}", lambda: function(…)), or decorate it with @step.do to get the results of other steps by name'
            )


def _without_delay_function(
    config: Mapping[str, Any] | None, keywords: dict[str, Any]
) -> tuple[Mapping[str, Any] | None, dict[str, Any], Callable[..., Any] | None]:
    """Take a function out of `retries.delay`, which otherwise is a duration."""
    for holder in (config, keywords):
        retries = holder.get("retries") if isinstance(holder, Mapping) else None
        if isinstance(retries, Mapping) and callable(retries.get("delay")):
            plain = {**holder, "retries": {key: value for key, value in retries.items() if key != "delay"}}  # type: ignore[dict-item]
            return (plain, keywords, retries["delay"]) if holder is config else (config, plain, retries["delay"])
    return config, keywords, None


def _context(entry: Entry, policy: StepConfig) -> StepContext:
    return StepContext(
        step={"name": entry.name, "count": entry.count}, attempt=entry.attempt, config=describe_config(policy)
    )
