"""`wrangler workflows … --local --port N`: no variable, no account, no token; only where the hub wants no token."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from hub.core.model import Status
from tests.api.node import WORKFLOWS, Node
from tests.clients.wrangler import Outcome, Wrangler, labels, steps, table

pytestmark = pytest.mark.timeout(600)  # wrangler may have to be installed first


class Local:
    """Wrangler, which finds a hub by its port alone."""

    def __init__(self, program: Wrangler, hub: Node) -> None:
        self._program = program
        self._door = ("--local", "--port", str(urlsplit(hub.server.url).port))

    async def __call__(self, *argv: str) -> Outcome:
        return await self._program("workflows", *argv, *self._door)


@pytest.fixture
def local(program: Wrangler, open_hub: Node) -> Local:
    return Local(program, open_hub)


async def waiting(hub: Node, *ids: str) -> None:
    for id in ids:
        await hub.create("approve", id)
        await hub.settled("approve", id, Status.WAITING)


async def test_workflows_are_listed_and_described(local: Local, open_hub: Node) -> None:
    await waiting(open_hub, "a")
    listed, told = await asyncio.gather(local("list"), local("describe", "approve"))
    assert f"Showing {len(WORKFLOWS)} workflows from local dev session:" in listed.text
    assert {(row["Name"], row["Script name"], row["Class name"]) for row in table(listed.text)} == {
        (name, "tests", kind.__name__) for name, kind in WORKFLOWS.items()
    }
    assert labels(told.text)["Class Name"] == "Approve"
    assert "waiting:          1" in told.text.partition("Instance Status Counts:")[2]
    as_json, unknown = await asyncio.gather(local("describe", "approve", "--json"), local("describe", "aprove"))
    assert as_json.json["instances"]["waiting"] == 1
    assert 'Local API error: (workflow.not_found) workflow "aprove" not found' in unknown.failure


async def test_an_instance_lives_from_its_trigger_to_its_end(local: Local, open_hub: Node) -> None:
    triggered = await local("trigger", "approve", '{"order": 7}', "--id", "order-7")
    assert '🚀 Workflow instance "order-7" has been triggered successfully' in triggered.text
    assert (await open_hub.settled("approve", "order-7", Status.WAITING))["params"] == {"order": 7}
    told, taken = await asyncio.gather(local("instances", "describe", "approve", "latest"), local("trigger", "approve", "--id", "order-7"))
    assert labels(told.text)["Instance Id"] == "order-7"
    assert [step["Name"] for step in steps(told.text)] == ["prepare-1", "approval-1"]
    assert "(instance.already_exists)" in taken.failure
    paused = await local("instances", "pause", "approve", "latest")
    assert '⏸️ The instance "order-7" from approve was paused successfully' in paused.text
    resumed = await local("instances", "resume", "approve", "order-7")
    assert '🔄 The instance "order-7" from approve was resumed successfully' in resumed.text
    await open_hub.settled("approve", "order-7", Status.WAITING)
    sent = await local("instances", "send-event", "approve", "order-7", "--type", "approved", "--payload", '{"x":[1]}')
    assert '📤 The event with type "approved"' in sent.text
    assert (await open_hub.settled("approve", "order-7", Status.COMPLETE))["output"] == {"x": [1]}


async def test_an_instance_is_terminated_with_rollback_and_restarted_from_a_step(local: Local, open_hub: Node) -> None:
    await open_hub.create("book", "a")
    await open_hub.settled("book", "a", Status.WAITING)
    terminated = await local("instances", "terminate", "book", "a", "--rollback")
    assert '🥷 The instance "a" from book was terminated successfully' in terminated.text
    assert (await open_hub.settled("book", "a", Status.TERMINATED))["rollback"]["outcome"] == "complete"
    restarted = await local("instances", "restart", "book", "a", "--from-step-name", "book", "--json")
    assert restarted.json["status"] in ("queued", "running")
    await open_hub.settled("book", "a", Status.WAITING)


async def test_instances_are_listed_by_pages_filtered_and_deleted(local: Local, open_hub: Node) -> None:
    await waiting(open_hub, "a", "b", "c")
    second, none = await asyncio.gather(
        local("instances", "list", "approve", "--per-page", "2", "--page", "2"),
        local("instances", "list", "approve", "--status", "complete", "--date-start", "2020-01-01"),
    )
    assert "Showing 1 instance from page 2:" in second.text
    assert [(row["Instance ID"], row["Status"]) for row in table(second.text)] == [("a", "⏰ Waiting")]
    assert "matched the provided filters" in none.text + none.err
    deleted = await local("instances", "delete", "approve", "latest", "nope")
    assert 'Deleted workflow instances from "approve": "c"' in deleted.failure
    assert "nope: (instance.not_found)" in deleted.failure
    cleared = await local("delete", "approve")
    assert '✅ Workflow "approve" instances removed successfully from local dev session.' in cleared.text
    assert (await open_hub.get("/approve/instances")).result == []
    await open_hub.create("approve", "again")


async def test_a_hub_that_wants_a_token_says_so(program: Wrangler, hub: Node) -> None:
    refused = await Local(program, hub)("list")
    assert "Local API error: (unauthorized)" in refused.failure
