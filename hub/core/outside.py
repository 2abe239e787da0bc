"""JSON from outside: strict, bounded, and exact.

What cannot be read is refused with its place. Nothing read here can turn into one of the codec's tagged types.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import orjson

from hub.core.errors import Rejected

MAX_OUTSIDE_DEPTH = 100  # leaves room for the wrapping that a trigger adds, below the limit of the JSON library

_MAX_DIGITS = 4_200  # Python refuses to read an integer of more than 4,300
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_MAYBE_BIG = b"0" * 19  # an integer beyond 64 bits has at least 19 digits


def parse_json(data: bytes | bytearray | memoryview | str) -> Any:
    """Read JSON that somebody sent. Integers keep their exact value, whatever their size.

    Raises: Rejected with code `payload.malformed` and the place in the text.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else bytes(data)
    raw = raw.removeprefix(b"\xef\xbb\xbf")  # a byte order mark; readers may ignore it (RFC 8259, section 8.1)
    try:
        value = _parse_exactly(raw) if _MAYBE_BIG in raw.translate(_DIGITS_TO_ZERO) else orjson.loads(raw)
    except json.JSONDecodeError as error:
        raise _malformed(_reason(error, raw)) from None
    except RecursionError:
        raise _malformed(f"nested deeper than {MAX_OUTSIDE_DEPTH} levels") from None
    if raw.count(b"[") + raw.count(b"{") > MAX_OUTSIDE_DEPTH and _deeper_than(value, MAX_OUTSIDE_DEPTH):
        raise _malformed(f"nested deeper than {MAX_OUTSIDE_DEPTH} levels")
    return value


def _malformed(reason: str) -> Rejected:
    return Rejected(f"the body is not valid JSON: {reason}", code="payload.malformed")


def _reason(error: json.JSONDecodeError, raw: bytes) -> str:
    if not raw.strip():
        return "it is empty"
    try:
        raw.decode()
    except UnicodeDecodeError as broken:
        line, column = raw.count(b"\n", 0, broken.start) + 1, broken.start - raw.rfind(b"\n", 0, broken.start)
        return f"a byte that is not UTF-8 at line {line} column {column}"
    return f"{error.msg} at line {error.lineno} column {error.colno}"


def _parse_exactly(raw: bytes) -> Any:
    """Read with the standard library, whose integers have no limit, as strictly as the fast library reads."""
    try:
        value = json.loads(raw.decode(), parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("not UTF-8", raw.decode("latin-1"), error.start) from None
    except UnicodeEncodeError:
        raise _malformed("a text contains half of a surrogate pair") from None
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise _malformed(f"{name} is not a JSON value")


def _finite(number: str) -> float:
    if math.isinf(float(number)):
        raise _malformed(f"the number {number[:20]} is out of range")
    return float(number)


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise _malformed(f"a number has more than {_MAX_DIGITS:,} digits")
    return int(digits)


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value] if isinstance(value, list | dict) else []
    for _ in range(limit):
        level = [
            child
            for container in level
            for child in (container.values() if isinstance(container, dict) else container)
            if isinstance(child, list | dict)
        ]
        if not level:
            return False
    return True
