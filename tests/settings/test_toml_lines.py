"""The line of each key: against texts in which every value is the number of its own line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from hub.toml_lines import lines_of
from tests.repo.sources import ROOT

TEXT = '''name = 1
a.b = 2

[server]  # a comment = 4
port = 5 # another one
"quoted key" = 6
inline = { x = 7, y.z = 7 }
list = [
  9, # the list begins
  9,
]
text = """
[server]
port = 1
"""

[[triggers]]
n = 18
[triggers.flow]
n = 20
[[triggers.flow.rules]]
n = 22
[[triggers.flow.rules]]
n = 24

[[triggers]]
n = 27
[[triggers.flow.rules]]
n = 29
[ triggers . verify ]
n = 31
'''


def test_every_number_stands_in_its_own_line() -> None:
    lines = lines_of(TEXT)

    def compare(value: Any, path: tuple[str | int, ...]) -> None:
        if isinstance(value, dict | list):
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                compare(item, (*path, key))
        elif isinstance(value, int) and "list" not in path:
            assert lines[path] == value, path

    compare(tomllib.loads(TEXT), ())
    assert lines["server", "list"] == lines["server", "list", 1] == 8
    assert lines["server", "text"] == 12
    assert lines["triggers", 1] == 26
    assert lines["triggers", 0, "flow", "rules", 1] == 23


@pytest.mark.parametrize("file", sorted((ROOT / "config").rglob("*.toml")), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_key_of_a_real_file_has_a_line_that_names_it(file: Path) -> None:
    text = file.read_text()
    rows = text.splitlines()

    def named(value: Any, path: tuple[str | int, ...]) -> None:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
            row = rows[lines_of_file[(*path, key)] - 1]
            assert not isinstance(key, str) or key in row, (path, key, row)
            named(item, (*path, key))

    lines_of_file = lines_of(text)
    named(tomllib.loads(text), ())


def test_an_empty_file_has_no_keys() -> None:
    assert lines_of("") == {}
    assert lines_of("# only a comment\n\n") == {}
