"""The parts of a multipart form (RFC 7578, RFC 2046), out of bytes that are there already.

Knows nothing of what parts mean. Strict where a lenient reading could be another one than the sender's: a form without its last boundary,
or a part without a name, is refused. Linear in the size of the body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from hub.core.errors import Rejected

_BOUNDARY = re.compile(r""";\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))""", re.IGNORECASE)  # 70 characters by RFC 2046, section 5.1.1
_PARAMETER = re.compile(r""";\s*([!#$&+.^_`|~0-9A-Za-z*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))""")
_MAX_HEADER_BYTES = 8192  # of one part; more is no form of a person or a library


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One field of a form. `filename` is there when it is a file."""

    name: str
    content: bytes
    content_type: str = "text/plain"
    filename: str | None = None


def read_parts(content_type: str, body: bytes, *, max_parts: int) -> list[Part]:
    """Return the parts of a form. Raises: Rejected with code `payload.malformed` or `payload.too_large`."""
    named = _BOUNDARY.search(content_type)
    if named is None:
        raise _malformed("its content type names no boundary")
    boundary = re.escape((named[1] or named[2]).encode("utf-8", "surrogateescape"))  # the bytes that were sent
    delimiter = re.compile(rb"(?:\A|\r\n)--" + boundary + rb"(--)?[ \t]*(?:\r\n|\Z)")
    parts: list[Part] = []
    start = None
    position = 0
    while (found := delimiter.search(body, position)) is not None:
        if start is not None:
            if len(parts) == max_parts:
                raise Rejected(f"the form has more than {max_parts} parts", code="payload.too_large")
            parts.append(_part(body[start : found.start()], len(parts) + 1))
        if found[1]:
            return parts
        start = found.end()
        position = max(found.end() - 2, found.start() + 1)  # the line break may belong to the next boundary too
    raise _malformed("it breaks off before its last boundary" if start is not None else "its boundary is not in it")


def _part(raw: bytes, number: int) -> Part:
    if raw.startswith(b"\r\n"):
        raise _malformed(f"part {number} has no name")
    head, separator, content = raw.partition(b"\r\n\r\n")
    if not separator or len(head) > _MAX_HEADER_BYTES:
        raise _malformed(f"part {number} has no end of its headers" if not separator else f"the headers of part {number} are too long")
    headers = {}
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    kind, parameters = _disposition(headers.get("content-disposition", ""))
    if kind != "form-data" or "name" not in parameters:
        raise _malformed(f"part {number} has no name")
    filename = parameters.get("filename")
    default = "text/plain" if filename is None else "application/octet-stream"
    return Part(name=parameters["name"], content=content, content_type=headers.get("content-type") or default, filename=filename)


def _disposition(header: str) -> tuple[str, dict[str, str]]:
    kind = header.partition(";")[0].strip().lower()
    parameters: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(header):
        value = re.sub(r"\\([\\\"])", r"\1", quoted) if quoted else plain
        if name.lower() == "filename*":  # not allowed here by RFC 7578, and sent all the same
            charset, _, rest = value.partition("'")
            if charset.lower() == "utf-8":
                parameters["filename"] = unquote(rest.partition("'")[2])
        else:
            parameters.setdefault(name.lower(), value)
    return kind, parameters


def _malformed(problem: str) -> Rejected:
    return Rejected(f"the multipart form cannot be read: {problem}", code="payload.malformed")
