"""Every example delivery that GitHub publishes, sent to a webhook of a running hub: one instance each, with exactly its payload."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import orjson
import pytest

from hub.app import App
from hub.project import forget
from hub.settings import load_settings

PACKAGE = "@octokit/webhooks-examples"
AT_ONCE = 32  # requests under way

PROJECT = """
name = "intake"
main = "intake_workflows.py"

[[workflows]]
name = "intake"
binding = "INTAKE"
class_name = "Intake"

[[triggers]]
kind = "http"
name = "github"
workflow = "intake"

[server]
port = 0
"""

WORKFLOWS = """
from hub import WorkflowEntrypoint

class Intake(WorkflowEntrypoint):
    async def run(self, event, step):
        return event.payload
"""


class Delivery(NamedTuple):
    """One example delivery: GitHub's id for it, the event's name and the exact body."""

    id: str
    event: str
    body: bytes


class Answer(NamedTuple):
    """What the webhook answered."""

    status: int
    body: dict[str, Any]


def download(folder: Path) -> Path:
    """Fetch the package with npm. Skips the test where that is impossible; on CI that is an error."""
    npm = shutil.which("npm")
    reason = "npm is not installed"
    if npm is not None:
        command = [npm, "pack", PACKAGE, "--loglevel=error", "--pack-destination", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        if done.returncode == 0:
            return folder / done.stdout.strip().splitlines()[-1]
        reason = f"npm could not fetch {PACKAGE}: {done.stderr.strip()[:300]}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def deliveries(pytestconfig: pytest.Config) -> list[Delivery]:
    """All examples of github.com; the package is fetched once and kept in pytest's cache."""
    archive = pytestconfig.cache.mkdir("octokit-webhooks-examples") / "package.tgz"
    if not archive.exists():
        unfinished = pytestconfig.cache.mkdir("octokit-webhooks-examples-unfinished")
        download(unfinished).replace(archive)  # in one move: an interrupted download is never taken for the package
    with tarfile.open(archive) as package:
        index = package.extractfile("package/api.github.com/index.json")
        assert index is not None
        kinds = json.load(index)
    found = [(kind["name"], example) for kind in kinds for example in kind["examples"]]
    return [Delivery(f"example-{number}", name, orjson.dumps(example)) for number, (name, example) in enumerate(found)]


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[App]:
    (tmp_path / "hub.toml").write_text(PROJECT)
    (tmp_path / "intake_workflows.py").write_text(WORKFLOWS)
    app = App(load_settings(tmp_path, environ={}))
    await app.start()
    yield app
    await app.stop()
    forget(tmp_path)


async def deliver(session: aiohttp.ClientSession, url: str, deliveries: list[Delivery]) -> list[Answer]:
    """Send deliveries as GitHub does; the answers come in the same order."""
    places = asyncio.Semaphore(AT_ONCE)

    async def send(delivery: Delivery) -> Answer:
        headers = {"content-type": "application/json", "x-github-event": delivery.event, "x-github-delivery": delivery.id}
        async with places, session.post(f"{url}/hooks/github", data=delivery.body, headers=headers) as response:
            return Answer(response.status, await response.json())

    return await asyncio.gather(*(send(delivery) for delivery in deliveries))


async def params_of(session: aiohttp.ClientSession, url: str, ids: list[str]) -> list[bytes]:
    """Read the stored payloads of instances over REST, as the bytes that GitHub would have written."""
    places = asyncio.Semaphore(AT_ONCE)

    async def read(id: str) -> bytes:
        async with places, session.get(f"{url}/client/v4/accounts/local/workflows/intake/instances/{id}") as response:
            return orjson.dumps((await response.json(loads=orjson.loads))["result"]["params"])

    return await asyncio.gather(*(read(id) for id in ids))


async def count(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(f"{url}/client/v4/accounts/local/workflows/intake/instances?per_page=1") as response:
        total = (await response.json())["result_info"]["total_count"]
        assert isinstance(total, int)
        return total


async def test_every_example_delivery_becomes_exactly_one_instance_with_its_payload(hub: App, deliveries: list[Delivery]) -> None:
    assert len(deliveries) > 300
    async with aiohttp.ClientSession() as session:
        first = await deliver(session, hub.url, deliveries)
        assert {answer.status for answer in first} == {202}
        ids = [answer.body["id"] for answer in first]
        assert len(set(ids)) == len(deliveries)
        assert not any("duplicate" in answer.body for answer in first)
        assert await params_of(session, hub.url, ids) == [delivery.body for delivery in deliveries]
        assert await count(session, hub.url) == len(deliveries)

        again = await deliver(session, hub.url, deliveries)
        assert [(answer.status, answer.body["id"], answer.body["duplicate"]) for answer in again] == [(202, id, True) for id in ids]
        assert await count(session, hub.url) == len(deliveries)
