"""Every setting that is in effect, and where it came from: a flag, a variable, a line of hub.toml, or the default.

Reads what `load_settings` reads and decides nothing itself: the values are those of the loaded settings. Secrets are ***, and a text that
refers to environment variables is shown as it is written, never filled in.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from hub.masking import HIDDEN, masked
from hub.plugins import connector_class, parse_options, trigger_class
from hub.schema import REFERENCE, Settings, TriggerSettings, file_form, variables
from hub.settings import FILE, load_settings
from hub.toml_lines import Path as Place
from hub.toml_lines import lines_of

DEFAULT = "default"
_FLAGS: dict[Place, str] = {("data",): "--data", ("server", "host"): "--host", ("server", "port"): "--port"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting in effect. `value` is plain JSON as one would write it in the file; `origin` names the source that won."""

    key: str
    value: Any
    origin: str


def effective(project: Path, overrides: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> list[Setting]:
    """Return all settings of a project. Raises: ConfigError as `load_settings` and the plug-ins do."""
    environ = os.environ if environ is None else environ
    settings = load_settings(project, overrides=overrides, environ=environ)
    text = (project / FILE).read_text(encoding="utf-8")
    sources = _Sources(overrides, environ, tomllib.loads(text), lines_of(text))
    placed = dict(sources.as_written(place, value) for place, value in _all(settings))
    return [_setting(sources, place, value) for place, value in placed.items()]


# ---- where a value came from


@dataclass(frozen=True, slots=True)
class _Sources:
    flags: Mapping[str, Any]
    environ: Mapping[str, str]
    tables: Mapping[str, Any]
    lines: Mapping[Place, int]

    def origin(self, place: Place) -> str:
        if place in _FLAGS and _at(self.flags, place) is not None:
            return _FLAGS[place]
        variable = next((name for name, path in variables().items() if path == place), None)
        if variable is not None and self.environ.get(variable):
            return variable
        if _at(self.tables, place) is None:
            return DEFAULT
        return f"{FILE}:{next(self.lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self.lines)}"

    def as_written(self, place: Place, value: Any) -> tuple[Place, Any]:
        """Return a setting as the file has it where one word there stands for a whole table, such as `spread = "50%"`."""
        for n in range(1, len(place)):
            word = _at(self.tables, place[:n])
            if isinstance(word, str | int | float):
                return place[:n], word
        return place, value

    def written(self, place: Place) -> str | None:
        """Return the text of the file where it refers to variables."""
        value = _at(self.tables, place)
        return value if isinstance(value, str) and REFERENCE.search(value) else None


def _at(value: Any, place: Place) -> Any:
    for part in place:
        if isinstance(value, Mapping) and isinstance(part, int):
            continue  # one table where a list is meant
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value


def _setting(sources: _Sources, place: Place, value: Any) -> Setting:
    origin = sources.origin(place)
    written = sources.written(place) if origin.startswith(FILE) else None
    return Setting(key=".".join(map(str, place)), value=_shown(str(place[-1]), value, written), origin=origin)


def _shown(key: str, value: Any, written: str | None) -> Any:
    """Return a value as it may be seen: only what is no secret, and of a reference the text that refers."""
    if written is not None and (REFERENCE.fullmatch(written) or not isinstance(value, SecretStr)):
        return written if REFERENCE.fullmatch(written) else masked(key, written)
    if isinstance(value, SecretStr):
        text = value.get_secret_value() if written is None else written
        return masked("", text) if "://" in text else HIDDEN if text else ""
    plain = file_form(value)
    return plain if plain in ("", None) or isinstance(plain, bool | int) else masked(key, plain)


# ---- all settings there are


def _all(settings: Settings) -> Iterator[tuple[Place, Any]]:
    for key, value in _fields(settings).items():
        if key == "triggers":
            yield from _plugged(key, _declared(settings), trigger_class)
        elif key == "connectors":
            yield from _plugged(key, settings.connectors, connector_class)
        elif key != "project":
            yield from _leaves((key,), value)


def _declared(settings: Settings) -> list[TriggerSettings]:
    """Return the triggers that have a table of their own; the others stand in the schedules of their workflow, or elsewhere."""
    places = zip(settings.trigger_places, settings.triggers, strict=True)
    return [trigger for place, trigger in places if place.startswith("triggers.")]


def _plugged(table: str, items: Iterable[Any], kind: Callable[[str, str], type[Any]]) -> Iterator[tuple[Place, Any]]:
    """Yield the settings of triggers or connectors, with all that their kinds add."""
    for n, item in enumerate(items):
        place = f"{table}.{n}"
        config = parse_options(kind(item.kind, place), item.options, place)
        yield from _leaves((table, n), {key: value for key, value in _fields(item).items() if key not in item.options} | _fields(config))


def _leaves(place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
    """Yield the single settings inside a value; what is not set and has no default is left out."""
    inner = _fields(value)
    if isinstance(value, list | tuple) and any(_fields(item) or isinstance(item, SecretStr) for item in value):
        inner = dict(enumerate(value))
    if inner:
        for key, item in inner.items():
            yield from _leaves((*place, key), item)
    elif isinstance(value, list | tuple):
        yield place, [file_form(item) for item in value]
    elif value is not None:
        yield place, value


def _fields(value: Any) -> dict[Any, Any]:
    if isinstance(value, BaseModel):
        return {field.alias or name: getattr(value, name) for name, field in type(value).model_fields.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own: dict[Any, Any] = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        options: dict[Any, Any] = own.pop("options", {})
        return own | options  # they stand in the same table
    return dict(value) if isinstance(value, Mapping) else {}
