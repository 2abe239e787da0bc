"""The logs of an instance: the lines that its step bodies write through `logging` or `structlog`, attempt by attempt.

Owns what is kept of them: so many lines and bytes, and a line of its own that says what is not. Lines reach the disk together with the
result of their attempt: what an attempt has logged whose process died is lost, and nothing is ever there twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from hub.core.model import Kind

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR, "critical": logging.CRITICAL}
_LEVEL_OF = {"warn": "warning", "exception": "error", "fatal": "critical", "notset": "debug"}  # other names of the same
_LOCK = threading.Lock()  # one for all: it is held for microseconds, and most attempts log nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """How much is kept; bytes are those of the text in UTF-8. No lines = nothing is captured."""

    lines: int = 200  # of an attempt
    line_bytes: int = 8 * 1024
    attempt_bytes: int = 64 * 1024
    instance_bytes: int = 1024 * 1024


LOG_LIMITS = LogLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line as it was logged. `logger` is the name of the logger, where it has one."""

    at: datetime
    level: str
    message: str
    logger: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """The lines of one attempt, in order, and how many bytes of lines its instance may have."""

    lines: tuple[LogLine, ...]
    instance_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLine:
    """A kept line: which attempt of which step has logged it. `cursor` is its place, after which a list goes on."""

    cursor: str
    kind: Kind
    name: str
    count: int
    attempt: int
    line: LogLine


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which lines of an instance, in the order in which their attempts ended. `step` is a name, with its counter or without."""

    instance: int
    step: str | None = None
    attempt: int | None = None
    level: str | None = None  # and all that are more serious
    limit: int = 100
    cursor: str | None = None


class Notebook:
    """Takes the lines of an attempt as long as it runs; threads may write into it at once."""

    __slots__ = ("_bytes", "_limits", "_lines", "_now", "_over")

    def __init__(self, limits: LogLimits, now: Callable[[], datetime]) -> None:
        self._limits = limits
        self._now = now
        self._lines: list[LogLine] = []
        self._bytes = 0
        self._over = limits.lines == 0

    def note(self, level: str, message: str, logger: str | None = None) -> None:
        """Keep a line, or say once that no more are kept. A level that nobody knows counts as information."""
        if self._over:
            return
        level = _LEVEL_OF.get(level, level)
        text, size = _cut(message, self._limits.line_bytes)
        with _LOCK:
            if self._over:
                return
            if len(self._lines) >= self._limits.lines or self._bytes + size > self._limits.attempt_bytes:
                self._over = True
                limit = "limits.log_lines" if len(self._lines) >= self._limits.lines else "limits.log_attempt_bytes"
                level, text, logger = "warning", f"… what this attempt logs after this is not kept ({limit})", None
            self._bytes += size
            self._lines.append(LogLine(at=self._now(), level=level if level in LEVELS else "info", message=text, logger=logger))

    def close(self) -> Logged | None:
        """Return what was noted; None = nothing. What is noted later (by a thread that was left behind) is not kept."""
        self._over = True
        return Logged(lines=tuple(self._lines), instance_bytes=self._limits.instance_bytes) if self._lines else None


def _cut(message: str, limit: int) -> tuple[str, int]:
    """Return a text that fits, with a note of what is missing, and its size; half of a surrogate pair becomes a question mark."""
    raw = message.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode(), len(raw)
    return f"{raw[:limit].decode('utf-8', 'ignore')}… ({len(raw) - limit:,} bytes more)", limit
