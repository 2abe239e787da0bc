"""Upgrades of the schema while hubs of two versions work: what is added leaves the older ones alone, what is removed waits for them.

There is one schema only, so the newer ones are made up here. What theirs remove, the code of today does not need.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from hub.core.errors import ConfigError, Unavailable
from hub.core.model import InstanceQuery, Status
from hub.core.nodes import NodeQuery
from hub.core.writes import Verdict
from hub.store.postgres import PostgresStore
from hub.store.schema import OURS, Schema
from hub.store.sqlite import SqliteStore
from hub.store.store import DatabaseStore
from tests.databases import asked, execute
from tests.store.given import World, at, finish, settle

TURN = 4711  # of a lock that the removal in schema 0002 waits for, where there are such locks
LEASE = timedelta(minutes=10)
HEAD = """
import os, signal
import sqlalchemy as sa
from alembic import op
revision, down_revision = "{}", "{}"
def upgrade():
"""
STEPS = {
    "0002_pre": """
    op.add_column("instance", sa.Column("mood", sa.Text))
    op.add_column("step", sa.Column("mood", sa.Text))
    op.add_column("node", sa.Column("mood", sa.Text))
    op.add_column("workflow", sa.Column("mood", sa.Text, nullable=False, server_default="calm"))
    op.create_index("instance_mood", "instance", ["mood"])
""",
    "0002_post": f"""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SELECT pg_advisory_xact_lock({TURN})")
    op.drop_index("label_instance")
""",
    "0003_pre": """
    op.create_table("later", sa.Column("key", sa.Integer, primary_key=True))
""",
    "0003_post": """
    op.drop_index("instance_mood")
""",
}
DIES = '    op.create_table("half", sa.Column("key", sa.Integer, primary_key=True))\n    os.kill(os.getpid(), signal.SIGKILL)\n'
FAILS = '    op.create_table("half", sa.Column("key", sa.Integer, primary_key=True))\n    op.execute("SELECT 1 FROM nowhere")\n'


def schema_at(folder: Path, newest: str, broken: str | None = None) -> Schema:
    """Make the schema of a newer hub: ours, and the steps up to the newest; the last one may be broken."""
    folder = folder / (newest if broken is None else "broken")
    if not folder.exists():
        shutil.copytree(OURS.folder, folder, ignore=shutil.ignore_patterns("__pycache__"))
        before = OURS.newest
        for step, body in STEPS.items():
            (folder / "versions" / f"v{step}.py").write_text(HEAD.format(step, before) + (broken if broken and step == newest else body))
            if step == newest:
                break
            before = step
    return Schema(newest, folder)


class Hubs:
    """Hubs of several versions on one database."""

    def __init__(self, url: str, folder: Path, stack: AsyncExitStack) -> None:
        self.url = url
        self.folder = folder
        self._stack = stack

    def store(self, newest: str = OURS.newest, broken: str | None = None) -> DatabaseStore:
        """Return the store of a hub whose schema ends there, not yet opened."""
        schema = OURS if newest == OURS.newest else schema_at(self.folder, newest, broken)
        file = self.url.removeprefix("sqlite:///")
        made: DatabaseStore = SqliteStore(file, schema=schema) if file != self.url else PostgresStore(self.url, schema=schema)
        self._stack.push_async_callback(made.close)
        return made

    async def node(self, newest: str = OURS.newest) -> World:
        """Start a hub, and make it a node."""
        store = self.store(newest)
        await store.open()
        world = World(store, await store.renew(None, LEASE, datetime.now(UTC)))
        await world.register("orders")
        return world

    async def leave(self, world: World) -> None:
        """Stop a node."""
        await world.store.renew(world.node, timedelta(0), datetime.now(UTC))
        await world.store.close()

    async def revision(self) -> tuple[str, str]:
        """Return the revision of the database, and the oldest schema that a hub must know."""
        ((revision, oldest),) = await asked(self.url, "SELECT version_num, schema FROM alembic_version, oldest_hub")
        return revision, oldest

    async def has(self, table: str) -> bool:
        """Whether there is a table of that name."""
        places = ("sqlite_master", "name") if self.url.startswith("sqlite") else ("pg_tables", "tablename")
        return bool(await asked(self.url, "SELECT 1 FROM {} WHERE {} = '{}'".format(*places, table)))


async def works(world: World, id: str = "one") -> None:
    """Let a node execute an instance."""
    key = await world.born(id)
    assert await world.verdicts(settle(key), finish(key)) == [Verdict.APPLIED] * 2


@pytest.fixture
async def hubs(url: str, tmp_path: Path) -> AsyncIterator[Hubs]:
    """Return hubs on a database of today's schema."""
    async with AsyncExitStack() as stack:
        yield Hubs(url, tmp_path / "schemas", stack)


shared = pytest.mark.parametrize("database", ["postgres"])  # where many hubs are alive


# ---- what is added


@shared
async def test_an_older_hub_goes_on_with_all_its_work_after_a_newer_one_has_come(hubs: Hubs) -> None:
    old = await hubs.node()
    before = await old.born("before")
    new = await hubs.node("0002_post")
    assert await hubs.revision() == ("0002_pre", "0001")

    assert await old.verdicts(settle(before), finish(before)) == [Verdict.APPLIED] * 2
    await old.create("waits")
    (claimed,) = await old.store.claim(old.node, 1, at(5))
    assert await old.store.renew(old.node, LEASE, datetime.now(UTC)) == old.node
    await works(new, "of the new one")
    assert claimed.instance.id == "waits"
    found = {each.id: each.status for each in (await old.store.find(InstanceQuery())).items}
    assert found == {"before": Status.COMPLETE, "waits": Status.QUEUED, "of the new one": Status.COMPLETE}
    nodes = (await old.store.find(NodeQuery(now=datetime.now(UTC)))).items
    assert [(each.alive, each.about.schema) for each in nodes] == [(True, "0001"), (True, "0002")]


@shared
async def test_an_older_hub_may_come_as_long_as_nothing_was_removed(hubs: Hubs) -> None:
    await hubs.node()
    await hubs.node("0002_post")

    late = await hubs.node()

    await works(late)
    assert await hubs.revision() == ("0002_pre", "0001")


async def test_what_only_added_leaves_the_database_to_older_hubs(hubs: Hubs) -> None:
    await hubs.leave(await hubs.node("0002_pre"))

    back = await hubs.node()

    await works(back)
    assert await hubs.revision() == ("0002_pre", "0001")


@shared
async def test_hubs_that_open_at_once_migrate_once(hubs: Hubs) -> None:
    await hubs.node()
    stores = [hubs.store("0002_post") for _ in range(4)]

    await asyncio.gather(*(store.open() for store in stores))

    assert await hubs.revision() == ("0002_pre", "0001")


@shared
async def test_hubs_that_open_an_empty_database_at_once_make_it_once(hubs: Hubs) -> None:
    await execute(hubs.url, "DROP SCHEMA public CASCADE")
    await execute(hubs.url, "CREATE SCHEMA public")
    stores = [hubs.store("0002_post") for _ in range(4)]

    await asyncio.gather(*(store.open() for store in stores))

    assert await hubs.revision() == ("0002_post", "0002")


# ---- what is removed


async def test_a_hub_that_is_alone_goes_the_whole_way(hubs: Hubs) -> None:
    await hubs.leave(await hubs.node())

    await hubs.node("0002_post")

    assert await hubs.revision() == ("0002_post", "0002")


@shared
async def test_a_removal_is_refused_while_an_older_node_is_alive_and_names_it(hubs: Hubs) -> None:
    old = await hubs.node()
    await hubs.node("0002_post")

    with pytest.raises(ConfigError, match=rf"older versions.* node {old.node} \(version unknown, process \d+ on .*Stop or upgrade"):
        await hubs.store("0002_post").upgrade()
    assert await hubs.revision() == ("0002_pre", "0001")

    await hubs.leave(old)
    assert await hubs.store("0002_post").upgrade() == ("0002_pre", "0002_post")
    assert await hubs.revision() == ("0002_post", "0002")
    assert await hubs.store("0002_post").upgrade() == ("0002_post", "0002_post")


@shared
async def test_no_start_removes_anything_while_another_node_is_alive(hubs: Hubs) -> None:
    old = await hubs.node()
    first = await hubs.node("0002_post")
    await hubs.leave(old)

    await hubs.leave(await hubs.node("0002_post"))
    assert await hubs.revision() == ("0002_pre", "0001")

    await hubs.leave(first)
    await hubs.node("0002_post")
    assert await hubs.revision() == ("0002_post", "0002")


async def test_a_hub_that_is_too_old_is_told_which_version_to_install(hubs: Hubs) -> None:
    await hubs.leave(await hubs.node("0002_post"))

    with pytest.raises(ConfigError, match=rf"brought to schema 0002_post by a newer version.*install version {version('trigger-hub')}"):
        await hubs.store().open()


@shared
async def test_a_node_that_was_silent_during_the_removal_is_none_any_more_and_writes_nothing(hubs: Hubs) -> None:
    old = await hubs.node()
    await execute(hubs.url, "UPDATE node SET lease_until = 1")  # it hangs, for longer than its lease
    new = await hubs.node("0002_post")
    assert await hubs.revision() == ("0002_post", "0002")

    with pytest.raises(ConfigError, match=f"install version {version('trigger-hub')}"):
        await old.store.renew(old.node, LEASE, datetime.now(UTC))

    with pytest.raises(Unavailable, match="install version"):
        await old.create("lost")
    assert (await new.store.find(InstanceQuery())).items == ()


@shared
async def test_a_hub_that_becomes_a_node_during_a_removal_is_refused(hubs: Hubs) -> None:
    old = hubs.store()
    await old.open()  # and is no node yet
    watch = await asyncpg.connect(hubs.url)
    try:
        await watch.execute(f"SELECT pg_advisory_lock({TURN})")
        removal = asyncio.create_task(hubs.store("0002_post").upgrade())
        await until(watch, "locktype = 'advisory' AND objid = 4711")
        joining = asyncio.create_task(old.renew(None, LEASE, datetime.now(UTC)))
        await until(watch, "locktype = 'relation' AND relation = 'node'::regclass")
        await watch.execute(f"SELECT pg_advisory_unlock({TURN})")
    finally:
        await watch.close()

    assert await removal == ("0001", "0002_post")
    with pytest.raises(ConfigError, match="install version"):
        await joining
    assert await asked(hubs.url, "SELECT * FROM node") == []


@shared
async def test_a_removal_sees_the_hub_that_became_a_node_just_before(hubs: Hubs) -> None:
    old = await hubs.node()
    await execute(hubs.url, "UPDATE node SET lease_until = 1")
    joins = await asyncpg.connect(hubs.url)
    try:
        async with joins.transaction():
            await joins.execute("UPDATE node SET lease_until = 9223372036854775807")
            removal = asyncio.create_task(hubs.store("0002_post").upgrade())
            watch = await asyncpg.connect(hubs.url)
            await until(watch, "locktype = 'relation' AND relation = 'node'::regclass")
            await watch.close()
    finally:
        await joins.close()

    with pytest.raises(ConfigError, match=f"node {old.node} "):
        await removal
    assert await hubs.revision() == ("0001", "0001")


async def until(watch: Any, waiting: str) -> None:
    """Return when somebody waits for such a lock."""
    async with asyncio.timeout(30):
        while not await watch.fetchval(f"SELECT 1 FROM pg_locks WHERE NOT granted AND {waiting} LIMIT 1"):
            pass


# ---- versions that are left out


async def test_several_versions_at_once_are_made_up_for_when_all_nodes_were_stopped(hubs: Hubs) -> None:
    await hubs.leave(await hubs.node())

    await hubs.node("0003_post")

    assert await hubs.revision() == ("0003_post", "0003")
    assert await hubs.has("later")


@shared
async def test_a_hub_whose_schema_has_no_place_beside_living_nodes_is_refused_and_nothing_changes(hubs: Hubs) -> None:
    old = await hubs.node()

    with pytest.raises(ConfigError, match=rf"schema 0003 takes away.* node {old.node} .*to schema 0002 at least"):
        await hubs.store("0003_post").open()

    assert await hubs.revision() == ("0001", "0001")
    await works(old)


@shared
async def test_the_next_version_removes_what_the_one_before_it_left(hubs: Hubs) -> None:
    old = await hubs.node()
    await hubs.node("0002_post")
    await hubs.leave(old)
    assert await hubs.revision() == ("0002_pre", "0001")

    await hubs.node("0003_post")

    assert await hubs.revision() == ("0003_pre", "0002")
    await hubs.node("0002_post")
    with pytest.raises(ConfigError, match="install version"):
        await hubs.store().open()


# ---- a migration that does not end


@pytest.mark.parametrize("step", ["0002_pre", "0002_post"])
async def test_a_process_that_dies_in_a_migration_leaves_the_old_schema(hubs: Hubs, step: str) -> None:
    dying = schema_at(hubs.folder, step, DIES)

    died = subprocess.run([sys.executable, "-c", OPEN, hubs.url, step, dying.folder], check=False)  # noqa: ASYNC221  # nothing else waits

    assert died.returncode == -signal.SIGKILL
    assert (await hubs.revision(), await hubs.has("half")) == (("0001", "0001"), False)
    await hubs.node("0002_post")
    assert await hubs.revision() == ("0002_post", "0002")


async def test_a_migration_that_fails_is_told_and_changes_nothing(hubs: Hubs) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        await hubs.store("0002_post", FAILS).open()

    assert (await hubs.revision(), await hubs.has("half")) == (("0001", "0001"), False)
    await works(await hubs.node())


OPEN = """
import asyncio, sys
from pathlib import Path
from hub.store.postgres import PostgresStore
from hub.store.schema import Schema
from hub.store.sqlite import SqliteStore

url, newest, folder = sys.argv[1:]
store = (PostgresStore if url.startswith("postgres") else SqliteStore)(url.removeprefix("sqlite:///"), schema=Schema(newest, Path(folder)))
asyncio.run(store.open())
"""
