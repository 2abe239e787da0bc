"""Sorts the issues of a GitHub repository as they are opened."""

from __future__ import annotations

from typing import Any

from hub import NonRetryableError, WorkflowEntrypoint, WorkflowEvent, WorkflowStep


class Triage(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> dict[str, Any]:
        @step.do("read the issue")
        async def read() -> dict[str, Any]:
            issue = event.payload.get("issue")
            if issue is None:
                raise NonRetryableError("this delivery is not about an issue")
            return {"number": issue["number"], "title": issue["title"], "author": issue["user"]["login"]}

        issue = await read()

        @step.do("choose a label")
        async def label() -> str:
            title = issue["title"].lower()
            return "bug" if any(word in title for word in ("bug", "crash", "error", "spelling")) else "question"

        return {**issue, "label": await label()}
