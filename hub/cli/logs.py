"""What a running hub writes about itself: structlog and the standard library's logging in one stream and one form.

Owns the form (lines for people, or JSON) and nothing of what is logged. Logs go to stderr, so that stdout keeps the addresses. Text from
outside cannot drive the terminal: its control characters are made visible. What a step logs is also given to its attempt, which keeps it.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from hub.cli.screen import safe
from hub.core.current import CURRENT

_OWN = frozenset({"event", "level", "logger", "exc_info", "exception", "stack", "timestamp"})  # keys that are no pairs of the author

Format = Literal["auto", "pretty", "json"]


def configure(level: str, form: Format, stream: TextIO | None = None) -> None:
    """Set up all logging of this process; a later call replaces an earlier one. `level` is a name such as "info"."""
    file = sys.stderr if stream is None else stream
    threshold = logging.getLevelNamesMapping()[level.upper()]
    pretty = form == "pretty" or (form == "auto" and file.isatty())
    shared = _processors(pretty)
    renderer = _for_people(file) if pretty else structlog.processors.JSONRenderer(ensure_ascii=False)

    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=file),
        cache_logger_on_first_use=False,  # a reload may bring other settings
    )
    handler = logging.StreamHandler(file)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(_Relevant(threshold))
    logging.basicConfig(level=threshold, handlers=[handler], force=True)
    logging.captureWarnings(True)


class _Relevant(logging.Filter):
    """Lets pass what a step logs, and of all else what is worth a warning.

    Libraries tell of every job and connection at "info"; that is for somebody who is looking for a fault.
    """

    def __init__(self, threshold: int) -> None:
        super().__init__()
        self._serious = threshold if threshold <= logging.DEBUG else max(threshold, logging.WARNING)

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= self._serious or CURRENT.get() is not None


def _of_step(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep a line with the attempt that logs it, and say in the stream which one that is."""
    step = CURRENT.get()
    if step is None:
        return event
    more = {key: value for key, value in event.items() if key not in _OWN and not key.startswith("_")}
    pairs = "".join(f" {key}={value if isinstance(value, str) else repr(value)}" for key, value in more.items())
    step.note(str(event.get("level", "info")), f"{event.get('event', '')}{pairs}{_trace(event)}", event.get("logger"))
    return {**step.names, **event}


def _trace(event: EventDict) -> str:
    """Return the trace of the exception that a line is about, and the stack that it asks for, each on lines of its own."""
    about = dict(event)
    told = structlog.processors.format_exc_info(None, "", about).get("exception") if about.get("exc_info") else about.get("exception")
    return "".join(f"\n{text}" for text in (told, event.get("stack")) if text)


def _processors(pretty: bool) -> list[Processor]:
    chain: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        _of_step,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if pretty else "iso", utc=not pretty),
    ]
    if pretty:
        return [*chain, _visible]
    return [*chain, structlog.processors.format_exc_info]


def _visible(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    clean: dict[str, Any] = {key: safe(value) if isinstance(value, str) else value for key, value in event.items()}
    return clean


def _for_people(file: TextIO) -> Processor:
    colours = file.isatty() and not os.environ.get("NO_COLOR")
    return structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback, pad_event_to=0)
