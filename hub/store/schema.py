"""The schema of a database: which one it has, and bringing it to the newest.

Asks with plain SQL first: Alembic and SQLAlchemy are imported only when there is something to migrate, because that costs most of a second.
A migration is one transaction; a process that dies in it leaves the old schema.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

from hub.core.errors import ConfigError

NEWEST = "0001"  # the last revision in migrations/versions; a test compares
_ONE_AT_A_TIME = threading.Lock()  # Alembic keeps the running migration in globals of its own
_FOLDER = Path(__file__).parent / "migrations"
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"


def bring_to_newest(db: sqlite3.Connection, path: Path) -> None:
    """Migrate an open SQLite database, when it needs that.

    Raises: ConfigError when the file is not a hub's, or of a newer hub; sqlite3.Error: nothing was changed.
    """
    tables = {name for (name,) in db.execute(_TABLES)}
    if "alembic_version" in tables:
        revisions = {revision for (revision,) in db.execute("SELECT version_num FROM alembic_version")}
        if revisions == {NEWEST}:
            return
    elif tables:
        raise ConfigError(f"{path} is a database of another program (it has the table {min(tables)}); name another file", path="store.url")
    _migrate(db, path)


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    from alembic import command  # see the module's docstring
    from alembic.util import CommandError
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    engine = create_engine("sqlite://", creator=lambda: db, poolclass=StaticPool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))  # the driver itself begins nothing
    try:
        with _ONE_AT_A_TIME, engine.begin() as connection:
            command.upgrade(config_of(connection), "head")
    except DBAPIError as error:
        raise error.orig or error from error  # the driver's own error, as from every other statement
    except CommandError as error:
        raise ConfigError(
            f"{path} was written by a newer version of the hub ({error}); install that version, or name another file", path="store.url"
        ) from error


def config_of(connection: Any) -> Any:
    """Return how Alembic finds the migrations and the database: an SQLAlchemy connection in a transaction."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
