"""What lies where, and what nobody may leave lying about."""

from __future__ import annotations

import re
import tomllib

from tests.repo.sources import ROOT, tracked

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "config",
    "connectors",
    "hub",
    "pyproject.toml",
    "tests",
    "triggers",
}
# letters in brackets, so that the pattern does not find itself
LEFTOVERS = re.compile(r"\b(?:TO[D]O|FIX[M]E|XX[X]|HAC[K]|WI[P])\b|(?i:lorem[ ]ipsum)|/work[/]")
LARGEST_BYTES = 256 * 1024


def test_the_top_level_holds_what_the_plan_says_and_nothing_else() -> None:
    assert {path.parts[0] for path in tracked()} == TOP_LEVEL


def test_no_leftover_words() -> None:
    found = []
    for path in tracked():
        text = (ROOT / path).read_text(encoding="utf-8", errors="replace")
        found += [f"{path}:{text.count(chr(10), 0, word.start()) + 1}: {word[0]}" for word in LEFTOVERS.finditer(text)]
    assert not found


def test_no_generated_or_large_file_is_kept() -> None:
    for path in tracked():
        assert path.suffix not in (".pyc", ".sqlite", ".log", ".whl"), path
        assert (ROOT / path).stat().st_size <= LARGEST_BYTES, path


def test_the_three_packages_are_typed() -> None:
    assert all((ROOT / package / "py.typed").is_file() for package in ("hub", "triggers", "connectors"))


def test_the_changelog_has_a_place_for_the_next_release() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1:2] in ([], [version])
