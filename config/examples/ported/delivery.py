"""The delivery of one newsletter: attempts that are counted, errors that are caught, and a report to the instance that asked for it."""

import asyncio

from hub import NonRetryableError, WorkflowEntrypoint


class DeliveryWorkflow(WorkflowEntrypoint):
    async def run(self, event, step):
        letter = event["payload"]

        @step.do("check the address")
        async def address():
            name, _, domain = letter["to"].partition("@")
            if "." not in domain:
                raise NonRetryableError(f"{letter['to']} is no address")
            return {"name": name, "domain": domain}

        @step.do("send", config={"retries": {"limit": 4, "delay": "10 minutes", "backoff": "constant"}, "timeout": "5 minutes"})
        async def send(ctx):
            await asyncio.sleep(0)
            if letter["to"].startswith("busy") and ctx["attempt"] < 3:
                raise TimeoutError("the mailbox is busy")
            return {"attempts": ctx["attempt"]}

        try:
            target = await address()
            result = {"domain": target["domain"], **await send()}
        except NonRetryableError as error:
            result = {"undeliverable": str(error)}

        @step.do("report")
        async def report():
            newsletter = await self.env.NEWSLETTERS.get(letter["newsletter"])
            await newsletter.send_event(type="delivered", payload={"to": letter["to"], **result})

        await report()
        return result
