"""The repository as its own tests see it: its files, its modules, and who imports whom."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("hub", "triggers", "connectors")
_SPLIT = frozenset({"aiohttp.web", "aiohttp.BasicAuth"})  # parts of another package that have owners of their own


@dataclass(frozen=True, kw_only=True)
class Module:
    """One module of the three packages, read when it is first looked into."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        """What is written in it."""
        return ast.parse(self.path.read_text(encoding="utf-8"), str(self.path))

    @cached_property
    def imports(self) -> frozenset[str]:
        """Every import in it: lazy ones and those for types only, too."""
        return frozenset(_imports(self.name, self.path, self.tree, modules().keys()))


@cache
def modules() -> dict[str, Module]:
    """Return all modules by name."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {_name(path): Module(name=_name(path), path=path) for path in paths}


@cache
def tracked() -> tuple[Path, ...]:
    """Return the files of the repository, those that are not yet committed too, as paths from its root."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return tuple(Path(name) for name in sorted(set(listed.split("\0"))) if name and (ROOT / name).is_file())


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(name: str, path: Path, tree: ast.Module, own: Collection[str]) -> Iterator[str]:
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
