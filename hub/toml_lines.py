"""In which line of a TOML file each key stands. The standard library's parser reads values only; this adds the places, for messages.

Works on a text that is valid TOML. The text is cut into statements by asking that parser what is one, so there is no second grammar here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str | int, ...]


def lines_of(text: str) -> dict[Path, int]:
    """Return the line, from 1, of every key, table and item; what stands inside a value has the line in which the value begins."""
    found: dict[Path, int] = {}
    items: dict[Path, int] = {}  # of arrays of tables: the number of the last table
    table: Path = ()
    for number, statement, header in _statements(text):
        if header:
            table = _place(_keys(statement), items, array=header == "[[")
            for end in range(1, len(table) + 1):
                found.setdefault(table[:end], number)
        else:
            found.update({table + path: number for path in _paths(statement)})
    return found


def _statements(text: str) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Yield each statement with the number of its first line, and its brackets where it is the head of a table."""
    lines = text.splitlines()
    start = 0
    while start < len(lines):
        end, parsed = _one(lines, start)
        head = lines[start].lstrip()
        yield start + 1, parsed, "[[" if head.startswith("[[") else "[" if head.startswith("[") else ""
        start = end


def _one(lines: list[str], start: int) -> tuple[int, dict[str, Any]]:
    """Return the end of the statement that begins in a line, and what it says: the shortest run of lines that is TOML by itself."""
    for end in range(start + 1, len(lines) + 1):
        try:
            return end, tomllib.loads("\n".join(lines[start:end]))
        except tomllib.TOMLDecodeError:
            continue
    return len(lines), {}


def _keys(head: Mapping[str, Any]) -> list[str]:
    """Return the names in the head of a table."""
    keys: list[str] = []
    inner: Any = head
    while isinstance(inner, dict) and inner:
        key, inner = next(iter(inner.items()))
        keys.append(key)
        inner = inner[0] if isinstance(inner, list) else inner
    return keys


def _place(keys: list[str], items: dict[Path, int], *, array: bool) -> Path:
    """Return the path that the head of a table opens; inside an array of tables the last one is meant."""
    path: Path = ()
    for n, key in enumerate(keys):
        path += (key,)
        if array and n == len(keys) - 1:
            items[path] = items.get(path, -1) + 1
        if path in items:
            path += (items[path],)
    return path


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from _paths(item, (*path, key))
