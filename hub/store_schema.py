"""The table `[store]` of hub.toml: which database keeps everything. Owns what an address may look like; never shows the password in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field

from hub.values import STRICT

_KNOWN = re.compile(r"(sqlite|postgres(ql)?)://")
_FORM = "not the address of a store; write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
_ENCODE = "in its user or password the characters @ : / ? # % must be written as %40 %3A %2F %3F %23 %25, or the password as ${NAME}"


def _check(url: str) -> str:
    if not url.startswith("${") and not _KNOWN.match(url):  # what a reference stands for is looked at once it is known
        raise ValueError(_FORM)
    return url


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """The `[store]` table."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    url: Annotated[str, AfterValidator(_check), Field(description="The database; default sqlite:///DATA/hub.sqlite.")] = field(
        repr=False  # it may hold a password
    )
    notifications: Annotated[
        bool, Field(description="Nodes on one PostgreSQL tell each other what is new; false: they find it by asking.")
    ] = True


def address_mistake(url: str) -> str | None:
    """Return what is wrong with an address in which nothing is to be filled in any more; None = nothing that can be seen."""
    if not _KNOWN.match(url):
        return _FORM
    if url.startswith("sqlite:"):
        return None
    try:
        parts = urlsplit(url)
        torn = parts.netloc.count("@") > 1 or "@" in parts.path or bool(parts.fragment) or (parts.port is not None and parts.port == 0)
    except ValueError:  # its text may quote the password
        torn = True
    if torn:
        return f"not a whole address; {_ENCODE}"
    return None if parts.path.strip("/") else "names no database; write postgresql://USER:PASSWORD@HOST/DATABASE"
