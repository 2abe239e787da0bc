"""How the body of a request becomes a JSON value: JSON, forms, multipart forms, texts, and any other bytes as base64.

Knows only a content type and bytes. What cannot be read is refused with its place, never guessed: a wrong charset or half a form would
change the data in silence. No reader returns more than a small multiple of what it was given.
"""

from __future__ import annotations

import binascii
import re
import zlib
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from hub.core.errors import PayloadTooLarge, Rejected
from hub.core.outside import parse_json
from triggers._multipart import Part, read_parts

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
_TEXT_KINDS = frozenset({"application/xml", "application/yaml", "application/x-ndjson", "application/graphql"})
_TEXT_CHARSETS = ("utf-8", "us-ascii", "iso-8859-1", "windows-1252", "utf-16")  # Python's other codecs are not all safe on hostile bytes
_KIND = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")  # RFC 6838, section 4.2
_CHARSET = re.compile(r""";\s*charset=["']?([^\s;"']+)""", re.IGNORECASE)
_MAX_FORM_FIELDS = 1000
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


@lru_cache(maxsize=256)  # senders always say the same
def media_type(content_type: str) -> str:
    """Return the kind that a content type names, without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def is_json(kind: str) -> bool:
    """Whether bodies of that kind are JSON."""
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def check_accepted(kind: str, accepted: tuple[str, ...]) -> None:
    """Refuse a kind that the webhook does not take. Raises: Rejected."""
    if accepted and kind not in accepted and f"{kind.partition('/')[0]}/*" not in accepted:
        raise _unsupported(f"the content type {kind[:100]!r} is not accepted here; accepted are: {', '.join(accepted)}")


def read_payload(content_type: str, body: bytes) -> Any:
    """Turn a body into a JSON value by its content type; no body is null. Raises: Rejected with a code of `payload.…`."""
    if not body:
        return None
    kind = media_type(content_type)
    if is_json(kind):
        return parse_json(body)
    if kind == FORM:
        return _read_form(body)
    if kind == MULTIPART:
        return _read_multipart(content_type, body)
    if kind.startswith("text/") or kind in _TEXT_KINDS or kind.endswith("+xml"):
        return _read_text(body, _charset(content_type))
    if _KIND.fullmatch(kind):
        return {"content_type": kind, "base64": _base64(body)}
    raise _unsupported(
        f"{kind[:100]!r} is not a content type" if kind else "the content type is missing; send one, such as application/json"
    )


def unpack(encoding: str, body: bytes, limit_bytes: int) -> bytes:
    """Undo the compression of a body. Raises: Rejected, PayloadTooLarge as soon as it grows beyond the limit."""
    name = encoding.strip().lower()
    if name in ("", "identity") or not body:
        return body
    bits = _WINDOW_BITS.get(name)
    if bits is None:
        raise _unsupported(f"the content encoding {name[:40]!r} is not supported; use gzip, deflate, or none")
    try:
        return _inflated(body, bits, limit_bytes)
    except zlib.error:
        raise Rejected(f"the body is not the {name} that its content-encoding says", code="payload.malformed") from None


def _inflated(body: bytes, bits: int, limit_bytes: int) -> bytes:
    if bits == 15 and (body[0] & 0x0F != 8 or int.from_bytes(body[:2]) % 31):
        bits = -15  # some senders leave out the header of the deflate format (RFC 9110, section 8.4.1.2)
    found = bytearray()
    rest = body
    while rest:  # gzip files may be strung together
        inflater = zlib.decompressobj(bits)
        found += inflater.decompress(rest, limit_bytes + 1 - len(found))
        if len(found) > limit_bytes:
            raise PayloadTooLarge(f"the body is larger than {limit_bytes:,} bytes when it is unpacked; send less, or a reference to it")
        if not inflater.eof:
            raise zlib.error
        rest = inflater.unused_data
    return bytes(found)


def _read_form(body: bytes) -> dict[str, str | list[str]]:
    """Return the fields of a form; a name that comes more than once has a list."""
    if body.lstrip()[:1] in (b"{", b"["):  # forms write these as %7B and %5B; `curl -d` without a header does this
        raise _unsupported("the body looks like JSON, but its content type says form; send it as content-type: application/json")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FORM_FIELDS)
    except UnicodeDecodeError:
        raise Rejected("the form is not UTF-8", code="payload.malformed") from None
    except ValueError:
        raise Rejected(f"the form has more than {_MAX_FORM_FIELDS} fields", code="payload.too_large") from None
    return _collected(pairs)


def _read_multipart(content_type: str, body: bytes) -> dict[str, Any]:
    """Return the fields of a multipart form: texts, and files as objects."""
    return _collected([(part.name, _field(part)) for part in read_parts(content_type, body, max_parts=_MAX_FORM_FIELDS)])


def _field(part: Part) -> Any:
    text = _text_of(part)
    if part.filename is None and text is not None:
        return text
    kind = media_type(part.content_type)
    head = {"content_type": kind} if part.filename is None else {"filename": part.filename, "content_type": kind}
    return {**head, "text": text} if text is not None else {**head, "base64": _base64(part.content)}


def _text_of(part: Part) -> str | None:
    """Return the text of a part that is one; only the bytes of others are kept for certain."""
    kind = media_type(part.content_type)
    if not (kind.startswith("text/") or kind in _TEXT_KINDS or kind.endswith("+xml") or is_json(kind)):
        return None
    try:
        return _read_text(part.content, _charset(part.content_type))
    except Rejected:
        return None


def _collected(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, list[Any]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: several if len(several) > 1 else several[0] for name, several in values.items()}


def _charset(content_type: str) -> str:
    named = _CHARSET.search(content_type)
    return named[1].lower() if named else "utf-8"


def _read_text(body: bytes, charset: str) -> str:
    if charset not in _TEXT_CHARSETS:
        raise _unsupported(f"the charset {charset[:40]!r} is not supported; use {', '.join(_TEXT_CHARSETS)}")
    try:
        return body.decode(charset)
    except UnicodeDecodeError as error:
        raise Rejected(f"the text is not {charset}: bad byte at position {error.start}", code="payload.malformed") from None


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _unsupported(problem: str) -> Rejected:
    return Rejected(problem, code="payload.unsupported_type")
