"""One instance with `n` steps, one after the other: steps a second, and how long a replay of it takes.

The clock runs from the creation until the last step is on disk. The instance then waits for an event and is parked; another engine on the
same file sends that event, and the replay is measured from there until the end is on disk. `cpu_s` is that of the steps.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.bench.engine import NAME, Node
from tests.bench.measurement import Measurement, Size, metered, peak_rss_mb
from tests.bench.programs import Sequence

_ID = "long"


async def sequential(folder: Path, size: Size) -> Measurement:
    """Run `n` steps and replay them."""
    file = folder / "hub.sqlite"
    url, steps = f"sqlite:///{file}", size.n + 1
    async with Node(url, program=Sequence, steps=steps).running() as node:
        with metered() as span:
            key = await node.create_with({"steps": size.n}, _ID)
            await node.stage.reached.wait()
    async with Node(url, program=Sequence, steps=steps).running() as node:
        ended = asyncio.ensure_future(node.ends.of(key))
        await asyncio.sleep(0)
        with metered() as replay:
            await node.engine.send_event(NAME, _ID, "enough", None)
            await ended
    _check(file, size.n)
    facts = {"replay_s": replay.wall_s, "replay_cpu_s": replay.cpu_s}
    return Measurement(n=size.n, per_s=size.n / span.wall_s, cpu_s=span.cpu_s, rss_mb=peak_rss_mb(), facts=facts)


def _check(file: Path, n: int) -> None:
    with closing(sqlite3.connect(file)) as db:
        heads = db.execute("SELECT status FROM instance").fetchall()
        (steps,) = db.execute("SELECT count(*) FROM step WHERE kind = 'step' AND state = 'done' AND output IS NOT NULL").fetchone()
    if (heads, steps) != ([("complete",)], n):
        raise AssertionError(f"{file} has {heads} with {steps} steps; one instance with {n} was run")
