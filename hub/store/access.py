"""Tokens and the audit log: their SQL, their rows, and the programs of the writes that run alone.

Invariants: a token that is revoked stays revoked, and an entry of the audit log never changes.
"""

from __future__ import annotations

from hub.core.access import KeepToken, RevokeToken, Scope, Token, TokenQuery
from hub.core.audit import AuditEntry, AuditQuery, Ending, KeepAudit, PruneAudit
from hub.core.model import Page
from hub.core.writes import AccessWrite, Outcome, Verdict
from hub.store.columns import micros, micros_or_null, moment, moment_or_none, shown
from hub.store.cursors import cursor_of, key_of
from hub.store.program import Program, Row, change, fetch

# ---- SQL

_COLUMNS = "id, name, digest, scopes, account, created_at, created_by, expires_at, revoked_at, used_at"
_INSERT_TOKEN = f"INSERT INTO token ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_REVOKE = "UPDATE token SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?"
_USE = "UPDATE token SET used_at = greatest(coalesce(used_at, 0), ?) WHERE id = ?"
_TOKENS = f"SELECT {_COLUMNS} FROM token WHERE id = coalesce(?1, id) ORDER BY created_at DESC, id DESC LIMIT ?2"
_ENTRY = "at, caller, token, remote, operation, method, target, detail, ending, status, code, more"
_INSERT_ENTRY = f"INSERT INTO audit ({_ENTRY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PRUNE = "DELETE FROM audit WHERE key IN (SELECT key FROM audit WHERE at < ? ORDER BY at LIMIT ? FOR UPDATE SKIP LOCKED)"

# ---- writes


def apply(write: AccessWrite) -> Program[Outcome]:
    """Apply one of the writes about tokens and the audit log."""
    if isinstance(write, KeepAudit):
        yield from change(_INSERT_ENTRY, *_row_of_entry(write.entry))
        return Outcome(verdict=Verdict.APPLIED)
    if isinstance(write, PruneAudit):
        pruned = yield from change(_PRUNE, micros(write.before), max(write.limit, 0))
        return Outcome(verdict=Verdict.APPLIED, count=pruned)
    if isinstance(write, KeepToken):
        kept = yield from change(_INSERT_TOKEN, *_row_of_token(write.token))
        return Outcome(verdict=Verdict.APPLIED if kept else Verdict.CONFLICT, id=write.token.id)
    found = yield from change(_REVOKE if isinstance(write, RevokeToken) else _USE, micros(write.at), write.id)
    return Outcome(verdict=Verdict.APPLIED if found else Verdict.MISSING, id=write.id)


# ---- reading


def find_tokens(query: TokenQuery) -> Program[Page[Token]]:
    """Read stored tokens, newest first."""
    found = yield from fetch(_TOKENS, query.id, query.limit)
    return Page(items=tuple(map(_token_of, found)))


def find_entries(query: AuditQuery) -> Program[Page[AuditEntry]]:
    """Read one page of the audit log. Raises: Rejected when the cursor is not of such a list."""
    conditions, values = _conditions(query)
    total = None
    if query.total:
        ((total,),) = yield from fetch(f"SELECT count(*) FROM audit{_where(conditions)}", *values)
    if query.cursor is not None:
        conditions.append("key < ?")
        values.append(key_of(query.cursor))
    text = f"SELECT key, {_ENTRY} FROM audit{_where(conditions)} ORDER BY key DESC LIMIT ?"
    found = yield from fetch(text, *values, query.limit + 1)
    page = found[: query.limit]
    more = len(found) > query.limit and page
    return Page(items=tuple(_entry_of(row[1:]) for row in page), cursor=cursor_of(page[-1][0]) if more else None, total=total)


def _conditions(query: AuditQuery) -> tuple[list[str], list[object]]:
    endings = sorted(ending.value for ending in query.endings)
    found: list[tuple[str, list[object]]] = [
        (f"{column} = ?", [value])
        for column, value in (("caller", query.caller), ("token", query.token), ("operation", query.operation))
        if value is not None
    ]
    if endings:
        found.append((f"ending IN ({', '.join('?' * len(endings))})", [*endings]))
    if query.since is not None:
        found.append(("at >= ?", [micros(query.since)]))
    if query.until is not None:
        found.append(("at <= ?", [micros(query.until)]))
    return [condition for condition, _ in found], [value for _, values in found for value in values]


def _where(conditions: list[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


# ---- rows


def _row_of_token(token: Token) -> Row:
    return (
        token.id,
        token.name,
        token.digest,
        " ".join(scope for scope in Scope if scope in token.scopes),
        token.account,
        micros(token.created_at),
        token.created_by,
        micros_or_null(token.expires_at),
        micros_or_null(token.revoked_at),
        micros_or_null(token.used_at),
    )


def _token_of(row: Row) -> Token:
    id, name, digest, scopes, account, created_at, created_by, expires_at, revoked_at, used_at = row
    return Token(
        id=id,
        name=name,
        digest=digest,
        scopes=frozenset(Scope(word) for word in scopes.split()),
        account=account,
        created_at=moment(created_at),
        created_by=created_by,
        expires_at=moment_or_none(expires_at),
        revoked_at=moment_or_none(revoked_at),
        used_at=moment_or_none(used_at),
    )


def _row_of_entry(entry: AuditEntry) -> Row:
    return (
        micros(entry.at),
        entry.caller,
        entry.token,
        entry.remote,
        entry.operation,
        shown(entry.method),
        shown(entry.target),
        shown(entry.detail),
        entry.ending.value,
        entry.status,
        entry.code,
        entry.more,
    )


def _entry_of(row: Row) -> AuditEntry:
    at, caller, token, remote, operation, method, target, detail, ending, status, code, more = row
    return AuditEntry(
        at=moment(at),
        caller=caller,
        token=token,
        remote=remote,
        operation=operation,
        method=method,
        target=target,
        detail=detail,
        ending=Ending(ending),
        status=status,
        code=code,
        more=more,
    )
