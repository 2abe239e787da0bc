"""Workflows under test: an engine in virtual time on a real store, and handles on its instances.

Owns the life of that engine. Waits end by events, never by looking again and again, so that no virtual time passes but what the workflows
themselves take. The invariant: a wait that cannot end any more fails at once, and says where the instance stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import json as json_form
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from hub.core import codec
from hub.core.duration import parse_duration
from hub.core.errors import ErrorInfo, HubError, NotFound, Rejected, rebuild
from hub.core.model import FINAL, Entry, HttpReply, HttpRequest, Instance, InstanceQuery, Kind, Snapshot, State, Status
from hub.core.ports import CreateRequest
from hub.core.queue import Decision, Message, MessageBatch
from hub.core.scheduled import ScheduledController
from hub.core.workflow import Duration, Env
from hub.engine.binding import WorkflowBinding, WorkflowInstance
from hub.engine.embedded import EmbeddedEngine
from hub.engine.queue_binding import QueueBinding
from hub.testing.modify import MockedEvent, Modifier, Prescriptions
from hub.testing.recorded import Replayed, read_record, replay, shown, write_record
from hub.testing.schedule import occur
from hub.testing.storage import Observed, temporary_store
from hub.testing.subject import URL, Subject, of_classes, of_project
from hub.testing.virtual import START, VirtualClock, VirtualLoop

T = TypeVar("T")

LIMIT = "400 days"  # of virtual time: longer than the longest single wait
_NOT_VIRTUAL = (
    "workflows are tested on a loop whose time jumps: use the fixture `workflows` in a plain `def` test, "
    "or asyncio.Runner(loop_factory=VirtualLoop); README.md shows how async tests get that loop"
)


class Log:
    """The engine's log, in Python's own: pytest shows it beside a failed test."""

    def __init__(self) -> None:
        self._log = logging.getLogger("hub")

    def debug(self, event: str, **pairs: Any) -> None:
        """Tell a detail."""
        self._log.debug("%s %s", event, pairs)

    def info(self, event: str, **pairs: Any) -> None:
        """Tell what happens."""
        self._log.info("%s %s", event, pairs)

    def warning(self, event: str, **pairs: Any) -> None:
        """Tell what may be wrong."""
        self._log.warning("%s %s", event, pairs)

    def error(self, event: str, **pairs: Any) -> None:
        """Tell what is wrong."""
        self._log.error("%s %s", event, pairs)


class AsyncWorkflows(Modifier):
    """Workflows under test, for code on a `VirtualLoop`: `async with AsyncWorkflows(Order) as workflows`.

    Takes workflow classes (`OrderIntake` becomes the workflow `order-intake`), or `project`, the folder of a hub.toml. `env` adds to
    `self.env`, or replaces what the project has there. Time begins at `start`. What is prescribed here holds for all instances.
    """

    def __init__(
        self, *classes: type, project: Path | str | None = None, env: Mapping[str, Any] | None = None, start: datetime = START
    ) -> None:
        self._prescriptions = Prescriptions(self._send_later)
        super().__init__(self._prescriptions.general)
        self._classes = classes
        self._project = project
        self._given = dict(env or {})
        self._start = start
        self._log = Log()
        self._stack = AsyncExitStack()
        self._sending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> AsyncWorkflows:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualLoop):
            raise TypeError(_NOT_VIRTUAL)
        self._clock = VirtualClock(self._start)
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._stack.aclose()

    @property
    def env(self) -> Env:
        """What the workflows see as `self.env`."""
        return self._env

    @property
    def now(self) -> datetime:
        """The virtual wall clock."""
        return self._clock.now()

    def instance(self, id: str, workflow: str | None = None) -> AsyncRun:
        """Return the handle of one instance, which need not exist yet; `workflow` may be left out when there is only one."""
        return AsyncRun(self._engine, self._store, self._prescriptions, self._named(workflow), id)

    async def create(self, params: Any = None, *, id: str | None = None, workflow: str | None = None) -> AsyncRun:
        """Create an instance; it runs whenever the test waits for something. Raises: Rejected, Conflict (the id is taken)."""
        request = CreateRequest(workflow=self._named(workflow), params={} if params is None else params, id=id)
        created = await self._engine.create(request)
        return self.instance(created.id, created.workflow)

    async def instances(self, workflow: str | None = None) -> list[AsyncRun]:
        """Return all instances, whoever created them, the oldest first."""
        page = await self._engine.find(InstanceQuery(workflow=workflow, ascending=True, limit=1000))
        return [self.instance(head.id, head.workflow) for head in page.items]

    async def run_schedule(self, trigger: str, at: datetime | None = None) -> AsyncRun:
        """Emit one occurrence of the project's cron trigger: at a nominal time, or the next one. The clock does not move.

        An occurrence has one instance, however often it is run. Raises: ConfigError (no such trigger), ValueError (not one of its times).
        """
        if self._subject.trigger is None:
            raise ValueError("schedules stand in hub.toml; test the project: project=…")
        receipt = await occur(self._subject.trigger(trigger), at, self.now, self._engine)
        return self.instance(receipt.instance_id or "", receipt.workflow)

    async def fetch(
        self, path: str, *, method: str | None = None, json: Any = None, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> HttpReply:
        """Call the `fetch` handler with a request, as the hub does; with `json` it is a POST unless `method` says otherwise."""
        from hub.app import fetch_handler  # only tests of handlers wait for the server's parts

        worker = self._subject.worker
        handle = None if worker is None else fetch_handler(worker, lambda: self._env, self._engine)
        if handle is None:
            raise ValueError("there is no WorkerEntrypoint with a `fetch` handler among what is tested")
        parts = urlsplit(path)
        request = HttpRequest(
            method=method or ("GET" if json is None and not body else "POST"),
            url=URL + path,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={**({} if json is None else {"content-type": "application/json"}), **_lower(headers)},
            body=body if json is None else json_form.dumps(json).encode(),
        )
        return await handle(request)

    async def queue(self, messages: Sequence[Any], *, queue: str = "queue") -> list[Decision]:
        """Call the `queue` handler with a batch, and return what it decided for each message: `retry` or not, and after which `delay`.

        Each message is a body, or a `hub.Message` with attempts, id and metadata of your own. Raises: what the handler raises; the hub
        would let the undecided messages come again then.
        """
        made = [
            each if isinstance(each, Message) else Message(id=f"message-{number}", timestamp=self.now, body=each)
            for number, each in enumerate(messages, 1)
        ]
        await self._handle("queue", MessageBatch(queue, made))
        return [message.decision(failed=False) for message in made]

    async def scheduled(self, cron: str = "* * * * *", at: datetime | None = None) -> None:
        """Call the `scheduled` handler for an occurrence of an expression, at a nominal time or now. Raises: what the handler raises."""
        await self._handle("scheduled", ScheduledController(cron, int((at or self.now).timestamp() * 1000)))

    async def _handle(self, method: str, argument: Any) -> None:
        from hub.triggering import handler_of  # only tests of handlers wait for what knows triggers

        worker = self._subject.worker
        if worker is None or not callable(getattr(worker, method, None)):
            raise ValueError(f"there is no WorkerEntrypoint with a `{method}` handler among what is tested")
        await handler_of(worker, method, lambda: self._env, self._engine.threads.run)(argument)

    async def sleep(self, duration: Duration) -> None:
        """Let virtual time pass."""
        await self._clock.sleep(parse_duration(duration).total_seconds())

    async def replay(self, file: Path | str, workflow: str | None = None) -> Replayed:
        """Run the code against a journal that `record` has written; nothing is executed.

        `workflow` names the one to run when the recorded name is not among those under test. Raises: Nondeterminism, which names what the
        program asks for and what the journal has instead; ValueError (not a record).
        """
        record = read_record(Path(file))
        names = self._subject.workflows
        name = workflow or (record.instance.workflow if record.instance.workflow in names else self._named(None))
        record = replace(record, instance=replace(record.instance, workflow=self._named(name)))
        definitions = self._subject.definitions(lambda: self._env)
        return await replay(record, definitions, self._subject.quiet_options, self._log, name=Path(file).name)

    # ---- opening

    async def _open(self) -> None:
        stack = self._stack
        subject = self._subject = self._make_subject()
        self._env = Env(subject.values)
        self._store = Observed(await stack.enter_async_context(temporary_store()))
        definitions = subject.definitions(lambda: self._env)
        options = subject.quiet_options
        engine = EmbeddedEngine(self._store.port, self._clock, self._log, definitions, options, self._prescriptions, subject.rules)
        workflows = {binding: WorkflowBinding(engine, workflow) for binding, workflow in subject.bindings.items()}
        queues = {binding: QueueBinding(engine.queues, *producer) for binding, producer in subject.producers.items()}
        self._env = Env({**workflows, **queues, **subject.values})
        for connector in subject.connectors:
            await connector.open()
            stack.push_async_callback(connector.close)
        await engine.start()
        stack.push_async_callback(engine.stop)
        for binding, (queue, _) in subject.producers.items():
            await engine.queues.declare(queue, producer=binding)
        self._engine = engine

    def _make_subject(self) -> Subject:
        if self._project is None:
            return of_classes(self._classes, self._given)
        if self._classes:
            raise TypeError("give workflow classes or a project, not both")
        return self._stack.enter_context(of_project(Path(self._project), self._given))

    def _named(self, workflow: str | None) -> str:
        names = self._subject.workflows
        if workflow is None and len(names) > 1:
            raise ValueError(f"which workflow? There are several: workflow={' or '.join(map(repr, names))}")
        if workflow is not None and workflow not in names:
            raise ValueError(f'there is no workflow "{workflow}" under test; there are: {", ".join(names)}')
        return workflow or names[0]

    # ---- mocked events

    def _send_later(self, instance: Instance, events: list[MockedEvent]) -> None:
        task = asyncio.get_running_loop().create_task(self._send(instance, events), name="mocked events")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, instance: Instance, events: list[MockedEvent]) -> None:
        with contextlib.suppress(HubError):  # it has ended meanwhile: nobody waits for them
            for event in events:
                await self._engine.send_event(instance.workflow, instance.id, event.type, event.payload)


class AsyncRun(WorkflowInstance, Modifier):
    """One instance under test: the author's handle (`status`, `pause`, `send_event` …), with waits, and with prescriptions of its own."""

    def __init__(self, engine: EmbeddedEngine, store: Observed, prescriptions: Prescriptions, workflow: str, id: str) -> None:
        WorkflowInstance.__init__(self, engine, workflow, id)
        Modifier.__init__(self, prescriptions.of(workflow, id))
        self._store = store
        self.workflow = workflow

    async def wait_for_status(self, status: Status | str, *, within: Duration = LIMIT) -> None:
        """Return when the instance has that status. Raises: AssertionError, at once when it has ended otherwise."""
        wanted = _status(status)

        async def look() -> bool | None:
            head = await self._head()
            if head is not None and head.status is not wanted and head.status in FINAL:
                raise AssertionError(await self._told(head, f'it cannot become "{wanted}" any more'))
            return True if head is not None and head.status is wanted else None

        await self._until(look, f'becomes "{wanted}"', within)

    async def wait_for_step_result(self, name: str, index: int = 1, *, within: Duration = LIMIT) -> Any:
        """Return what a step has given when it has; `index` counts steps of the same name.

        Raises: its error; AssertionError, at once when the instance has ended without it.
        """

        async def look() -> tuple[Any] | None:
            snapshot = await self._snapshot()
            found = [entry for entry in snapshot.entries if (entry.name, entry.count) == (name, index)] if snapshot is not None else []
            entry = min(found, key=lambda entry: entry.kind is not Kind.STEP, default=None)
            if entry is not None and entry.state is State.FAILED and entry.error is not None:
                raise rebuild(entry.error)
            if entry is not None and entry.state is State.DONE:
                return (codec.decode(entry.output or b"null"),)
            if snapshot is not None and snapshot.instance.status in FINAL:
                raise AssertionError(await self._told(snapshot.instance, f'it has no result of step "{name}" number {index}'))
            return None

        [result] = await self._until(look, f'has a result of step "{name}" number {index}', within)
        return result

    async def output(self) -> Any:
        """Return the output, as soon as the instance is complete. Raises: AssertionError, at once when it has ended otherwise."""
        await self.wait_for_status(Status.COMPLETE)
        head = await self._engine.instance(self.workflow, self.id)
        return codec.decode(head.output or b"null")

    async def error(self) -> ErrorInfo:
        """Return the error (`name`, `message`), as soon as the instance is errored. Raises: AssertionError, as `output`."""
        await self.wait_for_status(Status.ERRORED)
        head = await self._engine.instance(self.workflow, self.id)
        return head.error or ErrorInfo(name="", message="")

    async def describe(self) -> Snapshot:
        """Return the instance with its journal. Raises: NotFound."""
        return await self._engine.describe(self.workflow, self.id)

    async def record(self, file: Path | str) -> Path:
        """Write the instance with its journal to a JSON file, for `replay`; sensitive outputs are left out."""
        write_record(await self.describe(), Path(file))
        return Path(file)

    async def _until(self, look: Callable[[], Awaitable[T | None]], what: str, within: Duration) -> T:
        """Look after each change of the store until there is something; time passes only while nothing changes."""
        try:
            async with asyncio.timeout(parse_duration(within).total_seconds()) as deadline:
                while True:
                    changes = self._store.changes
                    if (found := await look()) is not None:
                        return found
                    await self._store.changed_since(changes)
        except TimeoutError:
            if not deadline.expired():
                raise  # a step's own error
            snapshot = await self._snapshot()
            waited = f"waited {within} of virtual time until it {what}"
            stands = f'there is no instance "{self.id}"; {waited}' if snapshot is None else await self._told(snapshot.instance, waited)
            raise AssertionError(stands) from None

    async def _head(self) -> Instance | None:
        with contextlib.suppress(NotFound):
            return await self._engine.instance(self.workflow, self.id)
        return None

    async def _snapshot(self) -> Snapshot | None:
        with contextlib.suppress(NotFound):
            return await self._engine.describe(self.workflow, self.id)
        return None

    async def _told(self, head: Instance, fault: str) -> str:
        """Say where the instance stands: status, error, journal; then what is wrong with that, and where its own error comes from."""
        snapshot = await self._snapshot()
        entries = snapshot.entries if snapshot is not None else ()
        error = "" if head.error is None else f" ({head.error.name}: {head.error.message})"
        lines = [f"{shown(entry)}: {entry.state}" for entry in entries]
        stack = "" if head.error is None else f"\n{_source(head.error, entries).stack or ''}".rstrip()
        return f'instance "{self.id}" of workflow "{self.workflow}" is {head.status}{error}, after [{"; ".join(lines)}]; {fault}{stack}'


def _source(error: ErrorInfo, entries: Sequence[Entry]) -> ErrorInfo:
    """Return the error of the step that an instance failed of, which knows the lines of its body; else the instance's own."""
    of_steps = [entry.error for entry in entries if entry.error is not None]
    return next((one for one in of_steps if (one.name, one.message) == (error.name, error.message)), error)


def _status(status: Status | str) -> Status:
    try:
        return Status(status)
    except ValueError:
        raise Rejected(f'there is no status "{status}"; there are: {", ".join(Status)}') from None


def _lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (headers or {}).items()}
