"""A durable workflow and a fetch handler that starts it.

Kill the hub while an instance sleeps or retries, start it again, and the instance goes on where it was: a step whose result is
recorded does not run a second time.
"""

from __future__ import annotations

import random
from typing import Any

from hub import NotFound, Request, Response, WorkerEntrypoint, WorkflowEntrypoint, WorkflowEvent, WorkflowStep


class Starter(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> dict[str, Any]:
        @step.do("list the files")
        async def list_files() -> list[str]:
            # What a step returns is recorded. Do the outside work in steps: the code between them runs again after a restart.
            return ["report.csv", "photo.jpg", "notes.txt"]

        @step.do("call an API")
        async def call_api() -> dict[str, Any]:
            # A failed request is tried again by the step; an answer such as 404 is not, because it would only come again.
            answer = await self.env.HTTP.get(self.env.STATUS_URL)
            return {"status": answer.status, "body": answer.text()}

        files = await list_files()
        api = await call_api()

        # A sleep costs nothing and survives everything. It could as well be "30 days".
        await step.sleep("wait on something", "20 seconds")

        @step.do(
            "a write that may fail",
            retries={"limit": 5, "delay": "5 second", "backoff": "exponential"},
            timeout="15 minutes",
        )
        async def write() -> str:
            if random.random() < 0.5:
                raise RuntimeError("no luck this time")
            return f"{len(files)} files written"

        return {"received": event.payload, "files": files, "api": api, "written": await write()}


class Default(WorkerEntrypoint):
    """Answers every address that the hub does not use itself."""

    async def fetch(self, request: Request) -> Response:
        if request.path == "/favicon.ico":
            return Response(status=404)

        id = request.query.get("instanceId")
        if id is None:
            instance = await self.env.STARTER.create()
            return Response.json({"id": instance.id, "details": await instance.status()})
        try:
            instance = await self.env.STARTER.get(id)
        except NotFound as error:
            return Response.json({"error": error.message}, status=404)
        return Response.json({"status": await instance.status()})
