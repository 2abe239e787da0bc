"""Who may do what: the scopes of tokens, and the caller that a request turns out to be.

Values and rules only. Invariant: what is not allowed by a scope here is allowed nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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

    def may(self, scope: Scope) -> bool:
        """Whether the scope is given."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


ANYBODY = Caller(name="anybody")  # of a hub that asks nobody for a token
