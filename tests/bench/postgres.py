"""The hub on PostgreSQL: one node or several, each a process of its own, on one new database of one server.

Three steps: each node starts its share as fast as it can from a common signal; the clock stops when the last end is on disk, whichever node
brought it there, since one may take what another has no slots for. Every node counts the ends that it has brought to the disk itself.
CPU time and memory are those of all nodes together, without what PostgreSQL's own processes take on the same cores.
After the run the database is read, as the file is with SQLite.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.bench.measurement import WARM_UP, Measurement, Size, metered
from tests.bench.node import CREATE, REPORT
from tests.bench.workloads import DONE, RESULTS, STATUSES, judge, one_at_a_time
from tests.databases import asked, postgres_database
from tests.postgres import LOCAL, refused


def server() -> str:
    """Return the address of the server on which to measure."""
    return os.environ.get("HUB_TEST_POSTGRES_URL") or LOCAL


def missing() -> str | None:
    """Return why nothing can be measured on PostgreSQL; None = it can."""
    reason = refused(server())
    return reason and f"nobody comes in at PostgreSQL ({reason}); HUB_TEST_POSTGRES_URL chooses another server"


async def three_step(_folder: Path, size: Size) -> Measurement:
    """Start `n` instances at once on all nodes together and measure until all have ended."""
    shares = [size.n // size.nodes + (number < size.n % size.nodes) for number in range(size.nodes)]
    async with postgres_database(server()) as url:
        async with AsyncExitStack() as stack:
            nodes = [await stack.enter_async_context(_node(url, share)) for share in shares]
            counts = [0] * size.nodes
            warm = WARM_UP * size.nodes
            await _ended(nodes, counts, warm)
            with metered() as span:
                for node in nodes:
                    node.say(CREATE)
                await _ended(nodes, counts, warm + size.n)
            reports = [await node.report() for node in nodes]
        await _check(url, warm + size.n)
    return Measurement(
        n=size.n,
        per_s=size.n / span.wall_s,
        cpu_s=sum(report["cpu_s"] for report in reports),
        rss_mb=sum(report["rss_mb"] for report in reports),
    )


async def latency(_folder: Path, size: Size) -> Measurement:
    """Run `n` instances one after the other on one node and measure each."""
    async with postgres_database(server()) as url:
        measurement = await one_at_a_time(url, size.n)
        await _check(url, WARM_UP + size.n)
    return measurement


class _Node:
    """A process of `tests.bench.node`, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a node is started with pipes")
        self._in, self._out = process.stdin, process.stdout

    def say(self, word: str) -> None:
        self._in.write(f"{word}\n".encode())

    async def line(self) -> str:
        """Return what it says next. Raises: AssertionError when it is gone."""
        line = (await self._out.readline()).decode().strip()
        if not line:
            raise AssertionError("a node has ended; its error stands above")
        return line

    async def report(self) -> dict[str, Any]:
        """Let it end, and return its figures."""
        self.say(REPORT)
        while not (line := await self.line()).startswith("{"):
            pass  # a number of ends that had been on its way
        report: dict[str, Any] = json.loads(line)
        return report


@asynccontextmanager
async def _node(url: str, share: int) -> AsyncIterator[_Node]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.bench.node", url, str(share), stdin=PIPE, stdout=PIPE)
    try:
        yield _Node(process)
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ended(nodes: Sequence[_Node], counts: list[int], n: int) -> None:
    """Return when the nodes have brought so many instances to their end; `counts` are those of each."""

    async def listen(number: int) -> None:
        while True:
            counts[number] = int(await nodes[number].line())
            if sum(counts) >= n:
                for listener in listeners:
                    listener.cancel()

    async with asyncio.TaskGroup() as group:
        listeners = [group.create_task(listen(number)) for number in range(len(nodes))]


async def _check(url: str, n: int) -> None:
    statuses = dict(await asked(url, STATUSES))
    ((results,),), ((steps,),) = await asked(url, RESULTS), await asked(url, DONE)
    judge("the database", statuses, results, steps, n)
