"""From a matched route to its operation: access, account, query, body, call, envelope, errors.

Access is decided here, per matched row of the table, and denied by default: only rows without a scope are answered without the token. No
exception leaves through here.
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import Any
from urllib.parse import urlsplit

from aiohttp import BasicAuth, web
from pydantic import TypeAdapter

from hub.api import body, responses
from hub.api.live import LiveStreams
from hub.api.operation import Call, Live, Operation
from hub.api.responses import WebHandler, guarded
from hub.core.access import ANYBODY, Caller, Scope
from hub.core.errors import NotFound, Rejected
from hub.core.ports import Log

_CHALLENGE = 'Basic realm="Trigger Hub", charset="UTF-8"'


class Dispatcher:
    """Makes server handlers of operations."""

    def __init__(self, *, account: str, token: str, max_body_bytes: int, log: Log, streams: LiveStreams) -> None:
        self._account = account
        self._credential = f"Bearer {token}".encode() if token else None
        self._max_body_bytes = max_body_bytes
        self._log = log
        self._streams = streams

    def bind(self, operation: Operation) -> WebHandler:
        """Return the server handler of an operation."""
        shape: TypeAdapter[Any] | None = None if operation.body is None else TypeAdapter(operation.body)

        async def handle(request: web.Request) -> web.StreamResponse:
            caller = self._admit(request, operation.scope, changes=operation.changes)
            if operation.local:
                _check_local(request)
            query = None if operation.query is None else body.parse_query(request, operation.query)
            content = None
            if shape is not None:
                content = body.parse(request, await body.read(request, self._max_body_bytes), shape)
            call = Call(
                path=request.match_info,
                query=query,
                body=content,
                last_event=request.headers.get("last-event-id"),
                prefer=",".join(request.headers.getall("prefer", [])),
                caller=caller,
            )
            answer = await operation.handler(call)
            return await self._streams.send(request, answer) if isinstance(answer, Live) else responses.of_answer(answer)

        return guarded(handle, self._log)

    def protect(self, handle: WebHandler) -> WebHandler:
        """Return the handler of pages for people: their browser asks them for the token (HTTP Basic: any name, the token as password)."""

        async def admitted(request: web.Request) -> web.StreamResponse:
            if self._credential is not None and not (self._has_token(request) or self._has_password(request)):
                return web.Response(status=401, text="the password is the hub's token", headers={"www-authenticate": _CHALLENGE})
            return await handle(request)

        return guarded(admitted, self._log)

    def refuse(self, scope: Scope | None, allowed: frozenset[str] | None = None) -> WebHandler:
        """Return a handler for what the table does not have: another method of a known path, or an unknown path below the API."""

        async def handle(request: web.Request) -> web.Response:
            self._admit(request, scope, changes=False)
            if allowed is not None:
                return responses.method_not_allowed(request, allowed)
            raise NotFound(f"there is nothing at {request.method} {request.path}; /openapi.json lists every address", code="route.unknown")

        return guarded(handle, self._log)

    def _admit(self, request: web.Request, scope: Scope | None, *, changes: bool) -> Caller:
        """Let a request pass or raise. The token comes first: without it nothing is told, not even which accounts exist."""
        if scope is None:
            return ANYBODY
        if self._credential is not None and not self._has_token(request):
            raise Rejected("this hub wants its token: send `Authorization: Bearer <token>`", code="unauthorized")
        if changes:
            _check_origin(request)
        account = request.match_info.get("account", self._account)
        if account != self._account:
            message = f'there is no account "{account}" here; this hub\'s account is "{self._account}"'
            raise NotFound(message, code="account.not_found")
        return ANYBODY

    def _has_token(self, request: web.Request) -> bool:
        given = request.headers.get("authorization", "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, self._credential or b"")

    def _has_password(self, request: web.Request) -> bool:
        try:
            given = BasicAuth.decode(request.headers.get("authorization", ""), encoding="utf-8")
        except ValueError:
            return False
        return hmac.compare_digest(b"Bearer " + given.password.encode(), self._credential or b"")


def _check_local(request: web.Request) -> None:
    """Refuse what does not come from a program of this machine.

    The name in `Host` gives away a page whose own name leads here, and most proxies; only browsers send `Origin` and `Sec-Fetch-Site`.
    """
    from_here = _is_loopback(request.remote or "") and _is_loopback(urlsplit(f"//{request.host}").hostname or "")
    if not from_here or "origin" in request.headers or "sec-fetch-site" in request.headers:
        message = "this address is for `wrangler … --local` and other programs of this machine; everybody else uses /client/v4 with a token"
        raise Rejected(message, code="origin.forbidden")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_origin(request: web.Request) -> None:
    """Refuse a write that a page of another site makes a browser send: plain-text bodies need no preflight."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise Rejected(f'a page of "{origin}" may not change anything here', code="origin.forbidden")
