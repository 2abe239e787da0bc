"""Each project in config/examples starts as it stands, and does what its README says."""

from __future__ import annotations

import hmac
import json
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hub.app import App
from hub.project import forget
from hub.settings import load_settings
from hub.testing import VirtualClock, Workflows

EXAMPLES = Path(__file__).parents[2] / "config" / "examples"
PROJECTS = sorted(folder.name for folder in EXAMPLES.iterdir() if folder.is_dir())
ENDED = {"complete", "errored", "terminated"}


class Running:
    """An example that runs, seen from outside."""

    def __init__(self, app: App, session: aiohttp.ClientSession, clock: VirtualClock) -> None:
        self.clock = clock
        self._url = app.url
        self._session = session

    async def get(self, path: str) -> tuple[int, Any]:
        async with self._session.get(self._url + path) as response:
            return response.status, await response.json() if await response.read() else None

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.post(self._url + path, json=body, headers=named) as response:
            return response.status, await response.json()

    async def instances(self, workflow: str) -> list[dict[str, Any]]:
        _, answer = await self.get(f"/client/v4/accounts/local/workflows/{workflow}/instances")
        found: list[dict[str, Any]] = answer["result"]
        return found

    async def ended(self, workflow: str, id: str) -> dict[str, Any]:
        """Return the description of an instance when it has ended; looks once a virtual second."""
        for _ in range(3600):
            _, answer = await self.get(f"/client/v4/accounts/local/workflows/{workflow}/instances/{id}")
            described: dict[str, Any] = answer["result"]
            if described["status"] in ENDED:
                return described
            await self.clock.sleep(1)
        raise AssertionError(f"{workflow} {id} has not ended within a virtual hour")


@asynccontextmanager
async def running(name: str | Path, data: Path, start: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> AsyncIterator[Running]:
    """Run an example, or a project elsewhere, on a free port with its data elsewhere. A long lease keeps virtual hours free of renewals."""
    overrides = {"data": str(data), "server": {"port": 0}, "runner": {"lease": "10 minutes"}}
    clock = VirtualClock(start)
    app = App(load_settings(EXAMPLES / name, overrides=overrides, environ={}), clock=clock)
    await app.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Running(app, session, clock)
    finally:
        await app.stop()
        forget(EXAMPLES / name)


@pytest.mark.parametrize("name", PROJECTS)
async def test_every_example_starts_is_healthy_and_explains_itself(name: str, tmp_path: Path) -> None:
    project = shutil.copytree(EXAMPLES / name, tmp_path / name)  # an example may write into its folder
    async with running(project, tmp_path / "data") as example:
        assert (await example.get("/readyz"))[0] == 200
    assert (EXAMPLES / name / "README.md").read_text().startswith(f"# {name}\n")


async def test_fetch_handler_of_the_starter_creates_an_instance_and_answers_its_status(tmp_path: Path) -> None:
    async with running("starter", tmp_path) as example:
        status, created = await example.get("/")
        assert status == 200
        assert set(created) == {"id", "details"}
        assert created["details"]["status"] in {"queued", "running", "waiting"}
        status, known = await example.get(f"/?instanceId={created['id']}")
        assert (status, known["status"]["status"] in {"queued", "running", "waiting"}) == (200, True)
        status, unknown = await example.get("/?instanceId=nobody")
        assert (status, "nobody" in unknown["error"]) == (404, True)
        assert await example.get("/favicon.ico") == (404, None)


async def test_webhook_of_the_starter_runs_the_workflow_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter([0.1, 0.4, 0.9])  # the write fails twice
    monkeypatch.setattr(random, "random", lambda: next(draws, 0.9))
    async with running("starter", tmp_path) as example:
        status, answer = await example.post("/hooks/starter", {"hello": "world"})
        assert status == 202
        assert (await example.get(answer["status_url"]))[0] == 200
        described = await example.ended("starter", answer["id"])
    assert described["status"] == "complete"
    output = described["output"]
    assert output["received"] == {"hello": "world"}
    assert output["files"] == ["report.csv", "photo.jpg", "notes.txt"]
    assert output["api"]["status"] == 200
    assert output["written"] == "3 files written"
    write = next(step for step in described["steps"] if step["name"].startswith("a write that may fail"))
    assert [attempt["success"] for attempt in write["attempts"]] == [False, False, True]


async def test_schedule_of_the_starter_creates_an_instance_every_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "random", lambda: 0.9)  # the write succeeds: one that fails four times is in the way of the next minute
    async with running("starter", tmp_path) as example:
        await example.clock.sleep(150)
        ids = sorted(instance["id"] for instance in await example.instances("starter"))
    first, second = (int((datetime(2030, 1, 1, 0, minute, tzinfo=UTC)).timestamp() * 1000) for minute in (1, 2))
    assert ids == [f"* * * * *-{first}", f"* * * * *-{second}"]


def signed(body: Any) -> str:
    """Sign a body as GitHub does, with the secret of the example."""
    secret = b"It's a Secret to Everybody"
    return f"sha256={hmac.new(secret, json.dumps(body).encode(), 'sha256').hexdigest()}"


async def test_webhook_example_tells_the_label_to_who_waits(tmp_path: Path) -> None:
    async with running("webhook", tmp_path) as example:
        issue = {"issue": {"number": 8, "title": "How do I start?", "user": {"login": "octocat"}}}
        status, answer = await example.post("/hooks/try/octocat?wait=5s", issue)
    assert (status, answer["output"]["label"]) == (200, "question")


async def test_webhook_example_labels_an_issue_once(tmp_path: Path) -> None:
    issue = {"action": "opened", "issue": {"number": 7, "title": "Crash on start", "user": {"login": "octocat"}}}
    async with running("webhook", tmp_path) as example:
        _, first = await example.post("/hooks/github", issue, x_github_delivery="72d3162e", x_hub_signature_256=signed(issue))
        _, again = await example.post("/hooks/github", issue, x_github_delivery="72d3162e", x_hub_signature_256=signed(issue))
        assert (again["id"], again["duplicate"]) == (first["id"], True)
        assert (await example.post("/hooks/github", issue, x_hub_signature_256=signed({})))[0] == 401
        described = await example.ended("triage", first["id"])
    assert described["output"] == {"number": 7, "title": "Crash on start", "author": "octocat", "label": "bug"}


async def test_webhook_example_refuses_a_delivery_without_an_issue_at_once(tmp_path: Path) -> None:
    async with running("webhook", tmp_path) as example:
        _, answer = await example.post("/hooks/github", {"action": "created"}, x_hub_signature_256=signed({"action": "created"}))
        described = await example.ended("triage", answer["id"])
    assert described["status"] == "errored"
    assert [len(step["attempts"]) for step in described["steps"]] == [1]


@pytest.mark.parametrize(
    ("moment", "reports"),
    [
        ("2030-01-04T06:29:30", ["2030-01-04 Berlin: 510 EUR"]),
        ("2030-07-05T05:29:30", ["2030-07-05 Berlin: 510 EUR"]),  # in summer the office opens an hour earlier by UTC
        ("2030-01-04T12:29:30", ["2030-01-04 New York: 510 USD"]),
        ("2030-01-05T06:29:30", []),  # a Saturday
        ("2030-06-28T15:59:30", ["2030-06-28 all offices: 510 EUR"]),  # a Friday; the 30th is a Sunday
    ],
)
async def test_cron_example_reports_in_the_morning_of_each_office(tmp_path: Path, moment: str, reports: list[str]) -> None:
    async with running("cron", tmp_path, datetime.fromisoformat(moment).replace(tzinfo=UTC)) as example:
        await example.clock.sleep(60)
        created = await example.instances("report")
        assert [(await example.ended("report", instance["id"]))["output"]["report"] for instance in created] == reports


async def test_cron_example_reports_on_the_week_by_its_handler(tmp_path: Path) -> None:
    async with running("cron", tmp_path, datetime(2030, 1, 6, 3, 59, 30, tzinfo=UTC)) as example:  # a Sunday
        assert await example.instances("report") == []
        await example.clock.sleep(20 * 60)
        described = await example.ended("report", "2030-W01")
    assert described["output"]["report"] == "2030-01-06 week 2030-W01: 510 EUR"


async def test_jobs_example_ships_each_order_once_and_counts_clicks_without_a_broker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running("jobs", tmp_path) as example:
        assert await example.get("/?order=7&item=book") == (202, {"sent": "order-7"})
        await example.get("/?order=7&item=book")
        await example.clock.sleep(1)
        (instance,) = await example.instances("shipping")
        described = await example.ended("shipping", instance["id"])
        await example.clock.sleep(10)
        _, queues = await example.get("/client/v4/accounts/local/queues")

    assert described["output"] == {"parcel": "P7", "items": 1}
    assert capsys.readouterr().out.count("1 clicks from clicks: {'/orders/7': 1}") == 1
    assert [(queue["queue_name"], queue["messages_waiting"], queue["messages_held"]) for queue in queues["result"]] == [
        ("clicks", 0, 0), ("clicks-dead", 0, 0), ("orders", 0, 0),
    ]  # fmt: skip


def test_the_test_kit_gives_the_jobs_example_its_queues() -> None:
    with Workflows(project=EXAMPLES / "jobs") as workflows:
        run = workflows.create({"order": 7, "items": ["book"]})
        assert run.output() == {"parcel": "P7", "items": 1}
        assert {"ORDERS", "CLICKS"} <= set(workflows.env)
