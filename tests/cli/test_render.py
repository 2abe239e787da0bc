"""What commands print: recorded answers of the API against golden text.

To change a golden file on purpose: delete it, run the tests twice, and read the difference.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType
from rich.text import Text

from hub.cli import render, screen
from hub.cli.words import Viewer

HERE = Path(__file__).parent
VIEWER = Viewer(now=datetime(2026, 11, 22, 6, 0, 30, tzinfo=UTC), zone=UTC)


def recorded(name: str) -> Any:
    return json.loads((HERE / "recorded" / f"{name}.json").read_text(encoding="utf-8"))


def describe(name: str, *, output: bool = True, limit: int = 5000) -> Iterable[RenderableType]:
    item = recorded(name)
    return render.instance("starter", item["id"], item, VIEWER, output=output, limit=limit)


def plain(parts: Iterable[RenderableType]) -> str:
    """Render as into a pipe."""
    file = io.StringIO()
    out = screen.console(file)
    for part in parts:
        out.print(part, soft_wrap=isinstance(part, Text))
    return file.getvalue()


def coloured(parts: Iterable[RenderableType], width: int) -> str:
    """Render as on a terminal of that width."""
    file = io.StringIO()
    out = Console(
        file=file, width=width, force_terminal=True, color_system="standard", markup=False, highlight=False, emoji=False, no_color=False
    )
    for part in parts:
        out.print(part, soft_wrap=isinstance(part, Text))
    return file.getvalue()


def check(text: str, name: str) -> None:
    golden = HERE / "golden" / name
    if not golden.exists():
        golden.write_text(text, encoding="utf-8")
        pytest.fail(f"{golden} did not exist; it has been written: read it, and run again")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["complete", "waiting", "errored", "terminated", "undone"])
def test_describe_prints_the_golden_text(name: str) -> None:
    check(plain(describe(name)), f"{name}.txt")


def test_describe_prints_the_golden_colours_on_a_terminal() -> None:
    check(coloured(describe("complete"), width=100), "complete-100.ansi")


def test_a_list_of_workflows_prints_the_golden_text() -> None:
    check(plain(render.workflow_list(recorded("workflows"), 1, VIEWER)), "workflows.txt")


def test_a_workflow_prints_the_golden_text() -> None:
    check(plain(render.workflow(recorded("workflow"), recorded("versions")[0])), "workflow.txt")


def test_a_list_of_instances_prints_the_golden_text() -> None:
    check(plain(render.instance_list(recorded("instances"), 2, VIEWER)), "instances.txt")


def test_a_workflow_without_a_version_has_no_version_block() -> None:
    assert "Latest Version" not in plain(render.workflow(recorded("workflow"), None))


def test_without_step_output_no_step_shows_one() -> None:
    assert "Output:" not in plain(describe("complete", output=False))


def test_a_long_output_is_cut_at_the_limit() -> None:
    assert 'Output:    ["a.t[...output truncated]\n' in plain(describe("complete", limit=5))


def test_a_table_in_a_pipe_is_never_wrapped_or_cut() -> None:
    item = recorded("complete")
    item["steps"][3]["attempts"][0]["error"]["message"] = "long " * 400

    text = plain(render.instance("starter", "i", item, VIEWER, output=True, limit=5000))

    assert "long " * 399 + "long" in text


@pytest.mark.parametrize(("width", "table", "version"), [(160, True, True), (120, True, False), (80, False, True)])
def test_an_id_in_a_list_is_never_broken(width: int, table: bool, version: bool) -> None:
    items = recorded("instances")

    text = Text.from_ansi(coloured(render.instance_list(items, 1, VIEWER), width)).plain

    assert all(item["id"] in text for item in items)
    assert ("┌" in text) == table
    assert ("Version" in text) == version
    assert max(len(line) for line in text.splitlines()) <= width


def test_a_list_on_a_narrow_terminal_is_told_line_by_line() -> None:
    text = Text.from_ansi(coloured(render.workflow_list(recorded("workflows")[:1], 1, VIEWER), width=40)).plain

    assert [line.partition(":")[0] for line in text.splitlines()] == [
        *("Showing 1 workflow from page 1", "", "Name", "Script name", "Class name", "Created", "Modified")
    ]


def test_recorded_text_cannot_drive_the_terminal() -> None:
    item = recorded("errored")
    item["error"] = {"name": "Evil", "message": "\x1b[2Jgone\x07 \x9b31m"}
    item["steps"][0]["name"] = "\x1b]0;title\x07"
    item["steps"][0]["output"] = "\x1b[31m"

    text = plain(render.instance("star\x1bter", "\x1bid", item, VIEWER, output=True, limit=5000))

    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\\x1b[2Jgone\\x07 \\x9b31m" in text


def test_square_brackets_are_text_and_not_markup() -> None:
    item = recorded("errored")
    item["error"] = {"name": "Error", "message": "[red]not a colour[/red] :smile:"}

    assert "Error: [red]not a colour[/red] :smile:" in plain(render.instance("starter", "i", item, VIEWER, output=True, limit=5000))


def test_an_answer_of_a_newer_hub_is_shown_as_far_as_it_is_known() -> None:
    item = {"status": "hibernating", "trigger": {"source": "moon"}, "steps": [{"type": "dream", "name": "x-1", "output": {"a": 1}}]}

    text = plain(render.instance("starter", "i", item, VIEWER, output=True, limit=5000))

    assert "Status:         ❓ Unknown" in text
    assert "Trigger:        ❓ Unknown" in text
    assert "Type:    ❓ Unknown" in text
    assert 'Output:  {"a":1}' in text


def test_an_instance_of_a_trigger_says_which_event_it_comes_from() -> None:
    origin = {"source": "event", "name": "shop", "key": "order-7", "delivery_id": "d1"}
    text = plain(render.instance("starter", "i", {"status": "queued", "trigger": origin}, VIEWER, output=True, limit=5000))

    assert "Trigger:        📩 Event\nTrigger Name:   shop\nEvent Key:      order-7\nDelivery Id:    d1\n" in text


def test_an_attempt_that_is_due_is_retried_now() -> None:
    late = Viewer(now=datetime(2026, 11, 22, 7, tzinfo=UTC), zone=UTC)
    item = recorded("waiting")

    text = plain(render.instance("starter", "i", item, late, output=True, limit=5000))

    assert "Retries At:  11/22/2026, 6:10:00 AM (now)" in text


def test_the_stack_of_an_error_outside_all_steps_is_shown_at_the_top() -> None:
    item = recorded("errored")
    item["steps"] = []

    text = plain(render.instance("starter", "i", item, VIEWER, output=True, limit=5000))

    assert text.index('File "/home/ada/shop/workflows.py", line 21') < text.index("Steps:")


def test_the_stack_of_an_instance_is_shown_beside_that_of_a_step_with_another_error() -> None:
    item = recorded("errored")
    item["error"] = {"name": "KeyError", "message": "'total'", "stack": "KeyError: 'total'"}

    text = plain(render.instance("starter", "i", item, VIEWER, output=True, limit=5000))

    assert text.index("  KeyError: 'total'\n") < text.index("Steps:") < text.index("line 21, in charge")


def test_a_step_that_was_under_way_when_its_instance_ended_does_not_run_for_ever() -> None:
    item = recorded("waiting")
    steps = [step for step in item["steps"] if step["type"] == "step" and step["success"] is None]
    item |= {"status": "terminated", "end": "2026-11-22T06:00:20.000Z", "success": False, "steps": steps}

    text = plain(render.instance("starter", "i", item, VIEWER, output=True, limit=5000))

    assert "Success:   🚫 Stopped" in text
    assert "Retries At" not in text
    assert "End:       11/22/2026, 6:00:20 AM" in text
    assert not any(word in text for word in ("▶ Running", "🔄 Working"))
