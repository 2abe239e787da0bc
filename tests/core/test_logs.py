"""What is kept of the lines that an attempt logs."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from hub.core.current import CurrentStep
from hub.core.logs import LogLimits, Notebook

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def notebook(**limits: int) -> Notebook:
    return Notebook(LogLimits(**limits), lambda: NOW)


def messages(book: Notebook) -> list[str]:
    logged = book.close()
    return [] if logged is None else [line.message for line in logged.lines]


def test_lines_are_kept_in_order_with_level_and_logger() -> None:
    book = notebook()
    book.note("info", "one", "shop")
    book.note("warn", "two")
    book.note("loud", "three")

    logged = book.close()

    assert logged is not None
    assert [(line.at, line.level, line.message, line.logger) for line in logged.lines] == [
        (NOW, "info", "one", "shop"),
        (NOW, "warning", "two", None),
        (NOW, "info", "three", None),
    ]


def test_a_silent_attempt_has_nothing() -> None:
    assert notebook().close() is None
    assert CurrentStep("w", "i", "step", "s", 1, 1, LogLimits(), lambda: NOW).logged() is None


def test_what_comes_after_the_end_is_not_kept() -> None:
    step = CurrentStep("w", "i", "step", "s", 1, 1, LogLimits(), lambda: NOW)
    step.note("info", "in time")
    logged = step.logged()
    step.note("info", "late")

    assert logged is not None
    assert [line.message for line in logged.lines] == ["in time"]


def test_lines_beyond_the_limit_are_told_once() -> None:
    book = notebook(lines=2)
    for number in range(5):
        book.note("info", str(number))

    assert messages(book) == ["0", "1", "… what this attempt logs after this is not kept (limits.log_lines)"]


def test_bytes_beyond_the_limit_are_told_once() -> None:
    book = notebook(attempt_bytes=10)
    for text in ("12345", "1234", "12", "1"):
        book.note("info", text)

    assert messages(book) == ["12345", "1234", "… what this attempt logs after this is not kept (limits.log_attempt_bytes)"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("x" * 16, "x" * 16),
        ("x" * 17, "x" * 16 + "… (1 bytes more)"),
        ("é" * 9, "é" * 8 + "… (2 bytes more)"),
        ("a" + "é" * 8, "a" + "é" * 7 + "… (1 bytes more)"),
    ],
)
def test_a_long_line_is_cut_between_characters(text: str, kept: str) -> None:
    book = notebook(line_bytes=16)
    book.note("info", text)

    assert messages(book) == [kept]


def test_no_lines_at_all_can_be_wanted() -> None:
    book = notebook(lines=0)
    book.note("info", "one")

    assert book.close() is None


def test_half_a_surrogate_pair_can_be_kept() -> None:
    book = notebook()
    book.note("info", "a\ud800b")

    assert messages(book) == ["a?b"]


def test_threads_lose_no_line() -> None:
    book = notebook(lines=10_000)

    def write() -> None:
        for _ in range(500):
            book.note("info", "x")

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(messages(book)) == 4000
