"""Over REST and on the dashboard: what the steps of an instance have logged."""

from __future__ import annotations

import pytest

from hub.core.model import Status
from tests.api.node import Node

TOLD = ["asking <the bank>", "attempt 1 declined", "asking <the bank>", "attempt 2 declined"]


@pytest.fixture
async def failed(node: Node) -> Node:
    """Give a node on which instance `a` of `fail` has ended."""
    await node.create("fail", "a")
    await node.settled("fail", "a", Status.ERRORED)
    return node


async def messages(node: Node, query: str = "") -> list[str]:
    return [item["message"] for item in (await node.get(f"/fail/instances/a/logs?{query}")).result]


async def test_lines_tell_who_has_logged_them(failed: Node) -> None:
    first, *_ = (await failed.get("/fail/instances/latest/logs")).result

    assert {key: first[key] for key in ("level", "message", "logger", "type", "step", "attempt")} == {
        "level": "info", "message": "asking <the bank>", "logger": "shop", "type": "step", "step": "charge-1", "attempt": 1,
    }  # fmt: skip
    assert await messages(failed) == TOLD


@pytest.mark.parametrize(
    ("query", "expected"),
    [("attempt=2", TOLD[2:]), ("level=error", TOLD[1::2]), ("step=charge", TOLD), ("step=charge-1&attempt=1", TOLD[:2]), ("step=ship", [])],
)
async def test_lines_are_filtered(failed: Node, query: str, expected: list[str]) -> None:
    assert await messages(failed, query) == expected


async def test_a_list_goes_on_after_the_last_line(failed: Node) -> None:
    page = await failed.get("/fail/instances/a/logs?per_page=3")

    assert page.body["result_info"]["cursor"] == page.result[-1]["cursor"]
    assert await messages(failed, f"cursor={page.result[-1]['cursor']}") == TOLD[3:]


async def test_what_is_not_there_has_no_log(node: Node) -> None:
    assert (await node.get("/fail/instances/a/logs")).failure[:2] == (404, 10400)
    assert (await node.get("/nowhere/instances/a/logs")).failure[:2] == (404, 10200)
    await node.create("sleep", "a")
    assert (await node.get("/sleep/instances/a/logs")).result == []
    assert (await node.get("/sleep/instances/a/logs?level=loud")).failure[:2] == (400, 10902)


async def test_the_dashboard_shows_the_log(failed: Node) -> None:
    async with failed.client.get("/dashboard/workflows/fail/instances/a") as answer:
        page = await answer.text()

    assert "asking &lt;the bank&gt;" in page
    assert "attempt 2 declined" in page
