"""Types of single values in hub.toml: what a text or number there must look like, and how it is told when it does not.

Knows no table and no key.
"""

from __future__ import annotations

import keyword
import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema

from hub.core.admission import check_queue_name
from hub.core.duration import format_duration, parse_duration
from hub.core.errors import Rejected
from hub.core.retention import FOREVER, read_keep

STRICT = ConfigDict(extra="forbid")  # a key that nothing reads is a mistake
A_MOMENT = timedelta(milliseconds=1)
MIB_25 = 26_214_400  # the largest payload that a well-known sender has (GitHub's webhooks)
DURATION_SCHEMA = {"type": ["string", "number"], "examples": ["10 seconds", "1 hour 30 minutes"]}
_KEEP_SCHEMA = {**DURATION_SCHEMA, "examples": [FOREVER, "7 days"]}
_NAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_-]{0,63}")
_HOST_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,252})")
_UNNAMED = "duration"  # mistakes are told with the path of their key already


def between(low: timedelta, high: timedelta = timedelta.max) -> AfterValidator:
    """Return the check that a duration is in a range."""

    def check(duration: timedelta) -> timedelta:
        if duration < low:
            raise ValueError(f"must be at least {format_duration(low)}")
        if duration > high:
            raise ValueError(f"must be at most {format_duration(high)}")
        return duration

    return AfterValidator(check)


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f'{name!r} cannot be a name: use letters, digits, "-" and "_", at most 64, not beginning with "-"')
    return name


def _check_host(name: str) -> str:
    if not _HOST_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a host; write it without scheme and port, such as hub.example.com")
    return name


def _check_identifier(name: str) -> str:
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise ValueError(f"{name!r} cannot be an attribute of self.env: use letters, digits and underscores, such as MY_WORKFLOW")
    return name


def _read_duration(value: Any) -> timedelta:
    try:
        return parse_duration(value, what=_UNNAMED)
    except ValueError as error:
        raise ValueError(str(error).removeprefix(f"{_UNNAMED}: ")) from None


def _read_seconds(value: Any) -> timedelta:
    return _read_duration(f"{value} seconds" if isinstance(value, int | float) and not isinstance(value, bool) else value)


def _check_queue(name: Any) -> Any:
    try:
        return check_queue_name(name)
    except Rejected as error:
        raise ValueError(error.message) from None


def _read_keep(value: Any) -> timedelta:
    try:
        return read_keep(value, what=_UNNAMED)
    except ValueError as error:
        raise ValueError(str(error).removeprefix(f"{_UNNAMED}: ")) from None


def _refuse_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"expected a whole number, got {str(value).lower()}")
    return value


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def one_or_list(schema: dict[str, Any]) -> None:
    """Let the JSON Schema of a list also allow one item alone; for `Field(json_schema_extra=…)`."""
    items = schema.pop("items")
    schema["anyOf"] = [items, {"type": schema.pop("type"), "items": items}]


Name = Annotated[str, AfterValidator(_check_name)]
HostName = Annotated[str, AfterValidator(_check_host)]
Identifier = Annotated[str, AfterValidator(_check_identifier)]
NOT_BOOL = BeforeValidator(_refuse_bool)
ONE_OR_LIST = BeforeValidator(_as_list)
COMMA_LIST = BeforeValidator(_split)  # in a variable: a,b,c
Duration = Annotated[timedelta, BeforeValidator(_read_duration), WithJsonSchema(DURATION_SCHEMA)]
Seconds = Annotated[timedelta, BeforeValidator(_read_seconds), WithJsonSchema(DURATION_SCHEMA)]  # a plain number is seconds, as in wrangler
QueueName = Annotated[str, AfterValidator(_check_queue)]
Keep = Annotated[timedelta, BeforeValidator(_read_keep), WithJsonSchema(_KEEP_SCHEMA)]  # timedelta.max = for ever
Jmespath = Annotated[str, Field(min_length=1)]  # compiled when the project is loaded
