"""Contracts: what the payload of a trigger must look like, by a JSON Schema or by a model of the project.

A contract only says yes or no: the payload is handed on as it came, without defaults and conversions. Nothing is fetched from a network:
a schema may refer to files of its own folder, and every reference is followed when the project is loaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

from pydantic import TypeAdapter, ValidationError

from hub.core.errors import ConfigError, Rejected
from hub.core.outside import parse_json

CODE = "payload.schema"
MAX_TOLD = 5000  # values of a payload: some 25 µs each at the worst
_SHOWN_CHARS = 300  # messages repeat the value at fault, however large
_ALTERNATIVES = frozenset({"anyOf", "oneOf"})
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
    """A contract that is a JSON Schema; drafts 4 to 2020-12, the newest unless it says otherwise.

    A payload of 1 MiB is checked within some milliseconds, and its patterns with a limit to their backtracking. To tell where it does not
    fit costs more where a schema has alternatives: each fault of each of them is looked at, which is why that has a limit of its own.
    """

    def __init__(self, file: Path, where: str = "") -> None:
        """Read a schema and all that it refers to. Raises: ConfigError."""
        import jsonschema_rs  # here: only who uses a schema pays for the import

        schema, missing = _read(file, where), list[str]()
        self._name = file.name
        self._has_alternatives = _has_alternatives(schema)

        def retrieve(uri: str) -> Any:
            try:
                found = _read(_beside(file, uri), where)
            except LookupError:
                missing.append(_told(file, uri))
                raise
            self._has_alternatives |= _has_alternatives(found)
            return found

        try:
            self._validator = jsonschema_rs.validator_for(
                schema, validate_formats=True, retriever=retrieve, base_uri=file.resolve().as_uri()
            )
        except jsonschema_rs.ValidationError as error:
            raise ConfigError(_unusable(file, error, missing), path=where) from None

    def check(self, payload: Any) -> None:
        """See `Contract.check`."""
        from jsonschema_rs import ValidationError

        try:
            if self._validator.is_valid(payload):
                return
            if self._has_alternatives and _has_more_values(payload, MAX_TOLD):
                raise _rejected((), f"it does not fit; the place is told of payloads with at most {MAX_TOLD:,} values", self._name)
            self._validator.validate(payload)
        except ValidationError as error:
            fault = _most_telling(error)
            raise _rejected(fault.instance_path, fault.message, self._name) from None
        except UnicodeEncodeError:
            raise _rejected((), "it holds half a surrogate pair, which is no text", self._name) from None
        except RecursionError:
            raise _rejected((), "nested too deeply", self._name) from None


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


def _told(file: Path, uri: str) -> str:
    """Return a reference as it stands in the schema."""
    parts = urlparse(uri)
    return os.path.relpath(unquote(parts.path), file.resolve().parent) if parts.scheme == "file" else uri


def _unusable(file: Path, error: Any, missing: Sequence[str]) -> str:
    if missing:
        return f'{file.name} refers to "{missing[-1]}", which is not there; it may refer to files beside it'
    told = error.message[:_SHOWN_CHARS]
    if not error.instance_path:  # not a fault within the schema
        return f"{file.name}: {told}"
    return f"{file.name} is no JSON Schema: $.{'.'.join(str(part) for part in error.instance_path)}: {told}"


def _has_alternatives(schema: Any) -> bool:
    rest = [schema]
    while rest:
        part = rest.pop()
        if isinstance(part, dict):
            if not _ALTERNATIVES.isdisjoint(part):
                return True
            rest.extend(part.values())
        elif isinstance(part, list):
            rest.extend(part)
    return False


def _has_more_values(payload: Any, number: int) -> bool:
    rest = [payload]
    while rest and number >= 0:
        part = rest.pop()
        number -= 1
        if isinstance(part, dict | list):
            if len(part) > number:
                return True
            rest.extend(part.values() if isinstance(part, dict) else part)
    return number < 0


def _most_telling(fault: Any) -> Any:
    """Follow a fault of alternatives to the one that lies deepest, if there is one: what fits farthest is probably what was meant."""
    while (branches := getattr(fault.kind, "context", None)) is not None:
        deepest = sorted((each for branch in branches for each in branch), key=lambda each: len(each.instance_path), reverse=True)[:2]
        if not deepest or (len(deepest) > 1 and len(deepest[0].instance_path) == len(deepest[1].instance_path)):
            return fault
        fault = deepest[0]
    return fault


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
