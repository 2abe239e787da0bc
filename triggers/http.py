"""Webhooks. Owns how an HTTP request becomes a `TriggerEvent` and how its receipt becomes an answer.

Knows no server: it gets exact bytes and returns an `HttpReply`; a refusal is an error of the hub's tree, which the server words for all
addresses alike. Invariant: no 2xx leaves this module before `emit` has returned, so whoever was told "accepted" finds the instance on disk.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hub.core.codec import dump_plain, parse_json
from hub.core.delivery import Receipt, ReceiptStatus, TriggerEvent
from hub.core.errors import Rejected, Unavailable
from hub.core.model import HttpReply, HttpRequest, Status
from hub.core.ports import ReadBody, TriggerContext

PREFIX = "/hooks/"
ACCEPTED_TYPES = ("application/json", "application/*+json", "application/x-www-form-urlencoded", "text/*")

DEDUPE_HEADERS = ("webhook-id", "x-github-delivery", "idempotency-key")  # Standard Webhooks, GitHub, the IETF draft
_MAX_KEY_CHARS = 512  # delivery ids are some 40 characters; a longer one is a mistake, and every key is indexed for ever
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_SEGMENT = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")  # what needs no escaping in a path, and never "." or ".."
_CHARSET = re.compile(r""";\s*charset=["']?([^\s;"']+)""", re.IGNORECASE)
_TEXT_CHARSETS = ("utf-8", "us-ascii", "iso-8859-1", "windows-1252", "utf-16")  # Python's other codecs are not all safe on hostile bytes
_MAX_FORM_FIELDS = 1000
_SECRET_HEADER = re.compile(r"authorization|cookie|token|secret|password|api-?key")
_MAX_HEADER_CHARS = 4096  # of all kept headers together


class HttpConfig(BaseModel):
    """The keys of a `[[triggers]]` table with `kind = "http"`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = Field(default=None, description="Served under /hooks/PATH; default: the trigger's name.")
    methods: tuple[str, ...] = Field(default=("POST",), min_length=1, description="HTTP methods that the webhook accepts.")
    max_body: int = Field(default=1_048_576, ge=1, le=26_214_400, description="Largest body in bytes; 25 MiB at most.")
    dedupe_header: str | None = Field(
        default=None,
        min_length=1,
        description="Header with the sender's delivery id; default: the first present of webhook-id, x-github-delivery, idempotency-key.",
    )

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str | None) -> str | None:
        if path is None:
            return None
        trimmed = path.strip("/")
        if not all(_SEGMENT.fullmatch(segment) for segment in trimmed.split("/")):
            raise ValueError(f'{path!r} is not a path such as "github" or "shop/orders": letters, digits and ._~- between slashes')
        return trimmed

    @field_validator("methods", mode="before")
    @classmethod
    def _check_methods(cls, methods: Any) -> Any:
        if not isinstance(methods, list | tuple) or not all(isinstance(method, str) for method in methods):
            raise ValueError('expected a list of methods such as ["POST"]')
        upper = tuple(dict.fromkeys(method.upper() for method in methods))
        for method in upper:
            if method not in _METHODS:
                raise ValueError(f"{method!r} is not one of {', '.join(_METHODS)}")
        return upper

    @field_validator("dedupe_header")
    @classmethod
    def _lower(cls, name: str | None) -> str | None:
        return None if name is None else name.lower()


class HttpTrigger:
    """A webhook: each accepted request becomes one instance, and a repeated delivery id answers with the first one."""

    Config: ClassVar[type] = HttpConfig

    def __init__(self, config: HttpConfig) -> None:
        self._config = config
        self._remove: Callable[[], None] | None = None
        self._stopped = False
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self, ctx: TriggerContext) -> None:
        """Serve the path. Raises: ConfigError when another trigger has it."""
        self._stopped = False
        self._remove = ctx.routes.add(
            PREFIX + (self._config.path or ctx.name),
            partial(self._receive, ctx),
            methods=self._config.methods,
        )

    async def stop(self) -> None:
        """Stop serving and wait for the requests that are being answered."""
        self._stopped = True
        if self._remove is not None:
            self._remove()
            self._remove = None
        await self._idle.wait()

    async def _receive(self, ctx: TriggerContext, head: HttpRequest, read: ReadBody) -> HttpReply:
        """Answer 202 for an event that is on disk. Raises: Rejected (never send it again), Unavailable (send it again)."""
        if self._stopped:  # routed just before the path was taken away
            raise Unavailable("the hub is stopping: send it again")
        self._in_flight += 1
        self._idle.clear()
        try:
            request = replace(head, body=await read(self._config.max_body))
            return accepted(ctx, await ctx.emit(read_event(self._config, request)))
        finally:
            self._in_flight -= 1
            if self._in_flight == 0:
                self._idle.set()


# ---- request → event


def read_event(config: HttpConfig, request: HttpRequest) -> TriggerEvent:
    """Turn a request into the event that it announces. Raises: Rejected with a code of `payload.…`."""
    return TriggerEvent(
        payload=read_payload(request.headers.get("content-type", ""), request.body),
        key=dedupe_key(config.dedupe_header, request.headers),
        headers=kept_headers(request.headers),
    )


def read_payload(content_type: str, body: bytes) -> Any:
    """Turn a body into a JSON value by its content type; no body is null. Raises: Rejected."""
    if not body:
        return None
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return parse_json(body)
    if kind == "application/x-www-form-urlencoded":
        return _read_form(body)
    if kind.startswith("text/"):
        charset = _CHARSET.search(content_type)
        return _read_text(body, charset[1].lower() if charset else "utf-8")
    raise _unsupported(f"the content type {kind[:100]!r} is not supported" if kind else "the content type is missing")


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
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: several if len(several) > 1 else several[0] for name, several in values.items()}


def _read_text(body: bytes, charset: str) -> str:
    if charset not in _TEXT_CHARSETS:
        raise _unsupported(f"the charset {charset[:40]!r} is not supported; use {', '.join(_TEXT_CHARSETS)}")
    try:
        return body.decode(charset)
    except UnicodeDecodeError as error:
        raise Rejected(f"the text is not {charset}: bad byte at position {error.start}", code="payload.malformed") from None


def _unsupported(problem: str) -> Rejected:
    return Rejected(f"{problem}; accepted content types: {', '.join(ACCEPTED_TYPES)}", code="payload.unsupported_type")


def dedupe_key(configured: str | None, headers: Mapping[str, str]) -> str | None:
    """Return the sender's id of the delivery, which stays the same when it sends again; None = it gave none. Raises: Rejected."""
    for name in (configured,) if configured else DEDUPE_HEADERS:
        key = headers.get(name, "").strip()
        if len(key) > _MAX_KEY_CHARS:
            raise Rejected(f"the header {name} is longer than {_MAX_KEY_CHARS} characters", code="payload.dedupe_key")
        if key:
            return _unicode(key)
    return None


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that may be stored: without credentials, and no more than 4 KiB of them."""
    kept: dict[str, str] = {}
    room = _MAX_HEADER_CHARS
    for name, value in headers.items():
        if _SECRET_HEADER.search(name.lower()):
            continue
        room -= len(name) + len(value)
        if room < 0:
            break
        kept[name.lower()] = _unicode(value)
    return kept


def _unicode(value: str) -> str:
    """Header bytes that are not UTF-8 arrive as lone surrogates, which JSON cannot hold."""
    return value.encode("utf-8", "replace").decode()


# ---- receipt → reply


def accepted(ctx: TriggerContext, receipt: Receipt) -> HttpReply:
    """Return the 202 for an event that is on disk, or that was knowingly filtered out."""
    body: dict[str, Any] = {}
    if receipt.workflow is not None and receipt.instance_id is not None:
        body = {"id": receipt.instance_id, "workflow": receipt.workflow}
        if receipt.status is ReceiptStatus.CREATED:
            body["status"] = Status.QUEUED
        body["status_url"] = ctx.status_path(receipt.workflow, receipt.instance_id)
    if receipt.status is ReceiptStatus.DUPLICATE:
        body["duplicate"] = True  # without a status: the first one may have ended long ago
    if receipt.status is ReceiptStatus.FILTERED:
        body |= {"filtered": True, "reason": receipt.reason}
    return HttpReply(status=202, body=dump_plain(body), headers={"content-type": "application/json"})
