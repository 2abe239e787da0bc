"""Where tests put their files: in memory, if there is a place. What a killed process leaves is in the kernel's hands either way."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_SHARED = Path("/dev/shm")
_ROOM_BYTES = 2 << 30  # a run of the whole suite needs a part of it; many containers have no more than 64 MiB


def in_memory() -> Path | None:
    """Return a folder in memory, in which a sync costs nothing; None = there is none that has room and lets programs be executed."""
    if not os.access(_SHARED, os.W_OK) or os.statvfs(_SHARED).f_flag & os.ST_NOEXEC:
        return None
    return _SHARED if shutil.disk_usage(_SHARED).free >= _ROOM_BYTES else None
