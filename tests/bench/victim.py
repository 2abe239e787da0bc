"""A node that is to be killed, or one that recovers: `python -m tests.bench.victim URL PROGRAM SLOTS CREATE GOAL ENDS`.

Creates so many instances, waits until so many step bodies have begun and so many instances have ended (0 = does not wait for that), says
its CPU time and memory, and lives on until it is killed or its pipe is closed.
"""

from __future__ import annotations

import asyncio
import sys
import time

from hub.process import tune_garbage_collection
from tests.bench import programs
from tests.bench.engine import Node
from tests.bench.loops import run
from tests.bench.measurement import STARTERS, each, peak_rss_mb


async def live(url: str, program: str, slots: int, create: int, goal: int, ends: int) -> None:
    """Run until somebody ends it."""
    node = Node(url, program=getattr(programs, program), slots=slots)
    node.stage.goal = goal
    async with node.running():
        if create:
            await each(create, node.create, at_once=STARTERS)
        if goal:
            await node.stage.reached.wait()
        if ends:
            await node.ends.reach(ends)
        print(time.process_time(), peak_rss_mb(), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    tune_garbage_collection()
    address, name, *numbers = sys.argv[1:]
    run(live(address, name, *(int(number) for number in numbers)))
