"""Who may come in: the name by which a hub is called, the token, its account and its scopes, the page that makes a browser write.

Every decision about access is made here, for a matched row of the table or an address that is denied by default. Owns the words of the
refusals; who owns a token is the engine's to know. Whoever is refused is noted in the audit log.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import web

from hub.api import problems
from hub.core.access import ANYBODY, Access, Caller, Scope
from hub.core.audit import AuditEntry, AuditLog, Ending
from hub.core.clock import Clock
from hub.core.errors import NotFound, Rejected

UNKNOWN = "unknown"  # who presents no token, or a wrong one
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>[^\[\]:/?#@\s]+))(?::\d{1,5})?")


class Wanted(NamedTuple):
    """What an address asks of its caller. `scope` None = nothing; `name` is that of the operation, for the audit log."""

    name: str
    scope: Scope | None
    changes: bool = False
    password: bool = False  # a browser may send the token as the password of HTTP Basic
    local: bool = False  # only for programs of this machine
    by_any_name: bool = False  # whatever the hub is called in the request


class Guard:
    """Lets requests pass, or raises."""

    def __init__(self, access: Access, audit: AuditLog, clock: Clock, *, account: str, host: str, hosts: Iterable[str]) -> None:
        self._access = access
        self._audit = audit
        self._clock = clock
        self._account = account
        self._names = frozenset(_plain_name(name) for name in ("localhost", host, *hosts))

    async def admit(self, request: web.Request, wanted: Wanted) -> Caller:
        """Return who makes a request that may pass. Raises: Rejected, NotFound (the account).

        The token comes first: without it nothing is told, not even which accounts exist.
        """
        if not wanted.by_any_name:
            self._check_host(request)
        if wanted.scope is None:
            return ANYBODY
        caller = Caller(name=UNKNOWN, scopes=frozenset())
        try:
            caller = await self._access.admit(_presented(request, password=wanted.password))
            self._check_account(request, caller)
            _check_scope(request, caller, wanted.scope)
            if wanted.changes:
                _check_origin(request)
            if wanted.local:
                _check_local(request)
        except Rejected as error:
            self._audit.note_refused(self.entry(request, caller, wanted.name, Ending.REFUSED, problems.of(error).status, error.code))
            raise
        self._check_account_exists(request)
        return caller

    def still_admits(self, request: web.Request, wanted: Wanted) -> bool:
        """Whether a request would pass again: a token may have been revoked or have expired while an answer goes on."""
        try:
            caller = self._access.identify(_presented(request, password=wanted.password))
        except Rejected:
            return False
        return wanted.scope is None or caller.may(wanted.scope)

    def entry(self, request: web.Request, caller: Caller, name: str, ending: Ending, status: int, code: str = "") -> AuditEntry:
        """Return the line of the audit log about a request."""
        return AuditEntry(
            at=self._clock.now(),
            caller=caller.name,
            token=caller.token,
            remote=request.remote,
            operation=name,
            method=request.method,
            target=request.path,
            ending=ending,
            status=status,
            code=code,
        )

    async def note(self, entry: AuditEntry, detail: str) -> None:
        """Keep that a control action was carried out, or has failed; it is on disk when this returns. Raises: Unavailable."""
        await self._audit.note(replace(entry, detail=detail))

    def _check_host(self, request: web.Request) -> None:
        """Refuse a name that is not ours: a page that lets its own name lead here could read what a browser gets (DNS rebinding).

        An address in digits is always right, because nobody else can make it lead here. Without a name it is the socket's.
        """
        for host in {*request.headers.getall("host", []), request.host}:  # of an absolute address it is the one in there
            if not self._is_ours(host):
                cure = "if that is right, add it to `hosts` in [server] of hub.toml (HUB_SERVER_HOSTS)"
                raise Rejected(f'this hub is not called "{host[:100]}"; {cure}', code="host.unknown")

    def _is_ours(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        name = host if found is None else _plain_name(found["v6"] or found["name"])
        return name in self._names or name.endswith(".localhost") or _is_address(name)

    def _check_account(self, request: web.Request, caller: Caller) -> None:
        wanted = request.match_info.get("account", self._account)
        if caller.account not in (None, wanted):
            message = f'the token "{caller.name}" is of the account "{caller.account}" and opens nothing of another one'
            raise Rejected(message, code="account.forbidden")

    def _check_account_exists(self, request: web.Request) -> None:
        account = request.match_info.get("account", self._account)
        if account != self._account:
            message = f'there is no account "{account}" here; this hub\'s account is "{self._account}"'
            raise NotFound(message, code="account.not_found")


def _presented(request: web.Request, *, password: bool) -> str | None:
    given = request.headers.getall("authorization", [])
    if len(given) != 1:  # of two, a proxy in front may have looked at the other one
        return None
    scheme, _, text = given[0].partition(" ")
    if scheme.lower() == "bearer":  # in any case (RFC 9110, section 11.1)
        return text
    if not password or scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(text, validate=True).decode().partition(":")[2]
    except ValueError:
        return None


def _check_scope(request: web.Request, caller: Caller, scope: Scope) -> None:
    if not caller.may(scope):
        has = ", ".join(each for each in Scope if each in caller.scopes)
        cure = f"make one that has it: hub tokens create NAME --scope {scope}"
        message = f'the token "{caller.name}" lacks the scope "{scope}" for {request.method} {request.path}; it has {has}; {cure}'
        raise Rejected(message, code="scope.missing")


def _check_origin(request: web.Request) -> None:
    """Refuse a write that a page of another site makes a browser send: plain-text bodies need no preflight."""
    for origin in request.headers.getall("origin", []):
        if _authority(origin) != request.host:
            raise Rejected(f'a page of "{origin[:100]}" may not change anything here', code="origin.forbidden")


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # such as `http://[`: no browser sends it
        return ""


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


def _plain_name(name: str) -> str:
    return name.strip("[]").removesuffix(".").lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
