"""`hub run`: an instance in a process of its own, its output, its exit codes, and what interrupts it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.cli.command_line import call, run, run_on_terminal
from tests.cli.node import SETTINGS, make_project, running

CODE = """
import asyncio
from pathlib import Path
from hub import NonRetryableError, WorkflowEntrypoint

class Orders(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do("first", self.first)
        if event.payload.get("fail"):
            await step.do("broken", self.fail)
        if event.payload.get("block"):
            await step.do("second", self.second)
        if event.payload.get("approve"):
            await step.wait_for_event("approval", type="approved", timeout="1 hour")
        return {"got": event.payload}

    def first(self):
        with Path(__file__).with_name("first.txt").open("a") as ledger:
            ledger.write("ran\\n")
        print("printed by a step")

    async def second(self):
        if not Path(__file__).with_name("go").exists():
            print("blocked", flush=True)
            await asyncio.Event().wait()
        return 2

    def fail(self):
        raise NonRetryableError("no stock")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "p", settings=SETTINGS + '[runner]\ngrace = "0 seconds"\n', code=CODE)


async def test_the_output_and_nothing_else_is_on_stdout(project: Path) -> None:
    outcome = await run("run", "orders", '{"n":1}', cwd=project)

    assert (outcome.code, json.loads(outcome.out)) == (0, {"got": {"n": 1}})
    assert "printed by a step" in outcome.err
    assert "step_completed            first-1" in outcome.err
    assert "\x1b" not in outcome.out + outcome.err


async def test_a_failed_instance_says_why_and_has_its_own_exit_code(project: Path) -> None:
    plain = await run("run", "orders", "--input", "-", "--project", str(project), stdin=b'{"fail":true}')
    told = await run("run", "orders", '{"fail":true}', "--project", str(project), "--json", "--id", "x")

    assert (plain.code, plain.out) == (6, "")
    assert plain.err.rstrip().endswith("has errored: NonRetryableError: no stock")
    described = json.loads(told.out)
    assert (told.code, described["id"], described["status"], described["step_count"]) == (6, "x", "errored", 2)


async def test_a_terminal_shows_the_steps_live(project: Path) -> None:
    outcome = await run_on_terminal("run", "orders", "--project", str(project))

    assert outcome.code == 0
    assert "✅ first-1" in outcome.out
    assert "✅ Completed" in outcome.out


async def test_ctrl_c_parks_the_instance_and_says_how_it_goes_on(project: Path) -> None:
    async with running("run", "orders", '{"block":true}', "--id", "one", "--project", str(project)) as node:
        await node.err.line("blocked")
        code = await node.stop(signal.SIGINT)
        told = await node.err.line("is parked")
        assert await node.out.end() == ""
    (project / "go").touch()
    again = await run("run", "orders", "--id", "one", "--project", str(project))
    ended = await run("run", "orders", "--id", "one", "--project", str(project))

    assert code == 130
    assert f"run orders --id one --project {project}" in told
    assert (again.code, json.loads(again.out)) == (0, {"got": {"block": True}})
    assert (project / "first.txt").read_text() == "ran\n"  # what is recorded does not run again
    assert (ended.code, ended.out) == (5, "")
    assert "has ended already (complete); choose another --id" in ended.err


@pytest.mark.parametrize("command", ["run", "dev"])
async def test_what_a_kill_interrupts_goes_on(project: Path, command: str) -> None:
    async with running("run", "orders", '{"block":true}', "--id", "one", "--project", str(project)) as node:
        await node.err.line("blocked")
        assert await node.stop(signal.SIGKILL) == -signal.SIGKILL
    (project / "go").touch()

    if command == "run":
        outcome = await run("run", "orders", "--id", "one", "--project", str(project))
    else:
        async with running("dev", str(project), "--port", "0") as hub:
            env = await hub.env()
            await call("workflows", "instances", "tail", "orders", "one", env=env)  # until it has ended
            outcome = await call("workflows", "instances", "describe", "orders", "one", "--json", env=env)
            assert json.loads(outcome.out)["status"] == "complete"

    assert outcome.code == 0
    assert (project / "first.txt").read_text() == "ran\n"


async def test_an_instance_that_cannot_go_on_by_itself_ends_the_command(project: Path) -> None:
    async with running("run", "orders", '{"block":true}', "--id", "one", "--project", str(project)) as node:
        await node.err.line("blocked")
        await node.stop(signal.SIGKILL)
    (project / "flows.py").write_text(CODE.replace('"first"', '"another"'))

    outcome = await run("run", "orders", "--id", "one", "--project", str(project))

    assert (outcome.code, outcome.out) == (8, "")
    assert 'error: the instance "one" of orders is paused: Nondeterminism' in outcome.err


async def test_a_running_hub_is_told_with_the_command_that_uses_it(project: Path) -> None:
    async with running("serve", str(project), "--port", "0") as node:
        await node.url()

        outcome = await run("run", "orders", "--project", str(project))

        assert (outcome.code, outcome.out) == (5, "")
        assert f"a hub runs on this project already, process {node.process.pid} (started " in outcome.err
        assert "workflows trigger orders --wait" in outcome.err


async def test_a_wait_for_an_event_says_that_none_can_come(project: Path) -> None:
    async with running("run", "orders", '{"approve":true}', "--id", "one", "--project", str(project)) as node:
        told = await node.err.line("cannot reach this process")
        await node.stop(signal.SIGTERM)

    assert "instances send-event orders one --type approved" in told


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (("order",), 4, 'did you mean "orders"?'),
        (("orders", "{"), 2, "JSON"),
        (("orders", "{}", "--input", "-"), 2, "two ways to say one thing"),
        (("orders", "--id", ""), 1, "id"),
        (("orders", "--project", "nowhere"), 2, "is not a folder"),
    ],
)
async def test_what_cannot_be_run_is_told(project: Path, argv: tuple[str, ...], code: int, message: str) -> None:
    outcome = await run("run", *argv, cwd=project)

    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
    assert "Traceback" not in outcome.err
