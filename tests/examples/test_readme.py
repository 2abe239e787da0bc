"""The project that README.md shows runs as it is written there; only the shop's address is another."""

from __future__ import annotations

import re
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from hub import WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from hub.testing import Workflows
from tests.examples.test_examples import Running, running
from triggers.cron import CronConfig, CronTrigger

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SHOP = "https://shop.example"


class Shop:
    """The outside service of the example: it remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, await request.json()))
        return web.json_response({"id": f"r{len(self.asked)}"})


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    app = web.Application()
    app.router.add_post("/{any}", shop.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    shop.url = site.name
    yield shop
    await runner.cleanup()


@pytest.fixture
async def orders(tmp_path: Path, shop: Shop) -> AsyncIterator[Running]:
    (settings,) = [block for block in blocks("toml") if SHOP in block]
    (code,) = [block for block in blocks("python") if "class Order(" in block]
    (tmp_path / "hub.toml").write_text(settings.replace(SHOP, shop.url))
    (tmp_path / "workflows.py").write_text(code)
    async with running(tmp_path, tmp_path / "data") as example:
        yield example


def blocks(language: str) -> list[str]:
    """Return the blocks of the README in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


async def test_an_approved_order_is_reserved_and_charged_once(orders: Running, shop: Shop) -> None:
    _, created = await orders.post("/hooks/new-order", {"count": 2})
    _, sent = await orders.post(f"{created['status_url']}/events/approved", {"by": "kim"})
    await orders.clock.sleep(3600)  # the cooling-off
    described = await orders.ended("order", created["id"])

    assert sent["success"]
    assert (described["status"], described["output"]) == ("complete", {"approved_by": "kim"})
    assert shop.asked == [("/reservations", {"count": 2}), ("/charges", {"reservation": "r1"})]
    assert [(step["type"], step["name"]) for step in described["steps"]] == [
        ("step", "reserve stock-1"),
        ("waitForEvent", "approval-1"),
        ("sleep", "cooling-off-1"),
        ("step", "charge-1"),
    ]


async def test_an_empty_order_ends_at_once(orders: Running, shop: Shop) -> None:
    _, created = await orders.post("/hooks/new-order", {"count": 0})
    described = await orders.ended("order", created["id"])

    assert (described["status"], described["error"]["message"]) == ("errored", "nothing was ordered")
    assert [len(step["attempts"]) for step in described["steps"]] == [1]
    assert shop.asked == []


def test_the_queue_handler_starts_an_instance_for_each_message_and_leaves_some_for_later() -> None:
    class Shipping(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
            return event.payload

    (code,) = [block for block in blocks("python") if "async def queue(" in block]
    written: dict[str, Any] = {}
    exec(code, written)
    with Workflows(Shipping, written["Default"]) as hub:
        decisions = hub.queue([{"order": 7}, {"order": 8, "later": True}])

        assert [decision.retry for decision in decisions] == [False, True]
        assert [run.output() for run in hub.instances()] == [{"order": 7}]


def test_the_scheduled_handler_starts_an_instance_for_each_occurrence() -> None:
    class Report(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
            return event.payload

    (code,) = [block for block in blocks("python") if "async def scheduled(" in block]
    written: dict[str, Any] = {}
    exec(code, written)
    with Workflows(Report, written["Default"]) as hub:
        hub.scheduled("0 3 * * *")

        assert [run.output() for run in hub.instances()] == [{"cron": "0 3 * * *"}]


def test_the_schedule_that_is_shown_is_one() -> None:
    (shown,) = [block for block in blocks("toml") if 'kind = "cron"' in block and "nightly" in block and SHOP not in block]
    (table,) = tomllib.loads(shown)["triggers"]
    options = {key: value for key, value in table.items() if key not in ("kind", "name", "workflow")}
    assert CronTrigger(CronConfig(**options)).sentence() == "At 02:30 from Monday to Friday, Europe/Berlin time"
