"""Coming into a PostgreSQL database: what an address shows to people, and what is told, with its cure, when nobody gets in.

Never shows a password: not that of the address, and no text of the driver about an address that it cannot read, which may quote it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg

from hub.core.errors import ConfigError
from hub.store.address import shown

OLDEST = 12  # the first version of PostgreSQL that has all that the hub asks for
TESTED = 15
LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)
_CONNECT_S = 10.0
_MAY_MAKE = "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) OR to_regclass('alembic_version') IS NOT NULL"


def reason(error: BaseException) -> str:
    """Return what an error says, or its kind where it says nothing."""
    return str(error) or type(error).__name__


@asynccontextmanager
async def visited(url: str) -> AsyncIterator[Any]:
    """Lend a connection of its own. Raises: ConfigError with the cure, also for what goes wrong while it is lent."""
    db: Any = None
    try:
        db = await asyncpg.connect(url, timeout=_CONNECT_S)
        version = db.get_server_version()
        if version.major < OLDEST:
            raise ConfigError(f"{shown(url)} is PostgreSQL {version.major}; the hub needs {OLDEST} or newer", path="store.url")
        yield db
    except (*LOST, ValueError) as error:
        raise ConfigError(f"{shown(url)} {_told(url, error)}", path="store.url") from error
    finally:
        if db is not None:
            with suppress(*LOST):
                await db.close(timeout=_CONNECT_S)


async def ensure_rights(db: Any, url: str) -> None:
    """See that the tables are there, or can be made. Raises: ConfigError."""
    if not await db.fetchval(_MAY_MAKE):
        user, name = await db.fetchrow("SELECT current_user, current_database()")
        own = f"make {user} the owner: ALTER DATABASE {name} OWNER TO {user}; or: GRANT CREATE ON SCHEMA public TO {user}"
        raise ConfigError(f"{shown(url)} has no tables yet, and {user} may not make them; {own}", path="store.url")


def _told(url: str, error: Exception) -> str:
    parts = urlsplit(url)
    user, name = unquote(parts.username or ""), parts.path.strip("/")
    if isinstance(error, asyncpg.InvalidPasswordError):
        return f"does not let {user} in: {error}; correct the password in the address, or the variable from which it comes"
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return f"does not let {user} in: {error}; make the user (createuser --pwprompt {user}), and see pg_hba.conf on the server"
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return f"cannot be used: {error}; make it: createdb -h {parts.hostname or 'HOST'} -O {user or 'USER'} {name}"
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return f"cannot be used: {error}; make {user or 'the user'} the owner of the database"
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return f"has no connection left: {error}; raise max_connections on the server (a node takes up to 8), or run fewer nodes"
    if isinstance(error, asyncpg.PostgresError):
        return f"cannot be used now: {error}; look at the log of the database server"
    if isinstance(error, ValueError) and not isinstance(error, OSError):  # its text may quote the password
        return "cannot be used: the driver does not understand the address; write postgresql://USER:PASSWORD@HOST:5432/DATABASE"
    return f"cannot be reached: {reason(error)}; is PostgreSQL running there, and may this machine connect to it?"
