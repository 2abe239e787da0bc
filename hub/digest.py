"""The version of a workflow's code: a hash of its module and of all that it imports from its own project.

Reads files, never runs them. Imports are found in the text, lazy ones too, so that the hash does not depend on what happens to be loaded.
The invariant: the same files give the same hash on every machine; no path outside the project is in it.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

Found = dict[str, Path]  # files of modules, by dotted name


def digest(module: ModuleType, folder: Path) -> str:
    """Return the hash of a module and its imports, and theirs, as far as they lie in a folder."""
    hasher = hashlib.sha256()
    for name, file in sorted(_reached(module, folder.resolve()).items()):
        source = file.read_bytes().replace(b"\r\n", b"\n")  # a checkout may have changed the line ends
        hasher.update(name.encode() + b"\0" + source + b"\0")
    return hasher.hexdigest()


def _reached(module: ModuleType, root: Path) -> Found:
    file = getattr(module, "__file__", None)
    if file is None:
        return {}
    found = {module.__name__: Path(file)}
    waiting = [module.__name__] if Path(file).resolve().is_relative_to(root) else []
    while waiting:
        importer = waiting.pop()
        for name in _imports(importer, found[importer]):
            if name not in found and (path := _file_of(name, root)) is not None:
                found[name] = path
                waiting.append(name)
    return found


def _imports(importer: str, file: Path) -> Iterator[str]:
    """Iterate over what a module imports: modules, the packages around them, and names that may be modules of their own."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # compiled, or a lazy import that cannot work: its bytes count all the same
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_packages(alias.name)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(importer, file, node)
            yield from _with_packages(origin)
            for alias in node.names:
                yield f"{origin}.{alias.name}".lstrip(".")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            match node.args[0]:
                case ast.Constant(value=str(name)):
                    yield from _with_packages(name)


def _origin(importer: str, file: Path, node: ast.ImportFrom) -> str:
    """Return the absolute name of the module that something is imported from."""
    if not node.level:
        return node.module or ""
    package = importer.split(".") if file.name == "__init__.py" else importer.split(".")[:-1]
    above = package[: len(package) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


def _with_packages(name: str) -> Iterator[str]:
    """Iterate over a module and the packages that its import runs."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        yield ".".join(parts[:length])


def _file_of(name: str, root: Path) -> Path | None:
    """Return the file of a module of the project; None for everything else."""
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if loaded is not None:
        path = Path(loaded)
        return path if path.resolve().is_relative_to(root) and ".venv" not in path.parts else None
    place = root.joinpath(*name.split("."))
    return next((path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)
