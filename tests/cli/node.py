"""A real hub as a process of its own, on a free port, and projects for it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cli import warm
from tests.cli.command_line import environment

_PATIENCE_S = 30  # only how long a broken hub may keep the tests waiting

SETTINGS = """
name = "shop"
main = "flows.py"
[[workflows]]
name = "orders"
binding = "ORDERS"
class_name = "Orders"
[[triggers]]
kind = "http"
name = "incoming"
workflow = "orders"
path = "shop/orders"
[[triggers]]
kind = "cron"
name = "new-year"
workflow = "orders"
cron = "0 0 1 1 *"
"""

CODE = """
from hub import Response, WorkerEntrypoint, WorkflowEntrypoint

ANSWER = "first"

class Orders(WorkflowEntrypoint):
    async def run(self, event, step):
        kept = await step.do("keep", lambda: {"got": event.payload})
        if event.payload.get("approve"):
            return (await step.wait_for_event("approval", type="approved", timeout="1 hour"))["payload"]
        return kept

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response(ANSWER)
"""

ENDLESS = """
import asyncio
from hub import WorkflowEntrypoint

class Orders(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do("never ends", self.block)

    async def block(self):
        print("blocked", flush=True)
        await asyncio.Event().wait()
"""


def make_project(folder: Path, *, settings: str = SETTINGS, code: str = CODE) -> Path:
    """Write a project into a new folder."""
    folder.mkdir()
    (folder / "hub.toml").write_text(settings, encoding="utf-8")
    (folder / "flows.py").write_text(code, encoding="utf-8")
    return folder


class Lines:
    """What a process writes to one stream, line by line as it comes."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self.seen: list[str] = []
        self._stream = stream
        self._news = asyncio.Condition()
        self._ended = False
        self._reading = asyncio.create_task(self._read())

    async def line(self, part: str, *, after: int = 0) -> str:
        """Return the first line that contains a text, from line number `after` on; wait for it if need be."""
        async with asyncio.timeout(_PATIENCE_S), self._news:
            await self._news.wait_for(lambda: self._ended or self._find(part, after) is not None)
        found = self._find(part, after)
        assert found is not None, f"{part!r} never came; there were: {self.seen}"
        return found

    async def end(self) -> str:
        """Return everything, once the process has closed the stream."""
        await self._reading
        return "\n".join(self.seen)

    def _find(self, part: str, after: int) -> str | None:
        return next((line for line in self.seen[after:] if part in line), None)

    async def _read(self) -> None:
        async for line in self._stream:
            async with self._news:
                self.seen.append(line.decode().rstrip("\n"))
                self._news.notify_all()
        async with self._news:
            self._ended = True
            self._news.notify_all()


@dataclass(slots=True)
class Node:
    """A hub that runs."""

    process: warm.Program
    out: Lines
    err: Lines

    async def url(self, *, after: int = 0) -> str:
        """Return its address, once it is ready."""
        return (await self.out.line("ready on", after=after)).rpartition(" ")[2]

    async def env(self) -> dict[str, str]:
        """Return the environment in which `hub` finds it."""
        return {"HUB_URL": await self.url()}

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return await self.wait()

    async def wait(self) -> int:
        """Return the exit code once all that was written has been read."""
        async with asyncio.timeout(_PATIENCE_S):
            await self.out.end()
            await self.err.end()
            return await self.process.wait()


@asynccontextmanager
async def running(*argv: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> AsyncIterator[Node]:
    """Start `hub serve …` or `hub dev …`; kill what is left of it in the end."""
    process = await warm.start(*argv, env=environment(env), cwd=cwd)
    node = Node(process, Lines(process.stdout), Lines(process.stderr))
    try:
        yield node
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await node.wait()
