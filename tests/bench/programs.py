"""What runs in the workloads beyond three steps. A program reaches the bench that waits for it through its binding STAGE."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

from hub import WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from hub.core.clock import SystemClock
from tests.bench.project.three_steps import result

_clock = SystemClock()
SLOW_S = 0.2
SLOW_STEPS = 5
LATEST = 1000  # wakes whose lateness is kept: the memory of the bench must not grow with what it measures


class Stage:
    """What programs tell the bench of themselves."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.running = 0  # bodies that have begun
        self.goal = 0  # of them
        self.late_s: deque[float] = deque(maxlen=LATEST)

    def begin(self) -> None:
        """Count a body that begins."""
        self.running += 1
        if self.running == self.goal:
            self.reached.set()


class Sequence(WorkflowEntrypoint):
    """Many steps, one after the other, and then a wait for an event."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> int:
        async def body() -> dict[str, Any]:
            return result(event.instance_id, "one of many")

        for number in range(event.payload["steps"]):
            await step.do(f"step {number}", body)
        self.env.STAGE.reached.set()
        await step.wait_for_event("enough", type="enough")
        return int(event.payload["steps"])


class Sleeper(WorkflowEntrypoint):
    """Sleeps until a moment, in seconds since 1970."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
        until = event.payload["until"]
        await step.sleep_until("night", datetime.fromtimestamp(until, UTC))
        self.env.STAGE.late_s.append(time.time() - until)


class Long(WorkflowEntrypoint):
    """One step is over, the other one would take an hour."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
        async def short() -> dict[str, Any]:
            return result(event.instance_id, "short")

        async def long() -> None:
            self.env.STAGE.begin()
            await _clock.sleep(3600)

        await step.do("short", short)
        await step.do("long", long)


class Slow(WorkflowEntrypoint):
    """Five steps of 0.2 seconds."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> int:
        async def body() -> dict[str, Any]:
            self.env.STAGE.begin()
            await _clock.sleep(SLOW_S)
            return result(event.instance_id, "slow")

        for number in range(SLOW_STEPS):
            await step.do(f"step {number}", body)
        return SLOW_STEPS
