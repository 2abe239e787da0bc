"""Flow control seen from outside: a whole node of a project with rules, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from hub.app import App
from hub.project import forget
from hub.settings import load_settings

ROOT = "/client/v4/accounts/local/workflows/order/instances"
HUB = """
name = "shop"
main = "flow_workflows.py"

[[workflows]]
name = "order"
class_name = "Order"
cancel_on = [{ trigger = "withdrawn", event = "payload.order", params = "id" }]

[workflows.flow]
rate_limit = { limit = 1, period = "1 hour", key = "payload.limited" }
singleton = { overlap = "skip", key = "payload.id" }
backlog = 3
delay = "1 hour"

[[triggers]]
kind = "http"
name = "orders"
workflow = "order"

[[triggers]]
kind = "http"
name = "withdrawn"
"""
WORKFLOWS = """
from hub import WorkflowEntrypoint

class Order(WorkflowEntrypoint):
    async def run(self, event, step):
        return event.payload
"""


class Client:
    """Speaks to the node."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def create(self, **params: Any) -> tuple[int, dict[str, str], Any]:
        """Create an instance over REST."""
        return await self._post(ROOT, {"params": params})

    async def hook(self, name: str, **payload: Any) -> tuple[int, dict[str, str], Any]:
        """Call a webhook."""
        return await self._post(f"/hooks/{name}", payload)

    async def instance(self, id: str) -> Any:
        """Describe an instance."""
        async with self._session.get(f"{self._url}{ROOT}/{id}") as answer:
            return (await answer.json())["result"]

    async def _post(self, path: str, body: Any) -> tuple[int, dict[str, str], Any]:
        async with self._session.post(self._url + path, json=body) as answer:
            text = await answer.text()
            shown = await answer.json() if text else None
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, shown


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """Run the project on a free port."""
    (tmp_path / "hub.toml").write_text(HUB)
    (tmp_path / "flow_workflows.py").write_text(WORKFLOWS)
    app = App(load_settings(tmp_path, overrides={"server": {"port": 0}}, environ={}), log=structlog.get_logger())
    await app.start()
    async with aiohttp.ClientSession() as session:
        yield Client(session, app.url)
    await app.stop()
    await asyncio.sleep(0)
    forget(tmp_path)


async def test_a_rate_limit_answers_429_with_the_time_to_wait_over_rest_and_is_accounted_for_by_a_webhook(client: Client) -> None:
    assert (await client.create(id=1, limited="kim"))[0] == 200

    status, headers, body = await client.create(id=2, limited="kim")
    hook_status, _, hook_body = await client.hook("orders", id=3, limited="kim")

    assert (status, body["errors"][0]["code"]) == (429, 10922)
    assert 3500 < int(headers["retry-after"]) <= 3600
    assert body["errors"][0]["message"].startswith("(rate_limit)")
    assert hook_status in (200, 202, 204)
    assert hook_body is None or hook_body.get("filtered")


async def test_an_instance_that_is_in_the_way_is_a_conflict_that_names_it(client: Client) -> None:
    _, _, first = await client.create(id=1, limited="a")

    status, headers, body = await client.create(id=1, limited="b")

    assert (status, body["errors"][0]["code"], headers["x-should-retry"]) == (409, 10926, "false")
    assert first["result"]["id"] in body["errors"][0]["message"]


async def test_a_full_backlog_answers_429_at_every_door(client: Client) -> None:
    for n in range(3):
        assert (await client.create(id=n, limited=n))[0] == 200

    status, headers, body = await client.create(id=9, limited=9)
    hook_status, hook_headers, _ = await client.hook("orders", id=10, limited=10)

    assert (status, body["errors"][0]["code"], headers["retry-after"]) == (429, 10925, "5")
    assert hook_status in (429, 503)
    assert int(hook_headers["retry-after"]) >= 1


async def test_an_event_of_a_trigger_that_only_cancels_terminates_the_instance_that_it_names(client: Client) -> None:
    _, _, first = await client.create(id="o-1", limited=1)
    _, _, other = await client.create(id="o-2", limited=2)

    status, _, _ = await client.hook("withdrawn", order="o-1")

    assert status in (200, 202)
    ended = await client.instance(first["result"]["id"])
    assert ended["status"] == "terminated"
    assert 'an event of trigger "withdrawn" cancelled it' in ended["error"]["message"]
    assert (await client.instance(other["result"]["id"]))["status"] == "queued"
