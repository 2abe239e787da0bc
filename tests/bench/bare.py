"""The yardstick of intake: a bare aiohttp handler that reads the JSON and answers as many bytes as the hub does. Nothing is kept."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from tests.bench.load import loaded
from tests.bench.measurement import WARM_UP_S, Measurement, Size, metered, peak_rss_mb

_PATH = "/hooks/orders"
_ANSWER = {"id": "0" * 36, "workflow": "three-steps", "status": "queued", "status_url": "/" + "x" * 90}


async def intake(_folder: Path, size: Size) -> Measurement:
    """Post to the handler for `seconds`."""
    app = web.Application()
    app.router.add_post(_PATH, _accept)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}{_PATH}"
        await loaded(url, WARM_UP_S)
        with metered() as span:
            answers = await loaded(url, size.seconds)
    finally:
        await runner.cleanup()
    return answers.measurement(span, peak_rss_mb())


async def _accept(request: web.Request) -> web.Response:
    await request.json()
    return web.json_response(_ANSWER, status=202)
