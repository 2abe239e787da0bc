"""Tokens: who a request is, and the life of stored tokens (`hub.core.access.Access`).

All stored tokens are in memory from the start on, so that no request with a known one waits for the database. A token that is made or
revoked counts here once it is on disk, and on other nodes when they read the tokens again, which a node also does before it refuses one
that it does not know. What is read is added to what is known and takes nothing back, neither a token nor its end. The invariant: a hub
that has ever stored a token never becomes open again by itself, whatever is revoked or expires.
A token is compared by its SHA-256 and in constant time; its text is nowhere but in the answer that made it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hub.core.access import ANYBODY, SETTING, Auth, Caller, KeepToken, NewToken, RevokeToken, Scope, Token, TokenQuery, UseToken
from hub.core.audit import AUDIT_KEPT
from hub.core.clock import Clock
from hub.core.errors import ConfigError, Conflict, NotFound, Rejected
from hub.core.ports import Store
from hub.core.writes import Outcome, Verdict
from hub.engine.committer import Committer

MAX_NAME = 64
USE_EVERY = timedelta(minutes=1)  # how exactly the last use of a token is known; each time costs a write
_PREFIX = "hub_"  # by which people and secret scanners recognise a token
_ALPHABET = string.ascii_letters + string.digits
_ID_LETTERS = 12  # so that no two tokens ever share an id
_SECRET_LETTERS = 43  # 256 bits
_MAX_LETTERS = 1024  # of what may be a token; settings hold longer ones than we make
LOOK_EVERY_S = 1.0  # a flood of wrong tokens costs one question in that time
_NOBODY = bytes(32)  # compared with where there is no token of that id, so that it takes as long


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessOptions:
    """Who may come in. `exposed` is the address to listen on where other machines can reach it."""

    token: str = field(default="", repr=False)  # the one of the settings; empty = none
    auth: Auth = Auth.AUTO
    exposed: str | None = None
    audit_kept: timedelta | None = AUDIT_KEPT  # entries of the audit log; None = for ever


class Doorkeeper:
    """The tokens of a hub. `load` comes first."""

    def __init__(self, store: Store, committer: Committer, clock: Clock, options: AccessOptions) -> None:
        self._store = store
        self._committer = committer
        self._clock = clock
        self._options = options
        self._setting = _digest(options.token[:_MAX_LETTERS]) if options.token else None
        self._tokens: dict[str, Token] = {}
        self._looking: asyncio.Task[None] | None = None  # for a token that is not known here
        self._looked_at = float("-inf")  # monotonic

    async def load(self) -> None:
        """Read the stored tokens. Raises: ConfigError when others could come in without any."""
        await self.refresh()
        if self._options.exposed is not None and self.open:
            told = f"{self._options.exposed!r} can be reached from other machines and the API is open"
            remedy = "make a token: hub tokens create admin --scope admin --project DIR (or set HUB_SERVER_TOKEN)"
            raise ConfigError(f"{told}; {remedy}", path="server.host")

    async def refresh(self) -> None:
        """Read again which tokens there are, as other nodes may have made and revoked some. Raises: Unavailable."""
        page = await self._store.find(TokenQuery())
        for token in reversed(page.items):
            known = self._tokens.get(token.id)
            self._tokens[token.id] = token if known is None else _joined(known, token)

    @property
    def open(self) -> bool:
        """Whether anybody may everything: as long as there has never been a token, unless the settings say otherwise."""
        auth = self._options.auth
        return auth is Auth.OFF or (auth is Auth.AUTO and self._setting is None and not self._tokens)

    # ---- who it is

    def identify(self, secret: str | None) -> Caller:
        """Return who presents a token. Raises: Rejected; see `Access.identify`."""
        if self.open:
            return ANYBODY
        if not secret:
            raise Rejected(f"this hub wants a token: send `Authorization: Bearer <token>`; {_HOW}", code="unauthorized")
        given = _digest(secret[:_MAX_LETTERS])
        if self._setting is not None and hmac.compare_digest(given, self._setting):
            return SETTING
        token = self._tokens.get(_id_in(secret))
        right = hmac.compare_digest(given, _NOBODY if token is None else token.digest)
        if token is None or not right:
            raise Rejected(f"this hub does not know that token: it is misspelt, or of another hub; {_HOW}", code="unauthorized")
        now = self._clock.now()
        if token.dead(now):
            end = f"expired on {token.expires_at:%Y-%m-%d}" if token.revoked_at is None else "has been revoked"
            raise Rejected(f'the token "{token.name}" {end}; {_HOW}', code="token.expired")
        self._note_use(token, now)
        return Caller(name=token.name, scopes=token.scopes, token=token.id, account=token.account, expires_at=token.expires_at)

    async def admit(self, secret: str | None) -> Caller:
        """Return who presents a token, which another node may have made just now. Raises: Rejected; see `Access.admit`."""
        try:
            return self.identify(secret)
        except Rejected:
            id = _id_in(secret or "")
            if not id or id in self._tokens or not await self._look():
                raise
        return self.identify(secret)

    async def _look(self) -> bool:
        """Read the tokens again for one that is not known, once for all who ask meanwhile; False = that was done just now, or failed."""
        if self._looking is None:
            if self._clock.monotonic() < self._looked_at + LOOK_EVERY_S:
                return False
            self._looked_at = self._clock.monotonic()
            self._looking = asyncio.create_task(self.refresh(), name="tokens-look")
            self._looking.add_done_callback(self._looked)
        looking = self._looking
        await asyncio.wait({looking})  # whoever goes away takes the answer from nobody else
        return looking.exception() is None

    def _looked(self, looking: asyncio.Task[None]) -> None:
        self._looking = None
        if not looking.cancelled():
            looking.exception()  # whoever waited has seen it; perhaps nobody does any more

    def _note_use(self, token: Token, now: datetime) -> None:
        """Store that a token is used, at most once a minute; nobody waits for it, and it may fail."""
        if token.used_at is None or not token.used_at <= now < token.used_at + USE_EVERY:
            self._tokens[token.id] = replace(token, used_at=now)
            self._committer.submit(UseToken(id=token.id, at=now), patient=False).add_done_callback(_pass_over)

    # ---- the life of tokens

    async def create(
        self, name: str, scopes: frozenset[Scope], *, account: str, by: Caller, expires_at: datetime | None = None
    ) -> NewToken:
        """Make a token; see `Access.create`."""
        await self.refresh()  # whether it is the first one
        now = self._clock.now()
        self._check(name, scopes, expires_at, now)
        id, secret = _letters(_ID_LETTERS), _letters(_SECRET_LETTERS)
        text = f"{_PREFIX}{id}_{secret}"
        digest = _digest(text)
        token = Token(
            id=id, name=name, digest=digest, scopes=scopes, account=account, created_at=now, created_by=by.name, expires_at=expires_at
        )
        outcome = await self._committer.submit(KeepToken(token=token), patient=False)
        if outcome.verdict is not Verdict.APPLIED:
            raise Conflict("the token was not stored, because its id is taken; try again")
        self._tokens.setdefault(id, token)  # it may have been read already, and even revoked
        return NewToken(token=token, secret=text)

    def tokens(self) -> Sequence[Token]:
        """Return all stored tokens, newest first."""
        return sorted(self._tokens.values(), key=lambda token: (token.created_at, token.id), reverse=True)

    def token(self, id: str) -> Token:
        """Return one stored token. Raises: NotFound."""
        token = self._tokens.get(id)
        if token is None:
            raise NotFound(f'there is no token "{id[:64]}"; `hub tokens list` shows their ids', code="token.not_found")
        return token

    async def revoke(self, id: str) -> Token:
        """Let a token open nothing from now on. Raises: NotFound."""
        token = self.token(id)
        if token.revoked_at is None:
            now = self._clock.now()
            await self._committer.submit(RevokeToken(id=id, at=now), patient=False)
            self._tokens[id] = replace(self._tokens[id], revoked_at=now)
        return self._tokens[id]

    def _check(self, name: str, scopes: frozenset[Scope], expires_at: datetime | None, now: datetime) -> None:
        if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
            raise Rejected(f"a token needs a name of at most {MAX_NAME} printable characters that says who uses it", code="token.invalid")
        if not scopes:
            raise Rejected(f"a token without scopes opens nothing; there are {', '.join(Scope)}", code="token.invalid")
        if expires_at is not None and expires_at <= now:
            raise Rejected("the token would have expired before it is made; choose a later time", code="token.invalid")
        if Scope.ADMIN not in scopes and self._setting is None and not self._tokens:
            message = "the first token closes the hub, and must have the scope admin, or nobody could make another"
            raise Conflict(message, code="token.first")


def _joined(known: Token, read: Token) -> Token:
    """Return what is known of a token: an end that one knows of counts, and the latest use."""
    uses = [used_at for used_at in (known.used_at, read.used_at) if used_at is not None]
    return replace(read, revoked_at=known.revoked_at or read.revoked_at, used_at=max(uses, default=None))


_HOW = "`hub tokens create` makes one"


def _letters(number: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(number))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _id_in(secret: str) -> str:
    """Return the id in a token's text; empty for any other text."""
    id, _, rest = secret.removeprefix(_PREFIX).partition("_")
    return id if secret.startswith(_PREFIX) and rest else ""


def _pass_over(future: asyncio.Future[Outcome]) -> None:
    """Look at what nobody waits for, so that asyncio does not complain."""
    if not future.cancelled():
        future.exception()
