"""`hub init`: a new project from the starter."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path

import pytest

from hub.cli.project import named
from tests.cli.command_line import HUB, SOURCE, run
from tests.cli.node import running

STARTER = SOURCE / "config" / "examples" / "starter"


def names(folder: Path) -> set[str]:
    return {item.name for item in folder.iterdir()}


async def test_init_writes_the_starter_under_the_new_name(tmp_path: Path) -> None:
    outcome = await run("init", "shop", cwd=tmp_path)

    assert (outcome.code, outcome.err) == (0, "")
    written = tomllib.loads((tmp_path / "shop" / "hub.toml").read_text(encoding="utf-8"))
    starter = tomllib.loads((STARTER / "hub.toml").read_text(encoding="utf-8"))
    assert written == {**starter, "name": "shop"}
    files = {"workflows.py", "test_workflows.py", "pytest.ini", "README.md", ".gitignore"}
    for file in files:
        assert (tmp_path / "shop" / file).read_bytes() == (STARTER / file).read_bytes()
    assert names(tmp_path / "shop") == files | {"hub.toml"}


async def test_init_tells_the_next_step_and_it_works(tmp_path: Path) -> None:
    outcome = await run("init", "shop", cwd=tmp_path)

    assert outcome.out.splitlines()[2:3] == ["Next:"]
    program, _, step = outcome.out.splitlines()[3].strip().partition(" dev ")
    assert tuple(shlex.split(program)) == HUB
    async with running("dev", *shlex.split(step, comments=True), "--port", "0", cwd=tmp_path) as node:
        assert (await node.url()).startswith("http://127.0.0.1:")
        assert await node.out.line("shop ready on")


async def test_init_fills_an_empty_folder_in_place(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()

    outcome = await run("init", ".", cwd=tmp_path / "shop")

    assert outcome.code == 0
    assert 'name = "shop"' in (tmp_path / "shop" / "hub.toml").read_text(encoding="utf-8")
    assert " dev   # runs it" in outcome.out


async def test_init_never_writes_over_something(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "precious.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "file").write_text("mine", encoding="utf-8")

    folder = await run("init", "shop", cwd=tmp_path)
    file = await run("init", "file", cwd=tmp_path)

    assert folder.err == "error: shop is not empty; choose a new name, or empty it first\n"
    assert file.err == "error: file is a file; choose a new name\n"
    assert (folder.code, file.code) == (5, 5)
    assert names(tmp_path / "shop") == {"precious.txt"}


@pytest.mark.parametrize("name", ["my shop", "-", "ä", "x" * 65])
async def test_init_refuses_what_cannot_name_a_project(tmp_path: Path, name: str) -> None:
    outcome = await run("init", "--", name, cwd=tmp_path)

    assert outcome.code == 2
    assert "cannot name a project; use letters" in outcome.err
    assert names(tmp_path) == set()


async def test_init_where_nobody_may_write_is_told_with_its_cure(tmp_path: Path) -> None:
    outcome = await run("init", "/proc/shop", cwd=tmp_path)

    assert outcome.code == 1
    assert outcome.err.startswith("error: cannot write /proc/shop: ")
    assert "choose a folder that you may write to" in outcome.err


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('name = "starter"\n[[workflows]]\nname = "starter"\n', 'name = "new"\n[[workflows]]\nname = "starter"\n'),
        ('# hi\nname="a" # why\nmain = "x"\n', '# hi\nname = "new" # why\nmain = "x"\n'),
        ('main = "x"\n[vars]\nname = "a"\n', 'name = "new"\nmain = "x"\n[vars]\nname = "a"\n'),
    ],
)
def test_only_the_name_of_the_project_changes(before: str, after: str) -> None:
    assert named(before, "new") == after
