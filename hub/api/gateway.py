"""The addresses that are handed on: webhooks of triggers below /hooks/, the dashboard, and everything else for the project's fetch handler.

Translates between the server's requests and the hub's plain values: exact body bytes, lower-case header names.
"""

from __future__ import annotations

import re
from functools import lru_cache, partial

from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from hub.api import body, responses
from hub.core.errors import HubError, NotFound, Rejected, Unavailable
from hub.core.model import HttpReply, HttpRequest
from hub.core.ports import HttpHandler
from hub.core.routing import RouteLookup

HOOKS = "/hooks"
DASHBOARD = "/dashboard"

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110, section 5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CONNECTION_HEADERS = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"})  # the server's own


class Gateway:
    """Server handlers of addresses whose answers are made elsewhere."""

    def __init__(
        self,
        routes: RouteLookup,
        fetch: HttpHandler | None,
        *,
        pages: HttpHandler | None,
        veiled_pages: HttpHandler | None,
        max_body_bytes: int,
        intake: bool = True,
    ) -> None:
        self._routes = routes
        self._fetch = fetch
        self._pages = pages
        self._veiled_pages = veiled_pages
        self._max_body_bytes = max_body_bytes
        self._intake = intake

    async def hook(self, request: web.Request) -> web.StreamResponse:
        """Hand a request to the trigger that serves its path."""
        self._check_intake()
        found = self._routes.match(request.rel_url.raw_path)
        if found is None and not self._routes.complete:  # a sender that is told 404 gives up
            raise Unavailable("the triggers of this node are starting or stopping; send it again")
        if found is None:
            raise NotFound(f"no trigger listens at {request.path}; [[triggers]] in hub.toml declare the webhooks", code="route.unknown")
        if request.method not in found.route.methods:
            return responses.method_not_allowed(request, found.route.methods)
        head = _to_request(request, params=dict(found.params))
        reply = await found.route.handler(head, partial(body.read, request))
        if reply.status == 405 and not reply.body:  # the address has this method for setup requests alone, and this was none
            return responses.method_not_allowed(request, frozenset(reply.headers["allow"].split(", ")))
        return _to_response(reply)

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Hand a request to the dashboard."""
        return await self._page(request, self._pages)

    async def veiled_page(self, request: web.Request) -> web.StreamResponse:
        """Hand a request to the dashboard that shows no payloads."""
        return await self._page(request, self._veiled_pages)

    async def fetch(self, request: web.Request) -> web.StreamResponse:
        """Hand a request to the project's fetch handler; what it raises, or answers wrongly, is the project's mistake and told as that."""
        if self._fetch is not None:
            self._check_intake()
        if self._fetch is None:
            raise NotFound(f"there is nothing at {request.path}; {_ADDRESSES}", code="route.unknown")
        asked = _to_request(request, await body.read(request, self._max_body_bytes))
        try:
            return _to_response(await self._fetch(asked))
        except HubError:  # of a binding, such as an id that is taken: it has its own answer
            raise
        except Exception as error:
            raise responses.FetchFailed from error

    def _check_intake(self) -> None:
        """Refuse on a node that takes nothing in. Raises: Unavailable, so that a sender keeps what it has and finds another node."""
        if not self._intake:
            raise Unavailable('this node takes nothing in: its [node] roles lack "intake"; ask another node')

    async def _page(self, request: web.Request, pages: HttpHandler | None) -> web.StreamResponse:
        if pages is None:
            raise NotFound("this hub has no dashboard", code="route.unknown")
        return _to_response(await pages(_to_request(request, await body.read(request, 0))))


_ADDRESSES = (
    "this project has no fetch handler. The hub answers at /client/v4/accounts/{account}/workflows, /hooks/…, /healthz, /readyz, "
    "/metrics, /docs, /openapi.json and /dashboard"
)


def _to_request(request: web.Request, raw: bytes = b"", params: dict[str, str] | None = None) -> HttpRequest:
    try:
        url = _address(request)
    except ValueError:
        raise Rejected("the header Host is no address", code="rejected") from None
    return HttpRequest(
        method=request.method,
        url=url,
        path=request.path,
        query=dict(request.query.items()) if request.query_string else {},
        headers=_headers(request),
        body=raw,
        remote=request.remote,
        target=request.raw_path if request.raw_path.startswith("/") else request.rel_url.raw_path_qs,  # a proxy may send the whole address
        params=params or {},
    )


def _address(request: web.Request) -> str:
    """Return the whole address of a request. Raises: ValueError."""
    target = str(request.rel_url)
    if not target.startswith("/") or target.startswith("//") or "/." in target:  # a whole address, as of a proxy, or one with steps in it
        return str(request.url)
    return _origin(request.scheme, request.host) + target


@lru_cache(maxsize=256)  # a hub has few names, but whoever calls it may make some up
def _origin(scheme: str, host: str) -> str:
    return str(URL.build(scheme=scheme, authority=host))


def _headers(request: web.Request) -> dict[str, str]:
    """Join repeated headers as HTTP says: with commas, cookies with semicolons (RFC 9110, section 5.3)."""
    joined: dict[str, str] = {}
    for name, value in request.headers.items():
        key = name.lower()
        if key in joined:
            joined[key] += ("; " if key == "cookie" else ", ") + value
        else:
            joined[key] = value
    return joined


@lru_cache(maxsize=256)
def _is_token(name: str) -> bool:
    return _HEADER_NAME.fullmatch(name) is not None


def _to_response(reply: HttpReply) -> web.Response:
    """Turn a handler's answer into a response. Raises: ValueError for one that would break the connection's text."""
    if not 200 <= reply.status <= 599:
        raise ValueError(f"a handler answered with status {reply.status}; statuses go from 200 to 599")
    for name, value in reply.headers.items():
        if not _is_token(name) or not (value.isprintable() or _CONTROL.search(value) is None):
            raise ValueError(f"a handler answered with a header that cannot be sent: {name!r}: {value!r}")
    headers = CIMultiDict([(name, value) for name, value in reply.headers.items() if name.lower() not in _CONNECTION_HEADERS])
    return web.Response(status=reply.status, body=reply.body, headers=headers)
