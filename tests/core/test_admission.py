"""What may come in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from hub.core.admission import check_derived_id, check_event_type, check_id, check_size, unknown_workflow
from hub.core.errors import PayloadTooLarge, Rejected
from hub.core.ids import new_id


@pytest.mark.parametrize("id", ["a", "_", "9", "A-b_c", "x" * 100])
def test_ids_of_letters_digits_underscores_and_hyphens_are_accepted(id: str) -> None:
    assert check_id(id) == id


@pytest.mark.parametrize("id", ["", "-a", "a.b", "a b", "é", "x" * 101, "a\n", "latest", "batch", "terminate"])
def test_other_ids_are_rejected_with_the_rule(id: str) -> None:
    with pytest.raises(Rejected, match=r"1 to 100 of|reserved") as caught:
        check_id(id)
    assert caught.value.code == "instance.invalid_id"


def test_ids_that_triggers_derive_may_hold_a_cron_expression() -> None:
    assert check_derived_id("*/30 * * * *-1786001400000")
    for id in ("", "x" * 272, "a;b", "a\n"):
        with pytest.raises(Rejected):
            check_derived_id(id)


@pytest.mark.parametrize("type", ["", "a.b", "-a", "x" * 101])
def test_a_bad_event_type_is_rejected_with_the_api_s_code(type: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_event_type(type)
    assert caught.value.code == "workflow.invalid_event_type"


def test_a_payload_of_exactly_the_limit_is_accepted() -> None:
    assert check_size(b"x" * 10, 10, "payload")
    with pytest.raises(PayloadTooLarge, match=r"the payload is 11 bytes; at most 10"):
        check_size(b"x" * 11, 10, "payload")


def test_the_error_for_an_unknown_workflow_names_the_nearest_or_all() -> None:
    assert 'did you mean "orders"?' in unknown_workflow("order", ["orders", "mails"]).message
    assert "there are: a, b" in unknown_workflow("zzzzz", ["b", "a"]).message
    assert "there are: none" in unknown_workflow("zzzzz", []).message


def test_ids_are_uuids_of_version_seven_that_sort_by_their_time() -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    ids = [new_id(start + timedelta(milliseconds=n)) for n in range(200)]
    assert ids == sorted(ids)
    assert all(UUID(id).version == 7 and UUID(id).variant == "specified in RFC 4122" for id in ids)
    assert len({new_id(start) for _ in range(1000)}) == 1000
