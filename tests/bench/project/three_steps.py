"""The workflow of the bench: three steps that do nothing but return some 100 bytes each."""

from __future__ import annotations

from typing import Any

from hub import WorkflowEntrypoint, WorkflowEvent, WorkflowStep

STEPS = ("reserve", "charge", "ship")


def result(instance: str, step: str) -> dict[str, Any]:
    """Return what a step stores: about 100 bytes of JSON."""
    return {"order": instance[:36].ljust(36, "-"), "step": step, "ok": True, "text": "paid and packed"}


class ThreeSteps(WorkflowEntrypoint):
    """What the time is measured of: the hub's own work, since the steps have none."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> dict[str, Any]:
        done: dict[str, Any] = {}
        for name in STEPS:

            async def body(name: str = name) -> dict[str, Any]:
                return result(event.instance_id, name)

            done = await step.do(name, body)
        return done
