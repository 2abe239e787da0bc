"""Running `hub`: as a program in a pipe, as a program on a terminal of its own, or, where only its words matter, inside this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import struct
import sys
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

from typer.testing import CliRunner

import hub
from hub.cli.main import app
from tests.cli import warm

SOURCE = Path(hub.__file__).parents[1]
HUB = (sys.executable, "-m", "hub")
_UNSET = ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "CLICOLOR_FORCE", "PYTHONIOENCODING")
_NO_SETTINGS: dict[str, str | None] = dict.fromkeys(("HUB_URL", "HUB_TOKEN", "HUB_ACCOUNT", *_UNSET))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended and what it wrote."""

    code: int
    out: str
    err: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which nothing of the tester's own settings shows."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HUB_") and key not in _UNSET}
    path = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**clean, "PYTHONPATH": path, "TZ": "UTC", "TERM": "xterm", **(extra or {})}


async def run(*argv: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, stdin: bytes = b"") -> Outcome:
    """Run `hub` in pipes, to its end."""
    program = await warm.start(*argv, env=environment(env), cwd=cwd, stdin=stdin)
    out, err = await asyncio.gather(program.stdout.read(), program.stderr.read())
    return Outcome(code=await program.wait(), out=out.decode(), err=err.decode())


async def call(*argv: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> Outcome:
    """Run `hub` in a thread of this process, as in a pipe; a start of Python costs half a second that is saved."""
    result = await asyncio.to_thread(CliRunner().invoke, app, argv, input=stdin, env={**_NO_SETTINGS, **(env or {})})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(code=result.exit_code, out=result.stdout, err=result.stderr)


async def run_on_terminal(*argv: str, typed: bytes = b"", columns: int = 100, env: Mapping[str, str] | None = None) -> Outcome:
    """Run `hub` on a terminal of that width; `out` is all that its screen got, `err` stays empty."""
    outside, inside = pty.openpty()
    ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    try:
        process = await asyncio.create_subprocess_exec(*HUB, *argv, env=environment(env), stdin=inside, stdout=inside, stderr=inside)
    finally:
        os.close(inside)
    os.write(outside, typed)
    reading = asyncio.create_task(asyncio.to_thread(_read_all, outside))
    code = await process.wait()
    text = (await reading).decode()
    os.close(outside)
    return Outcome(code=code, out=text.replace("\r\n", "\n"), err="")


def _read_all(terminal: int) -> bytes:
    """Read until the last program on the terminal has gone."""
    chunks = []
    with contextlib.suppress(OSError):  # what Linux says then
        while chunk := os.read(terminal, 65_536):
            chunks.append(chunk)
    return b"".join(chunks)
