"""The example of a trigger kind of one's own keeps its promises: nothing lost, nothing twice, and no special place in the hub."""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from .test_examples import EXAMPLES, Running, running

MONDAY = "id,amount\n1,12.50\n2,30\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the example, because it writes into its folder."""
    return Path(shutil.copytree(EXAMPLES / "plugin", tmp_path / "plugin"))


async def _summed(example: Running, count: int = 1) -> list[dict[str, Any]]:
    """Wait until there are as many instances, and return their outputs in the order of their files."""
    for _ in range(600):
        found = await example.instances("orders")
        if len(found) >= count:
            ended = [await example.ended("orders", each["id"]) for each in found]
            return sorted((each["output"] for each in ended), key=lambda output: str(output["file"]))
        await example.clock.sleep(1)
    raise AssertionError("no instance came within ten virtual minutes")


async def test_file_becomes_an_instance_and_moves_when_that_is_on_disk(project: Path, tmp_path: Path) -> None:
    async with running(project, tmp_path / "data") as example:
        (project / "inbox" / "monday.csv").write_text(MONDAY)
        (project / "inbox" / "notes.txt").write_text("not an order")
        assert await _summed(example) == [{"file": "monday.csv", "orders": 2, "total": 42.5}]
        await example.clock.sleep(10)
        assert len(await example.instances("orders")) == 1
    assert [path.name for path in (project / "inbox").iterdir() if path.is_file()] == ["notes.txt"]
    assert (project / "inbox" / "done" / "monday.csv").exists()


async def test_file_that_lies_there_again_after_a_death_creates_nothing_new(project: Path, tmp_path: Path) -> None:
    async with running(project, tmp_path / "data") as example:
        (project / "inbox" / "monday.csv").write_text(MONDAY)
        await _summed(example)
    (project / "inbox" / "done" / "monday.csv").rename(project / "inbox" / "monday.csv")  # as if it had died before it moved the file
    async with running(project, tmp_path / "data") as example:
        await example.clock.sleep(10)
        assert len(await example.instances("orders")) == 1
        assert (project / "inbox" / "done" / "monday.csv").exists()
        (project / "inbox" / "monday.csv").write_text("id,amount\n3,1\n")  # written anew: another file
        assert [output["total"] for output in await _summed(example, 2)] in ([42.5, 1.0], [1.0, 42.5])


async def test_file_that_can_never_be_accepted_moves_aside(project: Path, tmp_path: Path) -> None:
    async with running(project, tmp_path / "data") as example:
        (project / "inbox" / "large.csv").write_text("x" * 2_000_000)  # more than limits.payload_bytes
        await example.clock.sleep(10)
        assert await example.instances("orders") == []
    assert (project / "inbox" / "failed" / "large.csv").exists()


def test_plugin_needs_nothing_of_the_hub_but_its_ports() -> None:
    tree = ast.parse((EXAMPLES / "plugin" / "directory_trigger.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert {name for name in imported if name.partition(".")[0] not in {*sys.stdlib_module_names, "pydantic"}} == {
        "hub.core.delivery",
        "hub.core.errors",
        "hub.core.ports",
    }
