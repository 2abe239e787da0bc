"""AMQP → durable instance → ack: a whole hub consumes a queue that is full when the clock starts.

Each message becomes an instance of three steps that runs while the next ones come. The clock runs from the first instance to the last one;
after the hub has stopped the queue must be empty, since what is not acknowledged comes back, and there must be as many complete instances
as messages. The broker takes its share of the same cores, and is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from hub.core.clock import SystemClock
from tests.bench.apps import app_with
from tests.bench.brokers import broker_url
from tests.bench.measurement import Measurement, Size, metered, peak_rss_mb
from tests.bench.workloads import check
from tests.triggers.broker import Broker

_clock = SystemClock()
_LOOK_S = 0.01  # between two looks at a counter of the hub
_TRIGGER = """
[[triggers]]
kind = "amqp"
name = "orders"
workflow = "three-steps"
url = "{url}"
queue = "{queue}"
prefetch = {prefetch}
"""
_PREFETCH = 500  # what a busy queue would be given; the default of 50 is for those that are not


async def amqp(folder: Path, size: Size) -> Measurement:
    """Consume `n` messages."""
    with closing(Broker(broker_url())) as broker:
        queue = broker.queue()
        broker.publish_all(queue, ({"order": number, "note": "x" * 120} for number in range(size.n)))
        async with app_with(folder, _TRIGGER.format(url=broker_url(), queue=queue, prefetch=_PREFETCH)) as app:
            seen = app.engine.telemetry
            await _until(lambda: seen.created > 0)
            before = seen.created
            with metered() as span:
                await _until(lambda: seen.created >= size.n)
            peak_mb = peak_rss_mb()
            await _until(lambda: seen.completed >= size.n)
        check(folder / "hub.sqlite", size.n)
        left = broker.left(queue)
        if left:
            raise AssertionError(f"{left} messages were not acknowledged")
    return Measurement(n=size.n, per_s=(size.n - before) / span.wall_s, cpu_s=span.cpu_s, rss_mb=peak_mb)


async def _until(done: Callable[[], bool]) -> None:
    while not done():
        await _clock.sleep(_LOOK_S)
