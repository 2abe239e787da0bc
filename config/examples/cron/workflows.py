"""Writes a report for an office on each of its working mornings, and one for the week."""

from __future__ import annotations

from typing import Any

from hub import ScheduledController, WorkerEntrypoint, WorkflowEntrypoint, WorkflowEvent, WorkflowStep


class Report(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> dict[str, Any]:
        # The time that the schedule names, not the time at which the instance happened to start.
        day = (event.schedule.scheduled_at if event.schedule else event.timestamp).date().isoformat()

        @step.do("collect the sales")
        async def sales() -> list[int]:
            return [120, 80, 310]

        total = sum(await sales())

        @step.do("write the report")
        async def report() -> str:
            return f"{day} {event.payload['office']}: {total} {event.payload['currency']}"

        return {"report": await report()}


class Default(WorkerEntrypoint):
    async def scheduled(self, controller: ScheduledController) -> None:
        # Called at most once for each occurrence: what must not be lost is handed to a workflow at once.
        week = f"{controller.scheduled_at:%G-W%V}"
        await self.env.REPORT.create(id=week, params={"office": f"week {week}", "currency": "EUR"})
