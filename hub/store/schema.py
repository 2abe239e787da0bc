"""The schema of a database: which one it has, whether this hub may use it, and bringing it further.

A version of the schema comes as two migrations at most. `NNNN_pre` only adds: hubs that know the schema before it go on working, so that
a cluster is upgraded node by node. `NNNN_post` removes what only those needed: the table `oldest_hub` says which schema a hub must know at
least. Asks with plain SQL first: Alembic and SQLAlchemy are imported only when there is something to migrate, because that costs most of a
second. A new SQLite file has nothing to migrate: it is made by a script that says what all migrations together make of an empty one.
A migration is one transaction with what it notes in `oldest_hub`; a process that dies in it leaves the old schema.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from hub.core.errors import ConfigError

NEWEST = "0001"  # the last revision in migrations/versions; a test compares
FOUND = "SELECT a.version_num, o.schema, o.version FROM alembic_version a, oldest_hub o"
Moved = tuple[str | None, str]  # the revision before and after
_ONE_AT_A_TIME = threading.Lock()  # Alembic keeps the running migration in globals of its own
_POST = "_post"
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"


def number_of(revision: str) -> str:
    """Return the schema that a revision belongs to: four digits, which compare as text."""
    return revision[:4]


def _rank(revision: str) -> tuple[str, bool]:
    return number_of(revision), revision.endswith(_POST)


@dataclass(frozen=True, slots=True)
class LivingNode:
    """A node that works on the database: the schema that it knows, and how people find it."""

    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class Schema:
    """What a hub knows of the schema: the last revision, and the folder with the migrations that lead there."""

    newest: str = NEWEST
    folder: Path = Path(__file__).parent / "migrations"

    @property
    def number(self) -> str:
        """The schema that this hub knows."""
        return number_of(self.newest)

    @property
    def script(self) -> Path:
        """The script that makes a new SQLite file; a schema that has none is made by its migrations."""
        return self.folder / f"{self.newest}.sqlite.sql"

    def reads(self, revision: str, oldest: str | None) -> bool:
        """Whether a hub of this schema can work with a database of that revision."""
        return oldest is not None and oldest <= self.number <= number_of(revision)

    def is_behind(self, found: tuple[str, str, str], name: str) -> bool:
        """Whether a database may be brought further. Raises: ConfigError when it is too new for this hub.

        `found` is what `FOUND` has answered: its revision, the oldest schema that a hub may know, and the version that has set that.
        """
        revision, oldest, version = found
        if oldest > self.number:
            newer = f"{name} was brought to schema {revision} by a newer version of the hub, and this one knows {self.number} only"
            raise ConfigError(f"{newer}; install version {version}, or name another database", path="store.url")
        return _rank(revision) < _rank(self.newest)

    def reach(self, revision: str | None, ahead: Sequence[str], living: Sequence[LivingNode], *, finish: bool) -> list[str]:
        """Return which of the revisions ahead may be run now.

        What older nodes need stays as long as one lives, and the last removal is made only on demand (`finish`) or when no node lives.
        Raises: ConfigError: this hub cannot work, or the demand cannot be met, because of nodes that it names.
        """

        def allowed(step: str) -> bool:
            if not step.endswith(_POST):
                return True
            return not any(node.schema < number_of(step) for node in living) and (finish or not living or number_of(step) < self.number)

        steps = list(takewhile(allowed, ahead))
        reached = [*([revision] if revision else []), *steps][-1]
        if reached != self.newest and (finish or number_of(reached) < self.number):
            wanted = number_of(ahead[len(steps)])
            older = ", ".join(node.name for node in living if node.schema < wanted)
            raise ConfigError(
                f"schema {self.number} takes away what nodes of older versions need, and some are alive: {older}. Stop or upgrade them "
                f"first (to schema {wanted} at least); one that was killed counts until its lease ends",
                path="store.url",
            )
        return steps


OURS = Schema()


def bring_to_newest(db: sqlite3.Connection, path: Path, schema: Schema = OURS) -> Moved:
    """Migrate an open SQLite database, when it needs that. The caller has its lock: no other hub is alive.

    Raises: ConfigError when the file is not a hub's, or of a newer hub; sqlite3.Error: nothing was changed.
    """
    revision = None
    tables = {name for (name,) in db.execute(_TABLES)}
    if "oldest_hub" in tables:
        found = db.execute(FOUND).fetchone()
        revision = found[0]
        if not schema.is_behind(found, str(path)):
            return revision, revision
    elif tables:
        raise ConfigError(f"{path} is a database of another program (it has the table {min(tables)}); name another file", path="store.url")
    elif schema.script.exists():
        db.executescript(schema.script.read_text())
        return None, schema.newest
    return revision, _migrate(db, schema)


def _migrate(db: sqlite3.Connection, schema: Schema) -> str:
    from sqlalchemy import create_engine, event  # see the module's docstring
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    engine = create_engine("sqlite://", creator=lambda: db, poolclass=StaticPool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))  # the driver itself begins nothing
    try:
        with _ONE_AT_A_TIME, engine.begin() as connection:
            return upgrade(connection, schema, lambda _: [], finish=True)
    except DBAPIError as error:
        raise error.orig or error from error  # the driver's own error, as from every other statement


def upgrade(connection: Any, schema: Schema, living: Callable[[bool], list[LivingNode]], *, finish: bool) -> str:
    """Run the migrations that are allowed now, in the transaction of an SQLAlchemy connection; return the revision that is reached.

    `living` looks for living nodes; told True, it also lets none come to life before the transaction ends. Raises: ConfigError.
    """
    from importlib.metadata import version

    from alembic import command
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError
    from sqlalchemy import text

    config = config_of(connection, schema.folder)
    revision = MigrationContext.configure(connection).get_current_revision()
    try:
        ahead = [step.revision for step in ScriptDirectory.from_config(config).iterate_revisions(schema.newest, revision or "base")][::-1]
    except CommandError as error:
        unknown = f"no migration leads from schema {revision} to {schema.number} ({error})"
        raise ConfigError(f"{unknown}; restore a backup, or name another database", path="store.url") from error
    steps = schema.reach(revision, ahead, living(False) if revision else [], finish=finish)
    if revision and any(step.endswith(_POST) for step in steps):
        steps = schema.reach(revision, ahead, living(True), finish=finish)
    if steps:
        command.upgrade(config, steps[-1])
    removed = [number_of(step) for step in steps if step.endswith(_POST)]
    if removed:
        noted = {"schema": removed[-1], "version": version("trigger-hub")}
        connection.execute(text("UPDATE oldest_hub SET schema = :schema, version = :version"), noted)
    return (steps or [revision or ""])[-1]


def config_of(connection: Any, folder: Path = OURS.folder) -> Any:
    """Return how Alembic finds the migrations and the database: an SQLAlchemy connection in a transaction."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
