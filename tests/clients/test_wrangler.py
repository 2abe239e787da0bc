"""`wrangler workflows …` against the hub, unchanged: every command, what it prints and what the hub has done then.

A command takes most of a second of a core, so each test asks much of few of them; those that only read run two at a time.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hub.core.access import ANYBODY, Scope
from hub.core.delivery import TriggerEvent
from hub.core.model import Status
from tests.api.node import ACCOUNT, WORKFLOWS, Node
from tests.clients.wrangler import Outcome, Wrangler, labels, steps, table

pytestmark = pytest.mark.timeout(600)  # wrangler may have to be installed first

INSTANCES = ("workflows", "instances")


async def two(wrangler: Wrangler, first: tuple[str, ...], second: tuple[str, ...]) -> tuple[Outcome, Outcome]:
    """Run two commands that only read at the same time."""
    return await asyncio.gather(wrangler(*first), wrangler(*second))


async def waiting(hub: Node, *ids: str) -> None:
    """Create instances of `approve`, and wait until they wait; each is newer than the one before."""
    for id in ids:
        await hub.create("approve", id, {"by": id})
        await hub.settled("approve", id, Status.WAITING)


def names(text: str, column: str = "Instance ID") -> list[str]:
    return [row[column] for row in table(text)]


# ---- who am I


async def test_whoami_tells_the_token_the_account_and_the_scopes(stranger: Wrangler) -> None:
    plain, of_account = await two(stranger, ("whoami",), ("whoami", "--account", "local"))
    assert "logged in with an User API Token, associated with the email deploy@local." in plain.text
    assert table(plain.text) == [{"Account Name": "local", "Account ID": "local"}]
    assert 'Membership roles in "local"' in of_account.text
    assert "- read\n- trigger\n- control\n- payloads\n" in of_account.text


async def test_without_an_account_id_the_hubs_only_account_is_found(stranger: Wrangler, hub: Node) -> None:
    listed, told = await two(stranger, ("workflows", "list", "--json"), ("whoami", "--json"))
    assert {item["name"] for item in listed.json} == set(WORKFLOWS)
    assert [account["id"] for account in told.json["accounts"]] == ["local"]


async def test_a_wrong_token_and_a_wrong_account_are_told_in_the_hubs_words(wrangler: Wrangler) -> None:
    no_token = wrangler.told(CLOUDFLARE_API_TOKEN="wrong")
    no_account = wrangler.told(CLOUDFLARE_ACCOUNT_ID="acme")
    refused, strange = await asyncio.gather(no_token("workflows", "list"), no_account("workflows", "list"))
    assert "this hub does not know that token" in refused.failure
    assert "[code: 10000]" in refused.failure
    assert 'the token "deploy" is of the account "local"' in strange.failure


async def test_a_token_that_may_do_little_does_that(wrangler: Wrangler, hub: Node) -> None:
    await waiting(hub, "a")
    made = {
        scope: await hub.engine.access.create(f"only {scope}", frozenset({scope}), account=ACCOUNT, by=ANYBODY)
        for scope in (Scope.READ, Scope.TRIGGER)
    }
    reader, starter = (wrangler.told(CLOUDFLARE_API_TOKEN=token.secret) for token in made.values())
    told, triggered = await asyncio.gather(
        reader(*INSTANCES, "describe", "approve", "a"), starter("workflows", "trigger", "approve", "--id", "b")
    )
    prepare, approval = steps(told.text)
    assert (prepare["Success"], approval["Name"]) == ("✅ Yes", "approval-1")
    assert "ready" not in told.text
    assert 'Workflow instance "b" has been queued' in triggered.text
    refused = await starter(*INSTANCES, "pause", "approve", "b")
    assert 'the token "only trigger" lacks the scope' in refused.failure


# ---- workflows


async def test_workflows_are_listed_by_pages(wrangler: Wrangler) -> None:
    all_of_them, second = await two(wrangler, ("workflows", "list"), ("workflows", "list", "--page", "2", "--per-page", "5"))
    assert f"Showing {len(WORKFLOWS)} workflows from page 1:" in all_of_them.text
    greet = next(row for row in table(all_of_them.text) if row["Name"] == "greet")
    assert (greet["Script name"], greet["Class name"]) == ("tests", "Greet")
    assert datetime.strptime(greet["Created"], "%m/%d/%Y, %I:%M:%S %p").replace(tzinfo=UTC) <= datetime.now(UTC)
    assert f"Showing {len(WORKFLOWS) - 5} workflows from page 2:" in second.text
    past = await wrangler("workflows", "list", "--page", "9")
    assert "No Workflows found on page 9" in past.text + past.err


async def test_a_workflow_is_described_with_its_newest_version(wrangler: Wrangler, hub: Node) -> None:
    (version,) = (await hub.get("/greet/versions")).result
    told, as_json = await two(wrangler, ("workflows", "describe", "greet"), ("workflows", "describe", "greet", "--json"))
    about = labels(told.text)
    assert (about["Name"], about["Script Name"], about["Class Name"]) == ("greet", "tests", "Greet")
    assert f"Id:           {version['id']}" in told.text.partition("Latest Version:")[2]
    assert as_json.json["latest_version"] == version
    assert as_json.json["instances"]["complete"] == 0


async def test_a_deleted_workflow_is_gone(wrangler: Wrangler, hub: Node) -> None:
    await waiting(hub, "a")
    assert '✅ Workflow "approve" removed successfully.' in (await wrangler("workflows", "delete", "approve")).text
    described = await wrangler("workflows", "describe", "approve")
    assert '(workflow.not_found) workflow "approve" not found' in described.failure
    assert "[code: 10200]" in described.failure


# ---- an instance


async def test_an_instance_is_triggered_and_described_by_its_id_and_as_the_latest(wrangler: Wrangler, hub: Node) -> None:
    await waiting(hub, "older")
    triggered = await wrangler("workflows", "trigger", "approve", '{"order": 7}', "--id", "order-7")
    assert '🚀 Workflow instance "order-7" has been queued successfully' in triggered.text
    detail = await hub.settled("approve", "order-7", Status.WAITING)
    assert detail["params"] == {"order": 7}

    by_id, latest = await two(
        wrangler, (*INSTANCES, "describe", "approve", "order-7"), (*INSTANCES, "describe", "approve", "latest", "--no-step-output")
    )
    about = labels(by_id.text)
    assert about["Workflow Name"] == "approve"
    assert about["Instance Id"] == labels(latest.text)["Instance Id"] == "order-7"
    assert about["Version Id"] == detail["versionId"]
    assert (about["Status"], about["Trigger"]) == ("⏰ Waiting", "🌎 API")
    assert about["Last Successful Step"] == "prepare-1"
    prepare, approval = steps(by_id.text)
    assert (prepare["Name"], prepare["Type"], prepare["Success"]) == ("prepare-1", "🎯 Step", "✅ Yes")
    assert json.loads(json.loads(prepare["Output"])) == "ready"
    assert (approval["Name"], approval["Type"], approval["Duration"]) == ("approval-1", "👀 Waiting for event", "1 hour")
    assert [row["State"] for row in table(by_id.text)] == ["✅ Success"]
    assert "Output" not in steps(latest.text)[0]


async def test_without_id_and_params_the_hub_makes_both(wrangler: Wrangler, hub: Node) -> None:
    created = (await wrangler("workflows", "trigger", "greet", "--json")).json
    assert created["status"] == "queued"
    assert (await hub.settled("greet", created["id"], Status.COMPLETE))["params"] == {}
    done = await wrangler(*INSTANCES, "describe", "greet", created["id"], "--json")
    assert (done.json["id"], done.json["status"], done.json["output"]["greeting"]) == (created["id"], "complete", {"hello": {}})


async def test_a_taken_id_and_an_unknown_workflow_are_refused_with_number_and_cure(wrangler: Wrangler, hub: Node) -> None:
    await waiting(hub, "a")
    taken, unknown = await two(wrangler, ("workflows", "trigger", "approve", "--id", "a"), ("workflows", "trigger", "aprove"))
    assert 'an instance "a" of workflow "approve" exists already [code: 10405]' in taken.failure
    assert '"approve"' in unknown.failure
    assert "[code: 10200]" in unknown.failure


async def test_an_event_reaches_the_instance(wrangler: Wrangler, hub: Node) -> None:
    await waiting(hub, "a")
    sent = await wrangler(*INSTANCES, "send-event", "approve", "a", "--type", "approved", "--payload", '{"x":[1]}')
    assert '📤 The event with type "approved" and payload "{"x":[1]}" was sent to the instance "a" from approve' in sent.text
    assert (await hub.settled("approve", "a", Status.COMPLETE))["output"] == {"x": [1]}
    told = await wrangler(*INSTANCES, "describe", "approve")
    assert labels(told.text)["Status"] == "✅ Completed"
    assert labels(told.text)["Success"] == "✅ Yes"
    late = await wrangler(*INSTANCES, "send-event", "approve", "latest", "--type", "approved")
    assert "[code: 10916]" in late.failure


async def test_an_instance_is_paused_resumed_terminated_and_restarted(wrangler: Wrangler, hub: Node) -> None:
    await waiting(hub, "a")
    paused = await wrangler(*INSTANCES, "pause", "approve", "a")
    assert '⏸️ The instance "a" from approve was paused successfully' in paused.text
    await hub.settled("approve", "a", Status.PAUSED)
    resumed = await wrangler(*INSTANCES, "resume", "approve", "latest")
    assert '🔄 The instance "a" from approve was resumed successfully' in resumed.text
    await hub.settled("approve", "a", Status.WAITING)
    terminated = await wrangler(*INSTANCES, "terminate", "approve", "a", "--json")
    assert terminated.json["status"] == "terminated"
    told, refused = await two(wrangler, (*INSTANCES, "describe", "approve", "a"), (*INSTANCES, "pause", "approve", "a"))
    assert labels(told.text)["Status"] == "🚫 Terminated"
    assert steps(told.text)[-1] == {"Type": "🚫 Termination", "Trigger": "api"}
    assert "[code: 10912]" in refused.failure
    restarted = await wrangler(*INSTANCES, "restart", "approve", "a")
    assert '🥷 The instance "a" from approve was restarted successfully' in restarted.text
    await hub.settled("approve", "a", Status.WAITING)


async def test_an_instance_is_restarted_from_a_step(wrangler: Wrangler, hub: Node) -> None:
    await waiting(hub, "a")
    first = (await hub.get("/approve/instances/a")).result["steps"]
    origin = ("--from-step-name", "approval", "--from-step-type", "waitForEvent", "--from-step-count", "1")
    restarted = await wrangler(*INSTANCES, "restart", "approve", "a", *origin)
    assert '🥷 The instance "a" from approve was restarted successfully' in restarted.text
    again = (await hub.settled("approve", "a", Status.WAITING))["steps"]
    assert again[0] == first[0]
    assert again[1]["start"] > first[1]["start"]
    unknown = await wrangler(*INSTANCES, "restart", "approve", "a", "--from-step-name", "nope")
    assert "[code: 10915]" in unknown.failure


async def test_a_termination_with_rollback_undoes_the_steps(wrangler: Wrangler, hub: Node) -> None:
    await hub.create("book", "a")
    await hub.settled("book", "a", Status.WAITING)
    terminated = await wrangler(*INSTANCES, "terminate", "book", "a", "--rollback")
    assert '🥷 The instance "a" from book was terminated successfully' in terminated.text
    detail = await hub.settled("book", "a", Status.TERMINATED)
    assert detail["rollback"] == {"outcome": "complete", "error": None}
    assert labels((await wrangler(*INSTANCES, "describe", "book", "a")).text)["Status"] == "🚫 Terminated"


async def test_failures_retries_and_sleeps_are_described(wrangler: Wrangler, hub: Node) -> None:
    for workflow, status in (("fail", Status.ERRORED), ("retry", Status.WAITING), ("sleep", Status.WAITING)):
        await hub.create(workflow, "a")
        await hub.settled(workflow, "a", status)
    failed, retried = await two(wrangler, (*INSTANCES, "describe", "fail"), (*INSTANCES, "describe", "retry"))
    assert labels(failed.text)["Status"] == "❌ Errored"
    assert labels(failed.text)["Error"] == "ValueError: card <declined>"
    assert [(row["State"], row["Error"]) for row in table(failed.text)] == [("❌ Error", "ValueError: card <declined>")] * 2
    (step,) = steps(retried.text)
    assert step["Success"] == "▶ Running"
    assert "minutes from now" in step["Retries At"]
    (nap,) = steps((await wrangler(*INSTANCES, "describe", "sleep")).text)
    assert (nap["Name"], nap["Type"], nap["Duration"]) == ("nap-1", "💤 Sleeping", "1 hour")


async def test_an_instance_of_a_schedule_is_found_by_its_id_with_spaces_stars_and_slashes(wrangler: Wrangler, hub: Node) -> None:
    id = "*/30 * * * *-1786001400000"
    await hub.engine.emit("leap-day", "approve", TriggerEvent(payload={}, instance_id=id))
    assert (await hub.settled("approve", id, Status.WAITING))["step_count"] == 2
    told = await wrangler(*INSTANCES, "describe", "approve", id)
    assert (labels(told.text)["Instance Id"], labels(told.text)["Status"]) == (id, "⏰ Waiting")
    await wrangler(*INSTANCES, "send-event", "approve", id, "--type", "approved")
    await hub.settled("approve", id, Status.COMPLETE)


# ---- many instances


async def test_instances_are_listed_by_pages_in_either_order(wrangler: Wrangler, hub: Node) -> None:
    await waiting(hub, "a", "b", "c", "d", "e")
    first, third = await two(
        wrangler,
        (*INSTANCES, "list", "approve", "--per-page", "2"),
        (*INSTANCES, "list", "approve", "--per-page", "2", "--page", "3"),
    )
    assert "Showing 2 instances from page 1:" in first.text
    assert names(first.text) == ["e", "d"]
    assert {row["Status"] for row in table(first.text)} == {"⏰ Waiting"}
    assert "Showing 1 instance from page 3:" in third.text
    assert names(third.text) == ["a"]
    reverse, past = await two(
        wrangler,
        (*INSTANCES, "list", "approve", "--reverse", "--json"),
        (*INSTANCES, "list", "approve", "--per-page", "2", "--page", "4"),
    )
    assert [item["id"] for item in reverse.json] == ["a", "b", "c", "d", "e"]
    assert "No instances found on page 4" in past.text + past.err


async def test_instances_are_filtered_by_status_and_by_time(wrangler: Wrangler, hub: Node) -> None:
    await waiting(hub, "a", "b", "c")
    await hub.call("PATCH", "/client/v4/accounts/local/workflows/approve/instances/b/status", json={"status": "pause"})
    await hub.settled("approve", "b", Status.PAUSED)
    since = (await hub.engine.instance("approve", "b")).created_at.isoformat()
    until = (await hub.engine.instance("approve", "c")).created_at.date().isoformat()
    paused, ranged = await two(
        wrangler,
        (*INSTANCES, "list", "approve", "--status", "paused"),
        (*INSTANCES, "list", "approve", "--status", "waiting", "--date-start", since, "--date-end", until, "--json"),
    )
    assert [(row["Instance ID"], row["Status"]) for row in table(paused.text)] == [("b", "⏸️ Paused")]
    assert [item["id"] for item in ranged.json] == ["c"]
    none, empty = await two(
        wrangler, (*INSTANCES, "list", "approve", "--date-end", "2020-01-31"), (*INSTANCES, "list", "greet", "--per-page", "1")
    )
    assert "matched the provided filters" in none.text + none.err
    assert 'There are no instances in workflow "greet"' in empty.text + empty.err


async def test_all_instances_of_a_status_are_terminated(wrangler: Wrangler, hub: Node) -> None:
    await waiting(hub, "a", "b", "c")
    await hub.call("PATCH", "/client/v4/accounts/local/workflows/approve/instances/b/status", json={"status": "pause"})
    await hub.settled("approve", "b", Status.PAUSED)
    some = await wrangler(*INSTANCES, "terminate-all", "approve", "--status", "waiting")
    assert '🥷 A job to terminate instances from Workflow "approve" with status "waiting" has been started.' in some.text
    for id in ("a", "c"):
        await hub.settled("approve", id, Status.TERMINATED)
    assert (await hub.engine.instance("approve", "b")).status is Status.PAUSED
    assert (await wrangler(*INSTANCES, "terminate-all", "approve", "--json")).json == {"status": "ok"}
    await hub.settled("approve", "b", Status.TERMINATED)


async def test_many_instances_are_deleted_by_name_as_the_latest_and_from_a_file(wrangler: Wrangler, hub: Node, tmp_path: Path) -> None:
    await waiting(hub, "a", "b", "c", "d", "e")
    deleted = await wrangler(*INSTANCES, "delete", "approve", "a", "latest")
    assert 'Deleted workflow instances from "approve": "a", "e"' in deleted.text
    listed = tmp_path / "ids.json"
    listed.write_text('["b", "c"]', encoding="utf-8")
    from_file = await wrangler(*INSTANCES, "delete", "approve", "--filename", str(listed), "--json")
    assert from_file.json == {"deleted": [{"id": "b"}, {"id": "c"}], "errors": []}
    partly = await wrangler(*INSTANCES, "delete", "approve", "d", "nope")
    assert 'Deleted workflow instances from "approve": "d"' in partly.failure
    assert 'nope: (instance.not_found) instance "nope" of workflow "approve" not found' in partly.failure
    assert (await hub.get("/approve/instances")).result == []
