"""How a module looks: its head says what it owns, and it stays small enough to be read in one go."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.repo.sources import ROOT, Module, modules

MODULE_LINES = 400
FUNCTION_LINES = 60
PUBLIC_METHODS = 15
EVERY = [pytest.param(module, id=name) for name, module in modules().items()]
MANY_METHODS = {"EmbeddedEngine"}  # the engine port has that many verbs, and this is the port and its life
TESTS = [
    pytest.param(path, id=str(path.relative_to(ROOT)))
    for path in sorted((ROOT / "tests").rglob("*.py"))
    if "VirtualLoop" not in (conftest.read_text() if (conftest := path.parent / "conftest.py").exists() else "")  # time jumps there
]


@pytest.mark.parametrize("module", EVERY)
def test_a_module_begins_with_what_it_owns(module: Module) -> None:
    assert len(ast.get_docstring(module.tree) or "") >= 15, "write a docstring: what it owns, what it must never do, its invariant"


@pytest.mark.parametrize("module", EVERY)
def test_a_module_is_read_in_one_go(module: Module) -> None:
    lines = len(module.path.read_text(encoding="utf-8").splitlines())
    assert lines <= MODULE_LINES, f"{lines} lines; find the second idea in it and give it a module"


@pytest.mark.parametrize("module", EVERY)
def test_a_function_has_one_purpose(module: Module) -> None:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            assert node.end_lineno - node.lineno < FUNCTION_LINES, f"{node.name} at line {node.lineno} is too long"


@pytest.mark.parametrize("module", EVERY)
def test_a_class_has_one_purpose(module: Module) -> None:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef) and node.name not in MANY_METHODS:
            methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}
            public = {name for name in methods if not name.startswith("_")}
            assert len(public) <= PUBLIC_METHODS, f"{node.name} has {len(public)} public methods"


@pytest.mark.parametrize("path", TESTS)
def test_no_test_waits_for_real_time(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("asyncio.sleep", "sleep", "anyio.sleep"):
            assert ast.unparse(node.args[0]) == "0", f"line {node.lineno}: await a condition or an event instead"
