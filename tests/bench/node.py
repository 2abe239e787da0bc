"""One of several nodes on one database: `python -m tests.bench.node URL SHARE`, spoken to through its pipes.

Creates what makes it warm, its share at CREATE, and says how many ends it has brought to the disk whenever there are more; stops at REPORT
with its figures as one line of JSON. When the pipe is closed it ends: nothing outlives the bench.
"""

from __future__ import annotations

import asyncio
import json
import sys

from hub.process import tune_garbage_collection
from tests.bench.engine import Node
from tests.bench.loops import run
from tests.bench.measurement import STARTERS, WARM_UP, each, metered, peak_rss_mb

CREATE = "create"
REPORT = "report"


async def serve(url: str, share: int) -> None:
    """Live through one measurement."""
    async with Node(url, lambda ended: _say(str(ended))).running() as node:
        await each(WARM_UP, node.create, at_once=1)  # their ends may come on another node
        await _heard(CREATE)
        with metered() as span:
            await each(share, node.create, at_once=STARTERS)
            await _heard(REPORT)
        _say(json.dumps({"cpu_s": span.cpu_s, "rss_mb": peak_rss_mb()}))


async def _heard(word: str) -> None:
    line = (await asyncio.to_thread(sys.stdin.readline)).strip()
    if line != word:
        raise SystemExit(f"{line!r} instead of {word!r}")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    tune_garbage_collection()
    run(serve(sys.argv[1], int(sys.argv[2])))
