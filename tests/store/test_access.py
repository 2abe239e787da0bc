"""Conformance: stored tokens and the audit log."""

from __future__ import annotations

from typing import Any

import pytest

from hub.core.access import KeepToken, RevokeToken, Scope, Token, TokenQuery, UseToken
from hub.core.audit import AuditEntry, AuditQuery, Ending, KeepAudit, PruneAudit
from hub.core.errors import Rejected
from hub.core.ports import Store
from hub.core.writes import Outcome, Verdict
from tests.databases import REFUSED, execute
from tests.store.given import at


def token(id: str = "t-1", **fields: Any) -> Token:
    """Return a token that has not been used."""
    plain = {"name": "ci", "digest": b"\0\xff" * 16, "scopes": frozenset({Scope.READ, Scope.TRIGGER}), "account": "local"}
    return Token(**{"id": id, **plain, "created_at": at(0), "created_by": "kim", **fields})


def entry(second: int = 0, **fields: Any) -> AuditEntry:
    plain = {"caller": "ci", "token": "t-1", "remote": "127.0.0.1", "operation": "deleteInstance", "method": "DELETE", "target": "/a"}
    return AuditEntry(**{"at": at(second), **plain, "ending": Ending.DONE, "status": 200, **fields})


async def keep(store: Store, *tokens: Token) -> list[Outcome]:
    return await store.apply([KeepToken(token=each) for each in tokens])


async def stored(store: Store, id: str = "t-1") -> Token:
    (found,) = (await store.find(TokenQuery(id=id))).items
    return found


async def noted(store: Store, *entries: AuditEntry) -> None:
    await store.apply([KeepAudit(entry=each) for each in entries])


async def seconds(store: Store, **query: Any) -> list[int]:
    return [round((each.at - at(0)).total_seconds()) for each in (await store.find(AuditQuery(**query))).items]


# ---- tokens


@pytest.mark.parametrize("full", [token(), token(expires_at=at(9), revoked_at=at(5), used_at=at(4), scopes=frozenset(Scope))])
async def test_a_stored_token_comes_back_as_it_was(store: Store, full: Token) -> None:
    assert [outcome.verdict for outcome in await keep(store, full)] == [Verdict.APPLIED]
    assert await stored(store) == full


async def test_tokens_are_listed_newest_first(store: Store) -> None:
    await keep(store, token("a"), token("b", created_at=at(2)), token("c", created_at=at(1)))
    assert [each.id for each in (await store.find(TokenQuery())).items] == ["b", "c", "a"]
    assert (await store.find(TokenQuery(id="nobody"))).items == ()


async def test_an_id_is_given_once(store: Store) -> None:
    await keep(store, token())
    assert [outcome.verdict for outcome in await keep(store, token(name="thief", digest=b"mine"))] == [Verdict.CONFLICT]
    assert await stored(store) == token()


async def test_what_is_revoked_stays_revoked(store: Store) -> None:
    await keep(store, token())
    for second in (3, 7):
        (outcome,) = await store.apply([RevokeToken(id="t-1", at=at(second))])
        assert outcome.verdict is Verdict.APPLIED
    assert (await stored(store)).revoked_at == at(3)


async def test_the_last_use_only_moves_forward(store: Store) -> None:
    await keep(store, token())
    await store.apply([UseToken(id="t-1", at=at(5)), UseToken(id="t-1", at=at(2))])
    assert (await stored(store)).used_at == at(5)


async def test_of_an_unknown_token_there_is_nothing_to_change(store: Store) -> None:
    outcomes = await store.apply([RevokeToken(id="x", at=at(0)), UseToken(id="x", at=at(0))])
    assert [outcome.verdict for outcome in outcomes] == [Verdict.MISSING] * 2


# ---- the audit log


async def test_an_entry_comes_back_as_it_was(store: Store) -> None:
    full = entry(ending=Ending.REFUSED, status=403, code="scope.missing", more=17, detail='{"status":"pause"}')
    bare = entry(token=None, remote=None)
    await noted(store, full, bare)
    assert (await store.find(AuditQuery())).items == (bare, full)


async def test_entries_are_found_by_what_they_say(store: Store) -> None:
    await noted(
        store,
        entry(1, caller="kim", token="t-2"),
        entry(2, operation="revokeToken"),
        entry(3, ending=Ending.REFUSED, status=401),
        entry(4, ending=Ending.FAILED, status=404),
    )
    assert await seconds(store, caller="kim") == [1]
    assert await seconds(store, token="t-1") == [4, 3, 2]
    assert await seconds(store, operation="revokeToken") == [2]
    assert await seconds(store, endings=frozenset({Ending.REFUSED, Ending.FAILED})) == [4, 3]
    assert await seconds(store, since=at(2), until=at(3)) == [3, 2]


async def test_an_entry_is_kept_whatever_a_request_has_in_its_path(store: Store) -> None:
    await noted(store, entry(1, target="workflows/a\0b", detail="\0"))
    (kept,) = (await store.find(AuditQuery())).items
    assert (kept.target, kept.detail) == ("workflows/a\N{SYMBOL FOR NULL}b", "\N{SYMBOL FOR NULL}")


async def test_pages_follow_one_another(store: Store) -> None:
    await noted(store, *(entry(second) for second in range(5)))
    first = await store.find(AuditQuery(limit=2, total=True))
    assert (len(first.items), first.total) == (2, 5)
    assert await seconds(store, limit=2, cursor=first.cursor) == [2, 1]
    assert (await store.find(AuditQuery(limit=5))).cursor is None
    with pytest.raises(Rejected, match="no cursor"):
        await store.find(AuditQuery(cursor="!"))


async def test_old_entries_are_pruned_the_oldest_first(store: Store) -> None:
    await noted(store, *(entry(second) for second in range(5)))
    (outcome,) = await store.apply([PruneAudit(before=at(3), limit=2)])
    assert outcome.count == 2
    assert await seconds(store) == [4, 3, 2]
    (outcome,) = await store.apply([PruneAudit(before=at(3), limit=2)])
    assert outcome.count == 1


async def test_the_database_itself_refuses_to_change_an_entry(store: Store, url: str) -> None:
    await noted(store, entry())
    with pytest.raises(REFUSED, match="only added to"):
        await execute(url, "UPDATE audit SET caller = 'somebody else'")
