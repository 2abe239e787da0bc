"""Values of this package as the server's responses. Every REST, health and error answer leaves through one of these functions.

No exception passes `guarded`, and no trace leaves through it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from aiohttp import web

from hub.api import envelope, problems
from hub.api.operation import Answer, Plain
from hub.api.problems import Problem
from hub.core.errors import HubError, Rejected, describe
from hub.core.ids import new_mark
from hub.core.ports import Log

_CLOSING = frozenset({problems.number("request.malformed"), problems.number("request.timeout")})

REQUEST_ID = "x-request-id"
_ID = web.RequestKey("id", str)
_GIVEN_ID = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")

WebHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_ALWAYS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


class FetchFailed(Exception):
    """The project's fetch handler raised the cause of this error, or answered what cannot be sent."""


def of_answer(answer: Answer | Plain) -> web.Response:
    """Send the answer of an operation."""
    if isinstance(answer, Plain):
        return _respond(answer.status, answer.body, answer.content_type)
    response = _respond(answer.status, envelope.success(answer.result, info=answer.info, messages=answer.messages))
    response.headers.update(answer.headers)
    return response


def of_problem(problem: Problem) -> web.Response:
    """Send a problem in the envelope."""
    response = _respond(problem.status, envelope.failure(problem.number, problem.message))
    response.headers.update(problem.headers)
    if problem.number in _CLOSING:  # what may still come is no request
        response.force_close()
    return response


def guarded(handle: WebHandler, log: Log) -> WebHandler:
    """Return the handler with its exceptions turned into answers."""

    async def answer(request: web.Request) -> web.StreamResponse:
        request[_ID] = _given_or_new(request)
        try:
            if request.version < (1, 0):
                raise Rejected("HTTP/1.1 is spoken here, or HTTP/1.0", code="request.malformed")
            response = await handle(request)
        except Exception as error:  # the outermost frame of a request: it is logged and answered
            response = _of_error(error, request, log)
        if not response.prepared:
            response.headers.setdefault(REQUEST_ID, id_of(request))
        return response

    return answer


def id_of(request: web.Request) -> str:
    """Return the id of a request that is being handled."""
    return request[_ID]


def _given_or_new(request: web.Request) -> str:
    """Return the id that a proxy in front of the hub has given to a request, or a new one."""
    given = request.headers.get(REQUEST_ID, "")
    return given if given and _GIVEN_ID.fullmatch(given) else new_mark()


def _of_error(error: Exception, request: web.Request, log: Log) -> web.Response:
    """Send an error: one of the hub's own as what it is, any other as 500 with a request id, with its trace only in the log.

    A failure of the project's fetch handler is logged with the author's own frames, as those of steps are.
    """
    if isinstance(error, HubError):
        problem = problems.of(error)
        if problem.status < 500 or problem.status == 503:
            return of_problem(problem)
    request_id = id_of(request)
    if isinstance(error, FetchFailed) and error.__cause__ is not None:
        told = describe(error.__cause__)
        log.error("fetch.failed", request_id=request_id, method=request.method, path=request.path, exception=told.stack)
        return of_problem(problems.unexpected(request_id, "the project's fetch handler failed"))
    log.error("request.failed", request_id=request_id, method=request.method, path=request.path, exc_info=error)
    return of_problem(problems.unexpected(request_id))


def method_not_allowed(request: web.Request, allowed: frozenset[str]) -> web.Response:
    """Refuse a method, naming those that the address has."""
    names = ", ".join(sorted(allowed))
    message = problems.worded("method.not_allowed", f"{request.method} is not possible on {request.path}; it has {names}")
    return of_problem(Problem(status=405, number=problems.number("method.not_allowed"), message=message, headers={"allow": names}))


def _respond(status: int, body: bytes, content_type: str = "application/json") -> web.Response:
    return web.Response(status=status, body=body, headers={"content-type": content_type, **_ALWAYS})
