"""The envelope and the times in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from hub.api.envelope import Note, failure, result_info, success, timestamp


def test_success_carries_every_key_of_the_envelope() -> None:
    note = Note(code=10405, message="one")
    assert json.loads(success({"a": 1}, messages=[note])) == {"success": True, "errors": [], "messages": [note], "result": {"a": 1}}


def test_failure_has_no_result() -> None:
    written = json.loads(failure(10200, "gone"))
    assert written == {"success": False, "errors": [{"code": 10200, "message": "gone"}], "messages": [], "result": None}


def test_result_info_stands_only_where_there_is_a_list() -> None:
    info = result_info(count=0, per_page=10, page=1, total=0, cursor=None)
    assert "result_info" not in json.loads(success([]))
    assert json.loads(success([], info=info))["result_info"] == {"count": 0, "per_page": 10, "page": 1, "total_count": 0, "total_pages": 0}


@pytest.mark.parametrize(("total", "pages"), [(0, 0), (1, 1), (10, 1), (11, 2)])
def test_a_begun_page_counts_as_a_page(total: int, pages: int) -> None:
    assert result_info(count=0, per_page=10, page=1, total=total, cursor=None)["total_pages"] == pages


def test_what_is_not_known_of_a_list_is_left_out() -> None:
    assert result_info(count=3, per_page=10, page=None, total=None, cursor="abc") == {"count": 3, "per_page": 10, "cursor": "abc"}


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 678_999, tzinfo=UTC), "2026-01-02T03:04:05.678Z"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00.000Z"),
        (datetime(2026, 1, 2, 1, tzinfo=timezone(timedelta(hours=2))), "2026-01-01T23:00:00.000Z"),
        (None, None),
    ],
)
def test_times_are_utc_with_milliseconds(moment: datetime | None, text: str | None) -> None:
    assert timestamp(moment) == text


def test_integers_beyond_64_bits_survive() -> None:
    assert json.loads(success({"n": 2**80}))["result"] == {"n": 2**80}
