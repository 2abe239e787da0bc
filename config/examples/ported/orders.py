"""Orders: steps that depend on each other by name, an approval by a person, and a fetch handler that creates them."""

from urllib.parse import parse_qs, urlparse

from hub import NonRetryableError, Response, WorkerEntrypoint, WorkflowEntrypoint

PRICES = {"tea": 4.5, "coffee": 6.0, "cocoa": 5.0}
RATES = {"DE": 0.19, "FR": 0.20}


class OrderWorkflow(WorkflowEntrypoint):
    async def run(self, event, step):
        order = event["payload"]

        @step.do()
        async def prices():
            unknown = [item for item in order["items"] if item not in PRICES]
            if unknown:
                raise NonRetryableError(f"not in the catalogue: {', '.join(unknown)}")
            return {item: PRICES[item] for item in order["items"]}

        @step.do("rate", config={"retries": {"limit": 3, "delay": "2 seconds", "backoff": "linear"}, "timeout": "30 seconds"})
        async def tax_rate(ctx):
            if ctx["attempt"] <= order.get("failures", 0):
                raise ConnectionError("the tax office does not answer")
            return {"rate": RATES[order["country"]], "asked": f"{ctx['attempt']} of {1 + ctx['config']['retries']['limit']} times"}

        @step.do("total", concurrent=True)
        async def total(prices, rate):
            net = sum(prices[item] * count for item, count in order["items"].items())
            return round(net * (1 + rate["rate"]), 2)

        @step.do("receipt")
        def receipt(total, rate):
            return f"{order['customer']}: {total:.2f} EUR with {rate['rate']:.0%} tax (asked {rate['asked']})"

        amount = await total()
        if amount >= 100:
            try:
                decision = await step.wait_for_event("wait for the boss", "approval", timeout="3 days")
            except Exception:
                return {"status": "expired", "total": amount}
            if not decision["payload"]["approved"]:
                return {"status": "refused", "total": amount}

        await step.sleep("time to think it over", "14 days")
        return {"status": "sold", "total": amount, "receipt": await receipt()}


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        query = parse_qs(urlparse(request.url).query)
        if request.method == "POST":
            instance = await self.env.ORDERS.create({"params": await request.json()})
            return Response.json({"id": instance.id, "details": await instance.status()}, status=201)
        if "id" not in query:
            return Response("POST an order, or ask for one with ?id=", status=400, headers={"cache-control": "no-store"})
        instance = await self.env.ORDERS.get(query["id"][0])
        if "approve" in query:
            await instance.send_event({"type": "approval", "payload": {"approved": query["approve"] == ["yes"]}})
        return Response.json(await instance.status())
