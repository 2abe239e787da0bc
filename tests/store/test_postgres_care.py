"""A PostgreSQL database from outside: the rules find what breaks them, and what it holds is told while a hub works."""

from __future__ import annotations

import pytest

from hub.core.errors import ConfigError
from hub.core.model import Status
from hub.core.writes import Verb
from hub.store import postgres_care
from hub.store.invariants import RULES
from hub.store.schema import NEWEST
from tests.databases import execute
from tests.store.given import World, at, entry, fail, finish, park, settle, steer
from tests.store.test_care import BREAKS, SILENT

OURS = {
    **BREAKS,
    "audit.guard": "DROP TRIGGER audit_final ON audit",
    "instance.guard": "ALTER TABLE instance DISABLE TRIGGER instance_final",
    "revision.used": "ALTER SEQUENCE revision_number MINVALUE -16384 START -16384 RESTART -16384",
    "inbox.number": "INSERT INTO inbox VALUES ((SELECT key FROM instance WHERE id = 'busy'), 99, 'x', '1', 1)",
}
CHECKED = [rule.name for rule in RULES if rule.name not in ("integrity", "reference")]


@pytest.fixture
def database() -> str:
    """Run on PostgreSQL only."""
    return "postgres"


@pytest.fixture
async def lived(world: World, url: str) -> str:
    """Return a database in which one instance is complete, and another one was resumed and is between two attempts."""
    done, busy = await world.born("done"), await world.born("busy")
    await world.store.apply([settle(done, entry("charge")), settle(done, entry("ship", ordinal=2)), finish(done)])
    await world.store.apply([steer(busy, Verb.PAUSE), park(busy, None, status=Status.PAUSED), steer(busy, Verb.RESUME)])
    (claimed,) = await world.store.claim(world.node, 10, at(60))
    await world.do(fail(busy, token=claimed.instance.token))
    return url


async def test_a_database_that_has_lived_keeps_every_rule(lived: str) -> None:
    assert await postgres_care.check(lived, SILENT) == []
    assert postgres_care.number_of_rules() == len(CHECKED)


@pytest.mark.parametrize("rule", CHECKED)
async def test_each_rule_finds_what_breaks_it(lived: str, rule: str) -> None:
    if rule in ("instance.end", "instance.final", "instance.complete"):
        await execute(lived, "DROP TRIGGER instance_final ON instance")  # which keeps that from happening
    await execute(lived, f"SET session_replication_role = replica; {OURS[rule]}")  # references, too, would keep some from happening

    found = {finding.rule: finding.rows for finding in await postgres_care.check(lived, SILENT)}
    assert found[rule]


async def test_the_contents_are_told_while_a_hub_works(world: World, url: str) -> None:
    await world.create("late")
    await world.ended("done")
    server, found = await postgres_care.look(url, at(60))

    assert (found.current, found.schema, found.bytes > 1_000_000) == (True, NEWEST, True)
    assert found.instances == {"queued": 1, "complete": 1}
    assert (found.never_started, found.due_since, found.tokens) == (1, at(0), 0)
    assert server.durable["fsync"] in ("on", "off")
    assert (server.replica, server.connections > 0, server.major >= 12) == (False, True, True)


async def test_another_schema_is_not_checked(url: str) -> None:
    await execute(url, "UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(ConfigError, match=f"has the schema 0000, this hub checks {NEWEST}; bring it there with `hub db upgrade`"):
        await postgres_care.check(url, SILENT)
    assert (await postgres_care.look(url, at(0)))[1].instances == {}
