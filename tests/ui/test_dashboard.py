"""The dashboard on a real node: addresses, headers, access."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hub.core.delivery import TriggerEvent
from hub.core.model import Schedule, Source, Status
from hub.engine.access import AccessOptions
from tests.api.node import Node, running
from tests.ui.test_pages import links, seen


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """Run a real node."""
    async with running(tmp_path) as node:
        yield node


async def page(node: Node, path: str, status: int = 200) -> bytes:
    reply = await node.call("GET", path)
    assert reply.status == status
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "unsafe" not in reply.headers["content-security-policy"]
    return reply.raw


async def test_every_link_leads_to_a_page(node: Node) -> None:
    for workflow in ("approve", "retry"):
        await node.create(workflow, "a", {"x": "<b>"})
        await node.settled(workflow, "a", Status.WAITING)
    seen_paths: set[str] = set()
    open_paths = ["/dashboard", "/dashboard/"]
    while open_paths:
        path = open_paths.pop()
        if path not in seen_paths:
            seen_paths.add(path)
            open_paths += links(await page(node, path))
    assert {"/dashboard/workflows/approve/instances/a", "/dashboard/triggers/leap-day", "/dashboard/deliveries"} <= seen_paths
    assert "/dashboard/workflows/approve?status=waiting" in seen_paths


async def test_the_pages_show_what_runs(node: Node) -> None:
    await node.create("fail", "bad-one")
    await node.settled("fail", "bad-one", Status.ERRORED)
    assert "Errored 1" in seen(await page(node, "/dashboard")).text
    assert "bad-one" in seen(await page(node, "/dashboard/workflows/fail?status=errored")).text
    assert "bad-one" not in seen(await page(node, "/dashboard/workflows/fail?status=waiting")).text
    assert "ValueError: card <declined>" in seen(await page(node, "/dashboard/workflows/fail/instances/bad-one")).text


async def test_the_pages_show_triggers_and_what_they_held(node: Node) -> None:
    await node.desk.pause("greetings", "moving house")
    reply = await node.call("POST", "/hooks/greetings", json={"name": "Ada"})
    assert reply.body["held"] is True
    assert "moving house" in seen(await page(node, "/dashboard/triggers")).text
    assert "29" in seen(await page(node, "/dashboard/triggers/leap-day")).text
    listed = await page(node, "/dashboard/deliveries?trigger=greetings&status=held")
    assert "trigger.paused" in seen(listed).text
    (id,) = {link for link in links(listed) if link.startswith("/dashboard/deliveries/")}
    assert "Ada" in seen(await page(node, id)).text
    assert "no such deliveries" in seen(await page(node, "/dashboard/deliveries?status=dead")).text
    await page(node, "/dashboard/deliveries?status=lost", 400)
    await page(node, "/dashboard/triggers/nobody", 404)


async def test_many_instances_are_paged(node: Node) -> None:
    await node.post("/approve/instances/batch", json=[{"id": f"i{n}"} for n in range(60)])
    first = await page(node, "/dashboard/workflows/approve")
    second = await page(node, links(first)[-1])
    listed = [link for link in links(first) + links(second) if "/instances/" in link]
    assert len(set(listed)) == len(listed) == 60


async def test_an_id_with_a_slash_has_a_page(node: Node) -> None:
    id = "*/30 * * * *-1786001400000"
    schedule = Schedule(cron="*/30 * * * *", scheduled_at=datetime.fromtimestamp(1786001400, UTC))
    await node.engine.emit("cron", "approve", TriggerEvent(payload={}, key=id, instance_id=id, schedule=schedule, source=Source.CRON))
    (link,) = [link for link in links(await page(node, "/dashboard/workflows/approve")) if "/instances/" in link]
    assert id in seen(await page(node, link)).text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/dashboard/nope", 404),
        ("/dashboard/workflows", 404),
        ("/dashboard/workflows/nope", 404),
        ("/dashboard/workflows/approve/instances/nope", 404),
        ("/dashboard/static/nope.js", 404),
        ("/dashboard/static/..%2F__init__.py", 404),
        ("/dashboard/workflows/approve?status=<b>", 400),
        ("/dashboard/workflows/approve?cursor=zzz", 400),
    ],
)
async def test_what_goes_wrong_is_a_page_too(node: Node, path: str, status: int) -> None:
    await page(node, path, status)


async def test_without_the_store_the_page_says_so(node: Node) -> None:
    await node.engine.stop()
    assert "does not answer" in seen(await page(node, "/dashboard", 503)).text


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_the_dashboard_is_only_for_reading(node: Node, method: str) -> None:
    reply = await node.call(method, "/dashboard")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(("name", "kind"), [("dashboard.js", "text/javascript"), ("dashboard.css", "text/css")])
async def test_script_and_style_are_our_own_files(node: Node, name: str, kind: str) -> None:
    reply = await node.call("GET", f"/dashboard/static/{name}")
    assert (reply.status, reply.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
    assert b"http" not in reply.raw.replace(b"`HTTP ", b"")


# ---- with a token


@pytest.fixture
async def locked(tmp_path: Path) -> AsyncIterator[Node]:
    """Run a node with a token."""
    async with running(tmp_path, access=AccessOptions(token="s3crét")) as node:
        yield node


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/workflows/approve", "/dashboard/static/dashboard.js"])
async def test_with_a_token_the_browser_asks_for_it(locked: Node, path: str) -> None:
    reply = await locked.call("GET", path)
    assert reply.status == 401
    assert reply.headers["www-authenticate"].startswith("Basic ")
    assert b"approve" not in reply.raw


@pytest.mark.parametrize("headers", [basic("anyone:s3crét"), basic(":s3crét"), {"authorization": "Bearer s3crét"}])
async def test_the_token_opens_the_dashboard(locked: Node, headers: dict[str, str]) -> None:
    assert (await locked.call("GET", "/dashboard", headers=headers)).status == 200


@pytest.mark.parametrize(
    "headers",
    [basic("s3crét:"), basic("a:wrong"), basic("no colon"), {"authorization": "Basic %%%"}, {"authorization": "Basic"}, basic("a:s3crét ")],
)
async def test_anything_else_does_not(locked: Node, headers: dict[str, str]) -> None:
    assert (await locked.call("GET", "/dashboard", headers=headers)).status == 401


async def test_the_browsers_password_does_not_open_the_api(locked: Node) -> None:
    """A browser adds it to requests that other sites cause; the API wants a header that only a program sets."""
    assert (await locked.get("", headers=basic("a:s3crét"))).status == 401
