"""The HTTP server: binds the port, wires the route table, stops in order.

Owns the sockets and the running requests. `bind` takes the port before anything else of the hub starts; `start` returns when requests are
answered; `stop` refuses new connections at once and lets running requests finish until the deadline. A client that goes away never cancels
what it asked for.
"""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import structlog
from aiohttp import web

from hub.api.accounts import Accounts
from hub.api.bulk import BulkJobs
from hub.api.connection import LIMITS, Connections, Limits
from hub.api.dispatch import Dispatcher
from hub.api.gateway import DASHBOARD, HOOKS, Gateway
from hub.api.guard import Guard
from hub.api.health import DocsPage, Vitals
from hub.api.instances import Instances
from hub.api.jobs import Jobs
from hub.api.listen import cannot_listen, reachable, take_port
from hub.api.live import HEARTBEAT_S, LiveStreams
from hub.api.local import LocalDoor
from hub.api.nodes import Nodes
from hub.api.openapi import document
from hub.api.operation import Operation
from hub.api.patience import Patience
from hub.api.queues import Queues
from hub.api.responses import guarded
from hub.api.routes import API_ROOT, operations
from hub.api.tokens import Tokens
from hub.api.triggers import Triggers
from hub.api.workflows import Directory, Workflows
from hub.core.access import Access, Scope
from hub.core.audit import AuditLog
from hub.core.clock import Clock, SystemClock
from hub.core.desk import Desk
from hub.core.ports import Engine, HttpHandler, Log
from hub.core.queues import QueueDesk
from hub.core.routing import RouteLookup
from hub.engine.veil import VeiledDesk, VeiledEngine

Pages = Callable[[Engine, Desk], HttpHandler]  # makes a dashboard of what it may show

_INSTANCE = r"{instance:[^/]+(?:/\d+[ ,-][^/]*)*}"  # of a schedule the id may be `*/30 * * * *-1786001400000`, and wrangler escapes nothing
_BACKLOG = 1024  # connections that may wait for `accept` during a burst


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiOptions:
    """How to serve. Port 0 takes a free one. `hosts` are the names by which the hub is called beside `host` and those of this machine."""

    host: str = "127.0.0.1"
    port: int = 8787
    account: str = "local"
    project: str = "project"
    hosts: tuple[str, ...] = ()
    max_body_bytes: int = 4 * 1024 * 1024  # room for a payload of 1 MiB whose every character is escaped; the engine has the exact limit
    shutdown_s: float = 10.0
    heartbeat_s: float = HEARTBEAT_S
    limits: Limits = field(default_factory=Limits)
    version: str = "0"
    intake: bool = True  # False: webhooks and the project's fetch handler are served by other nodes


class ApiServer:
    """The hub's HTTP face.

    `fetch` answers what nobody else does, `pages` makes the dashboard, `docs` shows the API's document; without one its addresses are
    empty. All that reads exists twice: as it is, and veiled for callers who may not see payloads.
    """

    def __init__(  # noqa: PLR0913  # one parameter for each neighbour
        self,
        engine: Engine,
        desk: Desk,
        options: ApiOptions,
        routes: RouteLookup,
        fetch: HttpHandler | None,
        metrics: Callable[[], bytes],
        *,
        access: Access,
        audit: AuditLog,
        queues: QueueDesk,
        pages: Pages | None = None,
        docs: DocsPage | None = None,
        clock: Clock | None = None,
        log: Log | None = None,
    ) -> None:
        self._options = options
        self._runner: web.AppRunner | None = None
        self._listening: list[asyncio.Server] = []
        self._sockets: list[socket.socket] = []
        self._url: str | None = None
        self._log: Log = log or structlog.get_logger("hub.api")
        clock = clock or SystemClock()
        directory = Directory(engine)
        self._bulk = BulkJobs(engine, clock, self._log)
        self._patience = Patience(clock)
        self._streams = LiveStreams(self._log, options.heartbeat_s)
        accounts, tokens = Accounts(options.account), Tokens(access, audit, clock, options.account)
        of_queues = Queues(queues, clock, options.project)
        vitals = Vitals(engine, metrics, lambda: self._document, docs)

        def table(engine: Engine, desk: Desk) -> tuple[Operation, ...]:
            instances = Instances(engine, directory, self._bulk, clock, self._patience)
            workflows = Workflows(engine, desk, directory, self._bulk)
            door = LocalDoor(engine, instances, clock)
            jobs, triggers = Jobs(self._bulk, directory), Triggers(desk, clock)
            return operations(accounts, workflows, instances, jobs, triggers, of_queues, tokens, Nodes(engine, clock), door, vitals)

        veiled = VeiledEngine(engine), VeiledDesk(desk)
        self.operations = table(engine, desk)
        gateway = Gateway(
            routes,
            fetch,
            pages=None if pages is None else pages(engine, desk),
            veiled_pages=None if pages is None else pages(*veiled),
            max_body_bytes=options.max_body_bytes,
            intake=options.intake,
        )
        guard = Guard(access, audit, clock, account=options.account, host=options.host, hosts=options.hosts)
        self.app = self._make_app(guard, table(*veiled), gateway)

    @cached_property
    def _document(self) -> dict[str, Any]:
        """The API's description; made when somebody asks for it, because a start would wait for it longer than for all else."""
        return document(self.operations, version=self._options.version)

    @property
    def url(self) -> str:
        """The address under which this machine reaches the server. Only after `bind` or `start`."""
        if self._url is None:
            raise RuntimeError("the server has no port yet; call bind or start first")
        return self._url

    async def bind(self) -> None:
        """Take the port without listening on it: connections are refused until `start`. Raises: ConfigError (taken, forbidden, unknown)."""
        if self._sockets:
            return
        self._sockets = await take_port(self._options.host, self._options.port)
        self._url = reachable(self._options.host, self._sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen; returns when requests are answered. Raises: ConfigError as `bind` does."""
        await self.bind()
        runner = web.AppRunner(
            self.app, access_log=None, handler_cancellation=False, shutdown_timeout=self._options.shutdown_s
        )
        await runner.setup()
        self._runner = runner
        if runner.server is None:
            raise RuntimeError("the server library made no server")
        connections = Connections(runner.server, self._options.limits, self._log)
        try:
            for taken in self._sockets:
                server = await asyncio.get_running_loop().create_server(connections, sock=taken, backlog=_BACKLOG)
                self._listening.append(server)
        except OSError as error:
            await self.stop()
            raise cannot_listen(self._options.host, self._options.port, error) from error

    async def stop(self) -> None:
        """Refuse new connections, let running requests finish until the deadline, end background jobs. Safe twice and without start."""
        self._patience.stop()
        self._streams.stop()
        listening, self._listening = self._listening, []
        for server in listening:
            server.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        sockets, self._sockets = self._sockets, []
        for taken in sockets:
            taken.close()
        await self._bulk.stop()

    def _make_app(self, guard: Guard, veiled: Iterable[Operation], gateway: Gateway) -> web.Application:
        options = self._options
        app = web.Application()
        app[LIMITS] = options.limits
        dispatcher = Dispatcher(guard, max_body_bytes=options.max_body_bytes, log=self._log, streams=self._streams)
        _add_operations(app.router, dispatcher, self.operations, {row.name: row for row in veiled})
        for path in (API_ROOT, API_ROOT + "/{tail:.*}"):
            app.router.add_route("*", path, dispatcher.refuse(Scope.READ))
        for path in (DASHBOARD, DASHBOARD + "/{tail:.*}"):
            app.router.add_route("*", path, dispatcher.protect(gateway.page, gateway.veiled_page))
        for path in (HOOKS, HOOKS + "/{tail:.*}"):
            app.router.add_route("*", path, guarded(gateway.hook, self._log))
        app.router.add_route("*", "/{tail:.*}", guarded(gateway.fetch, self._log))
        return app


def _add_operations(
    router: web.UrlDispatcher, dispatcher: Dispatcher, table: Iterable[Operation], veiled: Mapping[str, Operation]
) -> None:
    """Add the table; a method that a path lacks answers 405."""
    by_path: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in table:
        by_path[operation.path].append(operation)
    for path, rows in by_path.items():
        allowed = {row.method for row in rows}
        resource = router.add_resource(path.replace("{instance}", _INSTANCE))
        for row in rows:
            handler = dispatcher.bind(row, veiled[row.name])
            resource.add_route(row.method, handler)
            if row.method == "GET":
                resource.add_route("HEAD", handler)
                allowed.add("HEAD")
        scope = None if all(row.scope is None for row in rows) else Scope.READ
        resource.add_route("*", dispatcher.refuse(scope, frozenset(allowed)))

