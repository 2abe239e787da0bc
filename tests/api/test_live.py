"""The event stream of an instance over HTTP: server-sent events, on a real node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hub.core.model import Status
from tests.api.node import ROOT, Node, running

PATIENCE_S = 30  # only how long a broken hub may keep the tests waiting


async def blocks(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, str]]:
    """Read a stream block by block: `id`, `event` and `data`, or `comment`."""
    block: dict[str, str] = {}
    async for raw in answer.content:
        line = raw.decode().rstrip("\n")
        if not line:
            yield block
            block = {}
            continue
        key, _, value = line.partition(": ")
        block[key or "comment"] = value


async def events(node: Node, path: str, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Return all events of a stream, which must end."""
    async with asyncio.timeout(PATIENCE_S), node.client.get(ROOT + path, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        told = [block async for block in blocks(answer) if "comment" not in block]
    shown = [json.loads(block["data"]) for block in told]
    assert [(block["id"], block["event"]) for block in told] == [(str(event["eventId"]), event["type"]) for event in shown]
    return shown


async def greeted(node: Node) -> str:
    await node.create("greet", "g", {"x": 1})
    await node.settled("greet", "g", Status.COMPLETE)
    return "/greet/instances/g/subscribe"


async def test_the_history_of_an_instance_is_told_and_the_stream_ends(node: Node) -> None:
    told = await events(node, await greeted(node))
    assert [event["type"] for event in told] == [
        "workflow_queued", "workflow_started", "step_started", "attempt_started", "attempt_completed", "step_completed",
        "workflow_completed",
    ]  # fmt: skip
    assert {event["instanceId"] for event in told} == {"g"}
    assert told[1]["params"] == {"x": 1}
    assert told[-2]["output"] == {"hello": {"x": 1}}


async def test_latest_is_the_newest_instance(node: Node) -> None:
    await greeted(node)
    assert (await events(node, "/greet/instances/latest/subscribe"))[0]["instanceId"] == "g"


async def test_cursor_and_last_event_id_go_on_where_it_stopped(node: Node) -> None:
    path = await greeted(node)
    told = await events(node, path)
    middle = str(told[2]["eventId"])
    assert await events(node, f"{path}?cursor={middle}") == told[3:]
    assert await events(node, path, {"Last-Event-ID": middle}) == told[3:]
    assert await events(node, f"{path}?cursor=0", {"Last-Event-ID": middle}) == told[3:]


async def test_only_the_wanted_types_are_sent(node: Node) -> None:
    path = await greeted(node)
    told = await events(node, f"{path}?filter=step_completed,workflow_queued")
    assert [event["type"] for event in told] == ["workflow_queued", "step_completed"]


async def test_events_are_sent_as_they_happen(node: Node) -> None:
    await node.create("approve", "a")
    async with asyncio.timeout(PATIENCE_S), node.client.get(f"{ROOT}/approve/instances/a/subscribe") as answer:
        seen = []
        async for block in blocks(answer):
            seen.append(block.get("event"))
            if seen[-1] == "workflow_waiting":
                await node.post("/approve/instances/a/events/approved", json="yes")
    assert seen.index("wait_completed") > seen.index("workflow_waiting")
    assert seen[-1] == "workflow_completed"


async def test_a_quiet_stream_gives_signs_of_life(tmp_path: Path) -> None:
    async with running(tmp_path, heartbeat_s=0.01) as node:
        await node.create("sleep", "s")
        await node.settled("sleep", "s", Status.WAITING)
        async with asyncio.timeout(PATIENCE_S), node.client.get(f"{ROOT}/sleep/instances/s/subscribe") as answer:
            quiet = 0
            async for block in blocks(answer):
                quiet = quiet + 1 if "comment" in block else 0
                if quiet == 3:
                    break


async def test_a_stopping_server_ends_its_streams_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, shutdown_s=float(PATIENCE_S)) as node:
        await node.create("sleep", "s")
        await node.settled("sleep", "s", Status.WAITING)
        async with node.client.get(f"{ROOT}/sleep/instances/s/subscribe") as answer:
            stream = blocks(answer)
            await anext(stream)
            async with asyncio.timeout(PATIENCE_S / 2):
                await node.server.stop()
                assert [block async for block in stream if block.get("event") == "workflow_completed"] == []


async def test_a_look_at_the_head_of_a_stream_ends(node: Node) -> None:
    await node.create("sleep", "s")
    async with asyncio.timeout(PATIENCE_S), node.client.head(f"{ROOT}/sleep/instances/s/subscribe") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("path", "headers", "failure"),
    [
        ("/greet/instances/nobody/subscribe", {}, (404, 10400)),
        ("/nothing/instances/g/subscribe", {}, (404, 10200)),
        ("/greet/instances/g/subscribe?cursor=-1", {}, (400, 10902)),
        ("/greet/instances/g/subscribe?cursor=x", {}, (400, 10902)),
        ("/greet/instances/g/subscribe?filter=step_begun", {}, (400, 10918)),
        ("/greet/instances/g/subscribe", {"Last-Event-ID": "x"}, (400, 10918)),
    ],
)
async def test_what_cannot_be_followed_is_refused_before_the_stream(
    node: Node, path: str, headers: dict[str, str], failure: tuple[int, int]
) -> None:
    await greeted(node)
    assert (await node.get(path, headers=headers)).failure[:2] == failure
