"""Which class stands behind a kind of trigger or connector. Owns the entry-point groups `hub.triggers` and `hub.connectors`.

Imports a plug-in only when its kind is in use, so that an unused one costs nothing and can break nothing. A class that is returned has been
checked to look like its port.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hub.core.errors import ConfigError
from hub.core.ports import Connector, Trigger
from hub.mistakes import from_validation, mistake

TRIGGERS = "hub.triggers"
CONNECTORS = "hub.connectors"
_PARTS = {TRIGGERS: ("Config", "start", "stop"), CONNECTORS: ("Config", "open", "close", "ping")}


def trigger_class(kind: str, place: str = "triggers") -> type[Trigger]:
    """Return the class of a kind of trigger, named at a place of the file. Raises: ConfigError (unknown kind, broken plug-in)."""
    found: type[Trigger] = plugin_class(TRIGGERS, kind, place)
    return found


def calls(kind: type[Any]) -> str | None:
    """Return the method of the project's worker that a kind of trigger calls where it is bound to no workflow; None = it needs one."""
    method: str | None = getattr(kind, "calls", None)
    return method


def connector_class(kind: str, place: str = "connectors") -> type[Connector]:
    """Return the class of a kind of connector, named at a place of the file. Raises: ConfigError (unknown kind, broken plug-in)."""
    found: type[Connector] = plugin_class(CONNECTORS, kind, place)
    return found


def kinds(group: str) -> tuple[str, ...]:
    """Return the installed kinds of a group."""
    return tuple(sorted(_installed(group)))


def parse_options(cls: type[Any], options: Mapping[str, Any], path: str, beside: Iterable[str] = ()) -> Any:
    """Read the options of a plug-in into its own Config; `beside` are the keys that its table has for every kind.

    Raises: ConfigError with the path of the key and the nearest one.
    """
    try:
        return TypeAdapter(cls.Config).validate_python(dict(options))
    except ValidationError as error:
        raise from_validation(error, cls.Config, prefix=path, beside=beside) from None


def plugin_class(group: str, kind: str, place: str = "") -> Any:
    """Return the class of a kind in a group. Raises: ConfigError (unknown kind, broken plug-in) with the path of the key `kind`."""
    path = f"{place or group.removeprefix('hub.')}.kind"
    if ":" in kind:
        found = _loaded(lambda: _import(kind), kind, path)
    else:
        entry = _installed(group).get(kind)
        if entry is None:
            near = difflib.get_close_matches(kind, kinds(group), n=1)
            guess = f"; did you mean {near[0]}?" if near else ""
            problem = f'unknown kind "{kind}"{guess} (installed: {", ".join(kinds(group)) or "none"}; or write package.module:Class)'
            raise mistake(problem, path)
        found = _loaded(entry.load, kind, path)
    if not isinstance(found, type) or any(not hasattr(found, part) for part in _PARTS[group]):
        raise mistake(f'"{kind}" leads to {found!r}, which is not a class with {", ".join(_PARTS[group])}', path)
    return found


@cache
def _installed(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


def _import(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _loaded(load: Callable[[], Any], kind: str, path: str) -> Any:
    try:
        return load()
    except Exception as error:
        raise ConfigError(f'the plug-in "{kind}" does not load: {type(error).__name__}: {error}', path=path) from error
