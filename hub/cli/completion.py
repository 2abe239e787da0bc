"""`hub completion SHELL`: the script with which a shell completes the commands and options of `hub`. The script is typer's own."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """The shells that there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    PWSH = "pwsh"


EXAMPLES = """\b
Examples:
  hub completion bash >> ~/.bashrc
  hub completion zsh > "${fpath[1]}/_hub"
  hub completion fish > ~/.config/fish/completions/hub.fish
For the shell that runs just now: eval "$(hub completion bash)\""""


def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh, fish or pwsh.", show_default=False)]) -> None:
    """Print the script that completes `hub` in a shell."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # typer documents it and does not list it

    typer.echo(get_completion_script(prog_name="hub", complete_var="_HUB_COMPLETE", shell=shell.value))
