"""The dashboard's addresses: which page answers which path, and the headers that keep a browser from doing more than showing it.

Knows requests and replies only as the hub's plain values. Whoever serves it decides who may look.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from hub.core.clock import Clock
from hub.core.delivery import DeliveryQuery, DeliveryStatus
from hub.core.desk import Desk
from hub.core.errors import Conflict, HubError, NotFound, Rejected, Unavailable
from hub.core.logs import LogQuery
from hub.core.model import HttpReply, HttpRequest, Instance, InstanceQuery, Status, WorkflowQuery
from hub.core.ports import Engine
from hub.ui import pages, trigger_pages
from hub.ui.pieces import ROOT

S = TypeVar("S", bound=StrEnum)

_PER_PAGE = 50
_LINES = 200  # of the log, on the page of an instance
_NEXT = 10  # occurrences of a schedule that are shown
_ASSETS = {"dashboard.css": "text/css; charset=utf-8", "dashboard.js": "text/javascript; charset=utf-8"}
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Dashboard:
    """Answers every address below `/dashboard`."""

    def __init__(self, engine: Engine, desk: Desk, clock: Clock) -> None:
        self._engine = engine
        self._desk = desk
        self._clock = clock

    async def handle(self, request: HttpRequest) -> HttpReply:
        """Return the page of an address; what goes wrong is a page too."""
        if request.method not in ("GET", "HEAD"):
            body = pages.problem("Only for reading", "The dashboard changes nothing; use the REST API or the hub command.")
            return _html(405, body, {"allow": "GET, HEAD"})
        try:
            return await self._answer(_segments(request.url), request.query)
        except NotFound as error:
            return _html(404, pages.problem("Not found", error.message))
        except Rejected as error:
            return _html(400, pages.problem("Bad request", error.message))
        except Unavailable as error:
            return _html(503, pages.problem("The store does not answer", error.message), {"retry-after": "5"})
        except HubError as error:
            return _html(409, pages.problem("That is not possible", error.message))

    async def _answer(self, segments: list[str], query: dict[str, str]) -> HttpReply:
        match segments:
            case []:
                return _html(200, pages.workflows(await self._engine.find(WorkflowQuery(limit=100))))
            case ["workflows", name]:
                return _html(200, await self._instances(name, query))
            case ["workflows", name, "instances", id]:
                snapshot = await self._engine.describe(name, id)
                log = await self._engine.find(LogQuery(instance=snapshot.instance.key, limit=_LINES))
                return _html(200, pages.instance(snapshot, self._clock.now(), await self._parent_of(snapshot.instance), log))
            case ["triggers"]:
                return _html(200, trigger_pages.triggers(await self._desk.triggers()))
            case ["triggers", name]:
                return _html(200, await self._trigger(name))
            case ["deliveries"]:
                return _html(200, await self._deliveries(query))
            case ["deliveries", id]:
                return _html(200, trigger_pages.delivery(await self._desk.delivery(id)))
            case ["static", name] if name in _ASSETS:
                return HttpReply(status=200, body=_asset(name), headers={**_HEADERS, "content-type": _ASSETS[name]})
        raise NotFound("The dashboard has no such page.")

    async def _parent_of(self, instance: Instance) -> Instance | None:
        if instance.parent is None:
            return None
        page = await self._engine.find(InstanceQuery(key=instance.parent.key, limit=1))
        return page.items[0] if page.items else None

    async def _trigger(self, name: str) -> bytes:
        view = await self._desk.trigger(name)
        try:
            schedule = self._desk.preview(name, self._clock.now(), _NEXT)
        except Conflict:  # most kinds have none
            schedule = None
        return trigger_pages.trigger(view, schedule)

    async def _deliveries(self, query: dict[str, str]) -> bytes:
        trigger, status, cursor = query.get("trigger") or None, _word(query.get("status"), DeliveryStatus), query.get("cursor") or None
        wanted = DeliveryQuery(trigger=trigger, statuses=frozenset({status} if status else ()), cursor=cursor, limit=_PER_PAGE)
        return trigger_pages.deliveries(await self._desk.deliveries(wanted), trigger, status, first=cursor is None)

    async def _instances(self, name: str, query: dict[str, str]) -> bytes:
        record = await self._engine.workflow(name)
        status, cursor = _word(query.get("status"), Status), query.get("cursor") or None
        wanted = InstanceQuery(workflow=name, statuses=frozenset({status} if status else ()), cursor=cursor, limit=_PER_PAGE)
        return pages.instances(record, await self._engine.find(wanted), status, first=cursor is None)


def _segments(url: str) -> list[str]:
    """Return the parts of the path below the dashboard. Read from the URL: an id may contain a quoted slash."""
    path = urlsplit(url).path.removeprefix(ROOT)
    return [unquote(segment) for segment in path.split("/") if segment]


def _word(text: str | None, kind: type[S]) -> S | None:
    if not text:
        return None
    try:
        return kind(text)
    except ValueError:
        raise Rejected(f'"{text}" is not a status; there are {", ".join(kind)}', code="query") from None


def _html(status: int, body: bytes, headers: dict[str, str] | None = None) -> HttpReply:
    return HttpReply(status=status, body=body, headers={**_HEADERS, "content-type": "text/html; charset=utf-8", **(headers or {})})


@cache
def _asset(name: str) -> bytes:
    return files("hub.ui").joinpath("static", name).read_bytes()
