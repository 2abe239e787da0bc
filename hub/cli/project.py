"""`hub init`: a new project folder from the starter example.

Owns where the starter lies (inside the installed package, or in the source checkout) and what is changed in the copy: its name, nothing
else. Never writes into a folder that holds something already.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hub.cli import screen
from hub.cli.exits import Exit, Stop
from hub.cli.program import command

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_NAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_-]{0,63}")
_NAME_LINE = re.compile(r'^name[ \t]*=[ \t]*"[^"]*"', re.MULTILINE)
_LEFT_BEHIND = ("__pycache__", ".hub", ".venv")


def init(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="The new folder, or `.` for this one if it is empty; its last part names the project.", show_default=False
        ),
    ],
) -> None:
    """Write a new project, ready to run."""
    from hub.cli.command import guarded

    guarded(lambda: _init(Path(name)))


def _init(folder: Path) -> None:
    project_name = folder.resolve().name
    if not _NAME.fullmatch(project_name):
        raise Stop(
            f'"{project_name}" cannot name a project; use letters, digits, "-" and "_", at most 64, beginning with a letter, digit or "_"',
            Exit.USAGE,
        )
    _check_free(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _copy(starter(), folder)
        settings = folder / "hub.toml"
        settings.write_text(named(settings.read_text(encoding="utf-8"), project_name), encoding="utf-8")
    except OSError as error:
        raise Stop(f"cannot write {error.filename or folder}: {error.strerror}; choose a folder that you may write to") from error
    _tell(folder, project_name)


def _check_free(folder: Path) -> None:
    if folder.is_dir():
        if any(folder.iterdir()):
            raise Stop(f"{folder} is not empty; choose a new name, or empty it first", Exit.CONFLICT)
    elif folder.exists() or folder.is_symlink():
        raise Stop(f"{folder} is a file; choose a new name", Exit.CONFLICT)


def starter() -> Traversable:
    """Find the starter project: beside this module in an installed package, else in the source checkout."""
    from importlib.resources import files

    packaged = files("hub.cli") / "starter"
    if packaged.joinpath("hub.toml").is_file():
        return packaged
    checkout = Path(__file__).resolve().parents[2] / "config" / "examples" / "starter"
    if checkout.joinpath("hub.toml").is_file():
        return checkout
    raise Stop("this installation lacks the starter project; install trigger-hub again")


def _copy(source: Traversable, target: Path) -> None:
    for item in source.iterdir():
        if item.name in _LEFT_BEHIND:
            continue
        if item.is_dir():
            (target / item.name).mkdir()
            _copy(item, target / item.name)
        else:
            (target / item.name).write_bytes(item.read_bytes())


def named(settings: str, name: str) -> str:
    """Set the project's name in the text of a hub.toml: the first `name` line, which stands before all tables."""
    head, table, rest = settings.partition("\n[")
    line = f'name = "{name}"'
    head = _NAME_LINE.sub(line, head, count=1) if _NAME_LINE.search(head) else f"{line}\n{head}"
    return head + table + rest


def _tell(folder: Path, name: str) -> None:
    place = "" if folder.resolve() == Path.cwd() else f" {shlex.quote(str(folder))}"
    screen.show(
        [
            f"✅ The project {name} is in {folder}",
            "",
            "Next:",
            f"  {command()} dev{place}   # runs it, and tells what to try",
        ]
    )
