"""Contracts: what the payload of a trigger must look like, by a JSON Schema or by a model of the project.

A contract only says yes or no: the payload is handed on as it came, without defaults and conversions. Nothing is fetched from a network:
a schema may refer to files of its own folder, and every reference is followed when the project is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

from pydantic import TypeAdapter, ValidationError

from hub.core.codec import parse_json
from hub.core.errors import ConfigError, Rejected

CODE = "payload.schema"
_FAULTS = 20  # of which the most telling one is named
_SHOWN_CHARS = 300  # messages repeat the value at fault, however large
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Contract(Protocol):
    """What a payload must look like."""

    def check(self, payload: Any) -> None:
        """Return when the payload is as agreed. Raises: Rejected (`payload.schema`) with the path of the fault and its cause."""
        ...


class ModelContract:
    """A contract that is a pydantic model, or any type that pydantic understands: dataclasses, typed dicts, lists of them."""

    def __init__(self, model: Any, name: str, where: str = "") -> None:
        """Take a type. Raises: ConfigError when it is none that can be checked."""
        self._name = name
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(model)
        except Exception as error:  # pydantic has many of them
            raise ConfigError(f"{name} cannot check a payload: {type(error).__name__}: {error}", path=where) from error

    def check(self, payload: Any) -> None:
        """See `Contract.check`."""
        try:
            self._adapter.validate_python(payload)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
            raise _rejected(fault["loc"], fault["msg"], self._name) from None
        except RecursionError:
            raise _rejected((), "nested too deeply", self._name) from None


class SchemaContract:
    """A contract that is a JSON Schema; drafts 3 to 2020-12, the newest unless it says otherwise."""

    def __init__(self, file: Path, where: str = "") -> None:
        """Read a schema and all that it refers to. Raises: ConfigError."""
        from jsonschema.exceptions import SchemaError  # here: only who uses a schema pays for the import
        from jsonschema.validators import Draft202012Validator, validator_for
        from referencing import Registry, Resource
        from referencing.exceptions import Unresolvable
        from referencing.jsonschema import DRAFT202012

        schema = _read(file, where)
        kind: Any = validator_for(schema, default=Draft202012Validator)
        try:
            kind.check_schema(schema)
        except SchemaError as error:
            raise ConfigError(f"{file.name} is no JSON Schema: {error.json_path}: {error.message[:_SHOWN_CHARS]}", path=where) from None
        if isinstance(schema, dict):
            schema = {"$id": file.resolve().as_uri(), **schema}  # what its references are relative to

        def retrieve(uri: str) -> Any:
            return Resource.from_contents(_read(_beside(file, uri), where), default_specification=DRAFT202012)

        own: Any = Resource.from_contents(schema, default_specification=DRAFT202012)
        registry: Any = Registry(retrieve=retrieve)  # type: ignore[call-arg]  # its classes are made by attrs
        try:
            _follow(schema, registry.resolver_with_root(own))
        except Unresolvable as error:
            missing = f'{file.name} refers to "{error.ref}", which is not there; it may refer to files beside it'
            raise ConfigError(missing, path=where) from None
        self._name = file.name
        self._validator = kind(schema, registry=registry, format_checker=kind.FORMAT_CHECKER)

    def check(self, payload: Any) -> None:
        """See `Contract.check`."""
        from jsonschema.exceptions import best_match
        from referencing.exceptions import Unresolvable

        try:
            fault = best_match(islice(self._validator.iter_errors(payload), _FAULTS))
        except Unresolvable as error:
            raise _rejected((), f'the schema refers to "{error.ref}", which is not there', self._name) from None
        except RecursionError:
            raise _rejected((), "nested too deeply", self._name) from None
        if fault is not None:
            raise _rejected(fault.absolute_path, fault.message, self._name)


def _read(file: Path, where: str) -> Any:
    try:
        return parse_json(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", path=where) from None
    except Rejected as error:
        raise ConfigError(f"{file.name}: {error.message.removeprefix('the body is ')}", path=where) from None


def _beside(file: Path, uri: str) -> Path:
    """Return the file of the schema's own folder, or below, that a reference means. Raises: LookupError for anything else."""
    parts = urlparse(uri)
    place, folder = Path(unquote(parts.path)), file.resolve().parent
    if parts.scheme != "file" or not place.resolve().is_relative_to(folder) or not place.is_file():
        raise LookupError(uri)
    return place


def _follow(schema: Any, resolver: Any) -> None:
    """Look up every reference, also those of what is referred to. Raises: Unresolvable."""
    rest, seen = [(schema, resolver)], dict[int, Any]()  # by id, and kept, so that no id is given twice
    while rest:
        part, base = rest.pop()
        if id(part) in seen or not isinstance(part, dict | list):
            continue
        seen[id(part)] = part
        if isinstance(part, dict) and isinstance(part.get("$ref"), str):
            found = base.lookup(part["$ref"])
            rest.append((found.contents, found.resolver))
        rest.extend((child, base) for child in (part.values() if isinstance(part, dict) else part))


def _rejected(path: Iterable[Any], cause: str, name: str) -> Rejected:
    place = "payload"
    for part in path:
        if isinstance(part, int):
            place += f"[{part}]"
        else:
            place += f".{part}" if _PLAIN.fullmatch(str(part)) else f"[{str(part)[:100]!r}]"
    cause = " ".join(cause.split())
    shown = cause if len(cause) <= _SHOWN_CHARS else f"{cause[:_SHOWN_CHARS]}…"
    return Rejected(f"{place}: {shown} ({name})", code=CODE)
