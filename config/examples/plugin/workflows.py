"""Sums up the orders of a file that somebody has put into a folder."""

from __future__ import annotations

import csv
import io
from typing import Any

from hub import WorkflowEntrypoint, WorkflowEvent, WorkflowStep


class Orders(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> dict[str, Any]:
        @step.do("sum up the orders")
        async def total() -> dict[str, Any]:
            rows = list(csv.DictReader(io.StringIO(event.payload["text"])))
            return {"orders": len(rows), "total": sum(float(row["amount"]) for row in rows)}

        return {"file": event.payload["name"], **await total()}
