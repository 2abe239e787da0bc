"""The repository as its own tests see it: its files, its modules, and who imports whom."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("hub", "triggers", "connectors")
_SPLIT = frozenset({"aiohttp.web", "aiohttp.BasicAuth"})  # parts of another package that have owners of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One module of the three packages. `imports` holds every import in it: lazy ones and those for types only, too."""

    name: str
    path: Path
    tree: ast.Module
    imports: frozenset[str]


@cache
def modules() -> dict[str, Module]:
    """Return all modules by name."""
    paths = {_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
    found = {}
    for name, path in paths.items():
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        found[name] = Module(name=name, path=path, tree=tree, imports=frozenset(_imports(name, path, tree, frozenset(paths))))
    return found


@cache
def tracked() -> tuple[Path, ...]:
    """Return the files of the repository, those that are not yet committed too, as paths from its root."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return tuple(Path(name) for name in sorted(set(listed.split("\0"))) if name and (ROOT / name).is_file())


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(name: str, path: Path, tree: ast.Module, own: frozenset[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(name, path, node)
            for alias in node.names:
                inner = f"{origin}.{alias.name}"  # a name of that module, or a module of its own
                yield inner if inner in own or inner in _SPLIT else origin
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value)


def _origin(name: str, path: Path, node: ast.ImportFrom) -> str:
    """Return the absolute name of the module that something is imported from."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    above = package[: len(package) - node.level + 1] if node.level else []
    return ".".join([*above, *([node.module] if node.module else [])])
