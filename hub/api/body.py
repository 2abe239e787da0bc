"""Reading what a client sends: the body within its limit, JSON of the accepted content types, queries.

Every body is read here and nowhere else, because the server's own limit counts differently. The bytes are exactly those that were sent:
nothing is decompressed. The limit holds whatever `Content-Length` says.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, TypeAdapter, ValidationError

from hub.api import problems
from hub.api.connection import LIMITS
from hub.core.errors import PayloadTooLarge, Rejected
from hub.core.outside import parse_json

M = TypeVar("M", bound=BaseModel)

_UTF8 = frozenset({"utf-8", "utf8", "us-ascii"})


async def read(request: web.Request, limit_bytes: int) -> bytes:
    """Return the whole body. Raises: PayloadTooLarge as soon as that is certain, Rejected when the client breaks off."""
    if request.content_length is not None and request.content_length > limit_bytes:
        raise _too_large(limit_bytes)
    if not request.body_exists:
        return b""
    parts: list[bytes] = []
    size, body_s = 0, request.app[LIMITS].body_s
    try:
        if request.content.is_eof():  # it came together with the head, as most do: there is nothing to wait for
            whole = request.content.read_nowait()
            if len(whole) > limit_bytes:
                raise _too_large(limit_bytes)
            return whole
        async with asyncio.timeout(body_s):
            async for part in request.content.iter_any():
                size += len(part)
                if size > limit_bytes:
                    raise _too_large(limit_bytes)
                parts.append(part)
    except TimeoutError:
        raise Rejected(f"the body did not come within {body_s:g} seconds", code="request.timeout") from None
    except (web.RequestPayloadError, ConnectionError):
        raise Rejected("the body breaks off before its end", code="body") from None
    return b"".join(parts)


def _too_large(limit_bytes: int) -> PayloadTooLarge:
    cure = "store large data elsewhere and send a reference to it"
    return PayloadTooLarge(f"the body is larger than the {limit_bytes:,} bytes that are accepted here; {cure}")


def parse(request: web.Request, raw: bytes, shape: TypeAdapter[Any]) -> Any:
    """Read a JSON body into its shape; an empty one counts as `{}`. Raises: Rejected, naming the place."""
    if not raw:
        return _checked({}, shape)
    _check_type(request)
    return _checked(parse_json(raw), shape)


def parse_query(request: web.Request, shape: type[M]) -> M:
    """Read the query; empty values count as absent, of a repeated key the last one counts. Raises: Rejected, naming the key."""
    try:
        return shape.model_validate({key: value for key, value in request.query.items() if value})
    except ValidationError as error:
        raise problems.invalid(error, "query") from None


def _checked(value: Any, shape: TypeAdapter[Any]) -> Any:
    try:
        return shape.validate_python(value)
    except ValidationError as error:
        raise problems.invalid(error, "body") from None


def _check_type(request: web.Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise Rejected(f'content-encoding "{encoding}" is not accepted here; send the body uncompressed', code="content_type")
    declared = request.headers.get("content-type")
    if declared is None:
        return
    kind = declared.partition(";")[0].strip().lower()
    is_json = kind in ("application/json", "text/plain") or (kind.startswith("application/") and kind.endswith("+json"))
    if not is_json or (request.charset or "utf-8").lower() not in _UTF8:
        message = f'content-type "{declared}" is not accepted here; send JSON as "content-type: application/json"'
        raise Rejected(message, code="content_type")
