"""After kill -9: how long until all that was in flight runs again, and until it is complete.

`n` instances are each in the second of two steps, which takes an hour; their process is killed. The clock runs from the start of the next
process, imports and opening of the file included, until that step runs in all of them. Rate of the row: instances running again a second.
Then the same with n / 10 instances of five steps of 0.2 seconds, killed when half of the steps have begun: until all are complete. CPU time
and memory are those of the process that recovers.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from tests.bench.measurement import Measurement, Size
from tests.bench.programs import SLOW_STEPS

_SLOW_SHARE = 10
_Process = asyncio.subprocess.Process


async def recovery(folder: Path, size: Size) -> Measurement:
    """Kill a process with `n` instances in flight, and one with a tenth of it."""
    running_s, cpu_s, rss_mb = await _long(folder / "long.sqlite", size.n)
    slow_n = max(1, size.n // _SLOW_SHARE)
    complete_s = await _slow(folder / "slow.sqlite", slow_n)
    facts = {"all_running_again_s": running_s, "slow_n": float(slow_n), "slow_all_complete_s": complete_s}
    return Measurement(n=size.n, per_s=size.n / running_s, cpu_s=cpu_s, rss_mb=rss_mb, facts=facts)


async def _long(file: Path, n: int) -> tuple[float, float, float]:
    async with _life(file, "Long", n, create=n, goal=n) as process:
        await _said(process, file)
    began = time.perf_counter()
    async with _life(file, "Long", n, create=0, goal=n) as process:
        cpu_s, rss_mb = (float(word) for word in await _said(process, file))
        took_s = time.perf_counter() - began
    with closing(sqlite3.connect(file)) as db:
        heads = db.execute("SELECT count(*), count(ended_at) FROM instance").fetchall()
        steps = db.execute("SELECT count(*) FROM step WHERE name = 'short' AND state = 'done'").fetchall()
    if (heads, steps) != ([(n, 0)], [(n,)]):
        raise AssertionError(f"{file} has {heads} instances and ended ones, and {steps} steps; {n} were in flight")
    return took_s, cpu_s, rss_mb


async def _slow(file: Path, n: int) -> float:
    async with _life(file, "Slow", n, create=n, goal=n * SLOW_STEPS // 2) as process:
        await _said(process, file)
    with closing(sqlite3.connect(file)) as db:
        (ended,) = db.execute("SELECT count(ended_at) FROM instance").fetchone()
    began = time.perf_counter()
    async with _life(file, "Slow", n, create=0, ends=n - ended) as process:
        await _said(process, file)
        took_s = time.perf_counter() - began
    with closing(sqlite3.connect(file)) as db:
        statuses = db.execute("SELECT status, count(*) FROM instance GROUP BY status").fetchall()
        (steps,) = db.execute("SELECT count(*) FROM step WHERE state = 'done'").fetchone()
    if (statuses, steps) != ([("complete", n)], n * SLOW_STEPS):
        raise AssertionError(f"{file} has {statuses} with {steps} steps; {n} instances of {SLOW_STEPS} were killed and recovered")
    return took_s


@asynccontextmanager
async def _life(file: Path, program: str, slots: int, *, create: int, goal: int = 0, ends: int = 0) -> AsyncIterator[_Process]:
    """Start a process and kill it at the end of the body."""
    words = (program, str(slots), str(create), str(goal), str(ends))
    with file.with_suffix(".log").open("ab") as log:  # a line for every attempt that the kill has interrupted
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.victim", f"sqlite:///{file}", *words, stdin=PIPE, stdout=PIPE, stderr=log
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _said(process: _Process, file: Path) -> list[str]:
    """Return what the process says when it has come so far."""
    line = await process.stdout.readline() if process.stdout else b""
    if not line:
        log = file.with_suffix(".log").read_text(errors="replace")
        raise AssertionError(f"the process ended before it had come so far; the end of its log:\n{log[-2000:]}")
    return line.decode().split()
