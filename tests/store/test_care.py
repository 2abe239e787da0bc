"""A database file from outside: the rules find what breaks them, a copy is whole or not there, and nothing disturbs the hub that writes."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from hub.core.errors import ConfigError, StoreInUse, Unavailable
from hub.core.model import Status
from hub.core.writes import Verb
from hub.store import care, store_for
from hub.store.columns import micros
from hub.store.invariants import RULES
from hub.store.schema import NEWEST
from tests.databases import empty_database
from tests.store.given import World, at, entry, fail, finish, opened, park, settle, steer


@pytest.fixture
def database() -> str:
    """Run on SQLite only."""
    return "sqlite"



def SILENT(*_: object) -> None:  # noqa: N802  # a constant that can be called
    """Show nothing of the progress."""


_LINE = "((SELECT key FROM instance WHERE id = 'done'), 1, {}, 'step', 'charge', 1, 1, 1, 20, {}, NULL, 'text')"
_QUEUE = "INSERT INTO queue VALUES ('q', 1)"
_MESSAGE = "(queue, id, content_type, attempts, node, lease, sent_at, visible_at, body) VALUES"
BREAKS = {
    "label.orphan": "INSERT INTO label VALUES (1, '', 'eu', 1, 99)",
    "line.orphan": "INSERT INTO line VALUES (99, 1, 0, 'step', 'a', 1, 1, 1, 20, 1, NULL, 'text')",
    "label.filed": "UPDATE instance SET labels = '{}' WHERE id = 'busy'",
    "line.step": f"INSERT INTO line VALUES {_LINE.format(0, 5)}; UPDATE line SET name = 'gone'",
    "line.total": f"INSERT INTO line VALUES {_LINE.format(0, 5)}, {_LINE.format(1, 5)}",
    "message.queue": f"INSERT INTO message {_MESSAGE} ('gone', 'm', 'json', 0, NULL, NULL, 1, 1, '1')",
    "message.held": f"{_QUEUE}; INSERT INTO message {_MESSAGE} ('q', 'm', 'json', 1, 1, NULL, 1, 1, '1')",
    "message.lease": f"{_QUEUE}; INSERT INTO message {_MESSAGE} ('q', 'm', 'json', 1, 1, 7, 1, 1, '1'), ('q', 'n', '', 1, 1, 7, 1, 1, '')",
    "token.whole": "INSERT INTO token VALUES ('t', 'ci', 'short', 'read', 'local', 1, 'me', NULL, NULL, NULL)",
    "audit.guard": "DROP TRIGGER audit_final",
    "reference": "UPDATE instance SET workflow = 99 WHERE id = 'busy'",
    "instance.end": "UPDATE instance SET ended_at = NULL WHERE id = 'done'",
    "instance.final": "UPDATE instance SET wake_at = 1 WHERE id = 'done'",
    "instance.complete": "UPDATE instance SET error = '{}' WHERE id = 'done'",
    "instance.stranded": "UPDATE instance SET node = NULL WHERE id = 'busy'",
    "instance.claim": "UPDATE instance SET node = 99 WHERE id = 'busy'",
    "instance.guard": "DROP TRIGGER instance_final",
    "step.settled": "UPDATE step SET ended_at = NULL WHERE name = 'charge'",
    "step.order": "UPDATE step SET ordinal = 1",
    "attempt.step": "UPDATE attempt SET name = 'gone'",
    "inbox.number": "INSERT INTO inbox VALUES ((SELECT key FROM instance WHERE id = 'busy'), 99, 'x', '1', 1)",
    "idempotency.instance": "INSERT INTO idempotency (trigger, key, instance, at) VALUES ('t', 'k', 99, 1)",
    "revision.used": "UPDATE revision SET used_below = 1",
    "json": "UPDATE instance SET params = '{' WHERE id = 'busy'",
    **{f"{table}.orphan": f"UPDATE {table} SET instance = instance + 99" for table in ("step", "attempt", "history")},
    "inbox.orphan": "INSERT INTO inbox VALUES (99, 1, 'x', '1', 1)",
    "gate.orphan": "INSERT INTO gate (instance, rule, key) VALUES (99, 'slot', 'x')",
    "collection.orphan": "INSERT INTO collection VALUES (99, 1, 1, 1, 1)",
    "member.orphan": "INSERT INTO member (instance, seq) VALUES (99, 1)",
}


@pytest.fixture
async def lived(world: World, tmp_path: Path) -> Path:
    """Return a copy of a database in which one instance is complete, and another one was resumed and is between two attempts."""
    done, busy = await world.born("done"), await world.born("busy")
    await world.store.apply([settle(done, entry("charge")), settle(done, entry("ship", ordinal=2)), finish(done)])
    await world.store.apply([steer(busy, Verb.PAUSE), park(busy, None, status=Status.PAUSED), steer(busy, Verb.RESUME)])
    (claimed,) = await world.store.claim(world.node, 10, at(60))
    await world.do(fail(busy, token=claimed.instance.token))
    return copied(tmp_path)


def copied(folder: Path) -> Path:
    """Copy the database of a world that is open."""
    copy = folder / "copy.sqlite"
    care.back_up(folder / "hub.sqlite", copy, SILENT)
    return copy


def test_a_database_that_has_lived_keeps_every_rule(lived: Path) -> None:
    assert care.check(lived, SILENT) == []


@pytest.mark.parametrize("rule", [rule.name for rule in RULES if rule.name != "integrity"])
def test_each_rule_finds_what_breaks_it(lived: Path, rule: str) -> None:
    with closing(sqlite3.connect(lived)) as db:
        if rule in ("instance.end", "instance.final", "instance.complete"):
            db.execute("DROP TRIGGER instance_final")  # which keeps that from happening
        db.executescript(BREAKS[rule])
        db.commit()

    found = {finding.rule: finding.rows for finding in care.check(lived, SILENT)}
    assert found[rule]


def test_a_damaged_page_is_a_finding_and_not_the_end_of_the_check(lived: Path) -> None:
    with closing(sqlite3.connect(lived)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'step'").fetchone()
    content = bytearray(lived.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    lived.write_bytes(content)

    found = {finding.rule: finding.rows for finding in care.check(lived, SILENT)}
    assert "integrity" in found
    assert "cannot be read" in found["step.orphan"][0]


async def test_a_copy_is_one_file_that_a_hub_opens(lived: Path) -> None:
    assert [path.name for path in lived.parent.iterdir() if path.name.startswith("copy")] == ["copy.sqlite"]
    store = store_for(f"sqlite:///{lived}")
    await store.open()
    try:
        assert await store.counts() == {Status.COMPLETE: 1, Status.RUNNING: 1}
    finally:
        await store.close()


async def test_copies_of_a_database_that_is_written_meanwhile_are_whole(world: World, tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            key = await world.born(f"i{number}")
            for ordinal in range(1, 4):
                await world.do(settle(key, entry(f"step {ordinal}", ordinal=ordinal, output=b'"' + b"x" * 5000 + b'"')))
            await world.do(finish(key))

    writing = asyncio.create_task(write())
    sizes = []
    for number in range(20):
        copy = tmp_path / f"copy {number}.sqlite"
        sizes.append(await asyncio.to_thread(care.back_up, tmp_path / "hub.sqlite", copy, SILENT))
        assert await asyncio.to_thread(care.check, copy, SILENT) == []
        with closing(sqlite3.connect(copy)) as db:
            journals = db.execute(
                "SELECT i.status, group_concat(s.ordinal) FROM instance i LEFT JOIN "
                "(SELECT * FROM step ORDER BY instance, ordinal) s ON s.instance = i.key GROUP BY i.key"
            ).fetchall()
        assert {steps for _, steps in journals} <= {None, "1", "1,2", "1,2,3"}  # never a step without the one before it
        assert all(steps == "1,2,3" for status, steps in journals if status == "complete")
    ended.set()
    await writing
    assert sizes[-1] > sizes[0]


def test_a_copy_never_replaces_a_file(lived: Path) -> None:
    with pytest.raises(ConfigError, match="exists already"):
        care.back_up(lived, lived, SILENT)


def test_a_copy_that_fails_leaves_nothing(lived: Path, tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(Unavailable, match="No space left"):
        care.back_up(lived, tmp_path / "other" / "b.sqlite", broken)
    assert list((tmp_path / "other").iterdir()) == []


def test_a_copy_is_as_private_as_its_original(lived: Path, tmp_path: Path) -> None:
    lived.chmod(0o600)
    care.back_up(lived, tmp_path / "b.sqlite", SILENT)
    assert (tmp_path / "b.sqlite").stat().st_mode & 0o777 == 0o600


async def test_the_contents_are_told_while_a_hub_works(world: World, tmp_path: Path) -> None:
    await world.create("late")
    await world.ended("done")
    found = care.contents(tmp_path / "hub.sqlite", at(60))

    assert (found.current, found.schema, found.journal_mode) == (True, NEWEST, "wal")
    assert found.instances == {"queued": 1, "complete": 1}
    assert found.never_started == 1
    assert found.due_since == at(0)


def test_only_tokens_that_open_something_are_counted(lived: Path) -> None:
    def add(name: str, scopes: str, *, expires: float | None = None, revoked: float | None = None) -> None:
        until, ended = (None if when is None else micros(at(when)) for when in (expires, revoked))
        values = (name, name, name.encode(), scopes, "local", 1, "me", until, ended)
        db.execute(f"INSERT INTO token ({columns}) VALUES ({','.join('?' * 9)})", values)

    columns = "id, name, digest, scopes, account, created_at, created_by, expires_at, revoked_at"
    with closing(sqlite3.connect(lived)) as db:
        add("a", "admin", expires=100)
        add("b", "read")
        add("c", "admin", expires=50)
        add("d", "admin", revoked=50)
        db.commit()

    assert care.contents(lived, at(60)).tokens == 2


async def test_the_owner_of_a_file_is_known_as_long_as_it_lives(tmp_path: Path, world: World) -> None:
    assert (care.owner(tmp_path / "hub.sqlite") or "").startswith(f"{os.getpid()} (started ")
    with pytest.raises(StoreInUse) as caught:
        await store_for(f"sqlite:///{tmp_path}/hub.sqlite").open()
    assert caught.value.owner == care.owner(tmp_path / "hub.sqlite")
    await world.store.close()
    assert care.owner(tmp_path / "hub.sqlite") is None
    assert care.owner(tmp_path / "never.sqlite") is None


async def test_who_looks_for_the_owner_never_stands_in_the_way_of_a_hub_that_starts(tmp_path: Path) -> None:
    path, ended = empty_database(tmp_path / "hub.sqlite"), threading.Event()

    def look() -> int:
        looks = 0
        while not ended.is_set():
            care.owner(path)
            looks += 1
        return looks

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            for _ in range(100):
                async with opened(path):
                    pass
        finally:
            ended.set()
        assert looking.result() > 100


def test_what_is_no_database_of_a_hub_is_told(tmp_path: Path, lived: Path) -> None:
    text, old = tmp_path / "text", Path(shutil.copy(lived, tmp_path / "old.sqlite"))
    text.write_text("this is no database, but long enough to look like one" * 100)
    with closing(sqlite3.connect(old)) as db:
        db.execute("UPDATE alembic_version SET version_num = '0000'")
        db.commit()

    with pytest.raises(ConfigError, match="there is no database"):
        care.check(tmp_path / "none", SILENT)
    with pytest.raises(ConfigError, match="is no database, or a damaged one"):
        care.check(text, SILENT)
    with pytest.raises(ConfigError, match="has the schema 0000, this hub checks"):
        care.check(old, SILENT)
    assert care.contents(old, at(0)).instances == {}


def test_a_file_of_a_newer_hub_that_leaves_it_to_this_one_is_looked_into(tmp_path: Path, lived: Path) -> None:
    newer = Path(shutil.copy(lived, tmp_path / "newer.sqlite"))
    with closing(sqlite3.connect(newer)) as db, db:
        db.execute("UPDATE alembic_version SET version_num = '9999_pre'")
    allowed = care.contents(newer, at(0))
    found = care.check(newer, SILENT)
    with closing(sqlite3.connect(newer)) as db, db:
        db.execute("UPDATE oldest_hub SET schema = '9999'")

    refused = care.contents(newer, at(0))

    assert (allowed.current, allowed.instances, found) == (True, care.contents(lived, at(0)).instances, [])
    assert (refused.current, refused.instances) == (False, {})


def test_the_probe_of_the_disk_leaves_nothing(tmp_path: Path) -> None:
    assert care.sync_s(tmp_path).total_seconds() > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("url", "file"), [("sqlite:///a/b.sqlite", Path("a/b.sqlite")), ("postgresql://host/db", None)])
def test_only_a_file_has_a_path(url: str, file: Path | None) -> None:
    assert care.file_of(url) == file
