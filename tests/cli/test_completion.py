"""`hub completion`: the scripts of typer, and what a shell gets from them."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.cli.command_line import HUB, environment, run


@pytest.mark.parametrize(
    ("shell", "sign"), [("bash", "complete -o default -F"), ("zsh", "#compdef hub"), ("fish", "complete --command hub")]
)
async def test_each_shell_has_a_script(shell: str, sign: str) -> None:
    outcome = await run("completion", shell)

    assert (outcome.code, outcome.err) == (0, "")
    assert sign in outcome.out
    assert "_HUB_COMPLETE" in outcome.out


async def test_a_shell_that_is_not_known_is_wrong_usage() -> None:
    outcome = await run("completion", "tcsh")

    assert (outcome.code, outcome.out) == (2, "")
    assert "'bash', 'zsh', 'fish'" in outcome.err


@pytest.mark.parametrize(
    ("words", "choices"),
    [
        ("hub d", {"dev", "db", "deliveries", "doctor"}),
        ("hub workflows instances pau", {"pause"}),
        ("hub workflows trigger --wa", {"--wait"}),
    ],
)
async def test_bash_completes_commands_and_options(tmp_path: Path, words: str, choices: set[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    (tmp_path / "hub").write_text(f'#!/bin/sh\nexec {" ".join(HUB)} "$@"\n')
    (tmp_path / "hub").chmod(0o755)
    script = (await run("completion", "bash")).out
    ask = f'{script}\nCOMP_WORDS=({words})\nCOMP_CWORD={len(words.split()) - 1}\n_hub_completion hub\nprintf "%s\\n" "${{COMPREPLY[@]}}"'

    env = environment()
    shell = await asyncio.create_subprocess_exec(
        *(bash, "--norc", "-c", ask), env={**env, "PATH": f"{tmp_path}:{env['PATH']}"}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await shell.communicate()

    assert set(out.decode().split()) == choices
