"""Tokens and the audit log: who comes in, what stays known, and that nobody waits for what may be late."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from hub.core.access import ANYBODY, SETTING, Auth, Caller, NewToken, Scope, UseToken
from hub.core.audit import AuditEntry, AuditQuery, Ending
from hub.core.errors import ConfigError, Conflict, NotFound, Rejected
from hub.core.writes import Write
from hub.engine.access import AccessOptions
from hub.engine.audit import BURST
from hub.engine.embedded import EmbeddedEngine
from hub.engine.runner import RunnerOptions
from hub.testing import VirtualClock
from tests.engine.conftest import QUIET, Refusing

ADMIN = frozenset({Scope.ADMIN})
QUIETLY = RunnerOptions(lease=QUIET, poll=QUIET, prune_every=QUIET)
Start = Callable[..., Awaitable[EmbeddedEngine]]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def start(tmp_path: Path, clock: VirtualClock) -> Any:
    """Return what starts a node on one file; the one before it is stopped."""
    running: list[EmbeddedEngine] = []

    async def begin(refused: Callable[[Write], bool] = lambda write: False, **options: Any) -> EmbeddedEngine:
        while running:
            await running.pop().stop()
        store = Refusing(tmp_path / "hub.sqlite", refused)
        engine = EmbeddedEngine(store, clock, structlog.get_logger(), [], QUIETLY, access=AccessOptions(**options))
        await engine.start()
        running.append(engine)
        return engine

    yield begin
    while running:
        await running.pop().stop()


async def make(engine: EmbeddedEngine, name: str = "ops", scopes: frozenset[Scope] = ADMIN, **fields: Any) -> NewToken:
    return await engine.access.create(name, scopes, account="local", by=ANYBODY, **fields)


def refusal(engine: EmbeddedEngine, secret: str | None) -> tuple[str, str]:
    with pytest.raises(Rejected) as caught:
        engine.access.identify(secret)
    return caught.value.code, caught.value.message


# ---- when a token is needed


async def test_a_hub_without_any_token_lets_anybody_in(start: Start) -> None:
    engine = await start()
    assert engine.access.open
    assert engine.access.identify(None) == engine.access.identify("anything") == ANYBODY


async def test_the_first_token_closes_the_hub_at_once(start: Start) -> None:
    engine = await start()
    await make(engine)
    assert not engine.access.open
    assert refusal(engine, None)[0] == refusal(engine, "anything")[0] == "unauthorized"


async def test_a_token_of_the_settings_closes_the_hub_and_opens_everything(start: Start) -> None:
    engine = await start(token="s3cret")
    assert not engine.access.open
    assert engine.access.identify("s3cret") == SETTING
    assert SETTING.may(Scope.ADMIN)
    assert refusal(engine, "s3cret ")[0] == "unauthorized"


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_hub_never_becomes_open_again_by_itself(start: Start, clock: VirtualClock, how: str) -> None:
    engine = await start()
    made = await make(engine, expires_at=clock.now() + timedelta(hours=1))
    if how == "revoked":
        await engine.access.revoke(made.token.id)
    await clock.sleep(3600)
    for node in (engine, await start()):
        assert not node.access.open
        assert refusal(node, None)[0] == "unauthorized"
        assert refusal(node, made.secret)[0] == "token.expired"


async def test_a_token_can_be_required_before_there_is_one_and_not_asked_for_where_the_settings_say_so(start: Start) -> None:
    engine = await start(auth=Auth.REQUIRED)
    assert refusal(engine, None)[0] == "unauthorized"
    await make(engine)
    engine = await start(auth=Auth.OFF)
    assert engine.access.identify(None) == ANYBODY


async def test_a_hub_that_others_can_reach_does_not_start_open(start: Start) -> None:
    with pytest.raises(ConfigError, match=r"server.host: '0.0.0.0' can be reached.*hub tokens create admin --scope admin"):
        await start(exposed="0.0.0.0")
    await make(await start())
    assert not (await start(exposed="0.0.0.0")).access.open
    assert not (await start(exposed="0.0.0.0", token="t")).access.open


# ---- what a token is


async def test_a_token_says_what_it_is_for_and_looks_like_a_token(start: Start, clock: VirtualClock) -> None:
    engine = await start()
    await make(engine)
    ends = clock.now() + timedelta(days=30)
    made = await make(engine, "ci", frozenset({Scope.READ, Scope.TRIGGER}), expires_at=ends)
    prefix, id, secret = made.secret.split("_")
    assert (prefix, id) == ("hub", made.token.id)
    assert len(secret) >= 43
    assert secret.isascii()
    assert secret.isalnum()
    expected = Caller(name="ci", scopes=frozenset({Scope.READ, Scope.TRIGGER}), token=id, account="local", expires_at=ends)
    assert engine.access.identify(made.secret) == expected


async def test_no_two_tokens_are_alike(start: Start) -> None:
    engine = await start()
    made = [await make(engine, "same name") for _ in range(50)]
    assert len({each.secret for each in made} | {each.token.id for each in made}) == 100


async def test_anything_but_the_whole_token_is_refused_without_quoting_it(start: Start) -> None:
    engine = await start()
    made, other = (await make(engine)).secret, (await make(engine)).secret
    _, id, secret = made.split("_")
    wrong = [
        made[:-1], made + "x", made.upper(), f"hub_{id}", f"hub_{id}_", f"hub__{secret}", secret, f"hub_{other.split('_')[1]}_{secret}",
        f" {made}", "hub_", "_", "\udcff\0", made * 50,
    ]  # fmt: skip
    for each in wrong:
        code, message = refusal(engine, each)
        assert code == "unauthorized"
        assert secret not in message
        assert id not in message


async def test_the_secret_is_stored_nowhere_and_shown_in_no_text(start: Start, tmp_path: Path) -> None:
    engine = await start()
    made = await make(engine)
    secret = made.secret.split("_")[2]
    assert secret not in repr(made) + repr(made.token) + repr(AccessOptions(token=secret))
    with closing(sqlite3.connect(tmp_path / "hub.sqlite")) as db:
        assert secret not in "".join(db.iterdump())
    assert made.token.digest.hex() not in repr(made.token)


async def test_tokens_survive_a_restart_newest_first(start: Start, clock: VirtualClock) -> None:
    engine = await start()
    first = await make(engine, "first")
    await clock.sleep(1)
    second = await make(engine, "second")
    assert [token.name for token in engine.access.tokens()] == ["second", "first"]
    engine = await start()
    assert [token.name for token in engine.access.tokens()] == ["second", "first"]
    assert engine.access.identify(first.secret).name == "first"
    assert engine.access.token(second.token.id) == second.token


async def test_a_revoked_token_opens_nothing_and_says_so_to_its_owner_only(start: Start) -> None:
    engine = await start()
    made, kept = await make(engine, "lost laptop"), await make(engine)
    revoked = await engine.access.revoke(made.token.id)
    assert await engine.access.revoke(made.token.id) == revoked
    for node in (engine, await start()):
        code, message = refusal(node, made.secret)
        assert code == "token.expired"
        assert message.startswith('the token "lost laptop" has been revoked')
        assert "lost laptop" not in refusal(node, made.secret[:-1])[1]
        assert node.access.identify(kept.secret).name == "ops"


async def test_an_expired_token_opens_nothing_from_that_moment_on(start: Start, clock: VirtualClock) -> None:
    engine = await start()
    made = await make(engine, expires_at=clock.now() + timedelta(seconds=10))
    await clock.sleep(9.9)
    assert engine.access.identify(made.secret).name == "ops"
    await clock.sleep(0.1)
    assert refusal(engine, made.secret)[0] == "token.expired"


@pytest.mark.parametrize(
    ("name", "scopes", "seconds", "told"),
    [
        ("", ADMIN, None, "needs a name"),
        (" ", ADMIN, None, "needs a name"),
        ("x" * 65, ADMIN, None, "needs a name"),
        ("a\nb", ADMIN, None, "needs a name"),
        ("ops", frozenset[Scope](), None, "without scopes"),
        ("ops", ADMIN, 0, "would have expired"),
    ],
)
async def test_what_could_be_good_for_nothing_is_not_made(
    start: Start, clock: VirtualClock, name: str, scopes: frozenset[Scope], seconds: int | None, told: str
) -> None:
    engine = await start()
    with pytest.raises(Rejected, match=told):
        await make(engine, name, scopes, expires_at=None if seconds is None else clock.now() + timedelta(seconds=seconds))
    assert engine.access.open


async def test_the_first_token_cannot_lock_everybody_out(start: Start, clock: VirtualClock) -> None:
    engine = await start()
    with pytest.raises(Conflict, match="must have the scope admin"):
        await make(engine, scopes=frozenset({Scope.READ}))
    await make(engine)
    await clock.sleep(1)
    await make(engine, scopes=frozenset({Scope.READ}))
    engine = await start(token="t")
    assert [token.scopes for token in engine.access.tokens()] == [{Scope.READ}, ADMIN]


async def test_an_unknown_token_cannot_be_looked_at_or_revoked(start: Start) -> None:
    engine = await start()
    with pytest.raises(NotFound, match="no token"):
        engine.access.token("x")
    with pytest.raises(NotFound, match="no token"):
        await engine.access.revoke("x")


# ---- the last use


async def test_the_last_use_is_written_once_a_minute(start: Start, clock: VirtualClock) -> None:
    written: list[UseToken] = []

    def seen(write: Write) -> bool:
        if isinstance(write, UseToken):
            written.append(write)
        return False

    engine = await start(seen)
    made = await make(engine)
    for _ in range(200):
        engine.access.identify(made.secret)
        await clock.sleep(0.9)
    assert len(written) == 3  # in 180 seconds
    used = engine.access.token(made.token.id).used_at
    assert used == written[-1].at
    assert (await start()).access.token(made.token.id).used_at == used


async def test_a_store_that_is_away_keeps_nobody_out(start: Start) -> None:
    engine = await start(lambda write: isinstance(write, UseToken))
    made = await make(engine)
    for _ in range(3):
        assert engine.access.identify(made.secret).name == "ops"
        await asyncio.sleep(1)


# ---- the audit log


def entry(number: int = 0, **fields: Any) -> AuditEntry:
    plain = {"caller": "unknown", "token": None, "remote": "10.0.0.9", "operation": "getWorkflow", "method": "GET", "status": 401}
    at = VirtualClock().now() + timedelta(seconds=number)
    return AuditEntry(**{"at": at, **plain, "target": f"/{number}", "ending": Ending.REFUSED, **fields})


async def found(engine: EmbeddedEngine, **query: Any) -> list[AuditEntry]:
    return [*(await engine.audit.find(AuditQuery(**{"limit": 1000, **query}))).items]


async def test_a_noted_entry_is_there_when_it_returns(start: Start) -> None:
    engine = await start()
    await engine.audit.note(entry())
    assert await found(engine) == [entry()]


async def test_a_flood_of_refusals_is_counted_and_not_written(start: Start, clock: VirtualClock) -> None:
    engine = await start()
    for number in range(5000):
        engine.audit.note_refused(entry(number))
    await clock.sleep(60)
    engine.audit.note_refused(entry(9999))
    await clock.sleep(1)
    entries = await found(engine)
    assert [each.target for each in entries] == ["/9999", *(f"/{number}" for number in reversed(range(BURST)))]
    assert entries[0].more == 5000 - BURST
    assert sum(each.more + 1 for each in entries) == 5001


async def test_a_flood_of_strangers_does_not_hide_what_a_token_has_tried(start: Start, clock: VirtualClock) -> None:
    engine = await start()
    for number in range(5000):
        engine.audit.note_refused(entry(number))
    engine.audit.note_refused(entry(0, caller="ci", token="abc", target="/tried"))
    await clock.sleep(1)
    newest = (await found(engine))[0]
    assert (newest.token, newest.target, newest.more) == ("abc", "/tried", 0)


async def test_what_a_client_has_chosen_is_cut_and_made_storable(start: Start) -> None:
    engine = await start()
    await engine.audit.note(entry(target="/\0\udcff" + "x" * 10_000))
    (kept,) = await found(engine)
    assert kept.target.startswith("/�?xx")
    assert len(kept.target) == 500


async def test_old_entries_go_with_the_housekeeping(start: Start, clock: VirtualClock) -> None:
    engine = await start(audit_kept=timedelta(days=1))
    await engine.audit.note(entry(0))
    await engine.audit.note(entry(7200))
    await clock.sleep(86_400 + 3600)
    await engine.prune()
    assert [each.target for each in await found(engine)] == ["/7200"]
