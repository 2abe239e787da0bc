"""Settings as people may see them: secrets print as ***. Knows by type and by name what a secret is, and finds passwords in addresses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

HIDDEN = "***"
_SECRET = re.compile(r"secret|password|token|api_?key|authorization|credential", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^/@\s:]*):[^/\s]+(?=@)")
_PASSWORD_IN_QUERY = re.compile(r"(?<=[?&])((?:ssl)?password)=[^&\s]+")


def is_secret(key: str) -> bool:
    """Whether a key names a secret."""
    return _SECRET.search(key) is not None


def masked(key: str, value: Any) -> Any:
    """Return a value of hub.toml without what is secret in it, by the name of its key."""
    if is_secret(key):
        return HIDDEN
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        return masked(key, text) if "://" in text else HIDDEN
    if isinstance(value, Mapping):
        return {name: masked(str(name), each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [masked(key, each) for each in value]
    if not isinstance(value, str):
        return value
    return _PASSWORD_IN_QUERY.sub(rf"\1={HIDDEN}", _PASSWORD_IN_URL.sub(rf"\1:{HIDDEN}", value))
