"""A real node for the API's tests: engine, SQLite file and HTTP server on a free port, with workflows that stop where a test wants them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from hub.api.server import ApiOptions, ApiServer
from hub.core.clock import SystemClock
from hub.core.current import CURRENT
from hub.core.desk import Desk
from hub.core.errors import NonRetryableError
from hub.core.model import Status
from hub.core.ports import HttpHandler, Store
from hub.core.workflow import Env, WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from hub.engine.access import AccessOptions
from hub.engine.context import TriggerSpec
from hub.engine.desk import TriggerDesk
from hub.engine.embedded import Definition, EmbeddedEngine
from hub.engine.hosting import Hosting
from hub.engine.routes import RouteTable
from hub.engine.runner import RunnerOptions
from hub.store.sqlite import SqliteStore
from hub.ui import api_page
from hub.ui.dashboard import Dashboard
from tests.databases import empty_database
from triggers._hook_config import HttpConfig
from triggers.cron import CronConfig, CronTrigger
from triggers.http import HttpTrigger

ACCOUNT = "local"
ROOT = f"/client/v4/accounts/{ACCOUNT}/workflows"


class Greet(WorkflowEntrypoint):
    """One step, then the end."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        greeting = await step.do("greet", lambda: {"hello": event.payload})
        return {"greeting": greeting, "at": datetime(2026, 1, 2, tzinfo=UTC)}


class Approve(WorkflowEntrypoint):
    """Waits for the event `approved`."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.do("prepare", lambda: "ready")
        return (await step.wait_for_event("approval", type="approved", timeout="1 hour"))["payload"]


class Fail(WorkflowEntrypoint):
    """Fails after two attempts; each has something to say."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        def charge() -> None:
            current = CURRENT.get()
            assert current is not None
            current.note("info", "asking <the bank>", "shop")
            current.note("error", f"attempt {current.attempt} declined")
            raise ValueError("card <declined>")

        await step.do("charge", charge, retries={"limit": 1, "delay": 0})


class Retry(WorkflowEntrypoint):
    """Fails once and stands before an attempt that is an hour away."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        def charge() -> None:
            raise ValueError("busy")

        await step.do("charge", charge, retries={"limit": 3, "delay": "1 hour", "backoff": "constant"})


class Sleep(WorkflowEntrypoint):
    """Sleeps an hour."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.sleep("nap", "1 hour")


class Book(WorkflowEntrypoint):
    """Books, waits for the event `done`, and can be undone; a payload `{"broken": true}` breaks the handler."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        def undo() -> None:
            if event.payload.get("broken"):
                raise NonRetryableError("cannot undo")

        await step.do("book", lambda: "booked", rollback=undo)
        await step.wait_for_event("end", type="done", timeout="1 hour")
        raise NonRetryableError("too late")


class Order(WorkflowEntrypoint):
    """Runs `sleep` and waits for its end."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        await step.run_workflow("rest", "sleep", {}, id=f"{event.instance_id}-rest")


WORKFLOWS: dict[str, type[WorkflowEntrypoint]] = {
    "greet": Greet, "approve": Approve, "fail": Fail, "retry": Retry, "sleep": Sleep, "book": Book, "order": Order,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer, read."""

    status: int
    headers: dict[str, str]
    raw: bytes
    body: Any

    @property
    def result(self) -> Any:
        """The result of an answer that must be a success."""
        assert self.status == 200, self.body
        assert self.body["success"] is True
        assert self.body["errors"] == []
        return self.body["result"]

    @property
    def failure(self) -> tuple[int, int, str]:
        """Status, number and message of an answer that must be a failure."""
        assert self.body["success"] is False
        assert self.body["result"] is None
        (error,) = self.body["errors"]
        return self.status, error["code"], error["message"]


class Node:
    """A running node and a client of it."""

    def __init__(self, engine: EmbeddedEngine, desk: Desk, routes: RouteTable, server: ApiServer, client: aiohttp.ClientSession) -> None:
        self.engine = engine
        self.desk = desk
        self.routes = routes
        self.server = server
        self.client = client

    async def call(self, method: str, path: str, **options: Any) -> Reply:
        """Send a request and read the answer."""
        async with self.client.request(method, path, **options) as answer:
            raw = await answer.read()
            is_json = answer.content_type == "application/json" and raw
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(status=answer.status, headers=headers, raw=raw, body=await answer.json() if is_json else None)

    async def get(self, path: str, **options: Any) -> Reply:
        """GET below the workflows."""
        return await self.call("GET", ROOT + path, **options)

    async def post(self, path: str, **options: Any) -> Reply:
        """POST below the workflows."""
        return await self.call("POST", ROOT + path, **options)

    async def create(self, workflow: str, id: str | None = None, params: Any = None) -> str:
        """Create an instance and return its id."""
        body: dict[str, Any] = {"params": {} if params is None else params}
        if id is not None:
            body["instance_id"] = id
        return str((await self.post(f"/{workflow}/instances", json=body)).result["id"])

    async def settled(self, workflow: str, id: str, status: Status) -> Any:
        """Return the describe object when the instance has that status and is in nobody's hands."""
        async with asyncio.timeout(30):
            while True:
                head = await self.engine.instance(workflow, id)
                if head.status is status and head.node is None:
                    return (await self.get(f"/{workflow}/instances/{id}")).result
                await asyncio.sleep(0)


@asynccontextmanager
async def running(
    folder: Path,
    *,
    fetch: HttpHandler | None = None,
    metrics: Callable[[], bytes] | None = None,
    access: AccessOptions | None = None,
    more: Mapping[str, type[WorkflowEntrypoint]] | None = None,
    store: Store | None = None,
    triggers: Sequence[TriggerSpec] = (),
    **options: Any,
) -> AsyncIterator[Node]:
    """Run a node with its file in a folder, or on another store; `triggers` are more of them."""
    log = structlog.get_logger("test")
    definitions = [
        Definition(name=name, class_name=kind.__name__, script_name="tests", digest=name, make=_maker(kind))
        for name, kind in {**WORKFLOWS, **(more or {})}.items()
    ]
    clock = SystemClock()
    kept, few = store or SqliteStore(empty_database(folder / "hub.sqlite")), RunnerOptions(slots=20, threads=2)
    engine = EmbeddedEngine(kept, clock, log, definitions, few, access=access)
    services = engine.services(ACCOUNT)
    hosting = Hosting([*_triggers(), *triggers], services)
    desk = TriggerDesk(hosting, services)
    await engine.start()
    try:
        await hosting.start()
        chosen = ApiOptions(**{"port": 0, "account": ACCOUNT, "shutdown_s": 5.0, "version": "1.2.3", **options})
        measured = metrics or engine.telemetry.render
        server = ApiServer(
            engine,
            desk,
            chosen,
            hosting.routes,
            fetch,
            measured,
            access=engine.access,
            audit=engine.audit,
            queues=engine.queues,
            pages=lambda engine, desk: Dashboard(engine, desk, clock).handle,
            docs=api_page.page,
            clock=clock,
            log=log,
        )
        await server.start()
        try:
            async with aiohttp.ClientSession(server.url, auto_decompress=False) as client:
                yield Node(engine, desk, hosting.routes, server, client)
        finally:
            await server.stop()
    finally:
        await hosting.stop()
        await engine.stop()


def _triggers() -> list[TriggerSpec]:
    """Return a webhook at /hooks/greetings and a schedule that never comes round while a test runs."""
    never = CronConfig(cron="0 0 29 2 *")
    return [
        TriggerSpec("greetings", "greet", HttpTrigger(HttpConfig()), kind="http", settings={"path": "greetings"}),
        TriggerSpec("leap-day", "greet", CronTrigger(never), kind="cron", settings={"cron": never.cron}),
        TriggerSpec("off", "greet", HttpTrigger(HttpConfig()), kind="http", enabled=False),
    ]


def _maker(kind: type[WorkflowEntrypoint]) -> Any:
    return lambda: kind(None, Env({}))
