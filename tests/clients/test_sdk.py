"""Cloudflare's Python SDK against the hub, unchanged: every method for workflows, the classes of what comes back, iterators that end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub.core.delivery import TriggerEvent
from hub.core.model import Status
from tests.api.node import WORKFLOWS, Node
from tests.clients.conftest import absent, token_of

AT = {"account_id": "local"}


@dataclass(slots=True)
class Sdk:
    """The SDK, and how often it has asked."""

    client: Any
    asked: list[str] = field(default_factory=list)

    @property
    def workflows(self) -> Any:
        return self.client.workflows

    @property
    def instances(self) -> Any:
        return self.client.workflows.instances


def package() -> Any:
    try:
        import cloudflare
    except ImportError:
        absent("the package cloudflare is not installed; it is in the extra `dev`")
    return cloudflare


@pytest.fixture
async def sdk(hub: Node) -> AsyncIterator[Sdk]:
    """Return the asynchronous client; what it sends is counted on its way out."""
    cloudflare = package()
    asked: list[str] = []

    async def count(request: Any) -> None:
        asked.append(f"{request.method} {request.url.raw_path.decode().partition('/workflows')[2]}")

    http = cloudflare.DefaultAsyncHttpxClient(event_hooks={"request": [count]})
    async with cloudflare.AsyncCloudflare(api_token=token_of(hub), base_url=f"{hub.server.url}/client/v4", http_client=http) as client:
        yield Sdk(client=client, asked=asked)


async def waiting(hub: Node, *ids: str) -> None:
    for id in ids:
        await hub.create("approve", id)
        await hub.settled("approve", id, Status.WAITING)


def kinds(items: list[Any]) -> list[tuple[str, str]]:
    return [(type(item).__name__, item.type) for item in items]


# ---- workflows and versions


async def test_workflows_are_listed_read_updated_and_deleted(sdk: Sdk) -> None:
    found = [workflow async for workflow in sdk.workflows.list(**AT, per_page=3)]
    assert {type(workflow).__name__ for workflow in found} == {"WorkflowListResponse"}
    assert {workflow.name for workflow in found} == set(WORKFLOWS)
    assert sdk.asked == [f"GET ?per_page=3{page}" for page in ("", "&page=2", "&page=3", "&page=4")]  # the last one is empty

    greet = await sdk.workflows.get("greet", **AT)
    assert type(greet).__name__ == "WorkflowGetResponse"
    assert (greet.name, greet.class_name, greet.script_name, greet.instances["complete"]) == ("greet", "Greet", "tests", 0)
    assert datetime.now(UTC) - greet.created_on < timedelta(minutes=10)
    assert [item.name async for item in sdk.workflows.list(**AT, search="gre")] == ["greet"]

    updated = await sdk.workflows.update("greet", **AT, class_name="Greet", script_name="tests")
    (version,) = [item async for item in sdk.workflows.versions.list("greet", **AT)]
    assert type(updated).__name__ == "WorkflowUpdateResponse"
    assert (updated.id, updated.version_id, updated.is_deleted) == (greet.id, version.id, 0)

    deleted = await sdk.workflows.delete("greet", **AT)
    assert (type(deleted).__name__, deleted.status, deleted.success) == ("WorkflowDeleteResponse", "ok", True)
    with pytest.raises(package().NotFoundError) as caught:
        await sdk.workflows.get("greet", **AT)
    assert [(error.code, "greet" in error.message) for error in caught.value.errors] == [(10200, True)]


async def test_an_update_that_the_hub_cannot_keep_is_a_conflict_that_is_sent_once(sdk: Sdk) -> None:
    with pytest.raises(package().ConflictError, match=r"hub\.toml"):
        await sdk.workflows.update("greet", **AT, class_name="Greet", script_name="tests", limits={"steps": 5})
    assert sdk.asked == ["PUT /greet"]


async def test_versions_are_listed_and_read_and_have_no_graph(sdk: Sdk) -> None:
    (listed,) = [item async for item in sdk.workflows.versions.list("greet", **AT)]
    assert type(listed).__name__ == "VersionListResponse"
    assert (listed.class_name, listed.has_dag, listed.language) == ("Greet", False, "python")
    read = await sdk.workflows.versions.get(listed.id, **AT, workflow_name="greet")
    assert (type(read).__name__, read.id, read.workflow_id) == ("VersionGetResponse", listed.id, listed.workflow_id)
    graph = await sdk.workflows.versions.graph(listed.id, **AT, workflow_name="greet")
    assert (type(graph).__name__, graph.id, graph.graph) == ("VersionGraphResponse", listed.id, None)


# ---- instances


@pytest.mark.parametrize(
    ("sent", "got"), [('{"n": 1}', {"n": 1}), ({"n": 1}, {"n": 1}), ("[1, 2]", [1, 2]), ("no json", "no json"), ('"text"', "text")]
)
async def test_params_may_be_json_text_or_the_value_itself(sdk: Sdk, hub: Node, sent: Any, got: Any) -> None:
    created = await sdk.instances.create("approve", **AT, instance_id="a", params=sent)
    assert type(created).__name__ == "InstanceCreateResponse"
    assert (created.id, created.status, created.trigger_source) == ("a", "queued", "api")
    await hub.settled("approve", "a", Status.WAITING)
    assert (await sdk.instances.get("a", **AT, workflow_name="approve")).params == got


async def test_every_option_of_create_is_understood(sdk: Sdk, hub: Node) -> None:
    kept = {"success_retention": "1 day", "error_retention": 60_000}
    created = await sdk.instances.create("greet", **AT, instance_retention=kept, location_hint="weur", params="{}")
    await hub.settled("greet", created.id, Status.COMPLETE)
    head = await hub.engine.instance("greet", created.id)
    assert head.ended_at is not None
    assert (head.retention.success, head.retention.error) == (timedelta(days=1), timedelta(minutes=1))


async def test_a_taken_id_is_a_conflict_that_is_sent_once(sdk: Sdk) -> None:
    await sdk.instances.create("approve", **AT, instance_id="a")
    with pytest.raises(package().ConflictError) as caught:
        await sdk.instances.create("approve", **AT, instance_id="a")
    assert [error.code for error in caught.value.errors] == [10405]
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert sdk.asked == ["POST /approve/instances"] * 2


async def test_many_are_created_at_once(sdk: Sdk, hub: Node) -> None:
    bodies = [{"instance_id": f"b{number}", "params": f'{{"n": {number}}}'} for number in range(3)]
    created = [item async for item in sdk.instances.bulk("greet", **AT, body=bodies)]
    assert {type(item).__name__ for item in created} == {"InstanceBulkResponse"}
    assert [item.id for item in created] == ["b0", "b1", "b2"]
    assert (await hub.settled("greet", "b2", Status.COMPLETE))["params"] == {"n": 2}


async def test_an_iterator_over_many_pages_ends(sdk: Sdk, hub: Node) -> None:
    ids = [f"i{number:02}" for number in range(11)]
    for id in ids:
        await hub.create("approve", id)
    newest_first = [item async for item in sdk.instances.list("approve", **AT, per_page=3)]
    assert {type(item).__name__ for item in newest_first} == {"InstanceListResponse"}
    assert [item.id for item in newest_first] == ids[::-1]
    assert len(sdk.asked) == 5  # four pages and the empty one
    assert [item.id async for item in sdk.instances.list("approve", **AT, per_page=10, direction="asc")] == ids


async def test_instances_are_filtered_and_continued_by_cursor(sdk: Sdk, hub: Node) -> None:
    await waiting(hub, "a", "b", "c")
    edited = await sdk.instances.status.edit("b", **AT, workflow_name="approve", status="pause")
    assert (type(edited).__name__, edited.status) == ("StatusEditResponse", "paused")
    assert [item.id async for item in sdk.instances.list("approve", **AT, status="paused")] == ["b"]
    since = (await hub.engine.instance("approve", "b")).created_at
    assert [item.id async for item in sdk.instances.list("approve", **AT, date_start=since)] == ["c", "b"]
    assert [item.id async for item in sdk.instances.list("approve", **AT, date_end=since.isoformat())] == ["b", "a"]
    assert [item async for item in sdk.instances.list("approve", **AT, date_end="2020-01-31")] == []

    raw = await sdk.instances.with_raw_response.list("approve", **AT, per_page=2)
    cursor = (await raw.json())["result_info"]["cursor"]
    rest = await sdk.instances.list("approve", **AT, per_page=2, cursor=cursor)
    assert [item.id for item in rest.result] == ["a"]


async def test_an_instance_is_read_in_the_sdks_classes(sdk: Sdk, hub: Node) -> None:
    for workflow, status in (("approve", Status.WAITING), ("sleep", Status.WAITING), ("fail", Status.ERRORED), ("retry", Status.WAITING)):
        await hub.create(workflow, "a", {"for": workflow})
        await hub.settled(workflow, "a", status)

    waits = await sdk.instances.get("a", **AT, workflow_name="approve")
    assert type(waits).__name__ == "InstanceGetResponse"
    assert (waits.status, waits.success, waits.error, waits.end) == ("waiting", None, None, None)
    assert (waits.params, waits.trigger.source, waits.step_count) == ({"for": "approve"}, "api", 2)
    assert waits.version_id == (await hub.engine.instance("approve", "a")).version
    assert kinds(waits.steps) == [("StepUnionMember0", "step"), ("StepUnionMember3", "waitForEvent")]
    assert waits.steps[0].output == '"ready"'
    assert (waits.steps[1].event_type, waits.steps[1].finished) == ("approved", False)
    assert waits.steps[1].end - waits.steps[1].start == timedelta(hours=1)  # its deadline

    sleeps = await sdk.instances.get("a", **AT, workflow_name="sleep")
    assert kinds(sleeps.steps) == [("StepUnionMember1", "sleep")]
    failed = await sdk.instances.get("a", **AT, workflow_name="fail")
    assert (failed.status, failed.success, failed.error.name, failed.error.message) == ("errored", False, "ValueError", "card <declined>")
    assert [attempt.success for attempt in failed.steps[0].attempts] == [False, False]
    assert (failed.steps[0].config.retries.limit, failed.steps[0].attempts[0].error.name) == (1, "ValueError")
    retries = await sdk.instances.get("a", **AT, workflow_name="retry")
    assert (retries.steps[0].success, retries.steps[0].config.retries.backoff) == (None, "constant")

    reverse = await sdk.instances.get("a", **AT, workflow_name="approve", order="desc")
    assert [step.name for step in reverse.steps] == ["approval-1", "prepare-1"]
    simple = await sdk.instances.get("a", **AT, workflow_name="approve", simple="true")
    assert (getattr(simple, "steps", None), simple.step_count) == (None, 2)


async def test_the_ends_of_instances_are_read_in_the_sdks_classes(sdk: Sdk, hub: Node) -> None:
    await waiting(hub, "done", "stopped")
    await sdk.instances.events.create("approved", **AT, workflow_name="approve", instance_id="done", body={"by": "me"})
    await hub.settled("approve", "done", Status.COMPLETE)
    done = await sdk.instances.get("done", **AT, workflow_name="approve")
    assert (done.status, done.success, done.output) == ("complete", True, {"by": "me"})
    assert kinds(done.steps) == [("StepUnionMember0", "step"), ("StepUnionMember3", "waitForEvent")]
    assert (done.steps[1].finished, done.steps[1].error) == (True, None)

    await sdk.instances.status.edit("stopped", **AT, workflow_name="approve", status="terminate")
    stopped = await sdk.instances.get("stopped", **AT, workflow_name="approve")
    assert kinds(stopped.steps)[-1] == ("StepUnionMember2", "termination")
    assert stopped.steps[-1].trigger.source == "api"

    await hub.create("book", "a")
    await hub.settled("book", "a", Status.WAITING)
    await sdk.instances.status.edit("a", **AT, workflow_name="book", status="terminate", rollback=True)
    await hub.settled("book", "a", Status.TERMINATED)
    undone = await sdk.instances.get("a", **AT, workflow_name="book")
    assert (undone.rollback.outcome, undone.rollback.error) == ("complete", None)
    assert ("StepUnionMember0", "rollback") in kinds(undone.steps)


async def test_one_step_is_read_with_its_whole_output(sdk: Sdk, hub: Node) -> None:
    await waiting(hub, "a")
    at: dict[str, Any] = {**AT, "workflow_name": "approve"}
    step = await sdk.instances.step("a", **at, name="prepare-1", type="step")
    assert type(step).__name__ == "InstanceStepResponse"
    assert (step.status, step.output, step.error) == ("complete", "ready", None)
    wait = await sdk.instances.step("a", **at, name="approval-1", type="waitForEvent")
    assert (wait.status, wait.output, wait.event_type) == ("waiting", None, "approved")
    await hub.create("fail", "a")
    await hub.settled("fail", "a", Status.ERRORED)
    first = await sdk.instances.step("a", **AT, workflow_name="fail", name="charge-1", type="step", attempt=1)
    assert (first.status, first.error.message) == ("errored", "card <declined>")
    with pytest.raises(package().NotFoundError):
        await sdk.instances.step("a", **at, name="prepare-2", type="step")


async def test_an_instance_is_steered_and_sent_events(sdk: Sdk, hub: Node) -> None:
    await waiting(hub, "a")
    at: dict[str, Any] = {**AT, "workflow_name": "approve"}
    assert (await sdk.instances.status.edit("a", **at, status="pause")).status == "paused"
    await hub.settled("approve", "a", Status.PAUSED)
    assert (await sdk.instances.status.edit("a", **at, status="resume")).status == "queued"
    await hub.settled("approve", "a", Status.WAITING)
    origin = {"name": "approval", "count": 1, "type": "waitForEvent"}
    restarted = await sdk.instances.status.edit("a", **at, status="restart", from_=origin)
    assert restarted.status in ("queued", "running")
    await hub.settled("approve", "a", Status.WAITING)
    sent = await sdk.instances.events.create("approved", **at, instance_id="a", body={"by": "me"})
    assert (type(sent).__name__, sent.instance_id) == ("EventCreateResponse", "a")
    assert datetime.now(UTC) - sent.timestamp < timedelta(minutes=10)
    await hub.settled("approve", "a", Status.COMPLETE)

    sdk.asked.clear()
    with pytest.raises(package().ConflictError) as caught:
        await sdk.instances.status.edit("a", **at, status="pause")
    assert [error.code for error in caught.value.errors] == [10912]
    assert sdk.asked == ["PATCH /approve/instances/a/status"]


async def test_an_instance_that_is_not_there_is_not_found_and_asked_for_once(sdk: Sdk) -> None:
    with pytest.raises(package().NotFoundError) as caught:
        await sdk.instances.get("nope", **AT, workflow_name="greet")
    assert [error.code for error in caught.value.errors] == [10400]
    assert len(sdk.asked) == 1


async def test_the_id_of_a_scheduled_instance_may_hold_a_slash(sdk: Sdk, hub: Node) -> None:
    id = "*/30 * * * *-1786001400000"
    await hub.engine.emit("leap-day", "greet", TriggerEvent(payload={}, instance_id=id))
    await hub.settled("greet", id, Status.COMPLETE)
    found = await sdk.instances.get(id, **AT, workflow_name="greet")
    assert (found.status, found.output["greeting"]) == ("complete", {"hello": {}})
    step = await sdk.instances.step(id, **AT, workflow_name="greet", name="greet-1", type="step")
    assert step.output == {"hello": {}}


# ---- the caller


async def test_the_caller_is_known_to_the_sdk(sdk: Sdk) -> None:
    assert [(account.id, account.type) async for account in sdk.client.accounts.list()] == [("local", "standard")]
    assert (await sdk.client.accounts.get(account_id="local")).name == "local"
    assert [membership.account.id async for membership in sdk.client.memberships.list()] == ["local"]
    assert (await sdk.client.user.get()).email == "deploy@local"
    assert (await sdk.client.user.tokens.verify()).status == "active"
    assert (await sdk.client.accounts.tokens.verify(account_id="local")).status == "active"


async def test_a_wrong_token_is_an_authentication_error(hub: Node) -> None:
    cloudflare = package()
    async with cloudflare.AsyncCloudflare(api_token="wrong", base_url=f"{hub.server.url}/client/v4") as client:
        with pytest.raises(cloudflare.AuthenticationError):
            await client.workflows.get("greet", **AT)


async def test_the_synchronous_client_finds_the_hub_by_its_variables(hub: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    cloudflare = package()
    monkeypatch.setenv("CLOUDFLARE_BASE_URL", f"{hub.server.url}/client/v4")
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", token_of(hub))
    for number in range(5):
        await hub.create("greet", f"s{number}")

    def use() -> list[str]:
        with cloudflare.Cloudflare() as client:
            client.workflows.instances.create("greet", **AT, instance_id="s5", params='{"n": 5}')
            return [item.id for item in client.workflows.instances.list("greet", **AT, per_page=2)]

    assert await asyncio.to_thread(use) == ["s5", "s4", "s3", "s2", "s1", "s0"]
