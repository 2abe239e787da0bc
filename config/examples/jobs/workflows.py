"""An order leaves the queue and becomes a shipment; what customers click on is counted in batches."""

from collections import Counter

from hub import MessageBatch, NonRetryableError, Request, Response, WorkerEntrypoint, WorkflowEntrypoint, WorkflowEvent, WorkflowStep


class Shipping(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep):
        order = event.payload

        @step.do("pack the parcel")
        async def pack():
            if not order.get("items"):
                raise NonRetryableError("an order without items cannot be shipped")
            return {"parcel": f"P{order['order']}", "items": len(order["items"])}

        parcel = await pack()

        @step.do("tell that it is on its way")
        async def tell():
            # The message has the same id in every attempt of this step, so it is in the queue once.
            await self.env.CLICKS.send({"page": f"/orders/{order['order']}"})

        await tell()
        return parcel


class Default(WorkerEntrypoint):
    async def fetch(self, request: Request):
        """GET /?order=7&item=book puts an order into the queue."""
        if request.path != "/":
            return Response("not found", status=404)
        order = request.query.get("order", "1")
        await self.env.ORDERS.send({"order": int(order), "items": [request.query.get("item", "book")]}, message_id=f"order-{order}")
        return Response.json({"sent": f"order-{order}"}, status=202)

    async def queue(self, batch: MessageBatch):
        """Count a batch. What is not decided is acknowledged when this returns, and comes again when it raises."""
        pages = Counter()
        for message in batch.messages:
            if "page" not in message.body:
                message.retry(delay_seconds=30)  # perhaps a later version knows what it is
                continue
            pages[message.body["page"]] += 1
        print(f"{len(batch.messages)} clicks from {batch.queue}: {dict(pages)}", flush=True)
