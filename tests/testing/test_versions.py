"""The version of a workflow's code: what changes it, and what does not."""

from __future__ import annotations

import sys
from pathlib import Path

import aiohttp
import pytest

from hub.app import App
from hub.project import borrowed, forget, load_project
from hub.settings import load_settings
from hub.testing import VirtualClock

CLASS = "class {name}(WorkflowEntrypoint):\n    async def run(self, event, step):\n        return 1\n"
HEAD = "from hub import WorkflowEntrypoint\n"
FILES = {
    "main.py": "from orders.flow import Order\nfrom bills import Bill\n",
    "bills.py": HEAD + "from money import *\n" + CLASS.format(name="Bill"),
    "money.py": "from orders.tax import RATE\n",
    "orders/__init__.py": "",
    "orders/flow.py": HEAD + "from . import tax\nfrom .deep.stock import count\nimport json\n" + CLASS.format(name="Order"),
    "orders/tax.py": "RATE = 19\n",
    "orders/deep/stock.py": "def count():\n    import lazily\n    import importlib\n    importlib.import_module('named')\n",
    "lazily.py": "",
    "named.py": "",
    "unused.py": "",
}


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def digests(folder: Path) -> dict[str, str]:
    with borrowed(folder):
        return load_project(folder, "main.py", ["Order", "Bill"]).digests


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return written(tmp_path / "project", FILES)


def test_unchanged_code_has_the_same_version_in_every_process_and_folder(project: Path, tmp_path: Path) -> None:
    first = digests(project)
    assert digests(project) == first
    assert digests(written(tmp_path / "another" / "place", FILES)) == first
    assert digests(written(tmp_path / "windows", {name: text.replace("\n", "\r\n") for name, text in FILES.items()})) == first
    assert first["Order"] != first["Bill"]


@pytest.mark.parametrize(
    ("changed", "classes"),
    [
        ("orders/flow.py", {"Order"}),
        ("orders/deep/stock.py", {"Order"}),  # a package without __init__.py
        ("lazily.py", {"Order"}),  # imported inside a function
        ("named.py", {"Order"}),
        ("orders/tax.py", {"Order", "Bill"}),  # `from . import tax`, and through money.py
        ("orders/__init__.py", {"Order", "Bill"}),  # runs whenever something in it is imported
        ("bills.py", {"Bill"}),
        ("money.py", {"Bill"}),
        ("main.py", set()),  # only names the classes
        ("unused.py", set()),
    ],
)
def test_a_change_gives_a_new_version_to_the_classes_that_import_it(project: Path, changed: str, classes: set[str]) -> None:
    before = digests(project)
    (project / changed).write_text(FILES[changed] + "\nLATER = True\n")
    after = digests(project)
    assert {name for name in after if after[name] != before[name]} == classes


def test_what_happens_to_be_loaded_does_not_change_the_version(project: Path) -> None:
    before = digests(project)
    with borrowed(project):
        load_project(project, "main.py", ["Order", "Bill"])
        sys.modules["orders.deep.stock"].count()  # imports what the digest had to find in the text
        assert "lazily" in sys.modules
        assert load_project(project, "main.py", ["Order", "Bill"]).digests == before


def test_a_lazy_import_of_a_file_with_a_mistake_does_not_stop_the_start(project: Path) -> None:
    before = digests(project)
    (project / "lazily.py").write_text("def broken(:\n")
    assert digests(project)["Order"] != before["Order"]


def test_a_main_file_runs_once_until_it_is_forgotten(project: Path) -> None:
    with borrowed(project):
        first = load_project(project, "main.py", ["Order"]).workflows["Order"]
        assert load_project(project, "main.py", ["Order"]).workflows["Order"] is first
        forget(project)
        assert load_project(project, "main.py", ["Order"]).workflows["Order"] is not first


def test_a_borrowed_project_leaves_what_was_there_before(project: Path) -> None:
    before, path = set(sys.modules), list(sys.path)
    digests(project)
    assert not {name for name in set(sys.modules) - before if name.split(".")[0] in {"main", "bills", "orders", "money"}}
    assert sys.path == path


# ---- in a hub

SETTINGS = """
name = "shop"
main = "main.py"
[[workflows]]
name = "order"
class_name = "Order"
[[workflows]]
name = "bill"
class_name = "Bill"
"""


async def versions(project: Path) -> dict[str, int]:
    """Start the hub once and return how many versions it knows of each workflow."""
    app = App(load_settings(project, overrides={"server": {"port": 0}}, environ={}), clock=VirtualClock())
    with borrowed(project):
        await app.start()
        try:
            async with aiohttp.ClientSession(app.url) as session:
                counts = {}
                for name in ("order", "bill"):
                    async with session.get(f"/client/v4/accounts/local/workflows/{name}/versions") as response:
                        counts[name] = len((await response.json())["result"])
                return counts
        finally:
            await app.stop()


async def test_each_start_with_changed_code_registers_a_version_of_the_changed_workflow_only(project: Path) -> None:
    (project / "hub.toml").write_text(SETTINGS)
    assert await versions(project) == {"order": 1, "bill": 1}
    assert await versions(project) == {"order": 1, "bill": 1}
    (project / "money.py").write_text(FILES["money.py"] + "LATER = True\n")
    assert await versions(project) == {"order": 1, "bill": 2}
    (project / "money.py").write_text(FILES["money.py"])
    assert await versions(project) == {"order": 1, "bill": 2}  # as it was before
