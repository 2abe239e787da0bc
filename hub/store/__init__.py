"""The durable state of the hub, and the only home of SQL.

`store_for` turns the address in the settings into a store; nothing outside this package knows which database stands behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.core.errors import ConfigError

if TYPE_CHECKING:
    from hub.core.ports import Store

_SQLITE = "sqlite:///"
_EXAMPLE = "write sqlite:///hub.sqlite (relative to the working folder) or sqlite:////var/lib/hub/hub.sqlite (absolute)"


def store_for(url: str) -> Store:
    """Return the store behind an address, not yet opened. Raises: ConfigError when no store understands the address."""
    if url.startswith(_SQLITE) and not url.startswith(_SQLITE + ":"):
        name = url.removeprefix(_SQLITE)
        if name and not name.endswith("/"):
            from hub.store.sqlite import SqliteStore  # the driver is loaded only when it is used

            return SqliteStore(name)
    scheme = url.partition(":")[0]
    if scheme.split("+")[0] in ("postgresql", "postgres"):
        raise ConfigError(f"this version stores in SQLite only, not in {scheme}; {_EXAMPLE}", path="store.url")
    raise ConfigError(f"{url!r} is no address of a store; {_EXAMPLE}", path="store.url")
