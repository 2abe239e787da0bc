"""The embedded store on files that it cannot use and on disks that are full."""
# ruff: noqa: ASYNC240  # files are what this is about, and nothing else waits for the loop

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.core.errors import ConfigError, Unavailable
from hub.core.model import Status
from hub.core.writes import CreateInstance, Verdict, Write
from hub.store import store_for
from tests.store.given import at, entry, new, opened, settle, world_in


@pytest.fixture
def database() -> str:
    """Run on SQLite only."""
    return "sqlite"


NOBODY = 65534


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Be an ordinary user for a while: rights do not bind root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@contextlib.contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Let the kernel refuse to grow any file of this process beyond a size: writing fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Make a folder that other users can enter, which those of `tmp_path` do not allow."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


# ---- unusable files


async def test_a_folder_without_the_right_to_write_is_refused_at_opening(public_folder: Path) -> None:
    public_folder.chmod(0o555)
    store = store_for(f"sqlite:///{public_folder}/hub.sqlite")

    with (
        without_rights(),
        pytest.raises(ConfigError, match=r"hub\.sqlite cannot be used.*: Permission denied.*--data DIR") as refused,
    ):
        await store.open()

    assert str(public_folder) in refused.value.message
    public_folder.chmod(0o755)
    await store.open()
    await store.close()


async def test_a_folder_that_cannot_be_made_is_refused_at_opening(public_folder: Path) -> None:
    public_folder.chmod(0o555)
    store = store_for(f"sqlite:///{public_folder}/new/hub.sqlite")

    with without_rights(), pytest.raises(ConfigError, match=r"Permission denied"):
        await store.open()


async def test_a_file_without_the_right_to_write_is_refused_at_opening(public_folder: Path) -> None:
    path = public_folder / "hub.sqlite"
    async with opened(path):
        pass
    for file in public_folder.iterdir():
        file.chmod(0o666)
    path.chmod(0o444)
    public_folder.chmod(0o777)

    with without_rights(), pytest.raises(ConfigError, match=r"hub\.sqlite cannot be used as a database: .*readonly.*correct the rights"):
        await store_for(f"sqlite:///{path}").open()


@pytest.mark.parametrize("kind", ["text", "folder", "other program", "newer hub"])
async def test_a_file_that_is_not_a_hubs_is_refused_and_left_as_it_is(path: Path, kind: str) -> None:
    match kind:
        case "text":
            path.write_text("a shopping list\n" * 100)
        case "folder":
            path.mkdir()
        case "other program":
            with contextlib.closing(sqlite3.connect(path)) as db:
                db.execute("CREATE TABLE songs (name TEXT)")
        case _:
            async with opened(path):
                pass
            with contextlib.closing(sqlite3.connect(path)) as db, db:
                db.execute("UPDATE alembic_version SET version_num = '9999_post'")
                db.execute("UPDATE oldest_hub SET schema = '9999', version = '7.0'")
    expected = {
        "text": "file is not a database",
        "folder": "unable to open database file",
        "other program": "another program.*songs",
        "newer hub": "brought to schema 9999_post by a newer version of the hub.*install version 7.0",
    }

    with pytest.raises(ConfigError, match=expected[kind]):
        await store_for(f"sqlite:///{path}").open()

    with pytest.raises(ConfigError, match=expected[kind]):
        await store_for(f"sqlite:///{path}").open()  # and not: in use by another hub
    if kind == "text":
        assert path.read_text() == "a shopping list\n" * 100


# ---- full disks


async def test_a_full_disk_is_unavailable_and_nothing_of_the_group_is_written(path: Path) -> None:
    async with world_in(path) as world:
        key = await world.born("small")
        before = await world.everything()
        group: list[Write] = [settle(key, entry("a")), *(CreateInstance(new=new(f"big {n}", params=b"x" * 100_000)) for n in range(20))]

        with no_file_beyond(400_000):
            for _ in range(3):
                with pytest.raises(Unavailable, match=r"hub\.sqlite cannot be written now: .*Nothing was written"):
                    await world.store.apply(group)
            assert await world.everything() == before  # it can still be read
        assert await world.everything() == before

        assert set(await world.verdicts(*group)) == {Verdict.APPLIED}
        assert await world.store.counts() == {Status.QUEUED: 21}
    async with opened(path) as store:
        assert await store.counts() == {Status.QUEUED: 21}


async def test_a_claim_on_a_full_disk_is_unavailable_and_takes_nothing(path: Path) -> None:
    async with world_in(path) as world:
        await world.store.apply([CreateInstance(new=new(f"i{n}")) for n in range(500)])

        with no_file_beyond(4096), pytest.raises(Unavailable):
            await world.store.claim(world.node, 500, at(5))

        assert len(await world.store.claim(world.node, 1000, at(5))) == 500


@pytest.mark.parametrize("room", [1_000, 20_000, 40_000, 60_000])
async def test_a_disk_that_is_full_at_the_first_start_leaves_nothing_behind(path: Path, room: int) -> None:
    with no_file_beyond(room), pytest.raises(ConfigError, match="cannot be used as a database"):
        await store_for(f"sqlite:///{path}").open()

    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == []
    async with world_in(path) as world:
        assert await world.create() == 1
