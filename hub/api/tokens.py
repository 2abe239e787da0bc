"""The resources of an administrator: tokens and the audit log. Shapes requests and results; every rule is the engine's."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ValidationError

from hub.api import problems
from hub.api.envelope import result_info, timestamp
from hub.api.operation import Answer, Call
from hub.api.token_shapes import AuditItem, AuditListQuery, CreatedToken, TokenBody, TokenState
from hub.core.access import Access, Scope, Token
from hub.core.audit import AuditEntry, AuditLog, AuditQuery
from hub.core.clock import Clock


class Tokens:
    """Handlers of `/tokens` and `/audit`."""

    def __init__(self, access: Access, audit: AuditLog, clock: Clock, account: str) -> None:
        self._access = access
        self._audit = audit
        self._clock = clock
        self._account = account

    async def list(self, call: Call[None, None]) -> Answer:
        """Return all tokens, newest first, without their secrets."""
        await self._access.refresh()
        found = [self._state(token) for token in self._access.tokens()]
        return Answer(result=found, info=result_info(count=len(found), per_page=max(len(found), 1), page=1, total=len(found), cursor=None))

    async def create(self, call: Call[None, TokenBody]) -> Answer:
        """Make a token of this account; its secret is in this answer and nowhere else."""
        body = call.body
        made = await self._access.create(body.name, body.scopes, account=self._account, by=call.caller, expires_at=body.expires_on)
        return Answer(result=CreatedToken(**self._state(made.token), value=made.secret))

    async def get(self, call: Call[None, None]) -> Answer:
        """Return one token without its secret."""
        await self._access.refresh()
        return Answer(result=self._state(self._access.token(call.path["token"])))

    async def revoke(self, call: Call[None, None]) -> Answer:
        """Let a token open nothing from now on."""
        await self._access.refresh()
        return Answer(result=self._state(await self._access.revoke(call.path["token"])))

    async def audit(self, call: Call[AuditListQuery, None]) -> Answer:
        """Return one page of the audit log."""
        query = call.query
        page = await self._audit.find(
            AuditQuery(
                caller=query.caller,
                token=query.token,
                operation=query.operation,
                endings=query.outcome,
                since=query.date_start,
                until=query.date_end,
                limit=query.per_page,
                cursor=query.cursor,
                total=True,
            )
        )
        info = result_info(count=len(page.items), per_page=query.per_page, page=None, total=page.total, cursor=page.cursor)
        return Answer(result=[_audit_item(entry) for entry in page.items], info=info)

    def _state(self, token: Token) -> TokenState:
        ended: Literal["revoked", "expired"] = "revoked" if token.revoked_at is not None else "expired"
        return TokenState(
            id=token.id,
            name=token.name,
            status=ended if token.dead(self._clock.now()) else "active",
            scopes=[scope.value for scope in Scope if scope in token.scopes],
            account=token.account,
            created_on=timestamp(token.created_at),
            created_by=token.created_by,
            expires_on=timestamp(token.expires_at),
            revoked_on=timestamp(token.revoked_at),
            last_used_on=timestamp(token.used_at),
        )


def token_body(value: dict[str, Any]) -> TokenBody:
    """Read the wish for a token that has not come over HTTP. Raises: Rejected, naming the field."""
    try:
        return TokenBody.model_validate(value)
    except ValidationError as error:
        raise problems.invalid(error, "token.invalid") from None


def _audit_item(entry: AuditEntry) -> AuditItem:
    return AuditItem(
        on=timestamp(entry.at),
        caller=entry.caller,
        token_id=entry.token,
        remote=entry.remote,
        operation=entry.operation,
        method=entry.method,
        target=entry.target,
        detail=entry.detail,
        outcome=entry.ending.value,
        status=entry.status,
        code=entry.code,
        more=entry.more,
    )
