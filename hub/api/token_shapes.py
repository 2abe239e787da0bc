"""The shapes of requests and results about tokens and the audit log: resources of the hub's own, in the manner of its others."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from typing_extensions import TypedDict

from hub.api.shapes import Moment, SpanQuery, words_of
from hub.api.strict import StrictBody
from hub.core.access import Scope
from hub.core.audit import Ending

EndingFilter = Annotated[
    frozenset[Ending], BeforeValidator(words_of(Ending, "an outcome")), WithJsonSchema({"type": "string", "examples": list(Ending)})
]


# ---- requests


class TokenBody(StrictBody):
    """A new token."""

    name: str = Field(max_length=64, description="who uses it, for people and the audit log")
    scopes: frozenset[Scope] = Field(min_length=1, description="what it opens")
    expires_on: Moment | None = Field(default=None, description="from when on it opens nothing; default never")


class AuditListQuery(SpanQuery):
    """Which entries of the audit log, newest first."""

    caller: str | None = Field(default=None, max_length=64, description="name of the token")
    token: str | None = Field(default=None, max_length=64, description="id of the token")
    operation: str | None = Field(default=None, max_length=64)
    outcome: EndingFilter = frozenset()


# ---- results


class TokenState(TypedDict):
    """A token without its secret. `last_used_on` is exact to the minute."""

    id: str
    name: str
    status: Literal["active", "expired", "revoked"]
    scopes: list[str]
    account: str
    created_on: str
    created_by: str
    expires_on: str | None
    revoked_on: str | None
    last_used_on: str | None


class CreatedToken(TokenState):
    """A new token. `value` is what clients send as `Authorization: Bearer VALUE`; it is shown here and never again."""

    value: str


class AuditItem(TypedDict):
    """Who wanted what, when, from where, and how it ended. `more` of the same token, or of strangers, were only counted before it."""

    on: str
    caller: str
    token_id: str | None
    remote: str | None
    operation: str
    method: str
    target: str
    detail: str
    outcome: Literal["done", "refused", "failed"]
    status: int
    code: str
    more: int
