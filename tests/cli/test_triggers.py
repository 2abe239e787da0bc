"""`hub triggers …` and `hub deliveries …`: requests, words, exit codes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.command_line import call
from tests.cli.conftest import RecordedHub

ROOT = "/client/v4/accounts/local"
TRIGGER = {
    "name": "nightly", "kind": "cron", "workflow_name": "report", "status": "listening", "message": "", "paused_on": None, "note": None,
    "created_on": "2026-01-01T00:00:00.000Z", "modified_on": "2026-01-01T00:00:00.000Z", "cursor": "2026-01-02T03:00:00.000Z",
    "facts": {"next_at": "2026-01-03T03:00:00.000Z"}, "counts": {"created": 2, "skipped": 1}, "settings": {"cron": "0 3 * * *"},
}  # fmt: skip
OCCURRENCE = {"nominal": "2026-01-03T03:00:00.000Z", "starts_on": "2026-01-03T03:10:00.000Z"}
DELIVERY = {
    "id": "d1", "trigger": "github", "status": "rejected", "code": "payload.schema", "message": "amount: must be a number", "key": "k1",
    "received_on": "2026-01-01T00:00:00.000Z", "occurred_on": None, "workflow_name": "orders", "instance_id": None, "changed_on": None,
}  # fmt: skip


def receipt(**changes: Any) -> dict[str, Any]:
    return {"status": "created", "workflow_name": "orders", "instance_id": "i1", "delivery_id": None, "reason": None, **changes}


def sent(hub: RecordedHub) -> Any:
    return json.loads(hub.heard[-1].body)


async def test_list_shows_state_and_counts(recorded_hub: RecordedHub) -> None:
    paused = {**TRIGGER, "name": "github", "paused_on": "2026-01-01T00:00:00.000Z", "note": "moving house", "counts": {}}
    recorded_hub.answer("GET", f"{ROOT}/triggers", [TRIGGER, paused])
    outcome = await call("triggers", "list", env=recorded_hub.env)
    assert (outcome.code, outcome.err) == (0, "")
    for words in ("nightly", "Listening", "2 created, 1 skipped", "Paused", "moving house"):
        assert words in outcome.out


async def test_what_a_trigger_without_workflow_does_is_said(recorded_hub: RecordedHub) -> None:
    bare = {**TRIGGER, "workflow_name": None}
    recorded_hub.answer("GET", f"{ROOT}/triggers", [bare, {**bare, "settings": {"cancels": ["order", "refund"]}}])
    outcome = await call("triggers", "list", env=recorded_hub.env)
    assert "(handler)" in outcome.out
    assert "(cancels order, refund)" in outcome.out


async def test_nothing_to_list_is_said_on_stderr(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", f"{ROOT}/triggers", [])
    recorded_hub.answer("GET", f"{ROOT}/deliveries", [])
    triggers = await call("triggers", "list", env=recorded_hub.env)
    deliveries = await call("deliveries", "list", env=recorded_hub.env)
    assert (triggers.code, triggers.out, "[[triggers]]" in triggers.err) == (0, "", True)
    assert (deliveries.code, deliveries.out, deliveries.err) == (0, "", "There are no stored deliveries\n")


async def test_describe_shows_a_schedule_in_words_and_its_next_times(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", f"{ROOT}/triggers/nightly", TRIGGER)
    preview = {"description": "At 03:00 (UTC)", "occurrences": [OCCURRENCE]}
    recorded_hub.answer("GET", f"{ROOT}/triggers/nightly/preview?count=10", preview)
    outcome = await call("triggers", "describe", "nightly", env=recorded_hub.env)
    for words in ("At 03:00 (UTC)", "2026-01-03T03:00:00.000Z", "2026-01-03T03:10:00.000Z", "0 3 * * *"):
        assert words in outcome.out
    as_json = await call("triggers", "describe", "nightly", "--json", env=recorded_hub.env)
    assert json.loads(as_json.out) == {**TRIGGER, "preview": preview}


async def test_describe_tells_the_times_on_the_clock_of_the_schedule(recorded_hub: RecordedHub) -> None:
    elsewhere = {**TRIGGER, "settings": {"cron": "0 22 * * *", "timezone": "America/New_York"}}
    recorded_hub.answer("GET", f"{ROOT}/triggers/nightly", elsewhere)
    on_time = {**OCCURRENCE, "starts_on": OCCURRENCE["nominal"]}
    recorded_hub.answer("GET", f"{ROOT}/triggers/nightly/preview?count=10", {"description": "At 22:00", "occurrences": [on_time]})
    outcome = await call("triggers", "describe", "nightly", env=recorded_hub.env)
    assert "America/New_York" in outcome.out
    assert "1/2/2026, 10:00:00 PM" in outcome.out
    assert "Starts (UTC)" not in outcome.out, "it is the same"


async def test_describe_asks_for_no_schedule_where_there_is_none(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", f"{ROOT}/triggers/github", {**TRIGGER, "kind": "http", "name": "github"})
    outcome = await call("triggers", "describe", "github", env=recorded_hub.env)
    assert (outcome.code, len(recorded_hub.heard)) == (0, 1)


async def test_pause_and_resume_send_what_was_asked(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("PATCH", f"{ROOT}/triggers/github/status", TRIGGER)
    paused = await call("triggers", "pause", "github", "--note", "moving", env=recorded_hub.env)
    assert (paused.code, sent(recorded_hub)) == (0, {"status": "pause", "note": "moving"})
    assert 'Trigger "github" has been paused' in paused.out
    resumed = await call("triggers", "resume", "github", env=recorded_hub.env)
    assert (resumed.code, sent(recorded_hub)) == (0, {"status": "resume"})


async def test_fire_sends_the_payload_as_it_was_typed(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("POST", f"{ROOT}/triggers/github/fire", receipt())
    outcome = await call("triggers", "fire", "github", '{"n": 1.50}', "--key", "k", env=recorded_hub.env)
    assert (outcome.code, outcome.out) == (0, "created: orders i1\n")
    assert recorded_hub.heard[-1].body == '{"key":"k","payload":{"n": 1.50}}'
    bad = await call("triggers", "fire", "github", "{", env=recorded_hub.env)
    assert (bad.code, "PAYLOAD" in bad.err, len(recorded_hub.heard)) == (2, True, 1)


async def test_backfill_says_what_it_would_do_and_what_it_did(recorded_hub: RecordedHub) -> None:
    span = ("--start", "2026-01-03", "--end", "2026-01-04")
    recorded_hub.answer("POST", f"{ROOT}/triggers/nightly/backfill", [{**OCCURRENCE, "receipt": None}])
    dry = await call("triggers", "backfill", "nightly", *span, "--dry-run", env=recorded_hub.env)
    assert "1 occurrence would be emitted" in dry.out
    assert sent(recorded_hub) == {
        "start": "2026-01-03T00:00:00.000Z", "end": "2026-01-04T00:00:00.000Z", "limit": 100, "dry_run": True,
    }  # fmt: skip
    recorded_hub.answer("POST", f"{ROOT}/triggers/nightly/backfill", [{**OCCURRENCE, "receipt": receipt(status="duplicate")}])
    done = await call("triggers", "backfill", "nightly", *span, "--overlap", "queue_all", env=recorded_hub.env)
    assert "duplicate: orders i1" in done.out
    assert sent(recorded_hub)["overlap"] == "queue_all"


async def test_a_backfill_that_its_limit_ends_says_how_to_go_on(recorded_hub: RecordedHub) -> None:
    argv = ("nightly", "--start", "2026-01-03", "--end", "2026-01-09", "--limit", "1")
    recorded_hub.answer("POST", f"{ROOT}/triggers/nightly/backfill", [{**OCCURRENCE, "receipt": None}], cursor="2026-01-04T03:00:00.000Z")
    outcome = await call("triggers", "backfill", *argv, "--dry-run", env=recorded_hub.env)
    assert outcome.err == "More follow: --start 2026-01-04T03:00:00.000Z\n"


@pytest.mark.parametrize(
    ("status", "time"), [("missed", "12/31/2025, 3:00:00 AM"), ("skipped", "12/31/2025, 3:00:00 AM"), ("held", "1/1/2026, 12:00:00 AM")]
)
async def test_an_occurrence_that_did_not_run_is_listed_at_the_time_at_which_it_was_due(
    recorded_hub: RecordedHub, status: str, time: str
) -> None:
    recorded_hub.answer("GET", f"{ROOT}/deliveries", [{**DELIVERY, "status": status, "occurred_on": "2025-12-31T03:00:00.000Z"}])
    assert time in (await call("deliveries", "list", env=recorded_hub.env)).out


async def test_deliveries_are_filtered_and_the_next_page_is_named(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer(
        "GET", f"{ROOT}/deliveries?trigger=github&status=rejected,dead&per_page=1", [DELIVERY], total_count=2, cursor="abc"
    )
    argv = ("--trigger", "github", "--status", "rejected", "--status", "dead", "--per-page", "1")
    outcome = await call("deliveries", "list", *argv, env=recorded_hub.env)
    assert outcome.code == 0
    for words in ("Showing 1 of 2 deliveries", "d1", "payload.schema: amount: must be a number"):
        assert words in outcome.out
    assert outcome.err == "More follow: --cursor abc\n"


async def test_describe_of_a_delivery_shows_its_event(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", f"{ROOT}/deliveries/d1", {**DELIVERY, "event": {"payload": {"amount": "two"}}})
    outcome = await call("deliveries", "describe", "d1", env=recorded_hub.env)
    for words in ("amount: must be a number", '"amount": "two"', "k1"):
        assert words in outcome.out


async def test_replay_of_several_tries_all_and_fails_with_those_that_failed(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("POST", f"{ROOT}/deliveries/d1/replay", receipt())
    recorded_hub.refuse("POST", f"{ROOT}/deliveries/d2/replay", 409, 10935, "it has been replayed already")
    recorded_hub.answer("POST", f"{ROOT}/deliveries/d3/replay", receipt(instance_id="i3"))
    outcome = await call("deliveries", "replay", "d1", "d2", "d3", env=recorded_hub.env)
    assert (outcome.code, outcome.out) == (1, "created: orders i1\ncreated: orders i3\n")
    assert "d2: it has been replayed already" in outcome.err
    alone = await call("deliveries", "replay", "d2", env=recorded_hub.env)
    assert alone.code == 5


@pytest.mark.parametrize("group", ["triggers", "deliveries"])
async def test_an_unknown_one_has_its_exit_code(recorded_hub: RecordedHub, group: str) -> None:
    recorded_hub.refuse("GET", f"{ROOT}/{group}/nobody", 404, 10930, "not found")
    outcome = await call(group, "describe", "nobody", env=recorded_hub.env)
    assert (outcome.code, outcome.out) == (4, "")
