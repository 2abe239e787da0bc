"""A token without the scope payloads: it sees that there is a payload, and not which; on every address, in every shape."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.api.operation import Operation
from hub.core.access import ANYBODY, Scope
from hub.core.current import CURRENT
from hub.core.delivery import DeliveryStatus, TriggerEvent
from hub.core.errors import NonRetryableError
from hub.core.model import Status
from hub.core.veil import HIDDEN
from hub.core.workflow import WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from hub.engine.access import AccessOptions
from hub.engine.ledger import Finding
from tests.api.doors import path_of
from tests.api.node import ROOT, Node, running

CANARY = "c4nary-9b1deb4d"
ADMIN = {"authorization": "Bearer s3tting"}
API = "/client/v4/accounts/local"
READERS = frozenset(
    {"getInstance", "getStep", "subscribeInstance", "listInstanceLogs", "listDeliveries", "getDelivery", "pullMessages", "dashboard"}
)
_BODIES: dict[str, Any] = {
    "createInstances": [{"id": "later"}],
    "deleteInstances": {"instances": ["nobody"]},
    "fireTrigger": {"payload": 1},
    "editInstanceStatus": {"status": "restart"},
    "editTriggerStatus": {"status": "resume"},
    "pullMessages": {"batch_size": 5},
}


class Quote(WorkflowEntrypoint):
    """Puts what it gets wherever a workflow can put something."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        def undo() -> None:
            raise NonRetryableError(f"cannot undo {event.payload}")

        def fail() -> None:
            raise ValueError(f"no such {event.payload}")

        def tell() -> None:
            current = CURRENT.get()
            assert current is not None
            current.note("info", f"told {event.payload}")

        await step.do("tell", tell)
        await step.do("keep", lambda: {"kept": event.payload}, rollback=undo)
        approved = await step.wait_for_event("approval", type="approved", timeout="1 hour")
        await step.do("charge", fail, retries={"limit": 1, "delay": 0})
        return approved


@pytest.fixture
async def full(tmp_path: Path) -> AsyncIterator[Node]:
    """Run a node that holds the canary wherever a payload can be."""
    async with running(tmp_path, access=AccessOptions(token="s3tting"), more={"quote": Quote}) as node:
        held = {"json": {"secret": CANARY}, "headers": ADMIN}
        for workflow, id in (("quote", "errored"), ("quote", "waiting"), ("greet", "complete"), ("approve", "inbox")):
            created = {"id": id, "params": {"secret": CANARY}}
            assert (await node.call("POST", f"{ROOT}/{workflow}/instances", json=created, headers=ADMIN)).status == 200
        await settled(node, "quote", "errored", Status.WAITING)
        await settled(node, "quote", "waiting", Status.WAITING)
        await settled(node, "approve", "inbox", Status.WAITING)
        await node.call("POST", f"{ROOT}/quote/instances/errored/events/approved", **held)
        await node.call("POST", f"{ROOT}/approve/instances/inbox/events/other", **held)
        await settled(node, "quote", "errored", Status.ERRORED)
        await settled(node, "greet", "complete", Status.COMPLETE)
        await node.call("POST", f"/hooks/greetings?q={CANARY}", json={"secret": CANARY}, headers={"x-thing": CANARY})
        await node.desk.pause("greetings")
        await node.desk.fire("greetings", {"secret": CANARY}, key=CANARY)
        refused = Finding(DeliveryStatus.REJECTED, "payload.schema", f"payload.secret: '{CANARY}' is not of type 'number'")
        await node.engine.ledger.keep("greetings", TriggerEvent(payload=CANARY, key=CANARY, headers={"x": CANARY}), refused)
        await node.call("POST", f"{API}/queues", json={"queue_name": "jobs"}, headers=ADMIN)
        await node.call("POST", f"{API}/queues/jobs/messages", json={"body": CANARY, "content_type": "text"}, headers=ADMIN)
        yield node


async def settled(node: Node, workflow: str, id: str, status: Status) -> None:
    """Return when an instance has that status and is in nobody's hands."""
    async with asyncio.timeout(30):
        while True:
            head = await node.engine.instance(workflow, id)
            if head.status is status and head.node is None:
                return
            await asyncio.sleep(0)


async def token(node: Node, *scopes: Scope) -> dict[str, str]:
    made = await node.engine.access.create("somebody", frozenset(scopes), account="local", by=ANYBODY)
    return {"authorization": f"Bearer {made.secret}"}


def addresses(row: Operation, deliveries: list[str], instances: list[tuple[str, str]]) -> Iterator[str]:
    """Yield the paths of a row for each thing that there is."""
    for workflow, instance in instances if "{instance}" in row.path else [("quote", "")]:
        if row.content_type == "text/event-stream" and instance not in ("errored", "complete"):
            continue  # it would not end
        for delivery in deliveries if "{delivery}" in row.path else [""]:
            path = path_of(row, workflow=workflow, instance=instance, delivery=delivery, trigger="greetings", queue="jobs")
            yield f"{path}?name=keep-1" if row.name == "getStep" else path


async def read(node: Node, method: str, path: str, headers: dict[str, str], body: Any = None) -> str:
    options: dict[str, Any] = {} if body is None else {"json": body}
    async with node.client.request(method, path, headers=headers, **options) as answer:
        text = (await answer.read()).decode()
        return text + "".join(f"{name}: {value}" for name, value in answer.headers.items())


async def walk(node: Node, headers: dict[str, str]) -> dict[str, str]:
    """Ask everything, the readers first, and return all that was answered, by operation."""
    found = (await node.call("GET", f"{API}/deliveries", headers=ADMIN)).result
    deliveries = [each["id"] for each in found]
    listed = [
        (workflow, item["id"])
        for workflow in ("quote", "greet", "approve")
        for item in (await node.get(f"/{workflow}/instances", headers=ADMIN)).result
    ]
    assert len(deliveries) == 2
    assert len(listed) == 5
    said: dict[str, str] = {}
    rows = [row for row in node.server.operations if not row.local]
    for row in sorted(rows, key=lambda row: (row.changes, row.method == "DELETE")):
        for path in addresses(row, deliveries, listed):
            body = _BODIES.get(row.name, {}) if row.body is not None else None
            said[row.name] = said.get(row.name, "") + await read(node, row.method, path, headers, body)
        if row.name == "listWorkflows":  # the pages are for reading: while everything is there
            pages = ["", "/triggers", "/triggers/greetings", "/deliveries", "/workflows/quote"]
            pages += [f"/workflows/{workflow}/instances/{id}" for workflow, id in listed] + [f"/deliveries/{id}" for id in deliveries]
            for page in pages:
                said["dashboard"] = said.get("dashboard", "") + await read(node, "GET", f"/dashboard{page}", headers)
    return said


def shows(text: str) -> bool:
    return CANARY in text or base64.b64encode(CANARY.encode()).decode() in text


async def test_no_address_shows_a_payload_to_a_token_that_may_not_see_it(full: Node) -> None:
    said = await walk(full, await token(full, Scope.READ, Scope.TRIGGER, Scope.CONTROL))
    assert [name for name, text in said.items() if shows(text)] == []
    marked = {name for name, text in said.items() if HIDDEN in text}
    assert marked >= READERS


async def test_the_same_walk_shows_it_to_a_token_that_may(full: Node) -> None:
    """Otherwise the walk would prove nothing."""
    said = await walk(full, await token(full, Scope.READ, Scope.TRIGGER, Scope.CONTROL, Scope.PAYLOADS))
    seen = {name for name, text in said.items() if shows(text)}
    assert seen >= READERS
    assert not [name for name, text in said.items() if HIDDEN in text]


async def test_what_is_hidden_is_marked_and_all_else_is_told(full: Node) -> None:
    headers = await token(full, Scope.READ)
    found = (await full.get("/quote/instances/errored", headers=headers)).result
    plain = (await full.get("/quote/instances/errored", headers=ADMIN)).result
    assert (found["status"], found["params"], found["output"]) == ("errored", HIDDEN, None)
    assert found["error"]["name"] == "ValueError"
    assert found["error"]["message"] == HIDDEN
    assert [step["name"] for step in found["steps"]] == [step["name"] for step in plain["steps"]]
    assert [step.get("start") for step in found["steps"]] == [step.get("start") for step in plain["steps"]]
    assert found["steps"][1]["output"] == f'"{HIDDEN}"'
    charge = found["steps"][3]
    assert [attempt["error"]["message"] for attempt in charge["attempts"]] == [HIDDEN, HIDDEN]
    assert found.keys() == plain.keys()
    assert re.sub(r'"[^"]*"', "", repr(found)).count(CANARY) == 0


async def test_the_source_of_an_event_keeps_its_name_and_loses_what_it_said(full: Node) -> None:
    headers = await token(full, Scope.READ)
    (hooked,) = [item for item in (await full.get("/greet/instances", headers=headers)).result if item["id"] != "complete"]
    trigger = (await full.get(f"/greet/instances/{hooked['id']}", headers=headers)).result["trigger"]
    assert (trigger["source"], trigger["name"]) == ("event", "greetings")
    assert trigger["headers"]["x-thing"] == HIDDEN
    assert set(trigger["metadata"].values()) == {HIDDEN}


async def test_who_may_everything_sees_payloads(full: Node) -> None:
    headers = await token(full, Scope.ADMIN)
    assert (await full.get("/quote/instances/errored", headers=headers)).result["params"] == {"secret": CANARY}


async def test_waiting_for_an_output_does_not_show_it(full: Node) -> None:
    headers = {**await token(full, Scope.TRIGGER), "prefer": "wait=20"}
    reply = await full.call("POST", f"{ROOT}/greet/instances", json={"id": "w", "params": {"secret": CANARY}}, headers=headers)
    assert reply.status == 200
    assert CANARY.encode() not in reply.raw
