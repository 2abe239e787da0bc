"""What a client asks about itself before it does anything: `/accounts`, `/memberships`, `/user` and whether its token works.

Cloudflare's own clients look these up where they are given no account. Pure: everything is said by the caller and by the hub's one account.
"""

from __future__ import annotations

import re
from typing import Any

from hub.api.account_shapes import AccountItem, AccountListQuery, MembershipItem, TokenItem, UserItem
from hub.api.envelope import result_info, timestamp
from hub.api.operation import Answer, Call
from hub.api.shapes import PageQuery
from hub.core.access import ALL, Caller, Scope

_NOT_IN_NAMES = re.compile(r"[^\w.+-]+")


class Accounts:
    """Handlers of `/accounts`, `/memberships` and `/user`."""

    def __init__(self, account: str) -> None:
        self._account = AccountItem(id=account, name=account, type="standard")

    async def list(self, call: Call[AccountListQuery, None]) -> Answer:
        """Return the accounts that the caller may use."""
        wanted = call.query.name
        return _page([self._account] if wanted in (None, self._account["name"]) else [], call.query)

    async def get(self, call: Call[None, None]) -> Answer:
        """Return one account; which ones there are is decided before the call."""
        return Answer(result=self._account)

    async def memberships(self, call: Call[PageQuery, None]) -> Answer:
        """Return what the caller is in each account."""
        return _page([self._membership(call.caller)], call.query)

    async def user(self, call: Call[None, None]) -> Answer:
        """Return the caller."""
        name = _name_of(call.caller)
        email = f"{name}@{self._account['id']}"
        return Answer(result=UserItem(id=_id_of(call.caller), email=email, username=name, suspended=False))

    async def token(self, call: Call[None, None]) -> Answer:
        """Say that the token works: the caller has come as far as here."""
        item = TokenItem(id=_id_of(call.caller), status="active")
        if call.caller.expires_at is not None:
            item["expires_on"] = timestamp(call.caller.expires_at)
        return Answer(result=item)

    def _membership(self, caller: Caller) -> MembershipItem:
        scopes = ALL if caller.may(Scope.ADMIN) else caller.scopes
        roles = [scope.value for scope in Scope if scope in scopes]
        return MembershipItem(id=_id_of(caller), account=self._account, status="accepted", roles=roles)


def _id_of(caller: Caller) -> str:
    return caller.token or _name_of(caller)


def _name_of(caller: Caller) -> str:
    """Return the caller's name as one word, as in front of an `@`."""
    return _NOT_IN_NAMES.sub("-", caller.name)


def _page(items: list[Any], query: PageQuery) -> Answer:
    """Return one page of a list that is in memory; a page past the end is empty."""
    shown = items[query.offset : query.offset + query.per_page]
    return Answer(result=shown, info=result_info(count=len(shown), per_page=query.per_page, page=query.page, total=len(items), cursor=None))
