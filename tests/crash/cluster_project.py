"""The project that a cluster serves, and one node of it as a process: what `hub serve` does, in a warm fork.

Every step body notes its start in the ledger, with a name that no other run of a body has; it returns that name. The program notes the name
as soon as `step.do` hands it over, which is after the commit. So the ledger alone tells whose run of a body was committed, and when.

Lines of the ledger, in the order of their events: `start LIFE WORKFLOW ID STEP ATTEMPT RUN`, `settled LIFE WORKFLOW ID STEP RUN`; those
of limited instances `enter LIFE KEY BODY`, `leave LIFE KEY BODY`; and of the harness `killed LIFE`, `frozen LIFE`, `thawed LIFE`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from hub import NonRetryableError, WorkflowEntrypoint, WorkflowEvent
from hub.app import App
from hub.cli import logs
from hub.core.clock import SystemClock
from hub.order import Order
from hub.process import Signals, tune_garbage_collection

from .forks import Stage
from .ledger import Ledger
from .programs import PATIENT, TIRED, Ctx

LEDGER = "ledger"
MIX = ("plain", "parallel", "nap", "flaky", "family", "slow", "listener")  # what the load creates, in turn
LIMITED = ("limited", "throttled")
SOLOS = ("chain", "endless", "busy")  # of single tests
STEPS = {  # that an instance must have settled at its end; of a listener one for each event
    "plain": ("one", "two", "three"),
    "parallel": ("left", "middle", "right", "total"),
    "nap": ("before", "between", "after"),
    "flaky": ("soon", "later"),
    "family": ("before", "after"),
    "slow": ("awaits", "blocks"),
}
LIMITS = {"all": 5, "key": 2}  # of `limited`
PERIOD_S = 0.1  # between two starts of `throttled`
CHILDREN = 2
SETTINGS = """
name = "cluster"
main = "flows.py"
[vars]
LIFE = "${{CLUSTER_LIFE}}"
LEDGER = "{ledger}"
[store]
url = "{url}"
{store}
[server]
host = "127.0.0.1"
[runner]
lease = "{lease}"
grace = "1 second"
resident = "{resident}"
max_recoveries = 1000000
[log]
format = "json"
[[triggers]]
kind = "http"
name = "keyed"
workflow = "plain"
"""
TELL_TASKS = signal.SIGUSR1  # what a node that hangs is doing
_RUNS = count(1)
clock = SystemClock()


def make_project(folder: Path, url: str, *, lease: str = "2 seconds", resident: str = "20 ms", store: str = "", more: str = "") -> Path:
    """Write the project of a cluster into a new folder; `store` and `more` are further settings."""
    project = folder / "project"
    project.mkdir()
    tables = "".join(
        f'[[workflows]]\nname = "{name}"\nclass_name = "{name.title()}"\nbinding = "{name.upper()}"\n{_FLOW.get(name, "")}'
        for name in (*MIX, *LIMITED, *SOLOS)
    )
    text = SETTINGS.format(ledger=folder / LEDGER, url=url, store=store, lease=lease, resident=resident) + tables + more
    (project / "hub.toml").write_text(text, encoding="utf-8")
    (project / "flows.py").write_text("from tests.crash.cluster_project import *\nfrom tests.crash.slots import Busy\n", encoding="utf-8")
    return project


_FLOW = {
    "limited": f'[workflows.flow]\nconcurrency = [{{ limit = {LIMITS["all"]} }}, {{ limit = {LIMITS["key"]}, key = "payload.key" }}]\n',
    "throttled": f'[workflows.flow]\nthrottle = {{ limit = 1, period = "{PERIOD_S * 1000:.0f} ms" }}\n',
}


async def serve(stage: Stage) -> None:
    """Be one node until a signal ends it."""
    os.environ["CLUSTER_LIFE"] = stage.task["life"]
    settings = Order(project=Path(stage.task["project"]), port=stage.task["port"]).settings()
    logs.configure(settings.log.level, settings.log.format)
    tune_garbage_collection()
    asyncio.get_running_loop().add_signal_handler(TELL_TASKS, _tell_tasks)
    with Signals() as signals:
        app = App(settings)
        if await signals.unless_stopped(app.start()):
            await signals.stop.wait()
        await app.stop()


def _tell_tasks() -> None:
    for task in asyncio.all_tasks():
        task.print_stack(file=sys.stderr)


# ---- the programs


class Witnessed(WorkflowEntrypoint):
    """A workflow whose steps are in the ledger."""

    def note(self, *words: str | int) -> None:
        """Write a line."""
        _ledger(self.env.LEDGER).note(*words)

    def start(self, event: WorkflowEvent, ctx: Ctx) -> str:
        """Note the start of a body; return the name of this run of it."""
        run = f"{self.env.LIFE}/{next(_RUNS)}"
        self.note("start", self.env.LIFE, event.workflow_name, event.instance_id, ctx.step.name, ctx.attempt, run)
        return run

    async def settle(self, event: WorkflowEvent, step: Any, name: str, body: Any, **config: Any) -> str:
        """Run a step, and note the run whose result is committed."""
        run: str = await step.do(name, body, retries={**PATIENT, **config})
        self.note("settled", self.env.LIFE, event.workflow_name, event.instance_id, name, run)
        return run

    async def brief(self, event: WorkflowEvent, step: Any, name: str, *, body_s: float = 0.01) -> str:
        """Run a step that takes some milliseconds."""

        async def body(ctx: Ctx) -> str:
            run = self.start(event, ctx)
            await clock.sleep(body_s)
            return run

        return await self.settle(event, step, name, body)


@cache
def _ledger(path: str) -> Ledger:
    return Ledger(Path(path))


class Plain(Witnessed):
    """Three steps one after the other, the middle one in a thread."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return the number and the committed runs."""

        def two(ctx: Ctx) -> str:
            return self.start(event, ctx)

        runs = {"one": await self.brief(event, step, "one")}
        runs["two"] = await self.settle(event, step, "two", two)
        runs["three"] = await self.brief(event, step, "three", body_s=0.05)
        return {"n": event.payload["n"], "runs": runs}


class Parallel(Witnessed):
    """Three steps at once, and one that needs them all."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return the number and the committed runs."""
        names = ("left", "middle", "right")
        runs = dict(zip(names, await asyncio.gather(*(self.brief(event, step, name) for name in names)), strict=True))
        runs["total"] = await self.brief(event, step, "total")
        return {"n": event.payload["n"], "runs": runs}


class Nap(Witnessed):
    """Two sleeps between steps: one stays in memory, the other one parks the instance, so that any node may go on with it."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return the number and the committed runs."""
        runs = {"before": await self.brief(event, step, "before")}
        await step.sleep("nap", 4)
        runs["between"] = await self.brief(event, step, "between")
        await step.sleep("night", 150)
        runs["after"] = await self.brief(event, step, "after")
        return {"n": event.payload["n"], "runs": runs}


class Flaky(Witnessed):
    """A step that fails twice in memory, one that fails twice and waits parked, and one that can never succeed."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return the number and the committed runs."""

        async def flaky(ctx: Ctx) -> str:
            run = self.start(event, ctx)
            if ctx.attempt <= TIRED:
                raise ConnectionError("try again")
            return run

        async def refused(ctx: Ctx) -> None:
            self.start(event, ctx)
            raise NonRetryableError("never")

        runs = {"soon": await self.settle(event, step, "soon", flaky)}
        runs["later"] = await self.settle(event, step, "later", flaky, delay=60)
        try:
            await step.do("refused", refused, retries=PATIENT)
        except NonRetryableError:
            return {"n": event.payload["n"], "runs": runs}


class Family(Witnessed):
    """Two children at once, perhaps on other nodes."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return the number, the committed runs and what the children returned."""
        n = event.payload["n"]
        runs = {"before": await self.brief(event, step, "before")}
        children = await asyncio.gather(*(step.run_workflow(f"child {each}", "nap", {"n": n}) for each in range(CHILDREN)))
        runs["after"] = await self.brief(event, step, "after")
        return {"n": n, "runs": runs, "children": children}


class Slow(Witnessed):
    """Two steps long enough to get a start record, so that a death costs them an attempt."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return the number and the committed runs."""

        def blocks(ctx: Ctx) -> str:
            run = self.start(event, ctx)
            threading.Event().wait(0.1)
            return run

        awaits, blocked = await asyncio.gather(
            self.brief(event, step, "awaits", body_s=0.5), self.settle(event, step, "blocks", blocks)
        )
        return {"n": event.payload["n"], "runs": {"awaits": awaits, "blocks": blocked}}


class Listener(Witnessed):
    """Takes events until it is told that no more will come."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return the number, the committed runs, and the tags of all events in their order."""
        tags: list[str] = []
        runs: dict[str, str] = {}
        while True:
            said = await step.wait_for_event(f"signal {len(tags)}", "signal", timeout="1 hour")
            if said["payload"]["close"]:
                return {"n": event.payload["n"], "runs": runs, "tags": tags}
            tags.append(said["payload"]["tag"])
            name = f"take-{len(tags)}"
            runs[name] = await self.brief(event, step, name)


class Limited(Witnessed):
    """Holds a place while it runs; parks once, and must have its place all the same when it goes on."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return the number."""

        async def body(ctx: Ctx) -> None:
            place = (event.payload["key"], f"{event.instance_id}:{ctx.step.name}")
            self.note("enter", self.env.LIFE, *place)
            await clock.sleep(0.15)
            self.note("leave", self.env.LIFE, *place)

        await step.do("first", body, retries=PATIENT)
        await step.sleep("rest", 30)
        await step.do("second", body, retries=PATIENT)
        return event.payload["n"]


class Throttled(Witnessed):
    """Starts at a limited rate."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return the number."""
        return event.payload["n"]


class Chain(Witnessed):
    """Many short steps: there is always one more, wherever it goes on."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return the number."""
        for number in range(event.payload["steps"]):
            await self.brief(event, step, f"link-{number}", body_s=0.02)
        return event.payload["n"]


class Endless(Witnessed):
    """A body that ends only when it is cancelled."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Never return."""

        async def body(ctx: Ctx) -> None:
            self.start(event, ctx)
            try:
                await asyncio.Event().wait()
            finally:
                self.note("cancelled", self.env.LIFE, event.instance_id)

        await step.do("forever", body)
