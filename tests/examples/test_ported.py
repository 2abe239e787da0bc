"""Programs written for Cloudflare's Python Workflows run here when their import line, and nothing else, is changed."""

from __future__ import annotations

import ast
import difflib
import json
import sys
import types
from collections.abc import Iterator
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

import hub
from hub import Response
from hub.core.model import HttpReply, Kind
from hub.testing import Workflows

PORTED = Path(__file__).parents[2] / "config" / "examples" / "ported"
IMPORTS = {  # as they stood in the original
    "orders.py": [
        "from workers import Response, WorkerEntrypoint, WorkflowEntrypoint",
        "from workers.workflows import NonRetryableError",
    ],
    "newsletter.py": ["from workers import WorkflowEntrypoint"],
    "delivery.py": ["from workers import WorkflowEntrypoint", "from workers.workflows import NonRetryableError"],
}
THERE = {"workers": {"Response", "WorkerEntrypoint", "WorkflowEntrypoint"}, "workers.workflows": {"NonRetryableError"}}


def original(name: str) -> str:
    """Return a program as it was: with its imports from `workers`."""
    lines = (PORTED / name).read_text().splitlines()
    [place] = [number for number, line in enumerate(lines) if line.startswith("from hub import ")]
    return "\n".join([*lines[:place], *IMPORTS[name], *lines[place + 1 :], ""])


def imported(text: str) -> dict[str, set[str]]:
    """Return what a program imports, by module, without the standard library."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        for module in [node.module or ""] if isinstance(node, ast.ImportFrom) else names:
            if module.split(".")[0] not in sys.stdlib_module_names:
                found.setdefault(module, set()).update(names)
    return found


@pytest.mark.parametrize("name", IMPORTS)
def test_nothing_but_the_import_line_differs_from_the_original(name: str) -> None:
    here = (PORTED / name).read_text()
    changed = [
        line
        for line in difflib.ndiff(original(name).splitlines(), here.splitlines())
        if line.startswith(("+ ", "- ")) and not line[2:].startswith(("from workers", "from hub import"))
    ]
    assert changed == []
    assert here.count("hub") == 1, "the import line is the only word about the hub"
    before, after = imported(original(name)), imported(here)
    assert set(after) == {"hub"}
    assert after["hub"] == set().union(*before.values())
    assert all(names <= THERE[module] for module, names in before.items()), "the original imports what Cloudflare has"


@pytest.fixture
def workers() -> Iterator[None]:
    """Let `workers` be the hub, so that an original runs as it was."""
    modules = {}
    for name, names in THERE.items():
        modules[name] = types.ModuleType(name)
        vars(modules[name]).update({each: getattr(hub, each) for each in names})
    sys.modules.update(modules)
    yield
    for name in modules:
        del sys.modules[name]


@pytest.fixture(params=["ported", "original"])
def workflows(request: pytest.FixtureRequest, tmp_path: Path, workers: None) -> Iterator[Workflows]:
    """Run the project with its programs as they are here, and as they were."""
    project = PORTED
    if request.param == "original":
        project = tmp_path
        for name in ("hub.toml", "workflows.py"):
            (tmp_path / name).write_text((PORTED / name).read_text())
        for name in IMPORTS:
            (tmp_path / name).write_text(original(name))
    with Workflows(project=project) as opened:
        yield opened


def order(**more: Any) -> dict[str, Any]:
    return {"customer": "Ann", "country": "DE", "items": {"tea": 2, "coffee": 1}, **more}


def test_a_small_order_is_sold_after_its_time_to_think(workflows: Workflows) -> None:
    begun = workflows.now
    run = workflows.create(order(), workflow="orders")
    assert run.output() == {"status": "sold", "total": 17.85, "receipt": "Ann: 17.85 EUR with 19% tax (asked 1 of 4 times)"}
    assert workflows.now - begun == timedelta(days=14)
    assert [entry.name for entry in run.describe().entries if entry.kind is Kind.STEP] == ["prices", "rate", "total", "receipt"]


def test_a_tax_office_that_fails_twice_is_asked_a_third_time(workflows: Workflows) -> None:
    begun = workflows.now
    run = workflows.create(order(failures=2), workflow="orders")
    assert run.wait_for_step_result("rate") == {"rate": 0.19, "asked": "3 of 4 times"}
    assert workflows.now - begun == timedelta(seconds=2 + 4)  # linear


def test_a_large_order_waits_for_the_boss(workflows: Workflows) -> None:
    created = workflows.fetch("/", json=order(items={"coffee": 20}))
    assert created.status == 201
    id = json.loads(created.body)["id"]
    run = workflows.instance(id, "orders")
    run.wait_for_status("waiting")
    assert workflows.fetch(f"/?id={id}&approve=yes").status == 200
    assert run.output()["status"] == "sold"
    assert json.loads(workflows.fetch(f"/?id={id}").body)["output"]["total"] == 142.8


@pytest.mark.parametrize(("approved", "status"), [(False, "refused"), (None, "expired")])
def test_an_order_without_a_yes_is_not_sold(workflows: Workflows, approved: bool | None, status: str) -> None:
    if approved is not None:
        workflows.mock_event("approval", {"approved": approved})
    begun = workflows.now
    assert workflows.create(order(items={"coffee": 20}), workflow="orders").output() == {"status": status, "total": 142.8}
    assert workflows.now - begun == (timedelta(days=3) if approved is None else timedelta(0))


def test_an_order_that_can_never_succeed_is_not_tried_again(workflows: Workflows) -> None:
    run = workflows.create(order(items={"mate": 1}), workflow="orders")
    error = run.error()
    assert (error.name, error.message) == ("NonRetryableError", "not in the catalogue: mate")
    entries = run.describe().entries
    assert [(entry.name, entry.attempt) for entry in entries if entry.error is not None] == [("prices", 1)]


def test_the_handler_says_what_it_wants(workflows: Workflows) -> None:
    reply = workflows.fetch("/")
    assert (reply.status, reply.body, reply.headers["cache-control"]) == (
        400,
        b"POST an order, or ask for one with ?id=",
        "no-store",
    )


def test_a_handler_writes_responses_as_it_did_there() -> None:
    for response in (Response("made", 201, headers=[("X-A", "1")]), Response("made", status=HTTPStatus.CREATED, headers={"x-a": "1"})):
        assert response.reply() == HttpReply(status=201, body=b"made", headers={"content-type": "text/plain; charset=utf-8", "x-a": "1"})
    assert Response.json({"ok": True}, HTTPStatus.ACCEPTED).reply().status == 202


def test_a_newsletter_goes_out_in_the_evening_and_hears_from_every_reader(workflows: Workflows) -> None:
    readers = ["ann@example.com", "busy@example.com", "nobody@nowhere", "not an address"]
    run = workflows.create({"titles": ["Tea in May", "Cocoa"], "readers": readers}, id="may", workflow="newsletters")
    run.wait_for_step_result("hand over to delivery")
    assert workflows.now.isoformat() == "2030-01-02T18:00:00+00:00"
    assert run.output() == {
        "subject": "2 articles, 1500 words",
        "sent": "2030-01-02T18:00:00+00:00",
        "readers": ["ann@example.com", "busy@example.com", "nobody@nowhere"],
    }
    assert [each.output() for each in workflows.instances("deliveries")] == [
        {"domain": "example.com", "attempts": 1},
        {"domain": "example.com", "attempts": 3},
        {"undeliverable": "nobody@nowhere is no address"},
    ]
    assert run.wait_for_step_result("hand over to delivery") == {
        "step": "hand over to delivery",
        "ids": ["may-1", "may-2", "may-3"],
    }
