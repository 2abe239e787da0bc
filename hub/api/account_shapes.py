"""The shapes of what a client reads about itself: accounts, memberships, user, token. Field by field as Cloudflare's API has them."""

from __future__ import annotations

from typing import Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from hub.api.shapes import PageQuery


class AccountListQuery(PageQuery):
    """Which accounts."""

    name: str | None = Field(default=None, max_length=100, description="the whole name")


class AccountItem(TypedDict):
    """An account: a namespace of this hub."""

    id: str
    name: str
    type: Literal["standard"]


class MembershipItem(TypedDict):
    """What the caller is in an account; its roles are the scopes of its token."""

    id: str
    account: AccountItem
    status: Literal["accepted"]
    roles: list[str]


class UserItem(TypedDict):
    """The caller. The hub has no mail addresses: what stands there is the caller's name, `@` and the account."""

    id: str
    email: str
    username: str
    suspended: bool


class TokenItem(TypedDict):
    """The token that the request carries; one that does not work never gets this far."""

    id: str
    status: Literal["active"]
    expires_on: NotRequired[str]
