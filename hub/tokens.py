"""Tokens of a project on which no hub runs: `hub tokens … --project DIR`.

Owns the way from a folder to its database, for the length of one command; what is done there are the very handlers of the REST API. Sits
on the root floor because it needs settings and store. Invariant: a token that was returned is on disk.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from hub.api.operation import Call
from hub.api.tokens import Tokens, token_body
from hub.cli.exits import Exit, Stop
from hub.cli.tokens import TokenPlace
from hub.core.access import ALL, Caller
from hub.core.audit import AuditEntry, Ending
from hub.core.clock import SystemClock
from hub.core.errors import ConfigError, HubError, NotFound, StoreInUse
from hub.engine.access import AccessOptions, Doorkeeper
from hub.engine.audit import Auditor
from hub.engine.committer import Committer
from hub.settings import load_settings
from hub.store import store_for

_HERE = Caller(name="the command line", scopes=ALL)  # whoever may write the database may do everything


@asynccontextmanager
async def on_store(project: Path) -> AsyncIterator[TokenPlace]:
    """Open the tokens of a project. Raises: Stop; whatever goes wrong while they are open ends as one, too."""
    try:
        settings = load_settings(project)
        clock, log = SystemClock(), structlog.get_logger("hub.tokens")
        store = store_for(settings.store.url, notify=settings.store.notifications)
        committer = Committer(store, clock, log)
        await store.open()
        try:
            keeper = Doorkeeper(store, committer, clock, AccessOptions(token=settings.server.token.get_secret_value()))
            await keeper.load()
            auditor = Auditor(store, committer, clock, log, settings.audit_kept)
            yield _OnStore(Tokens(keeper, auditor, clock, settings.account), auditor, clock)
        finally:
            await committer.close()
            await store.close()
    except StoreInUse as error:
        cure = "That hub makes tokens itself: leave --project out, and give it a token with the scope admin (--token or HUB_TOKEN)"
        raise Stop(f"a hub runs on {project}: process {error.owner}. {cure}") from error
    except ConfigError as error:
        raise Stop(error.message, Exit.USAGE) from error
    except NotFound as error:
        raise Stop(error.message, Exit.NOT_FOUND) from error
    except HubError as error:
        raise Stop(error.message) from error


class _OnStore:
    """The handlers of the REST API without a server."""

    def __init__(self, tokens: Tokens, auditor: Auditor, clock: SystemClock) -> None:
        self._tokens = tokens
        self._auditor = auditor
        self._clock = clock

    async def create(self, name: str, scopes: list[str], expires_on: datetime | None) -> dict[str, Any]:
        """Make a token."""
        body = token_body({"name": name, "scopes": scopes, "expires_on": expires_on})
        made: dict[str, Any] = (await self._tokens.create(Call(path={}, query=None, body=body, caller=_HERE))).result
        await self._note("createToken", "POST", name)
        return made

    async def list(self) -> list[dict[str, Any]]:
        """Return all tokens."""
        found: list[dict[str, Any]] = (await self._tokens.list(Call(path={}, query=None, body=None))).result
        return found

    async def revoke(self, id: str) -> dict[str, Any]:
        """Revoke a token."""
        gone: dict[str, Any] = (await self._tokens.revoke(Call(path={"token": id}, query=None, body=None, caller=_HERE))).result
        await self._note("revokeToken", "DELETE", id)
        return gone

    async def _note(self, operation: str, method: str, target: str) -> None:
        now = self._clock.now()
        entry = AuditEntry(
            at=now,
            caller=_HERE.name,
            token=None,
            remote=None,
            operation=operation,
            method=method,
            target=target,
            ending=Ending.DONE,
            status=200,
        )
        await self._auditor.note(entry)
