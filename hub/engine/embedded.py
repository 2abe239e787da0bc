"""The embedded engine: bus, committer, runner, control and store behind the port `Engine`.

Owns nothing but their order: start store → committer → runner, stop in reverse. All that is above reaches durable execution through here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hub.core.clock import Clock
from hub.core.delivery import Delivery, Receipt, TriggerEvent
from hub.core.ids import new_id
from hub.core.model import (
    FOR_EVER,
    Instance,
    Page,
    Retention,
    Snapshot,
    Source,
    Status,
    Version,
    VersionQuery,
    WorkflowQuery,
    WorkflowRecord,
)
from hub.core.ports import BatchCreated, Created, CreateRequest, Log, Store
from hub.core.stream import InstanceEvent, check_options
from hub.core.workflow import WorkflowEntrypoint
from hub.core.writes import RegisterWorkflow, RestartPoint, Verb
from hub.engine.access import AccessOptions, Doorkeeper
from hub.engine.audit import Auditor
from hub.engine.bus import Bus
from hub.engine.changes import Changes
from hub.engine.committer import Committer
from hub.engine.context import Services
from hub.engine.control import Control
from hub.engine.flows import NO_FLOW, CancelRule, FlowRules, Flows
from hub.engine.intake import Intake
from hub.engine.ledger import Ledger
from hub.engine.maintenance import Maintenance
from hub.engine.pipeline import Pipeline
from hub.engine.program import Program
from hub.engine.queues import Queues
from hub.engine.rehearsal import Rehearsal
from hub.engine.routes import RouteTable
from hub.engine.rules import Rules
from hub.engine.runner import Runner, RunnerOptions, Wiring
from hub.engine.subscribe import Subscriptions
from hub.engine.telemetry import Telemetry
from hub.engine.threads import ThreadPool


@dataclass(frozen=True, slots=True)
class Definition:
    """A workflow of the project: how to make one, what identifies its code, how long its instances are kept and how far they may go."""

    name: str
    class_name: str
    script_name: str
    digest: str
    make: Callable[[], WorkflowEntrypoint]
    retention: Retention = FOR_EVER
    steps: int | None = None  # of one instance; None = as the options of the runner say
    flow: FlowRules = NO_FLOW
    cancel_on: tuple[CancelRule, ...] = ()


class EmbeddedEngine:
    """Durable execution in this process, on the store that it is given."""

    def __init__(  # noqa: PLR0913  # one parameter for each neighbour
        self,
        store: Store,
        clock: Clock,
        log: Log,
        definitions: Sequence[Definition],
        options: RunnerOptions,
        rehearsal: Rehearsal | None = None,
        rules: Mapping[str, Rules] | None = None,
        *,
        access: AccessOptions | None = None,
    ) -> None:
        self.telemetry = Telemetry()
        self._store = store
        self._clock = clock
        self._log = log
        self._options = options
        self._definitions = definitions
        self._versions: dict[str, str] = {}
        self._committer = Committer(store, clock, log)
        programs = {definition.name: Program(definition.make, definition.steps or options.steps) for definition in definitions}
        retention = {definition.name: definition.retention for definition in definitions}
        of_workflows = {definition.name: definition.flow for definition in definitions if definition.flow is not NO_FLOW}
        cancels = [rule for definition in definitions for rule in definition.cancel_on]
        of_triggers = {name: each.flow for name, each in (rules or {}).items() if each.flow is not NO_FLOW}
        intake = Intake(self._versions, retention, clock, options.payload_bytes, Flows(of_workflows, of_triggers, cancels))
        wiring = Wiring(store, self._committer, clock, log, self.telemetry, rehearsal)
        self._runner = Runner(wiring, programs, intake, options)
        self._bus = Bus(self._committer, self._runner, self.telemetry, intake)
        self.ledger = Ledger(store, self._committer, clock)
        self.queues = Queues(store, self._committer, clock, lambda: self._runner.node)
        self._pipeline = Pipeline(self._bus, self.ledger, self.telemetry, log, rules or {})
        access = access or AccessOptions()
        self.access = Doorkeeper(store, self._committer, clock, access)
        self.audit = Auditor(store, self._committer, clock, log, access.audit_kept)
        self._maintenance = Maintenance(store, clock, log, options.prune_every, options.deliveries_kept, options.messages_kept, self.audit)
        self._changes = Changes(store, clock, log, self.queues.stir)
        self._loops: list[asyncio.Task[None]] = []
        self._subscriptions = Subscriptions(store)
        self._control = Control(store, self._committer, self._runner, clock, options.payload_bytes)

    @property
    def threads(self) -> ThreadPool:
        """The pool for synchronous handlers."""
        return self._runner.threads

    async def start(self, url: str | None = None) -> None:
        """Open the store, register the workflows, take up what an earlier run left behind. Raises: ConfigError, Unavailable.

        `url` is where the node listens, for whoever looks at the nodes.
        """
        await self._store.open()
        try:
            await self.access.load()
            for definition in self._definitions:
                await self._register(definition)
            await self._tell_unknown()
            await self._runner.start(url)
            self._loops = [
                asyncio.create_task(self._maintenance.run(), name="maintenance"),
                asyncio.create_task(self._changes.hear(), name="changes"),
                asyncio.create_task(self._changes.keep(self.access.refresh, self._options.poll.total_seconds(), "tokens"), name="tokens"),
            ]
        except BaseException:
            await self._store.close()
            raise

    def retire(self) -> None:
        """Hand over to other nodes what no running body holds, and claim nothing more; intake may go on until `stop`."""
        self._runner.retire()

    async def stop(self) -> None:
        """Drain the runner, flush the committer, close the store. Intake has stopped before."""
        self._subscriptions.stop()
        loops, self._loops = self._loops, []
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await self._runner.stop()
        await self._committer.close()
        await self._store.close()

    async def emit(self, trigger: str, workflow: str | None, event: TriggerEvent) -> Receipt:
        """Do what an event of a trigger asks for; see `Pipeline.emit`."""
        return await self._pipeline.emit(trigger, workflow, event)

    async def again(self, stored: Delivery, workflow: str | None) -> Receipt:
        """Emit a stored delivery; see `Pipeline.again`."""
        return await self._pipeline.again(stored, workflow)

    def services(self, account: str) -> Services:
        """Return what hosted triggers work with."""
        return Services(
            emit=self._pipeline.emit,
            again=self._pipeline.again,
            instance=self.instance,
            ledger=self.ledger,
            queues=self.queues,
            telemetry=self.telemetry,
            clock=self._clock,
            log=self._log,
            routes=RouteTable(account),
            changes=self._changes,
            poll=self._options.poll,
        )

    async def create(self, request: CreateRequest) -> Created:
        """Create one instance; see `Engine.create`."""
        return await self._bus.create(request)

    async def create_batch(self, requests: Sequence[CreateRequest]) -> BatchCreated:
        """Create up to 100 instances; see `Engine.create_batch`."""
        return await self._bus.create_batch(requests)

    async def steer(
        self, workflow: str, id: str, verb: Verb, *, rollback: bool = False, cascade: bool = False, source: Source = Source.UNKNOWN
    ) -> Status:
        """Pause, resume or terminate; see `Control.steer`."""
        return await self._control.steer(workflow, id, verb, rollback=rollback, cascade=cascade, source=source)

    async def restart(self, workflow: str, id: str, origin: RestartPoint | None = None) -> Status:
        """Run again; see `Control.restart`."""
        return await self._control.restart(workflow, id, origin)

    async def send_event(self, workflow: str, id: str, type: str, payload: Any) -> datetime:
        """Send an event; see `Control.send_event`."""
        return await self._control.send_event(workflow, id, type, payload)

    async def delete(self, workflow: str, id: str) -> None:
        """Forget an instance; see `Control.delete`."""
        await self._control.delete(workflow, id)

    async def delete_workflow(self, name: str) -> None:
        """Forget a workflow; see `Control.delete_workflow`."""
        await self._control.delete_workflow(name)

    async def prune(self) -> int:
        """Delete all instances whose retention has ended, now; return how many."""
        return await self._maintenance.prune()

    async def describe(self, workflow: str, id: str) -> Snapshot:
        """Return an instance with its journal; see `Control.describe`."""
        return await self._control.describe(workflow, id)

    async def instance(self, workflow: str, id: str) -> Instance:
        """Return one instance with output and error; see `Control.instance`."""
        return await self._control.instance(workflow, id)

    async def subscribe(
        self, workflow: str, id: str, cursor: int | None = None, filter: Collection[str] | None = None
    ) -> AsyncIterator[InstanceEvent]:
        """Return the events of an instance; see `Engine.subscribe`."""
        check_options(cursor, filter)
        return self._subscriptions.follow(await self._control.instance(workflow, id, heads=True), cursor, filter)

    async def workflow(self, name: str) -> WorkflowRecord:
        """Return one workflow; see `Control.workflow`."""
        return await self._control.workflow(name)

    async def find(self, query: Any) -> Page[Any]:
        """Answer a query; see `Store.find`."""
        page: Page[Any] = await self._store.find(query)
        return page

    async def ready(self) -> None:
        """Return when the store answers. Raises: Unavailable."""
        await self._store.next_due(self._clock.now())

    def versions(self) -> Mapping[str, str]:
        """Return the current version of each workflow of the project, by name."""
        return self._versions

    async def _tell_unknown(self) -> None:
        """Tell of instances that wait for a workflow which is not in the project: only a node that knows it executes them."""
        found = await self._store.find(WorkflowQuery(limit=1000, counts=False))
        unknown = [record.name for record in found.items if record.name not in self._versions]
        if unknown and await self._store.next_due(self._clock.now(), unknown) is not None:
            hint = "they wait for a node whose project has these workflows; add them to hub.toml, or delete the instances"
            self._log.warning("instances.workflow_unknown", workflows=unknown, hint=hint)

    async def _register(self, definition: Definition) -> None:
        now = self._clock.now()
        version = Version(
            id=new_id(now),
            workflow=definition.name,
            class_name=definition.class_name,
            digest=definition.digest,
            created_at=now,
        )
        await self._store.apply([RegisterWorkflow(version=version, script_name=definition.script_name)])
        page = await self._store.find(VersionQuery(workflow=definition.name, limit=1000))
        self._versions[definition.name] = next(v.id for v in page.items if v.digest == definition.digest)
