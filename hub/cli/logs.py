"""What a running hub writes about itself: structlog and the standard library's logging in one stream and one form.

Owns the form (lines for people, or JSON) and nothing of what is logged. Logs go to stderr, so that stdout keeps the addresses. Text from
outside cannot drive the terminal: its control characters are made visible.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from hub.cli.screen import safe

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
    # Libraries tell of every job and connection at "info"; that is for somebody who is looking for a fault.
    logging.basicConfig(level=threshold if threshold <= logging.DEBUG else max(threshold, logging.WARNING), handlers=[handler], force=True)
    logging.captureWarnings(True)


def _processors(pretty: bool) -> list[Processor]:
    chain: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
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
