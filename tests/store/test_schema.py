"""The schema: migrations, tables and the script of new files say the same, and nobody pays for migrations who has nothing to migrate."""
# ruff: noqa: ASYNC221  # nothing else waits for the loop

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from hub.core.errors import ConfigError
from hub.store import schema, store_for
from hub.store.sqlite import SqliteStore
from hub.store.tables import metadata
from tests.store.written_schema import migrated_schema


def schema_of(path: Path) -> dict[str, str]:
    """Return the text of every table, index and trigger, spaces and quotes aside."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'").fetchall()
    return {name: " ".join(sql.replace('"', "").split()).replace("( ", "(").replace(" )", ")") for name, sql in found}


async def test_migrations_lead_to_exactly_the_tables(tmp_path: Path) -> None:
    store = store_for(f"sqlite:///{tmp_path}/migrated.sqlite")
    await store.open()
    await store.close()
    engine = create_engine(f"sqlite:///{tmp_path}/made.sqlite")
    metadata.create_all(engine)
    engine.dispose()

    made = schema_of(tmp_path / "made.sqlite")

    assert schema_of(tmp_path / "migrated.sqlite") == made
    assert {"workflow", "version", "instance", "step", "attempt", "inbox", "node", "instance_live"} <= made.keys()
    assert {"trigger", "idempotency", "delivery"} <= made.keys()
    assert "instance_final" in made


def test_the_newest_revision_is_the_last_one() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))

    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [schema.NEWEST]
    revisions = [step.revision for step in script.walk_revisions()][::-1]
    assert all(re.fullmatch(r"\d{4}(_pre|_post)?", revision) for revision in revisions)
    assert revisions == sorted(revisions, key=lambda revision: (revision[:4], revision.endswith("_post")))


def test_a_new_file_is_made_of_what_the_migrations_make() -> None:
    assert schema.OURS.script.read_text() == migrated_schema(), "run: python -m tests.store.written_schema"
    assert list(schema.OURS.folder.glob("*.sql")) == [schema.OURS.script]


async def test_a_script_that_fails_leaves_an_empty_file(tmp_path: Path) -> None:
    broken = schema.Schema("0001", tmp_path / "migrations")
    broken.folder.mkdir()
    whole = schema.OURS.script.read_text()
    broken.script.write_text(whole.replace("COMMIT;", "INSERT INTO nowhere VALUES (1);\nCOMMIT;"))
    file = tmp_path / "hub.sqlite"

    with pytest.raises(ConfigError, match="nowhere"):
        await SqliteStore(file, schema=broken).open()

    assert schema_of(file) == {}
    store = SqliteStore(file)
    await store.open()
    await store.close()


@pytest.mark.parametrize("made", ["before", "by itself"])
async def test_a_file_is_opened_without_the_machinery_of_migrations(tmp_path: Path, made: str) -> None:
    url = f"sqlite:///{tmp_path}/hub.sqlite"
    if made == "before":
        store = store_for(url)
        await store.open()
        await store.close()

    run = subprocess.run([sys.executable, "-c", OPEN, url], capture_output=True, text=True, check=True)

    assert run.stdout.split() == []


OPEN = """
import asyncio, sys
from datetime import timedelta
from hub.core.model import InstanceQuery
from hub.store import store_for
from tests.store.given import World, at

async def main():
    store = store_for(sys.argv[1])
    await store.open()
    world = World(store, await store.renew(None, timedelta(seconds=1), at(0)))
    await world.register("orders")
    await world.create()
    await store.claim(world.node, 1, at(0))
    await store.find(InstanceQuery())
    await store.close()

asyncio.run(main())
print(*(name for name in ("alembic", "sqlalchemy", "sqlmodel", "pydantic") if name in sys.modules))
"""
