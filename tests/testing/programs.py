"""Workflows that the tests of the kit run. `calls` on self.env is a list: what their bodies did outside."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from hub import Request, Response, WaitTimeout, WorkerEntrypoint, WorkflowEntrypoint, WorkflowEvent, WorkflowStep


class Order(WorkflowEntrypoint):
    """Reserves, waits for an approval, cools off for 30 days, charges."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        async def charge() -> str:
            self.env.calls.append("charge")
            return "charged"

        @step.do("reserve", retries={"limit": 3, "delay": "1 hour", "backoff": "constant"}, timeout="10 minutes")
        async def reserve() -> str:
            self.env.calls.append("reserve")
            return "reserved"

        reservation = await reserve()
        try:
            approval = (await step.wait_for_event("approval", "approved", timeout="3 days"))["payload"]
        except WaitTimeout:
            approval = None
        await step.sleep("cooling-off", "30 days")
        return {"order": event.payload, "reservation": reservation, "approval": approval, "charge": await step.do("charge", charge)}


class Sleeper(WorkflowEntrypoint):
    """Two sleeps."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
        await step.sleep("short", "1 hour")
        await step.sleep("long", timedelta(days=30))


class Thrice(WorkflowEntrypoint):
    """Uses one name three times."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> list[Any]:
        return [await step.do("same", lambda number=number: number) for number in (1, 2, 3)]


class Fails(WorkflowEntrypoint):
    """Fails for good."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
        def fail() -> None:
            raise LookupError("nothing there")

        await step.do("look", fail, retries={"limit": 1, "delay": "1 hour"})


class TwoWaits(WorkflowEntrypoint):
    """Waits for two events of one type, at the same time."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> list[Any]:
        waits = (step.wait_for_event(name, "news", timeout="1 day") for name in ("first", "second"))
        return [found["payload"] for found in await asyncio.gather(*waits)]


class Starts(WorkflowEntrypoint):
    """Creates an order and looks at it."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        @step.do("start an order")
        async def start() -> str:
            created = await self.env.ORDER.create(id="started", params={"item": "tea"})
            return str(created.id)

        return await start()


class Default(WorkerEntrypoint):
    """Tells what it was asked."""

    async def fetch(self, request: Request) -> Response:
        if request.method == "POST":
            instance = await self.env.ORDER.create(params=await request.json())
            return Response.json({"id": instance.id}, status=202)
        return Response.json({"url": request.url, "path": request.path, "query": request.query, "x": request.headers.get("X-Test")})
