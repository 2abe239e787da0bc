"""A newsletter: the older way to name dependencies, a date to wait for, and one instance of another workflow for each reader."""

from datetime import UTC, datetime, timedelta

from hub import WorkflowEntrypoint

RETRY = {"retries": {"limit": 2, "delay": 500, "backoff": "exponential"}, "timeout": 60_000}


class NewsletterWorkflow(WorkflowEntrypoint):
    async def run(self, event, step):
        issue = event["payload"]
        written = event["timestamp"]

        @step.do("collect the articles")
        async def articles():
            return [{"title": title, "words": len(title) * 100} for title in issue["titles"]]

        @step.do("find the readers", config=RETRY)
        async def readers():
            return [reader for reader in issue["readers"] if "@" in reader]

        @step.do("lay out", depends=[articles, readers], concurrent=True)
        async def layout(pieces, people):
            words = sum(piece["words"] for piece in pieces)
            return {"subject": f"{len(pieces)} articles, {words} words", "copies": len(people)}

        @step.do("hand over to delivery", depends=[layout, readers], config=RETRY)
        async def hand_over(page, people, ctx):
            instances = await self.env.DELIVERIES.create_batch(
                [
                    {
                        "id": f"{event['instanceId']}-{number}",
                        "params": {"to": reader, "subject": page["subject"], "newsletter": event["instanceId"]},
                    }
                    for number, reader in enumerate(people, 1)
                ]
            )
            return {"step": ctx["step"]["name"], "ids": [instance.id for instance in instances]}

        page = await layout()
        evening = (written + timedelta(days=1)).astimezone(UTC).replace(hour=18, minute=0, second=0, microsecond=0)
        await step.sleep_until("the next evening", evening)
        batch = await hand_over()

        delivered = []
        for _ in batch["ids"]:
            report = await step.wait_for_event("wait for a report", "delivered", timeout="2 days")
            delivered.append(report["payload"]["to"])

        @step.do("close the issue")
        def close():
            return {"subject": page["subject"], "sent": datetime.isoformat(evening), "readers": sorted(delivered)}

        return await close()
