"""`hub workflows …` and `hub workflows instances …`: requests, words, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from hub.cli.exits import of_status
from tests.cli.command_line import call, run, run_on_terminal
from tests.cli.conftest import RecordedHub, recorded

GOLDEN = Path(__file__).parent / "golden"


# ---- reading


async def test_list_prints_the_workflows_newest_first(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", "?page=1", recorded("workflows"))

    outcome = await run("workflows", "list", env=recorded_hub.env)

    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("Showing 2 workflows from page 1:\n")
    assert outcome.out.index("starter") < outcome.out.index("orders")


async def test_list_asks_for_the_page_that_the_user_wants(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", "?page=3&per_page=10", [])

    outcome = await call("workflows", "list", "--page", "3", "--per-page", "10", env=recorded_hub.env)

    assert (outcome.code, outcome.out) == (0, "")
    assert "No workflows found on page 3" in outcome.err


async def test_describe_prints_the_workflow_and_its_latest_version(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", "/starter", recorded("workflow"))
    recorded_hub.answer("GET", "/starter/versions", recorded("versions"))

    outcome = await call("workflows", "describe", "starter", env=recorded_hub.env)

    assert outcome.out == (GOLDEN / "workflow.txt").read_text(encoding="utf-8")


async def test_versions_are_listed(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", "/starter/versions?page=1", recorded("versions"))

    outcome = await call("workflows", "versions", "list", "starter", env=recorded_hub.env)

    assert outcome.code == 0
    assert "Showing 1 version from page 1:" in outcome.out
    assert "0d9f2c3a5b7e4f6182a4c6e8f0b1d3e5" in outcome.out


@pytest.mark.parametrize(("argv", "address"), [((), "/starter/versions?per_page=1"), (("v1",), "/starter/versions/v1")])
async def test_a_version_is_described_the_latest_one_unless_told(recorded_hub: RecordedHub, argv: tuple[str, ...], address: str) -> None:
    recorded_hub.answer("GET", address, recorded("versions")[0] if argv else recorded("versions"))

    outcome = await call("workflows", "versions", "describe", "starter", *argv, env=recorded_hub.env)

    assert outcome.out.splitlines() == [
        "Workflow Name:  starter",
        "Version Id:     0d9f2c3a5b7e4f6182a4c6e8f0b1d3e5",
        "Class Name:     Starter",
        "Language:       python",
        "Created On:     2026-11-21T11:00:00.000Z",
    ]


async def test_a_workflow_without_versions_has_no_latest_one(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", "/starter/versions?per_page=1", [])

    outcome = await call("workflows", "versions", "describe", "starter", env=recorded_hub.env)

    assert (outcome.code, outcome.err) == (4, 'error: there are no versions of workflow "starter"\n')


async def test_instances_list_sends_every_filter(recorded_hub: RecordedHub) -> None:
    query = "?page=2&per_page=5&status=waiting&date_start=2026-01-01T00:00:00.000Z&date_end=2026-01-31T23:59:59.999Z"
    recorded_hub.answer("GET", f"/starter/instances{query}", recorded("instances"))

    outcome = await call(
        *("workflows", "instances", "list", "starter", "--status", "waiting", "--page", "2", "--per-page", "5"),
        *("--date-start", "2026-01-01", "--date-end", "2026-01-31"),
        env=recorded_hub.env,
    )

    assert (outcome.code, outcome.err) == (0, "")


async def test_instances_list_is_newest_first_and_reverse_turns_it(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", "/starter/instances?page=1", recorded("instances"))

    forward = await call("workflows", "instances", "list", "starter", "--json", env=recorded_hub.env)
    backward = await call("workflows", "instances", "list", "starter", "--json", "--reverse", env=recorded_hub.env)

    ids = [item["id"] for item in json.loads(forward.out)]
    assert ids == ["d", "b", "a", "*/30 * * * *-1786001400000"]
    assert [item["id"] for item in json.loads(backward.out)] == ids[::-1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], 'There are no instances in workflow "starter"; create one with `hub workflows trigger starter`'),
        (["--status", "paused"], 'No instances in workflow "starter" matched the provided filters'),
    ],
)
async def test_an_empty_list_of_instances_says_why(recorded_hub: RecordedHub, flags: list[str], message: str) -> None:
    recorded_hub.answer("GET", "/starter/instances?page=1", [])
    recorded_hub.answer("GET", "/starter/instances?page=1&status=paused", [])

    outcome = await call("workflows", "instances", "list", "starter", *flags, env=recorded_hub.env)

    assert (outcome.code, outcome.out, outcome.err) == (0, "", message + "\n")


async def test_instances_describe_is_of_the_latest_one_unless_told(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", "/starter/instances/latest", recorded("complete"))
    recorded_hub.answer("GET", "/starter/instances/order-9", recorded("errored"))

    latest = await call("workflows", "instances", "describe", "starter", env=recorded_hub.env)
    other = await call("workflows", "instances", "describe", "starter", "order-9", env=recorded_hub.env)

    assert latest.out == "Describing latest instance:\n" + (GOLDEN / "complete.txt").read_text(encoding="utf-8")
    assert other.out == (GOLDEN / "errored.txt").read_text(encoding="utf-8")


async def test_json_is_the_result_as_the_api_sent_it(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", "/starter/instances/latest", recorded("complete"))

    outcome = await call("workflows", "instances", "describe", "starter", "--json", env=recorded_hub.env)

    assert json.loads(outcome.out) == recorded("complete")
    assert outcome.out.startswith('{\n    "id": "order-7",')


async def test_an_id_of_a_schedule_travels_whole(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", "/starter/instances/%2A%2F30%20%2A%20%2A%20%2A%20%2A-1786001400000", recorded("complete"))

    outcome = await call("workflows", "instances", "describe", "starter", "*/30 * * * *-1786001400000", env=recorded_hub.env)

    assert outcome.code == 0, outcome.err


def streamed(*events: dict[str, Any]) -> str:
    """Write events as the hub sends them, with signs of life in between."""
    frame = {"instanceId": "i", "timestamp": 1795327200000}
    blocks = [
        f"id: {number}\nevent: {event['type']}\ndata: {json.dumps({**frame, 'eventId': number, **event})}\n\n"
        for number, event in enumerate(events, start=4)
    ]
    return ": the stream is alive\n\n" + ": the stream is alive\n\n".join(blocks)


async def test_tail_prints_a_line_an_event(recorded_hub: RecordedHub) -> None:
    stream = streamed(
        {"type": "step_started", "stepName": "charge-1", "config": {"timeout": 1}},
        {"type": "attempt_errored", "stepName": "charge-1", "attempt": 1, "error": {"name": "E", "message": "\x1b[2J"}, "retryDelayMs": 5},
        {"type": "workflow_completed", "output": {"big": "x" * 1000}},
    )
    recorded_hub.answer("GET", "/starter/instances/latest?simple=true", recorded("complete"))
    recorded_hub.send("GET", "/starter/instances/order-7/subscribe?filter=step_started&cursor=3", stream, "text/event-stream")

    outcome = await call("workflows", "instances", "tail", "starter", "--filter", "step_started", "--cursor", "3", env=recorded_hub.env)

    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "4  11/22/2026, 6:00:00 AM  step_started              charge-1",
        '5  11/22/2026, 6:00:00 AM  attempt_errored           charge-1 attempt=1 error={"name":"E","message":"\\u001b[2J"} retryDelayMs=5',
        f'6  11/22/2026, 6:00:00 AM  workflow_completed        output={{"big":"{"x" * 1000}"}}',
    ]


async def test_tail_writes_json_a_line_an_event(recorded_hub: RecordedHub) -> None:
    recorded_hub.send("GET", "/starter/instances/i/subscribe", streamed({"type": "workflow_queued"}), "text/event-stream")

    outcome = await call("workflows", "instances", "tail", "starter", "i", "--json", env=recorded_hub.env)

    assert json.loads(outcome.out) == {"instanceId": "i", "timestamp": 1795327200000, "eventId": 4, "type": "workflow_queued"}


async def test_tail_of_nothing_is_refused_like_everything_else(recorded_hub: RecordedHub) -> None:
    recorded_hub.refuse("GET", "/starter/instances/i/subscribe", 404, 10400, "(instance.not_found) no such instance")
    recorded_hub.send("GET", "/other/instances/i/subscribe", "<html>")

    refused = await call("workflows", "instances", "tail", "starter", "i", env=recorded_hub.env)
    foreign = await call("workflows", "instances", "tail", "other", "i", env=recorded_hub.env)
    absent = await call("workflows", "instances", "tail", "starter", "i", "--url", "http://127.0.0.1:1")

    assert (refused.code, refused.err) == (4, "error: (instance.not_found) no such instance [code: 10400]\n")
    assert "not as a hub does" in foreign.err
    assert "cannot reach the hub" in absent.err


# ---- changing


async def test_trigger_creates_an_instance(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("POST", "/starter/instances", {"id": "my-id"})

    outcome = await call("workflows", "trigger", "starter", '{"n": 12345678901234567890.10}', "--id", "my-id", env=recorded_hub.env)

    assert outcome.out == '🚀 Workflow instance "my-id" has been queued successfully\n'
    assert recorded_hub.heard[0].body == '{"instance_id":"my-id","params":{"n": 12345678901234567890.10}}'  # every digit as typed


async def test_trigger_without_params_sends_none(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("POST", "/starter/instances", {"id": "x"})

    await call("workflows", "trigger", "starter", env=recorded_hub.env)

    assert recorded_hub.heard[0].body == "{}"


async def test_params_come_from_a_file_or_from_standard_input(recorded_hub: RecordedHub, tmp_path: Path) -> None:
    recorded_hub.answer("POST", "/starter/instances", {"id": "x"})
    (tmp_path / "order.json").write_text('\ufeff{"from":"file"}', encoding="utf-8")

    file = await call("workflows", "trigger", "starter", "--input", f"@{tmp_path / 'order.json'}", env=recorded_hub.env)
    piped = await call("workflows", "trigger", "starter", "--input", "-", env=recorded_hub.env, stdin=b'{"from":"stdin"}')

    assert (file.code, piped.code) == (0, 0)
    assert [heard.body for heard in recorded_hub.heard] == ['{"params":{"from":"file"}}', '{"params":{"from":"stdin"}}']


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("pause", '⏸️ The instance "order-7" from starter was paused successfully\n'),
        ("resume", '🔄 The instance "order-7" from starter was resumed successfully\n'),
        ("terminate", '🥷 The instance "order-7" from starter was terminated successfully\n'),
        ("restart", '🥷 The instance "order-7" from starter was restarted successfully\n'),
    ],
)
async def test_a_verb_steers_the_newest_instance_and_names_it(recorded_hub: RecordedHub, verb: str, line: str) -> None:
    recorded_hub.answer("GET", "/starter/instances/latest?simple=true", recorded("complete"))
    recorded_hub.answer("PATCH", "/starter/instances/order-7/status", {"status": "queued", "timestamp": "2026-11-22T06:00:00.000Z"})

    outcome = await call("workflows", "instances", verb, "starter", "latest", env=recorded_hub.env)

    assert (outcome.code, outcome.out, outcome.err) == (0, line, "")
    assert json.loads(recorded_hub.heard[1].body) == {"status": verb}


async def test_a_pause_that_waits_for_running_steps_is_not_called_done(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer(
        "PATCH", "/starter/instances/order-7/status", {"status": "waitingForPause", "timestamp": "2026-11-22T06:00:00.000Z"}
    )

    outcome = await call("workflows", "instances", "pause", "starter", "order-7", env=recorded_hub.env)

    assert outcome.out == '⏸️ The instance "order-7" from starter was told to pause; it does when its running steps have ended\n'


@pytest.mark.parametrize(
    ("flags", "sent", "told"),
    [
        (["--rollback"], {"rollback": True}, "told to roll back and terminate"),
        (["--cascade"], {"cascade": True}, "terminated"),
        (["--cascade", "--rollback"], {"rollback": True, "cascade": True}, "told to roll back and terminate"),
    ],
)
async def test_terminate_undoes_first_and_takes_the_children_along(
    recorded_hub: RecordedHub, flags: list[str], sent: dict[str, bool], told: str
) -> None:
    recorded_hub.answer("PATCH", "/starter/instances/i/status", {"status": "rollingBack"})

    outcome = await call("workflows", "instances", "terminate", "starter", "i", *flags, env=recorded_hub.env)

    assert outcome.out == f'🥷 The instance "i" from starter was {told} successfully\n'
    assert json.loads(recorded_hub.heard[0].body) == {"status": "terminate", **sent}


async def test_restart_begins_at_a_step(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("PATCH", "/starter/instances/i/status", {"status": "queued"})

    await call(
        *("workflows", "instances", "restart", "starter", "i"),
        *("--from-step-name", "charge", "--from-step-count", "2", "--from-step-type", "waitForEvent"),
        env=recorded_hub.env,
    )

    assert json.loads(recorded_hub.heard[0].body) == {"status": "restart", "from": {"name": "charge", "count": 2, "type": "waitForEvent"}}


async def test_send_event_says_what_was_sent(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("POST", "/starter/instances/i/events/go", {"instanceId": "i"})
    command = ("workflows", "instances", "send-event", "starter", "i", "--type", "go")

    loaded = await call(*command, "--payload", '{"x": [1]}', env=recorded_hub.env)
    empty = await call(*command, env=recorded_hub.env)

    assert loaded.out == '📤 The event with type "go" and payload "{"x":[1]}" was sent to the instance "i" from starter\n'
    assert empty.out == '📤 The event with type "go" was sent to the instance "i" from starter\n'
    assert [heard.body for heard in recorded_hub.heard] == ['{"x": [1]}', "{}"]


async def test_deleting_some_instances_tells_which_and_why_not_the_others(recorded_hub: RecordedHub) -> None:
    errors = [{"id": "b", "code": 10400, "message": "(instance.not_found) there is no such instance"}]
    recorded_hub.answer("POST", "/starter/instances/batch/delete", {"deleted": [{"id": "a"}, {"id": "c"}], "errors": errors})

    outcome = await call("workflows", "instances", "delete", "starter", "a", "b", "c", env=recorded_hub.env)

    assert outcome.code == 4
    assert outcome.out == '🗑️  Deleted workflow instances from "starter": "a", "c"\n'
    assert outcome.err == "error: 1 of 3 could not be deleted:\n  - b: (instance.not_found) there is no such instance\n"


async def test_the_ids_to_delete_also_come_from_a_file(recorded_hub: RecordedHub, tmp_path: Path) -> None:
    recorded_hub.answer("POST", "/starter/instances/batch/delete", {"deleted": [], "errors": []})
    (tmp_path / "ids.json").write_text('["b", "c"]', encoding="utf-8")

    outcome = await call("workflows", "instances", "delete", "starter", "a", "--filename", str(tmp_path / "ids.json"), env=recorded_hub.env)

    assert outcome.code == 0
    assert json.loads(recorded_hub.heard[0].body) == {"instances": ["a", "b", "c"]}


async def test_deleting_a_workflow_asks_nobody_in_a_script(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("DELETE", "/starter", {"status": "ok"})

    outcome = await call("workflows", "delete", "starter", env=recorded_hub.env)

    assert outcome.out == (
        '✅ Workflow "starter" removed successfully. \n It comes back, without instances, when a hub starts whose hub.toml has it.\n'
    )


# ---- on a terminal


@pytest.mark.parametrize(
    ("flags", "typed", "asked", "requests"), [([], b"n\n", True, 0), ([], b"y\n", True, 1), (["--yes"], b"", False, 1)]
)
async def test_deleting_asks_on_a_terminal(recorded_hub: RecordedHub, flags: list[str], typed: bytes, asked: bool, requests: int) -> None:
    recorded_hub.answer("DELETE", "/starter", {"status": "ok"})

    outcome = await run_on_terminal("workflows", "delete", "starter", *flags, typed=typed, env=recorded_hub.env)

    assert ('Delete the workflow "starter" and all its instances? [y/N]' in outcome.out) == asked
    assert len(recorded_hub.heard) == requests
    assert outcome.code == (0 if requests else 1)


async def test_a_terminal_gets_colours_and_no_line_wider_than_itself(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", "/starter/instances?page=1", recorded("instances"))

    outcome = await run_on_terminal("workflows", "instances", "list", "starter", columns=72, env=recorded_hub.env)

    assert "\x1b[32m✅" in outcome.out
    assert max(Text.from_ansi(line).cell_len for line in outcome.out.splitlines()) <= 72


async def test_a_pipe_gets_no_colours(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", "/starter/instances?page=1", recorded("instances"))

    outcome = await run("workflows", "instances", "list", "starter", env=recorded_hub.env)

    assert "\x1b" not in outcome.out + outcome.err
    assert "⏱️ Waiting for Pause" in outcome.out


# ---- which hub


async def test_the_nearest_option_beats_the_environment(recorded_hub: RecordedHub) -> None:
    recorded_hub.answer("GET", "?page=1", [])
    wrong = {"HUB_URL": "http://127.0.0.1:1", "HUB_TOKEN": "wrong", "HUB_ACCOUNT": "wrong"}

    spread = await call("--url", recorded_hub.url, "workflows", "--token", "t", "list", "--account", "local", env=wrong)
    nearest = await call(
        "--url", "http://127.0.0.1:2", "workflows", "list", "--url", f"{recorded_hub.url}/", "--account", "local", env=wrong
    )

    assert (spread.code, nearest.code) == (0, 0), spread.err + nearest.err
    assert [heard.headers["Authorization"] for heard in recorded_hub.heard] == ["Bearer t", "Bearer wrong"]


# ---- what goes wrong


async def test_a_refusal_has_its_exit_code_and_its_message(recorded_hub: RecordedHub) -> None:
    recorded_hub.refuse("GET", "/nope", 404, 10200, '(some.words) no workflow "nope"; did you mean "note"?')

    outcome = await call("workflows", "describe", "nope", env=recorded_hub.env)

    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err == 'error: (some.words) no workflow "nope"; did you mean "note"? [code: 10200]\n'


@pytest.mark.parametrize(("status", "code"), [(400, 1), (401, 3), (403, 3), (404, 4), (409, 5), (413, 1), (429, 1), (500, 1), (503, 1)])
def test_the_status_of_a_refusal_decides_the_exit_code(status: int, code: int) -> None:
    assert of_status(status) == code


async def test_a_missing_token_is_told_with_its_cure(recorded_hub: RecordedHub) -> None:
    recorded_hub.refuse("GET", "?page=1", 401, 10000, "(unauthorized) a token is needed")

    outcome = await call("workflows", "list", env=recorded_hub.env)

    assert outcome.err.endswith("give the hub's token with --token or HUB_TOKEN\n")


async def test_an_absent_hub_is_told_with_its_cure() -> None:
    outcome = await run("workflows", "list", "--url", "http://127.0.0.1:1")

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == (
        "error: cannot reach the hub at http://127.0.0.1:1: connection refused; start it with `hub dev`, "
        "or give its address with --url (HUB_URL)\n"
    )


@pytest.mark.parametrize("body", ["<html>hello</html>", '{"message":"hi"}'])
async def test_another_server_at_the_address_is_not_taken_for_a_hub(recorded_hub: RecordedHub, body: str) -> None:
    recorded_hub.send("GET", "?page=1", body)

    outcome = await call("workflows", "list", env=recorded_hub.env)

    assert outcome.code == 1
    assert f"{recorded_hub.url} answered, but not as a hub does: HTTP 200, text/html" in outcome.err
    assert "check --url (HUB_URL)" in outcome.err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trigger", "w", "{bad"], "PARAMS is not valid JSON: unexpected character"),
        (["trigger", "w", "NaN"], "PARAMS is not valid JSON"),
        (["trigger", "w", "{}", "--input", "-"], "PARAMS and --input are two ways to say one thing"),
        (["trigger", "w", "--input", "file.json"], '"file.json" is neither @FILE nor -'),
        (["trigger", "w", "--input", "@/no/such/file"], "cannot read /no/such/file: No such file or directory"),
        (["trigger", "w", "--input", "-"], "standard input is not valid JSON: it is empty"),
        (["instances", "send-event", "w", "i", "--type", "t", "--payload", "{"], "--payload is not valid JSON"),
        (["instances", "send-event", "w", "i"], "Missing option '--type'"),
        (["instances", "restart", "w", "i", "--from-step-count", "2"], "name it with --from-step-name"),
        (["instances", "list", "w", "--status", "foo"], "'foo' is not one of 'queued', 'running'"),
        (["instances", "list", "w", "--date-start", "soon"], '--date-start: "soon" is not a date; write it like 2026-01-01'),
        (["instances", "list", "w", "--date-end", "2026-02-30"], '--date-end: "2026-02-30" is not a real calendar date'),
        (["instances", "list", "w", "--date-start", "2026-03-01", "--date-end", "2026-02-01"], "must not be after --date-end"),
        (["list", "--page", "0"], "'--page'"),
        (["list", "--url", "localhost:8787"], '--url: "localhost:8787" is not an address of a hub'),
        (["instances", "delete", "w"], "name the instances to delete: ID..., or --filename FILE"),
        (["instances", "delete", "w", *map(str, range(101))], "101 instances are too many at once; 100 at most"),
        (["instances", "delete", "w", "--filename", "/no/such/file"], "--filename: cannot read /no/such/file: No such file"),
        (["instances", "delete", "w", "--filename", "pyproject.toml"], "pyproject.toml is not valid JSON"),
        (["instances", "delete", "w", "--filename", "tests/cli/recorded/complete.json"], "complete.json holds no list of ids"),
    ],
)
async def test_a_slip_of_the_finger_costs_no_request(argv: list[str], message: str) -> None:
    outcome = await call("workflows", *argv, env={"HUB_URL": "http://127.0.0.1:1"})  # a request would end with code 1

    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
