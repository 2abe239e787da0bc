"""`--wait`: the command ends when the instance does, and says by its exit code how."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from hub.cli.exits import Exit, Stop, of_outcome
from hub.cli.patience import patience
from tests.cli.command_line import call, run, run_on_terminal
from tests.cli.conftest import RecordedHub
from tests.cli.node import make_project, running

CODE = """
from hub import NonRetryableError, WorkflowEntrypoint

class Orders(WorkflowEntrypoint):
    async def run(self, event, step):
        print("begun", flush=True)
        await step.do("first", lambda: {"got": event.payload})
        if event.payload.get("fail"):
            await step.do("broken", self.fail)
        if event.payload.get("approve"):
            return (await step.wait_for_event("approval", type="approved", timeout="1 hour"))["payload"]
        return event.payload

    def fail(self):
        raise NonRetryableError("no stock")
"""
VERB = ("workflows", "instances")


async def test_each_verb_waits_for_what_it_asks_for(tmp_path: Path) -> None:
    async with running("serve", str(make_project(tmp_path / "p", code=CODE)), "--port", "0") as node:
        env = await node.env()
        await call("workflows", "trigger", "orders", '{"approve":true}', "--id", "one", env=env)

        late = await call(*VERB, "restart", "orders", "one", "--wait=0.05", env=env)
        paused = await call(*VERB, "pause", "orders", "one", "--wait", env=env)
        shown = await call(*VERB, "pause", "orders", "one", "--wait", "--json", env=env)
        await call(*VERB, "resume", "orders", "one", env=env)
        event = ("--type", "approved", "--input", "-", "--wait")
        approved = await call(*VERB, "send-event", "orders", "one", *event, env=env, stdin=b'{"by":1}')
        seen = len(node.out.seen)
        restarting = asyncio.create_task(run(*VERB, "restart", "orders", "one", "--wait", env=env))
        await node.out.line("begun", after=seen)
        ended = await call(*VERB, "terminate", "orders", "one", "--wait", env=env)
        restarted = await restarting

        assert (late.code, late.out) == (8, "")
        assert "workflows instances tail orders one" in late.err
        assert (paused.code, paused.out) == (0, "orders one is paused\n")
        assert (shown.code, json.loads(shown.out)["status"]) == (0, "paused")
        assert (approved.code, json.loads(approved.out)) == (0, {"by": 1})
        assert (ended.code, ended.out) == (0, "orders one is terminated\n")
        assert (restarted.code, restarted.out) == (7, "")


@pytest.mark.parametrize(
    ("payload", "code", "out", "told"),
    [
        ({"n": 1}, 0, {"n": 1}, "workflow_completed"),
        ({"fail": True}, 6, None, 'error: the instance "x" of orders has errored: NonRetryableError: no stock'),
    ],
)
async def test_trigger_waits_for_the_end(tmp_path: Path, payload: object, code: int, out: object, told: str) -> None:
    async with running("serve", str(make_project(tmp_path / "p", code=CODE)), "--port", "0") as node:
        outcome = await run("workflows", "trigger", "orders", json.dumps(payload), "--id", "x", "--wait", env=await node.env())

        assert outcome.code == code
        assert (json.loads(outcome.out) if outcome.out else None) == out  # nothing but data
        assert told in outcome.err
        assert "\x1b" not in outcome.out + outcome.err

        on_screen = await run_on_terminal("workflows", "trigger", "orders", json.dumps(payload), "--wait", env=await node.env())
        assert on_screen.code == code
        assert "first-1" in on_screen.out
        assert ("✅ Completed" if code == 0 else "❌ Errored") in on_screen.out


async def test_json_tells_how_it_ended_whatever_the_end(tmp_path: Path) -> None:
    async with running("serve", str(make_project(tmp_path / "p", code=CODE)), "--port", "0") as node:
        outcome = await call("workflows", "trigger", "orders", '{"fail":true}', "--id", "x", "--wait", "--json", env=await node.env())

        told = json.loads(outcome.out)
        assert (outcome.code, told["id"], told["status"], told["error"]["message"]) == (6, "x", "errored", "no stock")


async def test_firing_a_trigger_waits_for_the_instance(tmp_path: Path) -> None:
    async with running("serve", str(make_project(tmp_path / "p", code=CODE)), "--port", "0") as node:
        outcome = await call("triggers", "fire", "incoming", '{"n":2}', "--wait=20s", env=await node.env())

        assert (outcome.code, json.loads(outcome.out)) == (0, {"n": 2})


async def test_a_hub_that_goes_away_for_a_moment_ends_no_wait(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", code=CODE)
    async with running("serve", str(project), "--port", "0") as node:
        env = await node.env()
        port = env["HUB_URL"].rpartition(":")[2]
        waiting = asyncio.create_task(run("workflows", "trigger", "orders", '{"approve":true}', "--id", "one", "--wait", env=env))
        await node.out.line("begun")
        await node.stop(signal.SIGTERM)
    async with running("serve", str(project), "--port", port) as node:
        await node.url()
        await call(*VERB, "send-event", "orders", "one", "--type", "approved", "--payload", "7", env=env)

        outcome = await waiting
        assert (outcome.code, outcome.out) == (0, "7\n")


async def test_ctrl_c_ends_the_wait_and_not_the_instance(tmp_path: Path) -> None:
    async with running("serve", str(make_project(tmp_path / "p", code=CODE)), "--port", "0") as node:
        env = await node.env()
        command = ("workflows", "trigger", "orders", '{"approve":true}', "--id", "one", "--wait")
        async with running(*command, env=env) as waiting:
            await waiting.err.line("wait_started")
            code = await waiting.stop(signal.SIGINT)

        found = json.loads((await call(*VERB, "describe", "orders", "one", "--json", env=env)).out)
        assert (code, found["status"]) == (130, "waiting")
        assert "Traceback" not in "\n".join(waiting.err.seen)


async def test_nothing_is_asked_of_the_hub_where_the_time_is_wrong(recorded_hub: RecordedHub) -> None:
    for command in (("workflows", "trigger", "a"), (*VERB, "terminate", "a", "b"), ("triggers", "fire", "a")):
        outcome = await call(*command, "--wait=soon", env=recorded_hub.env)

        assert outcome.code == 2
        assert '--wait: "soon" is not a time; write it like --wait=30s' in outcome.err
    assert recorded_hub.lines == []


async def test_wait_without_a_time_takes_no_word_of_the_command(recorded_hub: RecordedHub) -> None:
    recorded_hub.refuse("POST", "/orders/instances", 404, 10200, "workflow.not_found")

    outcome = await call("workflows", "trigger", "--wait", "orders", env=recorded_hub.env)

    assert (outcome.code, recorded_hub.lines) == (4, ["POST /orders/instances"])


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("1.5", 1.5), ("250ms", 0.25), ("5m", 300), ("2 h", 7200), ("1 hour 30 minutes", 5400)]
)
def test_a_time_is_written_as_people_do(text: str, seconds: float) -> None:
    assert patience(text) == timedelta(seconds=seconds)


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(Stop, match="--wait"):
        patience("-1")


@pytest.mark.parametrize(
    ("status", "code"),
    [("complete", Exit.OK), ("errored", Exit.ERRORED), ("terminated", Exit.TERMINATED), ("paused", Exit.UNFINISHED)],
)
def test_each_end_has_its_exit_code(status: str, code: Exit) -> None:
    assert of_outcome(status) is code
