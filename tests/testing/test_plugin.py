"""The fixtures, in a pytest of their own: what README.md and the starter show runs as it is written there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUIET = ("-o", "asyncio_default_fixture_loop_scope=function", "-W", "error")


def outcome(folder: Path, *arguments: str) -> str:
    """Run pytest in a folder and return what it says."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *QUIET, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    return done.stdout + done.stderr


def blocks(language: str) -> list[str]:
    """Return the blocks of the README in a language."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def with_word(found: list[str], word: str) -> str:
    [block] = [block for block in found if word in block]
    return block


def test_the_tests_in_the_readme_pass(tmp_path: Path) -> None:
    python = blocks("python")
    files = {
        "hub.toml": with_word(blocks("toml"), "https://shop.example"),
        "workflows.py": with_word(python, "class Order("),
        "test_workflows.py": with_word(python, "(workflows)"),
        "conftest.py": with_word(python, "VirtualLoop"),
        "test_async.py": with_word(python, "(async_workflows)"),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    said = outcome(tmp_path, "--rootdir", str(tmp_path))
    assert re.search(r"^3 passed in ", said, re.MULTILINE), said


def test_the_tests_of_the_starter_pass_whatever_the_project_around_it_says(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = ["--strict-config"]\nno_such_option = "1"\n')
    folder = tmp_path / "starter"
    shutil.copytree(ROOT / "config" / "examples" / "starter", folder, ignore=shutil.ignore_patterns(".hub", "__pycache__"))
    said = outcome(folder)
    assert re.search(r"^4 passed in ", said, re.MULTILINE), said


USES = """
from pathlib import Path

import pytest

from hub import WorkflowEntrypoint
from hub.testing import AsyncWorkflows


class Plain(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.sleep("nap", "1 day")
        return self.env.NAME


def test_several_are_closed_after_the_test(workflows):
    opened = [workflows(Plain, env={"NAME": name}) for name in "ab"]
    assert [each.create().output() for each in opened] == ["a", "b"]


def test_a_test_outside_of_a_project_names_what_it_tests(workflows):
    workflows()


async def test_a_loop_of_real_time_is_refused(async_workflows):
    with pytest.raises(TypeError, match="a loop whose time jumps"):
        await async_workflows(Plain)
"""


def test_the_fixtures_tell_what_they_lack(tmp_path: Path) -> None:
    (tmp_path / "test_uses.py").write_text(USES)
    said = outcome(tmp_path, "-o", "asyncio_mode=auto")
    assert re.search(r"^1 failed, 2 passed in ", said, re.MULTILINE), said
    assert "give a workflow class or project=…: no folder around" in said


OTHER = """
import sys


def test_nothing_of_the_hub_is_loaded():
    assert not {"hub.core", "hub.engine", "sqlalchemy"} & set(sys.modules)
"""


def test_a_pytest_that_does_not_use_the_fixtures_does_not_load_the_engine(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(OTHER)
    said = outcome(tmp_path)
    assert re.search(r"^1 passed in ", said, re.MULTILINE), said
