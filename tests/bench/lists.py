"""Lists over REST with `n` stored instances: a whole hub is asked as a dashboard would, one request after the other.

Instances of three steps have ended before: the first ones are real, the others copies of their rows. Rate of the row: requests a second,
p50 and p99 of all of them together. For each kind of request its 95th percentile is a fact: the newest page, one of the first hundred, one
anywhere in the newer half, one status, two of them, a span of time, one of ends, the description of single instances, and the workflows
with their counts. Every answer must hold as many instances as it has to.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import aiohttp

from hub.app import App
from hub.core.clock import SystemClock
from hub.core.ports import CreateRequest
from tests.bench.apps import app_with
from tests.bench.measurement import STARTERS, Measurement, Size, each, metered, peak_rss_mb, percentile
from tests.bench.stored import FIRST, fill
from tests.bench.workloads import check

_WORKFLOWS = "/client/v4/accounts/local/workflows"
_ROOT = f"{_WORKFLOWS}/three-steps/instances"
_REQUESTS = 200  # of each kind
_PER_PAGE = 50
_LOOK_S = 0.05
_clock = SystemClock()


async def lists(folder: Path, size: Size) -> Measurement:
    """Store `n` instances and look at them."""
    real = min(FIRST, size.n)
    async with app_with(folder) as app:
        began = _clock.now()
        await each(real, lambda number: _create(app, number), at_once=STARTERS)
        while app.engine.telemetry.completed < real:
            await _clock.sleep(_LOOK_S)
        middle = began + (_clock.now() - began) / 2
    fill(folder / "hub.sqlite", size.n)
    async with app_with(folder) as app:
        spread = random.Random(size.n)
        kinds: dict[str, Callable[[], str]] = {
            "newest": lambda: "",
            "page": lambda: f"?page={spread.randint(1, min(100, max(1, size.n // _PER_PAGE)))}",
            "deep_page": lambda: f"?page={spread.randint(1, max(1, size.n // _PER_PAGE // 2))}",
            "status": lambda: "?status=complete",
            "statuses": lambda: "?status=complete,errored",
            "ended": lambda: f"?ended_start={quote(began.isoformat())}",
            "span": lambda: f"?date_end={quote(middle.isoformat())}",
            "describe": lambda: f"/i-{spread.randrange(real)}",
            "workflows": lambda: _WORKFLOWS,
        }
        times: dict[str, list[float]] = {}
        async with aiohttp.ClientSession(app.url) as session:
            with metered() as span:
                for kind, path in kinds.items():
                    times[kind] = [await _asked(session, path(), size.n) for _ in range(_REQUESTS)]
        peak_mb = peak_rss_mb()
    check(folder / "hub.sqlite", size.n)
    every = [spent for one in times.values() for spent in one]
    facts = {f"{kind}_p95_ms": percentile(spent, 95) * 1000 for kind, spent in times.items()}
    return Measurement(
        n=size.n,
        per_s=len(every) / span.wall_s,
        cpu_s=span.cpu_s,
        rss_mb=peak_mb,
        p50_ms=percentile(every, 50) * 1000,
        p99_ms=percentile(every, 99) * 1000,
        facts=facts,
    )


async def _create(app: App, number: int) -> None:
    await app.engine.create(CreateRequest(workflow="three-steps", params={"number": number}, id=f"i-{number}"))


async def _asked(session: aiohttp.ClientSession, path: str, n: int) -> float:
    """Send one request; how long the answer took. Raises: AssertionError when it is not the one that was asked for."""
    page = min(n, _PER_PAGE)
    least = 1 if "date_end" in path else page  # half of the instances may be less than a page
    began = time.perf_counter()
    async with session.get(path if path == _WORKFLOWS else _ROOT + path) as answer:
        body = await answer.json()
    took_s = time.perf_counter() - began
    found = body["result"]
    if path == _WORKFLOWS:
        right = found[0]["instances"]["complete"] == n
    elif path.startswith("/"):
        right = found["status"] == "complete"
    else:
        right = least <= len(found) <= page
    if answer.status != 200 or not right:
        raise AssertionError(f"{path} is answered with {answer.status} and {str(body)[:500]}")
    return took_s
