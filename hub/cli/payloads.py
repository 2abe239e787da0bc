"""What users type as values: JSON on the command line or in a file, and dates.

Owns the checks that need no hub, so that a slip of the finger costs no request. The JSON text itself is passed on untouched: numbers keep
every digit. All failures are `Stop` with the code for wrong usage.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from hub.cli.exits import Exit, Stop

MAX_BATCH = 100  # of instances that are deleted by one request
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def json_text(text: str | bytes, what: str) -> str:
    """Return JSON text after checking it. `what` names it in the message."""
    from hub.core.errors import Rejected
    from hub.core.outside import parse_json

    try:
        parse_json(text)
    except Rejected as error:
        told = error.message.replace("the body", what, 1)
        raise Stop(f'{told}\nwrite it like \'{{"key": "value"}}\', in single quotes', Exit.USAGE) from error
    return text if isinstance(text, str) else text.decode("utf-8-sig")


def json_input(source: str) -> str:
    """Read JSON from `@file`, or from standard input for `-`."""
    if source == "-":
        return json_text(sys.stdin.buffer.read(), "standard input")
    if not source.startswith("@") or source == "@":
        raise Stop(f'--input: "{source}" is neither @FILE nor - (standard input)', Exit.USAGE)
    path = Path(source[1:])
    try:
        return json_text(path.read_bytes(), str(path))
    except OSError as error:
        raise Stop(f"--input: cannot read {path}: {error.strerror}", Exit.USAGE) from error


def one_json(typed: str | None, what: str, source: str | None) -> str | None:
    """Return the JSON text that was typed, or that `--input` names; None = neither. Raises: Stop (usage) for both."""
    if typed is not None and source is not None:
        raise Stop(f"{what} and --input are two ways to say one thing; keep one", Exit.USAGE)
    if source is not None:
        return json_input(source)
    return None if typed is None else json_text(typed, what)


def ids(typed: list[str], filename: str | None) -> list[str]:
    """Return the ids of instances that were typed, and those in a file."""
    wanted = typed if filename is None else [*typed, *_ids_of(Path(filename))]
    if not wanted:
        raise Stop("name the instances to delete: ID..., or --filename FILE with a JSON array of ids", Exit.USAGE)
    if len(wanted) > MAX_BATCH:
        raise Stop(f"{len(wanted)} instances are too many at once; {MAX_BATCH} at most, so delete them in parts", Exit.USAGE)
    return wanted


def _ids_of(path: Path) -> list[str]:
    try:
        found = json.loads(json_text(path.read_bytes(), str(path)))
    except OSError as error:
        raise Stop(f"--filename: cannot read {path}: {error.strerror}", Exit.USAGE) from error
    if not isinstance(found, list) or not all(isinstance(id, str) for id in found):
        raise Stop(f'--filename: {path} holds no list of ids; write it like ["order-1", "order-2"]', Exit.USAGE)
    return found


def as_params(text: str) -> str:
    """Return JSON text as the field `params`: the API reads a text there as JSON once more, so a text is wrapped once more."""
    return json.dumps(text) if text.lstrip().startswith('"') else text


def date(text: str | None, option: str, *, end: bool = False) -> str | None:
    """Turn a date or a time into the API's UTC timestamp; a date alone means its first moment, or its last for an end."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        if _DATE.match(text):
            advice = "is not a real calendar date; check the month, the day and the time"
        else:
            advice = "is not a date; write it like 2026-01-01 or 2026-01-01T13:00:00Z"
        raise Stop(f'{option}: "{text}" {advice}', Exit.USAGE) from error
    if end and _DATE.fullmatch(text):
        moment = moment.replace(hour=23, minute=59, second=59, microsecond=999_000)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def date_range(start: str | None, end: str | None) -> tuple[str | None, str | None]:
    """Read `--date-start` and `--date-end`."""
    first, last = date(start, "--date-start"), date(end, "--date-end", end=True)
    if first is not None and last is not None and first > last:
        raise Stop(f"--date-start ({first}) must not be after --date-end ({last}); change one of them", Exit.USAGE)
    return first, last
