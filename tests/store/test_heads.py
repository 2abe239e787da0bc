"""What the embedded store remembers of heads, and which statements make it forget."""

from __future__ import annotations

import pytest

from hub.core.writes import Verb, Verdict
from hub.store import statements as sql
from hub.store.flow_sql import Ask
from hub.store.heads import ALL, changes
from tests.store.given import World, at, finish, park, settle, steer


@pytest.fixture
def database() -> str:
    """Return the one that remembers."""
    return "sqlite"


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        (sql.UPDATE_HEAD, True),
        (sql.UPDATE_ALL, True),
        (sql.CLAIM, True),
        (sql.PAUSE_ORPHAN, True),
        (sql.QUEUED_AGAIN, True),
        (Ask.KEEP_FLOW.value, True),
        (Ask.SLEEP.value, ALL),
        (Ask.WAKE.value, ALL),
        (sql.DELETE_INSTANCES, ALL),
        (sql.HEADS, False),
        (sql.UPSERT_STEP, False),
        (sql.KEEP_SEEN, False),
        (sql.FORGET_STEPS, False),
    ],
)
def test_a_statement_says_of_which_instance_it_changes_the_head(text: str, changed: bool | str) -> None:
    assert changes(text) == changed


async def test_a_head_that_was_claimed_again_is_not_remembered(world: World) -> None:
    key = await world.born()
    await world.do(park(key, None))
    await world.do(steer(key, Verb.PAUSE))
    await world.do(steer(key, Verb.RESUME))
    (claimed,) = await world.store.claim(world.node, 1, at(7))

    stale, fresh = await world.verdicts(settle(key, token=1), settle(key, token=claimed.instance.token))

    assert (stale, fresh) == (Verdict.FENCED, Verdict.APPLIED)


async def test_what_a_group_did_that_was_undone_is_not_remembered(world: World) -> None:
    key = await world.born()
    await world.do(settle(key))

    (poisoned,) = await world.store.apply([finish(key, output="no bytes \ud83d")])

    assert poisoned.verdict is Verdict.POISON
    assert (await world.do(finish(key))).verdict is Verdict.APPLIED
    assert (await world.snapshot(key)).instance.output == b'"done"'
