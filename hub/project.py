"""The user's code: imports the project's main file and finds the classes that hub.toml names.

Owns the place of the project's modules in `sys.modules`: what is imported already is not run again before `forget`. A file that does not
import gives a ConfigError with the user's own frames only.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hub.core.errors import ConfigError
from hub.core.workflow import WorkerEntrypoint, WorkflowEntrypoint
from hub.digest import digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The classes of a project, and the version of each workflow's code."""

    workflows: dict[str, type[WorkflowEntrypoint]]  # by class name
    worker: type[WorkerEntrypoint] | None
    digests: dict[str, str]  # by class name: the hash of the class's module and its imports from the project


def load_project(folder: Path, main: str, class_names: Sequence[str]) -> Project:
    """Import the main file and find the workflow classes. Raises: ConfigError."""
    path = (folder / main).resolve()
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; `main` names the Python file with the workflow classes", path="main")
    if str(folder.resolve()) not in sys.path:
        sys.path.insert(0, str(folder.resolve()))
    module = _import(path)
    classes = {name: value for name, value in vars(module).items() if isinstance(value, type)}
    workflows = {name: _workflow_class(classes, name, path, f"workflows.{n}.class_name") for n, name in enumerate(class_names)}
    digests = {name: digest(sys.modules[cls.__module__], folder) for name, cls in workflows.items()}
    return Project(workflows=workflows, worker=_worker_class(classes, path), digests=digests)


@contextmanager
def borrowed(folder: Path) -> Iterator[None]:
    """Take the project's modules out of `sys.modules` at the end, and its folder out of `sys.path`, unless they were there before."""
    place = str(folder.resolve())
    known, on_path = set(_local_modules(folder)), place in sys.path
    try:
        yield
    finally:
        for name in set(_local_modules(folder)) - known:
            del sys.modules[name]
        if not on_path and place in sys.path:
            sys.path.remove(place)


def forget(folder: Path) -> None:
    """Remove the project's modules from `sys.modules`, so that the next load reads the files anew."""
    for name in _local_modules(folder):
        del sys.modules[name]
    importlib.invalidate_caches()


def load_object(folder: Path, file: str, name: str, key: str) -> Any:
    """Import a file of the project and return what has that name in it; `key` is the path of the setting. Raises: ConfigError."""
    path = (folder / file).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise ConfigError(f"there is no {file} in {folder}", path=key)
    module = _import(path, key)
    if not hasattr(module, name):
        near = difflib.get_close_matches(name, vars(module), 1)
        raise ConfigError(f'{file} has no "{name}"{f"; did you mean {near[0]}?" if near else ""}', path=key)
    return getattr(module, name)


def _import(path: Path, key: str = "main") -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file", path=key)
    module = importlib.util.module_from_spec(spec)
    known = sys.modules.get(path.stem)
    if known is not None:
        if _is_from(known, path):
            return known
        raise ConfigError(
            f'{path.name} would hide the module "{path.stem}" that the hub has imported already; give the file another name', path=key
        )
    sys.modules[path.stem] = module  # before it runs, as the import system does: dataclasses and pickles look there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[path.stem]
        raise ConfigError(f"{path.name} does not import\n{_short_traceback(error, path.parent)}", path=key) from None
    return module


def _is_from(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path


def _short_traceback(error: BaseException, folder: Path) -> str:
    """Return the traceback with the frames of the project only; a SyntaxError shows its own place."""
    trace = traceback.TracebackException.from_exception(error, compact=True)
    trace.stack[:] = [frame for frame in trace.stack if frame.filename.startswith(str(folder))]
    return "".join(trace.format(chain=False)).rstrip()


def _workflow_class(classes: dict[str, type], name: str, path: Path, key: str) -> type[WorkflowEntrypoint]:
    found = classes.get(name)
    if found is None:
        candidates = [key for key, value in classes.items() if issubclass(value, WorkflowEntrypoint) and value is not WorkflowEntrypoint]
        near = difflib.get_close_matches(name, candidates, 1)
        hint = f'; did you mean "{near[0]}"?' if near else f"; it has: {', '.join(candidates) or 'no workflow class'}"
        raise ConfigError(f'{path.name} has no class "{name}"{hint}', path=key)
    if not issubclass(found, WorkflowEntrypoint):
        raise ConfigError(f'"{name}" in {path.name} must be a subclass of hub.WorkflowEntrypoint', path=key)
    if found.run is WorkflowEntrypoint.run or not inspect.iscoroutinefunction(inspect.unwrap(found.run)) or not _takes_two(found.run):
        raise ConfigError(f'"{name}" in {path.name} needs `async def run(self, event, step)`', path=key)
    return found


def _takes_two(run: Callable[..., Any]) -> bool:
    """Tell whether `run` can be called with an event and a step."""
    try:
        inspect.signature(run).bind("self", "event", "step")
    except TypeError:
        return False
    return True


def _worker_class(classes: dict[str, type], path: Path) -> type[WorkerEntrypoint] | None:
    """Return the class `Default`, or the only subclass of WorkerEntrypoint."""
    workers = {name: value for name, value in classes.items() if issubclass(value, WorkerEntrypoint) and value is not WorkerEntrypoint}
    if len(workers) > 1 and "Default" not in workers:
        raise ConfigError(f"{path.name} has several WorkerEntrypoint classes ({', '.join(workers)}); name the one to use `Default`")
    return workers.get("Default") or next(iter(workers.values()), None)


def _local_modules(folder: Path) -> list[str]:
    root = folder.resolve()
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and Path(file).is_relative_to(root) and ".venv" not in Path(file).parts and not name.startswith("hub."):
            found.append(name)
    return found
