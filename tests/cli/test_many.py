"""Labels, filters, jobs and logs on the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.command_line import call
from tests.cli.conftest import RecordedHub

JOB: dict[str, Any] = {"action": "pause", "state": "dry_run", "total": 2, "done": 0, "failed": 0, "errors": []}


async def test_trigger_hangs_labels_on_an_instance(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("POST", "/starter/instances", {"id": "x", "status": "queued"})
    labels = ["--tag", "eu", "--tag", "urgent", "--meta", "customer=4711", "--meta", "zip=007", "--meta", "paid=true", "--meta", "note=a=b"]

    outcome = await call("workflows", "trigger", "starter", *labels, env=recorded_hub.env)

    assert outcome.code == 0
    assert json.loads(recorded_hub.heard[0].body) == {
        "tags": ["eu", "urgent"],
        "metadata": {"customer": 4711, "zip": "007", "paid": True, "note": "a=b"},
    }


async def test_trigger_tells_of_a_repetition(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("POST", "/starter/instances", {"id": "x", "status": "running", "duplicate": True})

    outcome = await call("workflows", "trigger", "starter", "--id", "x", "--idempotent", env=recorded_hub.env)

    assert outcome.out == 'Workflow instance "x" exists already, with the same params; it is running\n'
    assert json.loads(recorded_hub.heard[0].body) == {"instance_id": "x", "idempotent": True}


async def test_list_asks_for_all_its_filters(recorded_hub: RecordedHub) -> None:
    asked = "page=1&status=waiting,paused&tag=eu,urgent&metadata=%7B%22n%22:+1%7D&trigger=hook&version=v1"
    recorded_hub.answer("GET", f"/starter/instances?{asked}", [])
    filters = ["--status", "waiting", "--status", "paused", "--tag", "eu", "--tag", "urgent", "--meta", "n=1", "--trigger", "hook"]

    outcome = await call("workflows", "instances", "list", "starter", *filters, "--version", "v1", env=recorded_hub.env)

    assert (outcome.code, outcome.err) == (0, 'No instances in workflow "starter" matched the provided filters\n'), recorded_hub.lines


@pytest.mark.parametrize("entry", ["customer", "=1"])
async def test_metadata_that_is_none_is_wrong_usage(recorded_hub: RecordedHub, entry: str) -> None:
    outcome = await call("workflows", "trigger", "starter", "--meta", entry, env=recorded_hub.env)

    assert (outcome.code, outcome.err) == (2, f'error: --meta: "{entry}" is not KEY=VALUE, such as customer=4711\n')
    assert recorded_hub.heard == []


# ---- jobs


async def test_a_dry_run_counts(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("POST", "/starter/jobs", JOB)

    filters = ("--status", "waiting", "--tag", "eu", "--date-start", "2026-01-31", "--dry-run")
    outcome = await call("workflows", "instances", "bulk", "pause", "starter", *filters, env=recorded_hub.env)

    assert (outcome.code, outcome.out) == (0, "2 instances of starter would be paused\n")
    (heard,) = recorded_hub.heard
    sent = json.loads(heard.body)
    assert sent["filter"].pop("date_start").startswith("2026-01-31T00:00:00")
    assert sent == {"action": "pause", "filter": {"status": ["waiting"], "tags": ["eu"]}, "dry_run": True}


async def test_without_a_terminal_nothing_is_changed_unless_somebody_said_yes(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("POST", "/starter/jobs", JOB)

    outcome = await call("workflows", "instances", "bulk", "pause", "starter", env=recorded_hub.env)

    assert outcome.code == 2
    assert outcome.err == "error: Pause 2 instances of starter? Nobody can be asked here: give --yes, or --dry-run to count them\n"
    assert len(recorded_hub.heard) == 1


async def test_a_job_is_followed_to_its_end_and_refusals_are_told(recorded_hub: RecordedHub) -> None:
    error = {"id": "i2", "code": 10912, "message": "(instance.cannot_pause) it is complete"}
    recorded_hub.answer("POST", "/starter/jobs", {**JOB, "id": "j", "state": "running"})
    recorded_hub.answer("GET", "/starter/jobs/j", {**JOB, "id": "j", "state": "done", "done": 1, "failed": 1, "errors": [error]})

    outcome = await call("workflows", "instances", "bulk", "pause", "starter", "--yes", env=recorded_hub.env)

    assert (outcome.code, outcome.out) == (1, "1 of 2 instances of starter were paused\n")
    assert "1 were refused; the job is done\n  - i2: (instance.cannot_pause) it is complete" in outcome.err
    assert recorded_hub.lines == ["POST /starter/jobs", "POST /starter/jobs", "GET /starter/jobs/j"]


# ---- logs


LINE = {
    "timestamp": "2026-11-22T06:00:00.000Z", "level": "warning", "message": "cart\x1b[2J full", "logger": "shop", "type": "step",
    "step": "charge-1", "attempt": 2, "cursor": "MS4w",
}  # fmt: skip


async def test_logs_show_a_line_a_line(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", "/starter/instances/latest?simple=true", {"id": "a", "status": "complete"})
    recorded_hub.answer("GET", "/starter/instances/a/logs?step=charge&level=info&per_page=1000", [LINE])

    options = ("--step", "charge", "--level", "info")
    outcome = await call("workflows", "instances", "logs", "starter", *options, env=recorded_hub.env)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "11/22/2026, 6:00:00 AM  WARNING  charge-1 #2  cart\\x1b[2J full\n"


async def test_logs_are_followed_from_the_last_line_to_the_end(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", "/starter/instances/a?simple=true", {"id": "a", "status": "complete"})
    recorded_hub.answer("GET", "/starter/instances/a/logs?per_page=1000", [LINE])

    outcome = await call("workflows", "instances", "logs", "starter", "a", "--follow", "--json", env=recorded_hub.env)

    assert (outcome.code, json.loads(outcome.out)) == (0, LINE)


async def test_an_instance_that_has_logged_nothing_says_so(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", "/starter/instances/a?simple=true", {"id": "a", "status": "complete"})
    recorded_hub.answer("GET", "/starter/instances/a/logs?per_page=1000", [])

    outcome = await call("workflows", "instances", "logs", "starter", "a", env=recorded_hub.env)

    assert (outcome.code, outcome.out, outcome.err) == (0, "", 'No step of the instance "a" has logged anything\n')
