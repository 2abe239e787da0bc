"""`hub serve` and `hub dev` as real processes, and the client commands against them."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.cli.command_line import call, run
from tests.cli.node import CODE, ENDLESS, SETTINGS, Node, make_project, running


async def fetch(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.text()


async def status(node: Node, wanted: str) -> Any:
    """Ask for the latest instance again and again until it has a status; return its description."""
    address = f"{await node.url()}/client/v4/accounts/local/workflows/orders/instances/latest"
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        while True:
            async with session.get(address) as response:
                described = (await response.json())["result"]
            if described is not None and described["status"] == wanted:
                return described


# ---- serve


async def test_serve_tells_its_addresses_and_what_starts_its_workflows(tmp_path: Path) -> None:
    async with running("serve", str(make_project(tmp_path / "p")), "--port", "0") as node:
        url = await node.url()
        await node.out.line("/client/v4/accounts/local")

        assert node.out.seen[0] == f"shop ready on {url}"
        assert node.out.seen[1].split() == ["webhook", "POST", f"{url}/hooks/shop/orders", "→", "orders"]
        assert node.out.seen[2].split("→")[0].split() == ["cron", "0", "0", "1", "1", "*"]
        assert "orders, next at 1/1/" in node.out.seen[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_the_hub_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    async with running("serve", str(make_project(tmp_path / "p")), "--port", "0") as node:
        await node.url()

        assert await node.stop(number) == 0
        assert "Traceback" not in await node.err.end()


async def test_a_second_signal_does_not_wait_for_running_steps(tmp_path: Path) -> None:
    settings = SETTINGS + '[runner]\ngrace = "10 minutes"\n'
    async with running("serve", str(make_project(tmp_path / "p", code=ENDLESS, settings=settings)), "--port", "0") as node:
        await call("workflows", "trigger", "orders", env=await node.env())
        await node.out.line("blocked")
        node.process.send_signal(signal.SIGINT)
        await node.err.line("once more to stop at once")

        assert await node.stop(signal.SIGINT) == 128 + signal.SIGINT


async def test_data_is_where_the_command_line_says(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    async with running("serve", str(project), "--port", "0", "--data", "elsewhere", cwd=tmp_path) as node:
        await node.url()

        assert (tmp_path / "elsewhere" / "hub.sqlite").is_file()
        assert not (project / ".hub").exists()


async def test_the_project_is_the_working_folder_unless_told(tmp_path: Path) -> None:
    async with running("serve", "--port", "0", cwd=make_project(tmp_path / "p")) as node:
        assert await fetch(f"{await node.url()}/") == "first"


async def test_logs_in_a_pipe_are_json_and_apart_from_the_addresses(tmp_path: Path) -> None:
    async with running("serve", str(make_project(tmp_path / "p")), "--port", "0", env={"HUB_LOG_LEVEL": "debug"}) as node:
        await call("workflows", "trigger", "orders", "[]", env=await node.env())  # for which the program is not made
        await status(node, "errored")
        logged = json.loads(await node.err.line("instance.errored"))
        await node.stop()

        assert {"event", "level", "timestamp"} <= logged.keys()
        assert not [line for line in node.out.seen if line.startswith("{")]


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        (SETTINGS.replace("class_name", "clas_name"), CODE, "workflows.0.clas_name: unknown key; did you mean class_name?"),
        (SETTINGS.replace('"Orders"', '"Order"'), CODE, 'workflows.0.class_name: flows.py has no class "Order"; did you mean "Orders"?'),
        (SETTINGS.replace('kind = "cron"', 'kind = "corn"'), CODE, 'triggers.1.kind: unknown kind "corn"; did you mean cron?'),
        (SETTINGS.replace("0 0 1 1 *", "every day"), CODE, "triggers.1.cron: 'every day' has 2 fields; a cron expression has 5"),
        (
            SETTINGS.replace('class_name = "Orders"', 'class_name = "Orders"\nschedules = "0 0 32 * *"'),
            CODE,
            "workflows.0.schedules.cron: '0 0 32 * *'",
        ),
        (SETTINGS, CODE.replace("event, step", "event"), '"Orders" in flows.py needs `async def run(self, event, step)`'),
        (SETTINGS, CODE + "\nOrders.run = lambda self, event, step: None", '"Orders" in flows.py needs `async def run('),
        ("name = [", CODE, "not valid TOML"),
    ],
)
async def test_a_wrong_project_is_told_in_one_paragraph(tmp_path: Path, settings: str, code: str, message: str) -> None:
    project = make_project(tmp_path / "p", settings=settings, code=code)
    outcome = await run("serve", str(project), "--port", "0")

    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {project}/hub.toml: ")
    assert message in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("command", ["serve", "dev"])
async def test_a_folder_without_a_project_is_told_with_its_cure(tmp_path: Path, command: str) -> None:
    outcome = await run(command, str(tmp_path))

    assert outcome.code == 2
    assert f"there is no hub.toml in {tmp_path}" in outcome.err
    assert "hub init NAME" in outcome.err


@pytest.mark.parametrize("command", ["serve", "dev"])
async def test_a_port_in_use_is_told_with_its_cure(tmp_path: Path, command: str) -> None:
    project = make_project(tmp_path / "p")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        outcome = await run(command, str(project), "--port", str(taken.getsockname()[1]))

    assert outcome.code == 2
    assert "is in use by another program" in outcome.err
    assert "--port" in outcome.err


async def test_a_file_that_does_not_import_shows_the_users_own_frames_only(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", code=CODE + "\ndef broken():\n    return 1 / 0\n\nbroken()\n")

    outcome = await run("serve", str(project), "--port", "0")

    assert outcome.code == 2
    frames = [line for line in outcome.err.splitlines() if line.lstrip().startswith("File ")]
    assert len(frames) == 2
    assert all(str(project) in frame for frame in frames)
    assert outcome.err.rstrip().endswith("ZeroDivisionError: division by zero")


# ---- the client against it


async def test_the_client_follows_an_instance_from_its_creation_to_its_end(tmp_path: Path) -> None:
    async with running("serve", str(make_project(tmp_path / "p")), "--port", "0") as node:
        env = await node.env()

        created = await run("workflows", "trigger", "orders", '{"hello":"world"}', "--id", "first", env=env)
        again = await run("workflows", "trigger", "orders", "--id", "first", env=env)
        await status(node, "complete")
        described = await run("workflows", "instances", "describe", "orders", env=env)
        listed = await run("workflows", "instances", "list", "orders", env=env)
        workflows = await run("workflows", "list", env=env)
        workflow = await run("workflows", "describe", "orders", env=env)

        assert created.out == '🚀 Workflow instance "first" has been queued successfully\n'
        assert again.code == 5
        assert "Status:                ✅ Completed\n" in described.out
        assert "Trigger:               🌎 API\n" in described.out
        assert "Last Successful Step:  keep-1\n" in described.out
        assert '  Output:    {"got":{"hello":"world"}}\n' in described.out
        assert "│ first       │" in listed.out
        assert "│ ✅ Completed │" in listed.out
        assert "│ orders │ shop        │ Orders     │" in workflows.out
        assert workflow.out.splitlines()[0] == "Name:         orders"
        assert "Latest Version:\n  Id:           " in workflow.out


async def test_a_text_as_payload_stays_a_text(tmp_path: Path) -> None:
    code = CODE.replace('event.payload.get("approve")', "False")
    async with running("serve", str(make_project(tmp_path / "p", code=code)), "--port", "0") as node:
        await call("workflows", "trigger", "orders", '"123"', env=await node.env())

        assert (await status(node, "complete"))["output"] == {"got": "123"}


async def test_every_verb_does_what_it_says(tmp_path: Path) -> None:
    async with running("serve", str(make_project(tmp_path / "p")), "--port", "0") as node:
        env = await node.env()
        verb = ("workflows", "instances")

        await call("workflows", "trigger", "orders", '{"approve":true}', "--id", "one", env=env)
        await status(node, "waiting")
        paused = await call(*verb, "pause", "orders", "latest", env=env)
        await status(node, "paused")
        resumed = await call(*verb, "resume", "orders", "one", env=env)
        await status(node, "waiting")
        terminated = await call(*verb, "terminate", "orders", "one", env=env)
        await status(node, "terminated")
        late = await call(*verb, "pause", "orders", "one", env=env)
        restarted = await call(*verb, "restart", "orders", "one", env=env)
        await status(node, "waiting")
        sent = await call(*verb, "send-event", "orders", "one", "--type", "approved", "--payload", '{"by":"ada"}', env=env)
        ended = await status(node, "complete")
        deleted = await call(*verb, "delete", "orders", "one", env=env)
        gone = await call(*verb, "describe", "orders", "one", env=env)

        for outcome in (paused, resumed, terminated, restarted, sent, deleted):
            assert (outcome.code, outcome.err) == (0, "")
        assert late.code == 5
        assert ended["output"] == {"by": "ada"}
        assert deleted.out == '🗑️  Deleted workflow instances from "orders": "one"\n'
        assert gone.code == 4


async def test_an_unknown_workflow_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    async with running("serve", str(make_project(tmp_path / "p")), "--port", "0") as node:
        for command in (("describe",), ("trigger",), ("instances", "list"), ("instances", "describe")):
            outcome = await call("workflows", *command, "order", env=await node.env())

            assert outcome.code == 4
            assert '"orders"' in outcome.err


async def test_a_token_is_needed_where_one_is_set(tmp_path: Path) -> None:
    async with running("serve", str(make_project(tmp_path / "p")), "--port", "0", env={"HUB_SERVER_TOKEN": "s3cret"}) as node:
        without = await call("workflows", "list", env=await node.env())
        having = await call("workflows", "list", env={**await node.env(), "HUB_TOKEN": "s3cret"})

        assert without.code == 3
        assert "HUB_TOKEN" in without.err
        assert having.code == 0
        await node.stop()
        assert "s3cret" not in await node.out.end() + await node.err.end()


# ---- dev


async def test_each_thing_to_try_works_as_it_is_printed(tmp_path: Path) -> None:
    async with running("dev", str(make_project(tmp_path / "p")), "--port", "0") as node:
        await node.out.line("Ctrl-C stops the hub")
        start = next(number for number, line in enumerate(node.out.seen) if line.startswith("Try"))
        commands = [line.strip() for line in node.out.seen[start + 1 : start + 5]]
        answers = []
        for command in commands:
            shell = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE, env=None)
            out, _ = await shell.communicate()
            assert shell.returncode == 0, command
            answers.append(out.decode())

        assert answers[0] == "first"
        assert json.loads(answers[1])["id"]
        assert "has been queued successfully" in answers[2]
        assert '"hello":"world"' in answers[3]


async def test_dev_serves_the_new_code_within_a_second_of_the_save(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    async with running("dev", str(project), "--port", "0") as node:
        assert await fetch(f"{await node.url()}/") == "first"
        await node.out.line("Ctrl-C")
        seen = len(node.out.seen)

        saved = time.monotonic()
        (project / "flows.py").write_text(CODE.replace('"first"', '"second"'), encoding="utf-8")
        answer = await fetch(f"{await node.url(after=seen)}/")
        took_s = time.monotonic() - saved

        assert answer == "second"
        assert took_s <= 1
        assert await node.err.line("flows.py changed")
        assert await node.stop(signal.SIGINT) == 0


async def test_dev_waits_out_a_broken_file(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    async with running("dev", str(project), "--port", "0") as node:
        await node.out.line("Ctrl-C")
        seen = len(node.out.seen)
        (project / "flows.py").write_text("def (", encoding="utf-8")
        await node.err.line("waiting for the next save")
        (project / "flows.py").write_text(CODE.replace('"first"', '"mended"'), encoding="utf-8")

        assert await fetch(f"{await node.url(after=seen)}/") == "mended"
        assert "SyntaxError" in "\n".join(node.err.seen)
        assert "hub/project.py" not in "\n".join(node.err.seen)


async def test_dev_can_be_started_with_a_broken_file(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", code="import nothing_like_it\n")
    async with running("dev", str(project), "--port", "0") as node:
        await node.err.line("waiting for the next save")
        (project / "flows.py").write_text(CODE, encoding="utf-8")

        assert await fetch(f"{await node.url()}/") == "first"


async def test_dev_reads_changed_settings(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    async with running("dev", str(project), "--port", "0") as node:
        await node.out.line("Ctrl-C")
        seen = len(node.out.seen)
        (project / "hub.toml").write_text(SETTINGS.replace("shop/orders", "moved"), encoding="utf-8")

        assert "/hooks/moved" in await node.out.line("webhook", after=seen)


async def test_dev_goes_on_with_the_instances_of_the_old_code(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    async with running("dev", str(project), "--port", "0") as node:
        await call("workflows", "trigger", "orders", '{"approve":true}', "--id", "one", env=await node.env())
        await status(node, "waiting")
        await node.out.line("Ctrl-C")
        seen = len(node.out.seen)
        (project / "flows.py").write_text(CODE + "\n# changed\n", encoding="utf-8")
        assert await node.url(after=seen) == await node.url()

        await call("workflows", "instances", "send-event", "orders", "one", "--type", "approved", "--payload", "1", env=await node.env())

        assert (await status(node, "complete"))["output"] == 1
