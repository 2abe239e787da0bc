"""Whether an instance costs the same however many are stored: three steps among 10,000 that have ended, and then among `n`.

Rate and CPU of the row are those among `n`; the facts have those among the first 10,000, and the bytes that a stored one takes.
"""

from __future__ import annotations

from pathlib import Path

from tests.bench.engine import Node
from tests.bench.measurement import STARTERS, WARM_UP, Measurement, Size, Span, each, metered
from tests.bench.stored import FIRST, fill, stored

_FEW = 10_000
_MEASURED = 5000


async def growth(folder: Path, size: Size) -> Measurement:
    """Measure among few, fill the file until `n` are stored, and measure again."""
    file, measured = folder / "hub.sqlite", min(_MEASURED, size.n)
    await _run(file, min(FIRST, size.n))
    fill(file, min(_FEW, size.n))
    few = await _run(file, measured)
    fill(file, size.n)
    many = await _run(file, measured)
    facts = {
        "among_10000_per_s": measured / few.wall_s,
        "among_10000_cpu_ms_each": few.cpu_s / measured * 1000,
        "among_n_cpu_ms_each": many.cpu_s / measured * 1000,
        "stored": stored(file),
        "bytes_each": file.stat().st_size / stored(file),
    }
    return many.measurement(measured, facts=facts)


async def _run(file: Path, count: int) -> Span:
    async with Node(f"sqlite:///{file}").running() as node:
        await each(WARM_UP, node.run, at_once=1)
        with metered() as span:
            await each(count, node.create, at_once=STARTERS)
            await node.ends.reach(WARM_UP + count)
    return span
