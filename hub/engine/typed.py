"""What a step's body is like: the parameters that it asks for, whether it is asynchronous, and what its stored result comes back as.

Values come back as the class that the body promises: pydantic models and dataclasses by the return annotation. Without an annotation, or
with one of plain JSON types, a value comes back as the codec reads it. The same function serves the first run and every replay, so both
return the same thing. All of it is remembered by the code of the body, because programs make their bodies anew for every step.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple

from hub.core import codec

_PLAIN_NAMES = frozenset({"None", "dict", "list", "str", "int", "float", "bool", "Any", "bytes"})


class Shape(NamedTuple):
    """What a body is like."""

    code: CodeType | None  # kept, so that nothing else gets its number
    module: Mapping[str, Any] | None  # in which its annotation is read
    annotation: Any  # of its result
    parameters: Collection[str]  # by name
    asynchronous: bool
    value_of: Callable[[bytes], Any]  # turns its stored result into the value that its caller gets


_KNOWN = 1024  # more bodies than a project has; a program that makes up code must not fill the memory
_known: dict[int, Shape] = {}


def shape_of(body: Callable[..., Any]) -> Shape:
    """Return what a body is like."""
    code, module = getattr(body, "__code__", None), getattr(body, "__globals__", None)
    annotation = getattr(body, "__annotations__", _NONE).get("return")
    shape = _known.get(id(code))
    if shape is None or shape.annotation is not annotation or shape.module is not module:
        shape = _look_at(body, code, module, annotation)
        if shape.code is not None:
            if len(_known) >= _KNOWN:
                _known.clear()
            _known[id(code)] = shape
    return shape


_NONE: Mapping[str, Any] = {}


def _look_at(body: Callable[..., Any], code: Any, module: Any, annotation: Any) -> Shape:
    parameters: Collection[str] = ()
    plain = code if isinstance(code, CodeType) else None
    if plain is not None:  # the plain function, without the cost of a signature
        parameters = plain.co_varnames[: plain.co_argcount + plain.co_kwonlyargcount]
    else:
        with suppress(TypeError, ValueError):
            parameters = tuple(inspect.signature(body).parameters)
    asynchronous = bool(plain is not None and plain.co_flags & inspect.CO_COROUTINE) or inspect.iscoroutinefunction(body)
    return Shape(plain, module, annotation, parameters, asynchronous, _reader(body, annotation))


def _reader(body: Callable[..., Any], annotation: Any) -> Callable[[bytes], Any]:
    if isinstance(annotation, str):
        return codec.decode if annotation in _PLAIN_NAMES else _read_hint(body)
    return _read_hint(body) if _has_class(annotation) else codec.decode


def _read_hint(body: Callable[..., Any]) -> Callable[[bytes], Any]:
    try:
        hint = typing.get_type_hints(body).get("return")
    except (NameError, TypeError, AttributeError):  # a class that only the type checker sees
        return codec.decode
    return _reader_for(hint) if _has_class(hint) else codec.decode


def _has_class(hint: Any) -> bool:
    if dataclasses.is_dataclass(hint) or hasattr(hint, "model_validate"):
        return True
    return any(_has_class(part) for part in typing.get_args(hint))


@lru_cache(maxsize=1024)
def _adapter(hint: Any) -> Any:
    from pydantic import TypeAdapter  # only programs with typed results pay for the import

    return TypeAdapter(hint)


def _reader_for(hint: Any) -> Callable[[bytes], Any]:
    return lambda data: _adapter(hint).validate_python(codec.decode(data))
