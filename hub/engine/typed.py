"""Values come back as the class that the step's body promises: pydantic models and dataclasses by the return annotation.

Without an annotation, or with one of plain JSON types, a value comes back as the codec reads it. The same function serves the first run
and every replay, so both return the same thing.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from hub.core import codec

_PLAIN_NAMES = frozenset({"None", "dict", "list", "str", "int", "float", "bool", "Any", "bytes"})
_PLAIN = frozenset({None, type(None), dict, list, str, int, float, bool, bytes, tuple, set, Any})


def reader(body: Callable[..., Any]) -> Callable[[bytes], Any]:
    """Return the function that turns a body's stored result into the value its caller gets."""
    annotation = getattr(body, "__annotations__", {}).get("return")
    if annotation in _PLAIN or (isinstance(annotation, str) and annotation in _PLAIN_NAMES):
        return codec.decode
    module = getattr(body, "__globals__", None)
    if not isinstance(annotation, str) or module is None:
        return _read_hint(body)
    known = _readers.get((id(module), annotation))
    if known is None or known[0] is not module:  # the same number may be of another module after a reload
        if len(_readers) >= _READERS:
            _readers.clear()
        known = _readers[id(module), annotation] = (module, _read_hint(body))
    return known[1]


_READERS = 1024  # more annotations than a project has; a program that makes up classes must not fill the memory
_readers: dict[tuple[int, str], tuple[Any, Callable[[bytes], Any]]] = {}  # reading a hint compiles it: too dear for every step


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
