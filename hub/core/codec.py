"""The JSON that the hub keeps on disk. Owns the tagged form of values that JSON lacks.

Never pickles and never calls a class named by the data. A value that JSON has no word for is written as `{"$hub": [type, form]}`; a dict
that contains that key itself is written as a tagged dict. Hence JSON from outside can never turn into a tagged type, and
`decode(encode(value)) == value` for every value that `encode` accepts, apart from classes (dataclasses, models, enum members), which come
back as plain values.
"""

from __future__ import annotations

import binascii
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, NoReturn
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson

TAG = "$hub"
MAX_DEPTH = 200  # of containers in a value with tagged parts; the JSON library's own limit for others is 254

_TAG_BYTES = b'"$hub"'
_MAX_DIGITS = 4_200  # Python refuses to read or write an integer of more than 4,300
_TOO_BIG = 10**_MAX_DIGITS
_LEAVES = frozenset({str, int, bool, type(None)})

_Path = tuple["_Path", Any] | None  # a linked list of keys, so that a step into a value costs one small tuple


# ---- writing


def encode(value: Any, *, what: str = "value") -> bytes:
    """Write a value as the hub keeps it. `what` names the value in an error's path, such as `result["items"][3]`.

    Raises: TypeError (a part of the value has a type that cannot be stored) or ValueError (a type that can, a value that cannot).
    """
    try:
        written = orjson.dumps(value)  # first: it also ends at a value that contains itself
    except TypeError:
        pass
    else:
        if _is_plain(value) and _TAG_BYTES not in written:
            return written
    try:
        return _dump(_tagged(value, None, MAX_DEPTH, what))
    except RecursionError:
        raise ValueError(f"{what}: nested too deeply") from None


def keep(value: Any, *, what: str = "value") -> tuple[bytes, Any]:
    """Write a value as `encode` does, and return with it what `decode` reads of it: both together cost hardly more than one.

    JSON that reads as something equal is exact, apart from classes, which come back as plain values either way.
    """
    try:
        written = orjson.dumps(value)
        read = orjson.loads(written)
        if read == value and _TAG_BYTES not in written:
            return written, read
    except (TypeError, ValueError, RecursionError):  # `encode` can do more, or says what is wrong
        pass
    written = encode(value, what=what)
    return written, decode(written)


def _is_plain(value: Any) -> bool:
    """Whether the JSON library keeps every part of a value exactly. It would turn tuples into lists and NaN into null.

    One flat loop, because this is on the path of every step: a call a container costs twice as much.
    """
    rest = [value]
    for part in rest:  # grows while it is read
        kind = type(part)
        if kind is dict:
            for key, child in part.items():
                if type(key) is not str:
                    return False
                if type(child) not in _LEAVES:
                    rest.append(child)
        elif kind is list:
            for child in part:
                if type(child) not in _LEAVES:
                    rest.append(child)  # noqa: PERF401 - a comprehension is a call on Python 3.11
        elif kind is float:
            if not math.isfinite(part):
                return False
        elif kind not in _LEAVES:
            return False
    return True


def _dump(form: Any) -> bytes:
    try:
        return orjson.dumps(form)
    except TypeError:  # tags make a form deeper than the value that it stands for
        return json.dumps(form, ensure_ascii=False, separators=(",", ":")).encode()


def _tagged(value: Any, path: _Path, depth: int, what: str) -> Any:
    """Turn a value into its JSON form."""
    kind = type(value)
    if kind is bool or value is None:
        return value
    write = _SCALARS.get(kind)
    if write is None and not isinstance(value, dict | list | tuple):
        if isinstance(value, Enum):
            return _tagged(value.value, path, depth, what)
        write = next((write for scalar, write in _SCALARS.items() if isinstance(value, scalar)), None)
    if write is None:
        return _tagged_container(value, path, depth, what)
    try:
        form = write(value)
    except ValueError as error:
        _refuse(ValueError, path, what, str(error))
    return form


def _tagged_container(value: Any, path: _Path, depth: int, what: str) -> Any:
    if depth == 0:
        _refuse(ValueError, path, what, f"nested deeper than {MAX_DEPTH} levels; does the value contain itself?")
    if isinstance(value, dict):
        return _tagged_dict(value, path, depth, what)
    if isinstance(value, list | tuple):
        items = [_tagged(item, (path, number), depth - 1, what) for number, item in enumerate(value)]
        return items if isinstance(value, list) else {TAG: ["tuple", items]}
    if isinstance(value, set | frozenset):
        return _tagged_set(value, path, depth, what)
    return _tagged_dict(_as_dict(value, path, what), path, depth, what)


def _tagged_dict(value: Mapping[Any, Any], path: _Path, depth: int, what: str) -> Any:
    pairs = []
    only_text = TAG not in value
    for key, item in value.items():
        step = (path, key)
        written = _tagged(key, step, depth - 1, what)
        only_text = only_text and type(written) is str
        pairs.append((written, _tagged(item, step, depth - 1, what)))
    if not only_text:
        _check_hashable((key for key, _ in pairs), path, what, "key")
        return {TAG: ["dict", pairs]}
    form = dict(pairs)
    if len(form) < len(pairs):
        _refuse(ValueError, path, what, "two keys become the same text")
    return form


def _tagged_set(value: Iterable[Any], path: _Path, depth: int, what: str) -> Any:
    items = [_tagged(item, (path, item), depth - 1, what) for item in value]
    _check_hashable(items, path, what, "set member")
    items.sort(key=_dump)  # the same set is always the same bytes
    return {TAG: ["frozenset" if isinstance(value, frozenset) else "set", items]}


def _check_hashable(forms: Iterable[Any], path: _Path, what: str, role: str) -> None:
    """Refuse what could not be read back: a frozen dataclass is hashable, the dict that it becomes is not."""
    for form in forms:
        try:
            hash(_untagged(form, _READ))
        except TypeError:
            _refuse(TypeError, path, what, f"a {role} that is stored as a dict or list could not be read back; use a text or a tuple")


def _as_dict(value: Any, path: _Path, what: str) -> Mapping[Any, Any]:
    if not isinstance(value, type):
        dump = getattr(value, "model_dump", None)  # pydantic and SQLModel, without importing them
        if callable(dump) and isinstance(dumped := dump(), dict):
            return dumped
        if is_dataclass(value):
            return {field.name: getattr(value, field.name) for field in fields(value)}
    name = type(value).__name__
    advice = "; is an `await` missing?" if name == "coroutine" else ""
    _refuse(TypeError, path, what, f"a value of type {name} cannot be stored{advice}")


def _write_text(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"the text is not Unicode: a lone surrogate at position {error.start}") from None
    return value if type(value) is str else str.__str__(value)


def _write_int(value: int) -> Any:
    if -(2**63) <= value < 2**64:
        return int(value)
    if not -_TOO_BIG < value < _TOO_BIG:
        raise ValueError(f"an integer of more than {_MAX_DIGITS:,} digits cannot be stored")
    return {TAG: ["int", str(int(value))]}


def _write_float(value: float) -> Any:
    return float(value) if math.isfinite(value) else {TAG: ["float", repr(float(value))]}


def _write_zoned(name: str) -> Callable[[Any], Any]:
    """Keep the name of the time zone beside the offset: arithmetic across a clock change needs it."""

    def write(value: datetime | time) -> Any:
        zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
        return {TAG: [name, [value.isoformat(), zone] if zone else value.isoformat()]}

    return write


def _write_bytes(name: str) -> Callable[[Any], Any]:
    return lambda value: {TAG: [name, binascii.b2a_base64(value, newline=False).decode()]}


_SCALARS: dict[type, Callable[[Any], Any]] = {
    # a subclass stands before its parent
    str: _write_text,
    int: _write_int,
    float: _write_float,
    datetime: _write_zoned("datetime"),
    date: lambda value: {TAG: ["date", value.isoformat()]},
    time: _write_zoned("time"),
    timedelta: lambda value: {TAG: ["timedelta", [value.days, value.seconds, value.microseconds]]},
    bytes: _write_bytes("bytes"),
    bytearray: _write_bytes("bytearray"),
    Decimal: lambda value: {TAG: ["decimal", str(value)]},
    UUID: lambda value: {TAG: ["uuid", str(value)]},
}


def _refuse(kind: type[Exception], path: _Path, what: str, problem: str) -> NoReturn:
    keys: list[Any] = []
    while path is not None:
        path, key = path
        keys.append(key)
    steps = "".join(f"[{_short(key)}]" for key in reversed(keys[-8:]))
    raise kind(f"{what}{steps}{'…' if len(keys) > 8 else ''}: {problem}")  # eight steps fill a line


def _short(key: object) -> str:
    text = json.dumps(key) if isinstance(key, str) else repr(key)
    return text if len(text) <= 40 else text[:39] + "…"


# ---- reading


def decode(data: bytes) -> Any:
    """Read what `encode` wrote. Raises: ValueError (these bytes are not the hub's)."""
    value = orjson.loads(data)
    return _untagged(value, _READ) if _TAG_BYTES in data else value


def plain(data: bytes) -> Any:
    """Read what `encode` wrote as JSON clients see it: only dict, list, text, numbers, booleans and None.

    Times are ISO text, a timedelta is a number of seconds, bytes are base64, decimals and UUIDs are text, sets and tuples are lists.
    """
    value = orjson.loads(data)
    return _untagged(value, _SHOW) if _TAG_BYTES in data else value


def same(one: bytes, other: bytes) -> bool:
    """Whether two encoded values are the same, whatever the order of their keys."""
    if one == other:
        return True
    return orjson.dumps(orjson.loads(one), option=orjson.OPT_SORT_KEYS) == orjson.dumps(orjson.loads(other), option=orjson.OPT_SORT_KEYS)


def dump_plain(value: Any) -> bytes:
    """Write a plain value as JSON text for clients, however large its integers are."""
    try:
        return orjson.dumps(value)
    except TypeError:  # beyond 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _untagged(form: Any, readers: Mapping[str, Callable[[Any], Any]]) -> Any:
    kind = type(form)
    if kind is list:
        return [_untagged(item, readers) for item in form]
    if kind is not dict:
        return form
    if TAG not in form:
        return {key: _untagged(item, readers) for key, item in form.items()}
    name, inner = form[TAG]
    reader = readers.get(name)
    if reader is None:
        raise ValueError(f'unknown stored type "{name}"; was it written by a newer version?')
    return reader(_untagged(inner, readers))


def _read_datetime(form: str | list[str]) -> datetime:
    if isinstance(form, str):
        return datetime.fromisoformat(form)
    return datetime.fromisoformat(form[0]).astimezone(ZoneInfo(form[1]))


def _read_time(form: str | list[str]) -> time:
    if isinstance(form, str):
        return time.fromisoformat(form)
    return time.fromisoformat(form[0]).replace(tzinfo=ZoneInfo(form[1]))


_READ: dict[str, Callable[[Any], Any]] = {
    "int": int,
    "float": float,
    "datetime": _read_datetime,
    "date": date.fromisoformat,
    "time": _read_time,
    "timedelta": lambda form: timedelta(*form),
    "bytes": binascii.a2b_base64,
    "bytearray": lambda form: bytearray(binascii.a2b_base64(form)),
    "decimal": Decimal,
    "uuid": UUID,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "dict": dict,
}


def _show_dict(pairs: list[list[Any]]) -> Any:
    """Keys become text; where two would become the same, the list of pairs is shown instead."""
    shown = {key if isinstance(key, str) else dump_plain(key).decode(): item for key, item in pairs}
    return shown if len(shown) == len(pairs) else pairs


_SHOW: dict[str, Callable[[Any], Any]] = dict.fromkeys(_READ, lambda form: form) | {
    "int": int,
    "float": {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.__getitem__,
    "datetime": lambda form: form if isinstance(form, str) else form[0],
    "time": lambda form: form if isinstance(form, str) else form[0],
    "timedelta": lambda form: timedelta(*form).total_seconds(),
    "dict": _show_dict,
}
