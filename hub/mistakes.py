"""Mistakes in settings, told so that they can be mended: which key, what is wrong, what was probably meant.

Owns the words for pydantic's errors. Never shows the value of a secret. Every message begins with where the value came from and the path of
its key, such as `hub.toml: workflows.0.clas_name: unknown key; did you mean class_name?`.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import UnionType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hub.core.errors import ConfigError

Location = tuple[int | str, ...]
_UNKNOWN = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
_MISSING = frozenset({"missing", "missing_argument", "missing_keyword_only_argument"})
_WORDS = {
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "int_type": "expected a whole number",
    "string_type": "expected text",
    "dict_type": "expected a table",
    "dataclass_type": "expected a table",
    "model_type": "expected a table",
    "greater_than_equal": "expected at least {ge}",
    "less_than_equal": "expected at most {le}",
    "string_too_short": "must not be empty",
}
_SHOWN_CHARS = 60  # of a wrong value: enough to recognise it


def mistake(problem: str, path: str, origin: str = "") -> ConfigError:
    """Make the error for one wrong key; `origin` is the file, the variable or the command line."""
    error = ConfigError(problem, path=": ".join(part for part in (origin, path) if part))
    error.path = path
    return error


def in_file(error: ConfigError, file: Path) -> ConfigError:
    """Return an error that was found behind a file's keys with the file put before its message."""
    told = ConfigError(f"{file}: {error.message}")
    told.path = error.path
    return told


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the one that was probably meant, else all that there are."""
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"there are: {', '.join(choices)}" if choices else "there are none"


def from_validation(
    error: ValidationError, schema: Any, *, prefix: str = "", origin: Callable[[Location], str] = lambda _: "", beside: Iterable[str] = ()
) -> ConfigError:
    """Turn all errors of one validation against `schema` into one ConfigError, one line each; its path is that of the first.

    `beside` are keys that stand in the same table and belong to another schema: an unknown key may be meant to be one of them.
    """
    found = sorted(error.errors(include_url=False), key=lambda details: details["type"] not in _UNKNOWN)
    meant = {_sibling(details, schema) for details in found if details["type"] in _UNKNOWN}
    mistakes = []
    for details in found:
        location = details["loc"]
        if details["type"] in _MISSING and location in meant:
            continue  # told once is enough: the misspelt key says what it should be
        path = ".".join([*([prefix] if prefix else []), *map(str, location)])
        mistakes.append(mistake(_problem(details, schema, beside), path, origin(location)))
    combined = ConfigError("\n".join(each.message for each in mistakes))
    combined.path = mistakes[0].path
    return combined


def _sibling(details: ErrorDetails, schema: Any) -> Location | None:
    """Return the place of the key that an unknown key was probably meant to be."""
    *parents, key = details["loc"]
    near = difflib.get_close_matches(str(key), fields_of(_at(schema, parents)), n=1)
    return (*parents, near[0]) if near else None


def _problem(details: ErrorDetails, schema: Any, beside: Iterable[str]) -> str:
    location, kind, value = details["loc"], details["type"], details["input"]
    *parents, key = location or ("",)
    if kind in _UNKNOWN:
        return f"unknown key; {nearest(str(key), {*fields_of(_at(schema, parents)), *(() if parents else beside)})}"
    if kind in _MISSING:
        given = value.get("options", value) if isinstance(value, dict) else ()
        near = difflib.get_close_matches(str(key), [*map(str, given)], n=1)
        return f"is required; is it misspelt as {near[0]}?" if near else "is required"
    if kind in ("tuple_type", "list_type") and isinstance(value, dict):
        return f"expected a list of tables; write [[{key}]] with two brackets"
    if kind == "value_error":
        return details["msg"].removeprefix("Value error, ")
    told = _WORDS.get(kind, "").format(**details.get("ctx", {})) or details["msg"].replace("Input should be", "expected", 1)
    expected = _at(schema, location)
    if isinstance(value, str | int | float) and expected is not None and "Secret" not in str(expected):
        shown = repr(value) if isinstance(value, str) else str(value).lower()
        return f"{told}, got {shown if len(shown) <= _SHOWN_CHARS else shown[:_SHOWN_CHARS] + '…'}"
    return told


def fields_of(schema: Any) -> dict[str, Any]:
    """Return the keys of a dataclass, a pydantic model or a TypedDict with their annotations."""
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return {field.alias or name: field.annotation for name, field in schema.model_fields.items()}
    if isinstance(schema, type) and (dataclasses.is_dataclass(schema) or typing.is_typeddict(schema)):
        return {name: kind for name, kind in typing.get_type_hints(schema).items() if not str(kind).startswith("typing.ClassVar")}
    return {}


def _at(schema: Any, location: Sequence[int | str]) -> Any:
    """Return the type that stands at a place inside another one; None where that is not known."""
    for part in location:
        if typing.get_origin(schema) is dict:
            schema = typing.get_args(schema)[1]
        elif isinstance(part, str):
            schema = fields_of(schema).get(part)
        schema = _unwrapped(schema)
    return schema


def _unwrapped(annotation: Any) -> Any:
    """Return the first table inside `X | None`, `tuple[X, ...]`, `list[X]`; an annotation without one is returned as it is."""
    if typing.get_origin(annotation) in (typing.Union, UnionType, tuple, list):
        tables = [inner for inner in map(_unwrapped, typing.get_args(annotation)) if fields_of(inner)]
        return tables[0] if tables else annotation
    return annotation
