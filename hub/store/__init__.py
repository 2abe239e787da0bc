"""The durable state of the hub, and the only home of SQL.

`store_for` turns the address in the settings into a store; nothing outside this package knows which database stands behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.core.errors import ConfigError
from hub.store.address import shown

if TYPE_CHECKING:
    from hub.store.store import DatabaseStore

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")
_EXAMPLE = (
    "write sqlite:///hub.sqlite (relative to the working folder), sqlite:////var/lib/hub/hub.sqlite (absolute), "
    "or postgresql://user:password@host:5432/hub"
)


def store_for(url: str, *, notify: bool = True) -> DatabaseStore:
    """Return the store behind an address, not yet opened. Raises: ConfigError when no store understands the address.

    `notify` = nodes that share a database tell each other what is new; without it they find it by asking.
    """
    if url.startswith(_SQLITE) and not url.startswith(_SQLITE + ":"):
        name = url.removeprefix(_SQLITE)
        if name and not name.endswith("/"):
            from hub.store.sqlite import SqliteStore  # the driver is loaded only when it is used

            return SqliteStore(name)
    if url.startswith(_POSTGRES):
        try:
            from hub.store.postgres import PostgresStore
        except ModuleNotFoundError as error:
            missing = f"PostgreSQL needs the package {error.name}: pip install 'trigger-hub[postgres]'"
            raise ConfigError(missing, path="store.url") from error
        return PostgresStore(url, notify=notify)
    raise ConfigError(f"{shown(url)!r} is no address of a store; {_EXAMPLE}", path="store.url")
