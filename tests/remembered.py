"""What the SQLite store remembers of heads is compared with its file after each transaction of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hub.store.heads import Heads


@contextmanager
def compared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compare inside `with`. Raises: AssertionError at the end."""
    keep, untrue = Heads.keep, set[int]()

    def checked(heads: Heads) -> None:
        keep(heads)
        untrue.update(heads.untrue())

    monkeypatch.setattr(Heads, "keep", checked)
    yield
    assert not untrue, f"of these instances the store remembers something else than its file says: {untrue}"
