"""From a matched route to its operation: access, query, body, call, audit, envelope, errors.

Who may come in is decided by `guard`, per matched row of the table, and denied by default. A caller who may not see payloads gets the
handler of the veiled table. A control action is answered when its line in the audit log is on disk. No exception leaves through here.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import BaseModel, TypeAdapter

from hub.api import body, problems, responses
from hub.api.guard import Guard, Wanted
from hub.api.live import LiveStreams
from hub.api.operation import Answer, Call, Live, Operation, Plain
from hub.api.responses import WebHandler, guarded
from hub.core.access import Scope
from hub.core.audit import Ending
from hub.core.codec import dump_plain
from hub.core.errors import HubError, NotFound, Rejected, Unavailable
from hub.core.ports import Log

_CHALLENGE = 'Basic realm="Trigger Hub", charset="UTF-8"'
_AUDITED = frozenset({Scope.CONTROL, Scope.ADMIN})


class Dispatcher:
    """Makes server handlers of operations."""

    def __init__(self, guard: Guard, *, max_body_bytes: int, log: Log, streams: LiveStreams) -> None:
        self._guard = guard
        self._max_body_bytes = max_body_bytes
        self._log = log
        self._streams = streams

    def bind(self, operation: Operation, veiled: Operation) -> WebHandler:
        """Return the server handler of an operation; `veiled` is the same row for callers who may not see payloads."""
        shape: TypeAdapter[Any] | None = None if operation.body is None else TypeAdapter(operation.body)
        wanted = Wanted(
            operation.name, operation.scope, changes=operation.changes, local=operation.local, by_any_name=operation.by_any_name
        )
        audited = operation.changes and operation.scope in _AUDITED

        async def handle(request: web.Request) -> web.StreamResponse:
            caller = await self._guard.admit(request, wanted)
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
            chosen = operation if caller.may(Scope.PAYLOADS) else veiled
            answer = await (self._audited(request, chosen, call) if audited else chosen.handler(call))
            if isinstance(answer, Live):
                return await self._streams.send(request, answer, lambda: self._guard.still_admits(request, wanted))
            return responses.of_answer(answer)

        return guarded(handle, self._log)

    def protect(self, handle: WebHandler, veiled: WebHandler) -> WebHandler:
        """Return the handler of pages for people: their browser asks them for a token (HTTP Basic: any name, the token as password)."""
        wanted = Wanted("dashboard", Scope.READ, password=True)

        async def admitted(request: web.Request) -> web.StreamResponse:
            try:
                caller = await self._guard.admit(request, wanted)
            except Rejected as error:
                return _refused_page(error)
            return await (handle if caller.may(Scope.PAYLOADS) else veiled)(request)

        return guarded(admitted, self._log)

    def refuse(self, scope: Scope | None, allowed: frozenset[str] | None = None) -> WebHandler:
        """Return a handler for what the table does not have: another method of a known path, or an unknown path below the API."""
        wanted = Wanted("unknown", scope)

        async def handle(request: web.Request) -> web.Response:
            await self._guard.admit(request, wanted)
            if allowed is not None:
                return responses.method_not_allowed(request, allowed)
            raise NotFound(f"there is nothing at {request.method} {request.path}; /openapi.json lists every address", code="route.unknown")

        return guarded(handle, self._log)

    async def _audited(self, request: web.Request, operation: Operation, call: Call[Any, Any]) -> Answer | Plain | Live:
        """Carry out a control action, and keep who wanted it and how it ended."""
        try:
            answer = await operation.handler(call)
        except Exception as error:
            problem = problems.of(error) if isinstance(error, HubError) else None
            code = error.code if isinstance(error, HubError) else "internal_server"
            await self._note(request, operation, call, Ending.FAILED, 500 if problem is None else problem.status, code)
            raise
        await self._note(request, operation, call, Ending.DONE, 200)
        return answer

    async def _note(  # what the line says
        self, request: web.Request, operation: Operation, call: Call[Any, Any], ending: Ending, status: int, code: str = ""
    ) -> None:
        entry = self._guard.entry(request, call.caller, operation.name, ending, status, code)
        try:
            await self._guard.note(entry, _detail(call))
        except Unavailable as error:  # what was done is done, and its answer must not say otherwise
            self._log.warning("audit.not_kept", operation=operation.name, caller=call.caller.name, target=request.path, error=error.message)


def _detail(call: Call[Any, Any]) -> str:
    """Return what else was asked for, as JSON: the checked models of a control action hold no payload, a plain value might."""
    asked: dict[str, Any] = {}
    for part in (call.query, call.body):
        if isinstance(part, BaseModel):
            asked |= part.model_dump(mode="json", exclude_unset=True)
    return dump_plain(asked).decode() if asked else ""


def _refused_page(error: Rejected) -> web.Response:
    """Refuse a page in plain words; a browser that has no right token asks for one."""
    problem = problems.of(error)
    if problem.status != 401:
        return web.Response(status=problem.status, text=error.message)
    text = f"The password is a token of this hub with the scope read; the user name does not matter. {error.message}"
    return web.Response(status=401, text=text, headers={"www-authenticate": _CHALLENGE})
