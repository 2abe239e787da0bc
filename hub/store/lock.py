"""The lock of a database file: one hub at a time.

The kernel drops the lock when the process ends, however it ends; the text in the file only tells people who has it. The file stays
where it is, because removing it would let two processes lock two files of the same name.
"""

from __future__ import annotations

import fcntl
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

from hub.core.errors import StoreInUse

_TRIES = 6  # whoever only looks who has the lock holds it for a moment
_LOOK_S = 0.02


class FileLock:
    """An exclusive lock in the file `<database>.lock`."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + ".lock")
        self._file: int | None = None

    def take(self) -> None:
        """Lock, and leave this process's number in the file. Raises: StoreInUse when another hub has it; OSError."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        for tries_left in reversed(range(_TRIES)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if tries_left:
                    threading.Event().wait(_LOOK_S)
                    continue
                owner = os.read(file, 200).decode(errors="replace").strip() or "of unknown number"
                os.close(file)
                raise StoreInUse(
                    f"{self._database} is in use by another hub, process {owner}. Stop that one first, "
                    "or give this one a folder of its own with --data DIR",
                    owner=owner,
                ) from error
        self._file = file
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()} (started {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC)\n".encode(), 0)

    def owner(self) -> str | None:
        """Return what the hub that has the lock says of itself, its process and when it started; None = nobody has it."""
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back at once
        except BlockingIOError:
            return os.read(file, 200).decode(errors="replace").strip() or "of unknown number"
        finally:
            os.close(file)
        return None

    def release(self) -> None:
        """Unlock; safe twice."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None
