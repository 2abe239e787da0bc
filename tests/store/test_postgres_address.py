"""Starting on a PostgreSQL database that does not let the hub in: what is wrong and its cure are told, and no password."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from hub.core.errors import ConfigError
from hub.store import store_for
from hub.store.address import shown
from tests.databases import database_of, execute, postgres_database
from tests.postgres import PostgresServer

PASSWORD = "hunt%40er2"  # as an address has it


def signed_in(url: str, user: str, password: str = PASSWORD) -> str:
    """Return the address with another user."""
    return urlunsplit(urlsplit(url)._replace(netloc=f"{user}:{password}@{urlsplit(url).netloc.rpartition('@')[2]}"))


async def refusal(url: str) -> str:
    """Return what is told when a hub starts there."""
    store = store_for(url)
    with pytest.raises(ConfigError) as caught:
        await store.open()
    await store.close()
    assert "hunt" not in caught.value.message
    assert caught.value.path == "store.url"
    return caught.value.message


@asynccontextmanager
async def role(server: str, name: str) -> AsyncIterator[str]:
    """Make a user who may log in and nothing else."""
    await execute(server, f"DROP ROLE IF EXISTS {name}")
    await execute(server, f"CREATE ROLE {name} LOGIN PASSWORD 'hunt@er2'")
    try:
        yield name
    finally:
        await execute(server, f"DROP ROLE {name}")


async def test_a_server_that_is_away_is_told() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # and nobody listens
        port = probe.getsockname()[1]
        told = await refusal(f"postgresql://hub:{PASSWORD}@127.0.0.1:{port}/hub?password=hunter2")
    assert f"postgresql://127.0.0.1:{port}/hub cannot be reached: " in told
    assert told.endswith("is PostgreSQL running there, and may this machine connect to it?")


async def test_a_database_that_is_missing_is_told(postgres_url: str) -> None:
    told = await refusal(signed_in(database_of(postgres_url, "no_such_hub"), "postgres", urlsplit(postgres_url).password or PASSWORD))
    assert 'database "no_such_hub" does not exist; make it: createdb -h 127.0.0.1 -O postgres no_such_hub' in told


async def test_a_wrong_password_and_an_unknown_user_are_told(postgres_server: PostgresServer) -> None:
    connection: Any = await asyncpg.connect(postgres_server.url)
    rules = f"{await connection.fetchval('SHOW data_directory')}/pg_hba.conf"
    await connection.execute("CREATE ROLE hub LOGIN PASSWORD 'right'")
    await connection.execute(f"COPY (SELECT 'host all all 127.0.0.1/32 scram-sha-256') TO '{rules}'")
    await connection.close()
    postgres_server.restart()

    for user in ("hub", "nobody"):
        told = await refusal(signed_in(postgres_server.url, user))
        assert f"does not let {user} in: " in told
        assert told.endswith("correct the password in the address, or the variable from which it comes")


async def test_a_user_who_may_not_make_tables_is_told_how_to_become_one_who_may(postgres_url: str) -> None:
    async with role(postgres_url, "hub_test_guest") as guest, postgres_database(postgres_url) as full:
        empty = database_of(full, f"{urlsplit(full).path.lstrip('/')}_e")
        await execute(postgres_url, f"CREATE DATABASE {urlsplit(empty).path.lstrip('/')} TEMPLATE template0")
        try:
            await execute(empty, "REVOKE CREATE ON SCHEMA public FROM public")  # as new servers do by themselves
            told = await refusal(signed_in(empty, guest))
        finally:
            await execute(postgres_url, f"DROP DATABASE {urlsplit(empty).path.lstrip('/')} WITH (FORCE)")
    assert f"has no tables yet, and {guest} may not make them; make {guest} the owner: ALTER DATABASE " in told


async def test_the_database_of_another_program_is_told(postgres_url: str) -> None:
    async with postgres_database(postgres_url) as url:
        await execute(url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE customers (id int)")
        told = await refusal(url)
    assert "holds tables of another program (customers); name one of the hub's own: createdb hub" in told


def test_a_missing_driver_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("hub.store.postgres")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigError, match=r"PostgreSQL needs the package asyncpg: pip install 'trigger-hub\[postgres\]'"):
        store_for(f"postgresql://hub:{PASSWORD}@db/hub")


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("postgresql://hub:pw@db:5432/hub", "postgresql://db:5432/hub"),
        ("postgresql://hub:p@w@db/hub", "postgresql://db/hub"),
        ("postgres://db/hub?password=p@w", "postgres://db/hub"),
    ],
)
def test_an_address_is_shown_without_what_lets_in(url: str, seen: str) -> None:
    assert shown(url) == seen
