"""The composition root: settings → store, engine, connectors, API, triggers; and the order in which they start and stop.

The only module that sees everything. Start: connectors → engine (store, committer, runner) → API → triggers. Stop is the reverse, so that
intake ends first and nothing that was acknowledged is lost.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version as package_version
from typing import Any, NamedTuple

import structlog

from hub.api.listen import reachable
from hub.api.server import ApiOptions, ApiServer
from hub.core.clock import Clock, SystemClock
from hub.core.errors import ConfigError
from hub.core.logs import LogLimits
from hub.core.model import HttpReply, HttpRequest, StepConfig
from hub.core.nodes import Role
from hub.core.ports import Connector, HttpHandler, Log
from hub.core.web import Request, Response
from hub.core.workflow import Env, WorkerEntrypoint, WorkflowEntrypoint
from hub.engine.access import AccessOptions
from hub.engine.binding import WorkflowBinding
from hub.engine.desk import TriggerDesk
from hub.engine.embedded import Definition, EmbeddedEngine
from hub.engine.hosting import Hosting
from hub.engine.queue_binding import QueueBinding
from hub.engine.runner import RunnerOptions
from hub.flows import cancel_rules, flow_rules
from hub.mistakes import in_file
from hub.plugins import connector_class, parse_options
from hub.project import Project, load_project
from hub.settings import FILE, Settings
from hub.store import store_for
from hub.triggering import declared_triggers, handler_of, hosted_triggers
from hub.ui import api_page
from hub.ui.dashboard import Dashboard


class _Parts(NamedTuple):
    """What a node is made of."""

    connectors: dict[str, Connector]
    engine: EmbeddedEngine
    hosting: Hosting
    api: ApiServer
    fetch: HttpHandler | None


class App:
    """One node of the hub."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None, log: Log | None = None, doors: bool = True) -> None:
        """Make a node. Without `doors` it only executes: no API, no triggers, nothing listens."""
        self.settings = settings
        self._doors = doors
        self._engine: EmbeddedEngine | None = None
        self._clock = clock or SystemClock()
        self._log: Log = log or structlog.get_logger("hub")
        self._stack = contextlib.AsyncExitStack()
        self._api: ApiServer | None = None
        self._fetch: HttpHandler | None = None

    @property
    def engine(self) -> EmbeddedEngine:
        """What executes. Only after `start`."""
        if self._engine is None:
            raise RuntimeError("the app has not been started")
        return self._engine

    @property
    def url(self) -> str:
        """The address of the node. Only after `start`."""
        if self._api is None:
            raise RuntimeError("the app has not been started")
        return self._api.url

    @property
    def fetches(self) -> bool:
        """Whether the project answers the requests that the hub does not. Only after `start`."""
        return self._fetch is not None

    async def start(self) -> None:
        """Start everything; returns when all doors are open. Raises: ConfigError, Unavailable; nothing is left running then."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def stop(self) -> None:
        """Stop intake, let running steps use the grace period, store everything, close. Safe twice."""
        await self._stack.aclose()

    async def _start(self) -> None:
        settings, bindings = self.settings, dict[str, Any]()
        env = Env(bindings)  # as long as nothing has started
        parts = self._assemble(lambda: env)
        engine, api = parts.engine, parts.api
        if self._doors:
            await api.bind()  # first: a port in use must not disturb a store that another hub may own
            self._stack.push_async_callback(api.stop)
        url = api.url if self._doors else reachable(settings.server.host, settings.server.port)
        producers = settings.queues.producers
        bindings.update(parts.connectors)
        bindings.update({w.binding: WorkflowBinding(engine, w.name) for w in settings.workflows if w.binding})
        bindings.update({p.binding: QueueBinding(engine.queues, p.queue, p.delivery_delay) for p in producers})
        bindings.update(settings.expanded_vars(url))
        env = Env(bindings)
        for connector in parts.connectors.values():
            await connector.open()
            self._stack.push_async_callback(connector.close)
        await engine.start(api.url if self._doors else None)
        self._stack.push_async_callback(engine.stop)
        for producer in producers:
            await engine.queues.declare(producer.queue, producer=producer.binding)
        self._engine = engine
        if not self._doors:
            return
        await api.start()
        self._stack.push_async_callback(api.stop)
        if Role.INTAKE in settings.node.roles:
            await parts.hosting.start()
            self._stack.push_async_callback(parts.hosting.stop)
        self._stack.callback(engine.retire)  # first: what waits here need not wait for the last request or message
        self._api, self._fetch = api, parts.fetch

    def _assemble(self, env: Callable[[], Env]) -> _Parts:
        """Make everything, and start nothing; `env` is asked anew for each run. Raises: ConfigError."""
        settings = self.settings
        try:
            project = load_project(settings.project, settings.main, [workflow.class_name for workflow in settings.workflows])
            connectors = _connectors(settings)
            triggers = declared_triggers(settings, project.worker)
            workflows = definitions(settings, project, env)
        except ConfigError as error:
            raise in_file(error, settings.project / FILE) from error.__cause__
        engine = EmbeddedEngine(
            store_for(settings.store.url, notify=settings.store.notifications),
            self._clock,
            self._log,
            workflows,
            self._runner_options(),
            rules={each.spec.name: each.rules for each in triggers},
            access=access_options(settings) if self._doors else None,
        )
        services = engine.services(settings.account)
        hosting = Hosting(hosted_triggers(triggers, project.worker, env, engine.threads.run), services)
        desk = TriggerDesk(hosting, services)
        fetch = fetch_handler(project.worker, env, engine) if project.worker is not None else None
        api = ApiServer(
            engine,
            desk,
            _api_options(settings),
            hosting.routes,
            fetch,
            engine.telemetry.render,
            access=engine.access,
            audit=engine.audit,
            queues=engine.queues,
            pages=lambda engine, desk: Dashboard(engine, desk, self._clock).handle,
            docs=api_page.page,
            clock=self._clock,
            log=self._log,
        )
        return _Parts(connectors, engine, hosting, api, fetch)


    def _runner_options(self) -> RunnerOptions:
        """Return how the runner works: without doors the node is there to execute, whatever the settings say."""
        options = runner_options(self.settings)
        return options if self._doors else replace(options, roles=(Role.RUN,), workflows=())


def _connectors(settings: Settings) -> dict[str, Connector]:
    """Make the connectors, by binding. Raises: ConfigError with the path of the key."""
    places = ((f"connectors.{n}", spec) for n, spec in enumerate(settings.connectors))
    return {spec.binding: make_plugin(connector_class(spec.kind, place), spec.options, place) for place, spec in places}


def make_plugin(kind: type[Any], options: dict[str, Any], path: str) -> Any:
    """Return a trigger or a connector with its own options. Raises: ConfigError with the path of the key."""
    return kind(parse_options(kind, options, path))


def definitions(settings: Settings, project: Project, env: Callable[[], Env]) -> list[Definition]:
    """Return the project's workflows as the engine takes them; `env` is asked anew for each run. Raises: ConfigError."""

    def maker(cls: type[WorkflowEntrypoint]) -> Callable[[], WorkflowEntrypoint]:
        return lambda: cls(None, env())

    return [
        Definition(
            w.name,
            w.class_name,
            settings.name,
            project.digests[w.class_name],
            maker(project.workflows[w.class_name]),
            settings.retention_of(w),
            settings.steps_of(w),
            flow_rules(w.flow, f"workflow/{w.name}", f"workflows.{n}.flow"),
            cancel_rules(w.name, w.cancel_on, f"workflows.{n}.cancel_on"),
        )
        for n, w in enumerate(settings.workflows)
    ]


def runner_options(settings: Settings) -> RunnerOptions:
    """Return how the runner works by the settings."""
    runner, steps, limits = settings.runner, settings.steps, settings.limits
    return RunnerOptions(
        roles=settings.node.roles,
        workflows=settings.node.workflows,
        version=package_version("trigger-hub"),
        slots=runner.slots,
        threads=runner.threads,
        grace=runner.grace,
        resident=runner.resident,
        lease=runner.lease,
        payload_bytes=limits.payload_bytes,
        result_bytes=limits.result_bytes,
        state_bytes=limits.state_bytes,
        logs=LogLimits(
            lines=limits.log_lines,
            line_bytes=limits.log_line_bytes,
            attempt_bytes=limits.log_attempt_bytes,
            instance_bytes=limits.log_instance_bytes,
        ),
        steps=limits.steps,
        max_recoveries=runner.max_recoveries,
        deliveries_kept=settings.deliveries_kept,
        messages_kept=settings.messages_kept,
        defaults=StepConfig(limit=steps.retry_limit, delay=steps.retry_delay, backoff=steps.retry_backoff, timeout=steps.timeout),
    )


def access_options(settings: Settings) -> AccessOptions:
    """Return who may come in by the settings."""
    server = settings.server
    return AccessOptions(
        token=server.token.get_secret_value(),
        auth=server.auth,
        exposed=None if server.loopback else server.host,
        audit_kept=settings.audit_kept,
    )


def _api_options(settings: Settings) -> ApiOptions:
    server = settings.server
    return ApiOptions(
        host=server.host,
        port=server.port,
        hosts=server.hosts,
        account=settings.account,
        project=settings.name,
        version=package_version("trigger-hub"),
        intake=Role.INTAKE in settings.node.roles,
    )


def fetch_handler(worker: type[WorkerEntrypoint], env: Callable[[], Env], engine: EmbeddedEngine) -> HttpHandler | None:
    """Return the handler that calls the project's `fetch`, in a new object for each request."""
    if getattr(worker, "fetch", None) is None:
        return None

    call = handler_of(worker, "fetch", env, engine.threads.run)

    async def handle(raw: HttpRequest) -> HttpReply:
        answer = await call(Request(raw))
        if not isinstance(answer, Response):
            raise TypeError(f"{worker.__name__}.fetch returned {type(answer).__name__}; return a hub.Response")
        return answer.reply()

    return handle
