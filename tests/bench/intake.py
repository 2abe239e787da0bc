"""Intake over HTTP: a webhook of a whole hub, the real `App` with the project in `project/`.

Each POST becomes an instance of three steps that runs while the next ones come, in the same process, as it would in service; 202 means that
the instance is on disk. The sender needs its share of the same cores. After the load all instances must come to their end, and there must
be exactly as many in the file as were accepted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from hub.app import App
from hub.cli import logs
from hub.core.clock import SystemClock
from hub.settings import load_settings
from tests.bench.load import loaded
from tests.bench.measurement import WARM_UP_S, Measurement, Size, metered, peak_rss_mb
from tests.bench.workloads import check

_PROJECT = Path(__file__).parent / "project"
_LOOK_S = 0.05  # between two looks at the metrics while the last instances end, after the measuring
_COMPLETED = "hub_instances_completed_total"


async def intake(folder: Path, size: Size) -> Measurement:
    """Post to the webhook for `seconds`."""
    async with _hub(folder) as url:
        warm = await loaded(f"{url}/hooks/orders", WARM_UP_S)
        await _completed(url, warm.accepted)
        with metered() as span:
            answers = await loaded(f"{url}/hooks/orders", size.seconds)
        peak_mb = peak_rss_mb()
        await _completed(url, warm.accepted + answers.accepted)
    check(folder / "hub.sqlite", warm.accepted + answers.accepted)
    return answers.measurement(span, peak_mb)


@asynccontextmanager
async def _hub(folder: Path) -> AsyncIterator[str]:
    settings = load_settings(_PROJECT, overrides={"data": folder, "server": {"port": 0}}, environ={})
    logs.configure(settings.log.level, settings.log.format)
    app = App(settings)
    await app.start()
    try:
        yield app.url
    finally:
        await app.stop()


async def _completed(url: str, n: int) -> None:
    """Return when so many instances have ended, as the hub's metrics tell."""
    clock = SystemClock()
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}/metrics") as answer:
                lines = (await answer.text()).splitlines()
            if sum(float(line.split()[-1]) for line in lines if line.startswith(_COMPLETED)) >= n:
                return
            await clock.sleep(_LOOK_S)
