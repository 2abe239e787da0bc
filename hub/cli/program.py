"""How the reader calls this program, for every line that is printed to be copied into a shell."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def command() -> str:
    """Return `hub` where the shell finds this very program by that name, else what leads to it from the working folder."""
    program = Path(sys.argv[0])
    if program.name != "hub":
        return f"{sys.executable} -m hub"
    found = shutil.which("hub")
    return "hub" if found is not None and Path(found).resolve() == program.resolve() else str(program)
