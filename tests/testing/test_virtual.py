"""Time that jumps: when it does, when it does not, and that it is exact however far it has come."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest

from hub.testing import VirtualClock, VirtualLoop


async def test_time_jumps_to_the_next_timer_when_nobody_has_anything_to_do() -> None:
    loop = asyncio.get_running_loop()
    rung: list[tuple[str, float]] = []

    def ring(name: str) -> None:
        rung.append((name, loop.time()))

    loop.call_later(3600, ring, "late")
    loop.call_later(1.5, ring, "soon")
    await VirtualClock().sleep(7200)
    assert rung == [("soon", 1.5), ("late", 3600.0)]


async def test_time_stands_still_while_a_thread_works() -> None:
    loop = asyncio.get_running_loop()
    go = threading.Event()
    work = loop.run_in_executor(None, go.wait)
    alarm = loop.create_task(VirtualClock().sleep(10))
    for _ in range(100):
        await asyncio.sleep(0)
    assert loop.time() == 0
    go.set()
    assert await work is True
    await alarm
    assert loop.time() == 10


async def test_a_timeout_holds_in_virtual_time() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await VirtualClock().sleep(61)
    assert asyncio.get_running_loop().time() == 60


@pytest.mark.parametrize("days", [1, 97, 98, 400, 3650, 36500])
async def test_timers_ring_at_their_time_however_far_it_has_come(days: int) -> None:
    clock = VirtualClock()
    begun = clock.now()
    await clock.sleep(days * 86_400)
    for seconds in (0.001, 1.1, 3600.3):
        await clock.sleep(seconds)
    assert abs(clock.now() - begun - timedelta(days=days, seconds=3601.401)) < timedelta(microseconds=20)


async def test_the_wall_clock_goes_with_the_loop() -> None:
    clock = VirtualClock(datetime(2026, 3, 29, tzinfo=UTC))
    assert clock.now() == datetime(2026, 3, 29, tzinfo=UTC)
    await clock.sleep(90)
    assert clock.now() == datetime(2026, 3, 29, 0, 1, 30, tzinfo=UTC)
    assert clock.monotonic() == 90


def test_time_stands_still_between_two_runs_of_a_loop() -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(VirtualClock().sleep(5))
        assert runner.get_loop().time() == 5
        runner.run(VirtualClock().sleep(5))
        assert runner.get_loop().time() == 10
