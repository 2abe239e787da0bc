"""Two versions of a project on one PostgreSQL: the code of each node decides what it executes. Two real hubs."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub.store.schema import NEWEST
from tests.cli.command_line import call
from tests.cli.node import Node, make_project, running
from tests.databases import postgres_database

SETTINGS = """
name = "shop"
main = "flows.py"
[[workflows]]
name = "orders"
binding = "ORDERS"
class_name = "Orders"
"""
CODE = """
import os
from hub import WorkflowEntrypoint

class Orders(WorkflowEntrypoint):
    async def run(self, event, step):
        return await step.do("pack", lambda: f"packed by {os.getpid()}")
"""
NEW_SETTINGS = """
[[workflows]]
name = "invoices"
binding = "INVOICES"
class_name = "Invoices"
"""
NEW_CODE = """
class Invoices(WorkflowEntrypoint):
    async def run(self, event, step):
        drawn = await step.do("draw", lambda: os.getpid())
        await step.wait_for_event("payment", type="paid", timeout="1 hour")
        return [drawn, await step.do("book", lambda: os.getpid())]
"""


@pytest.fixture
async def stored(postgres_url: str) -> AsyncIterator[dict[str, str]]:
    """Return the environment of hubs that share an empty database."""
    async with postgres_database(postgres_url) as url:
        yield {"HUB_STORE_URL": url, "HUB_RUNNER_LEASE": "1 second"}


def serve(project: Path, env: dict[str, str]) -> Any:
    """Run a node."""
    return running("serve", str(project), "--port", "0", env=env)


async def asked(node: Node, *argv: str) -> Any:
    """Return what `hub … --json` says of a node's store."""
    outcome = await call(*argv, "--json", env=await node.env())
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


async def test_an_instance_runs_only_on_the_nodes_whose_version_knows_its_workflow(tmp_path: Path, stored: dict[str, str]) -> None:
    old = make_project(tmp_path / "old", settings=SETTINGS, code=CODE)
    new = make_project(tmp_path / "new", settings=SETTINGS + NEW_SETTINGS, code=CODE + NEW_CODE)
    async with serve(old, stored) as a:
        async with serve(new, stored) as b:
            await call("workflows", "trigger", "invoices", "--id", "one", env=await b.env())
            async with asyncio.timeout(30):
                while (await asked(b, "workflows", "instances", "describe", "invoices", "one"))["status"] != "waiting":
                    pass
            first = b.process.pid
            assert await b.stop(signal.SIGTERM) == 0
        sent = await call("workflows", "instances", "send-event", "invoices", "one", "--type", "paid", env=await a.env())
        assert sent.code == 0, sent.err
        for number in range(20):  # meanwhile the old version works
            await call("workflows", "trigger", "orders", "--id", f"order-{number}", env=await a.env())
            await call("workflows", "instances", "tail", "orders", f"order-{number}", env=await a.env())
            found = await asked(a, "workflows", "instances", "describe", "orders", f"order-{number}")
            assert found["output"] == f"packed by {a.process.pid}"
        left = await asked(a, "workflows", "instances", "describe", "invoices", "one")
        assert left["status"] == "waiting"
        async with serve(new, stored) as b:
            await call("workflows", "instances", "tail", "invoices", "one", env=await b.env())
            done = await asked(b, "workflows", "instances", "describe", "invoices", "one")
            assert (done["status"], done["output"]) == ("complete", [first, b.process.pid])
            nodes = await asked(b, "nodes", "list")
            assert [each["workflows"] for each in nodes if each["alive"]] == [["orders"], ["orders", "invoices"]]
            assert {each["schema"] for each in nodes} == {NEWEST}
            assert await b.stop(signal.SIGTERM) == 0
