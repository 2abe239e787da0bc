"""What the address of a store shows to people: never a password, whatever it looks like. Needs no driver."""

from __future__ import annotations


def shown(url: str) -> str:
    """Return an address without its user, its password and its options."""
    scheme, slashes, rest = url.partition("://")
    return f"{scheme}{slashes}{rest.partition('?')[0].rpartition('@')[2]}"
