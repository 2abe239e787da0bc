"""What must not depend on the database: notes in plain files, one line a fact.

A note is one `write` on a file opened for appending. It is not synced: a killed process loses nothing that the kernel has taken, and the
machine itself does not die here. Invariant: a note is in the file before `note` returns.
"""

from __future__ import annotations

import os
from pathlib import Path


class Ledger:
    """The writing end."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, *words: str | int) -> None:
        """Write one line; words contain no spaces."""
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class Reader:
    """The reading end: every call returns what has come since the last one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def news(self) -> list[list[str]]:
        """Return the new lines as words."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        self._offset += len(text)
        return [line.split() for line in text.decode().splitlines()]
