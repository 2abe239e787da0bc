"""Who may do what: the scopes of tokens, the caller that a request turns out to be, and the port of whoever knows the tokens.

Values and rules only. Invariants: what is not allowed by a scope here is allowed nowhere else; no value here holds a secret, apart from
`NewToken`, which is shown once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class Scope(StrEnum):
    """What a caller may do. `ADMIN` may everything."""

    READ = "read"  # lists, statuses, steps, logs: everything but payloads
    TRIGGER = "trigger"  # create instances, send events and messages, fire triggers
    CONTROL = "control"  # pause, resume, terminate, restart, delete
    PAYLOADS = "payloads"  # see what instances get and give: without it reading shows that there is a payload, and not which
    ADMIN = "admin"  # tokens and the audit log


ALL = frozenset(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who makes a request. `name` is for people and the audit log; `account` None = any account of this hub."""

    name: str
    scopes: frozenset[Scope] = ALL
    token: str | None = None  # id of the stored token
    account: str | None = None
    expires_at: datetime | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the scope is given."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


ANYBODY = Caller(name="anybody")  # of a hub that asks nobody for a token
SETTING = Caller(name="the setting server.token")  # the one token that is not stored


class Auth(StrEnum):
    """When a token is needed."""

    AUTO = "auto"  # as soon as there is one, in the settings or stored, also one that has been revoked or has expired since
    REQUIRED = "required"
    OFF = "off"  # never; for a hub that only its own machine can reach


# ---- stored tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A stored token. `digest` is the SHA-256 of the whole token; the token itself is stored nowhere."""

    id: str
    name: str
    digest: bytes = field(repr=False)
    scopes: frozenset[Scope]
    account: str
    created_at: datetime
    created_by: str  # name of the caller
    expires_at: datetime | None = None
    revoked_at: datetime | None = None  # it stays known, so that nobody takes its absence for a hub without tokens
    used_at: datetime | None = None  # to the minute

    def dead(self, now: datetime) -> bool:
        """Whether it opens nothing any more."""
        return self.revoked_at is not None or (self.expires_at is not None and self.expires_at <= now)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token that is on disk, and its text, which nobody can ask for again."""

    token: Token
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenQuery:
    """Which stored tokens, newest first: all, or one."""

    id: str | None = None
    limit: int = 100_000


# ---- the port


class Access(Protocol):
    """Who knows the tokens. What a coroutine returns is on disk; every one may raise Unavailable."""

    @property
    def open(self) -> bool:
        """Whether anybody may everything."""
        ...

    def identify(self, secret: str | None) -> Caller:
        """Return who presents a token (None = nobody does); costs no I/O.

        Raises: Rejected (`unauthorized`, `token.expired`); the message says what to do, and quotes nothing of the token.
        """
        ...

    async def admit(self, secret: str | None) -> Caller:
        """Return who presents a token, as `identify` does; one that is not known here is looked up in the store, at most once a while."""
        ...

    async def refresh(self) -> None:
        """Read again which tokens there are: other nodes make and revoke some. Raises: Unavailable."""
        ...

    async def create(
        self, name: str, scopes: frozenset[Scope], *, account: str, by: Caller, expires_at: datetime | None = None
    ) -> NewToken:
        """Make a token. Raises: Rejected (nothing that it could be good for), Conflict (the first one must have the scope admin)."""
        ...

    def tokens(self) -> Sequence[Token]:
        """Return all stored tokens, newest first, the revoked ones too."""
        ...

    def token(self, id: str) -> Token:
        """Return one stored token. Raises: NotFound."""
        ...

    async def revoke(self, id: str) -> Token:
        """Let a token open nothing from now on; twice is fine. Raises: NotFound."""
        ...


# ---- writes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepToken:
    """Store a new token. CONFLICT = its id is taken."""

    token: Token


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeToken:
    """Let a stored token open nothing from now on; the first time counts. MISSING = there is none."""

    id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UseToken:
    """Say when a stored token was used last; an earlier time changes nothing. MISSING = there is none."""

    id: str
    at: datetime
