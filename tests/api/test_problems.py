"""Errors as clients see them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from hub.api import problems
from hub.api.shapes import CreateBatchBody, DeleteBatchBody, StatusBody
from hub.core.errors import ConfigError, Conflict, HubError, NotFound, Overloaded, PayloadTooLarge, RateLimited, Rejected, Unavailable


@pytest.mark.parametrize(
    ("error", "status", "number"),
    [
        (NotFound("x", code="workflow.not_found"), 404, 10200),
        (NotFound("x", code="instance.not_found"), 404, 10400),
        (Conflict("x", code="instance.already_exists"), 409, 10405),
        (Rejected("x", code="instance.duplicate_in_batch"), 409, 10415),
        (Rejected("x", code="payload.malformed"), 400, 10901),
        (Rejected("x", code="payload.dedupe_key"), 400, 10901),
        (Rejected("x", code="payload.unsupported_type"), 415, 10903),
        (Rejected("x", code="query.cursor"), 400, 10902),
        (PayloadTooLarge("x"), 413, 10904),
        (Rejected("x", code="instance.invalid_id"), 400, 10905),
        (Rejected("x", code="workflow.invalid_event_type"), 400, 10907),
        (Conflict("x", code="instance.cannot_pause"), 409, 10912),
        (Unavailable("x"), 503, 10920),
        (Overloaded("x"), 429, 10925),
        (RateLimited("x"), 429, 10922),
        (Rejected("x", code="payload.schema"), 422, 10923),
        (Rejected("x", code="payload.key_reused"), 422, 10924),
        (Rejected("x", code="payload.cloudevent"), 400, 10901),
        (Rejected("x", code="unauthorized"), 401, 10000),
    ],
)
def test_code_words_have_a_status_and_a_number_for_ever(error: HubError, status: int, number: int) -> None:
    problem = problems.of(error)
    assert (problem.status, problem.number, problem.message) == (status, number, f"({error.code}) x")


def test_a_number_never_means_two_statuses() -> None:
    statuses: dict[int, set[int]] = {}
    for words in problems.WORDS:
        statuses.setdefault(problems.number(words), set()).add(problems.status(words))

    assert {number: found for number, found in statuses.items() if len(found) > 1} == {}


@pytest.mark.parametrize(
    ("error", "status", "number"),
    [
        (Rejected("x", code="signature.bad"), 400, 10900),
        (NotFound("x", code="moon.not_found"), 404, 10910),
        (Conflict("x", code="moon.full"), 409, 10911),
        (ConfigError("x"), 500, 10001),
        (HubError("x"), 500, 10001),
    ],
)
def test_unknown_code_words_are_answered_by_their_class(error: HubError, status: int, number: int) -> None:
    problem = problems.of(error)
    assert (problem.status, problem.number) == (status, number)
    assert problem.message == f"({error.code}) x"


def test_the_code_words_stand_before_a_message_once() -> None:
    assert problems.of(NotFound("(instance.not_found) gone", code="instance.not_found")).message == "(instance.not_found) gone"


@pytest.mark.parametrize("kind", [Unavailable, Overloaded, RateLimited])
@pytest.mark.parametrize(
    ("wish", "seconds"),
    [(None, "5"), (timedelta(seconds=30), "30"), (timedelta(milliseconds=1200), "2"), (timedelta(0), "1")],
)
def test_a_sender_is_told_when_to_try_again(kind: type[Unavailable], wish: timedelta | None, seconds: str) -> None:
    assert problems.of(kind("x", retry_after=wish)).headers == {"retry-after": seconds}


def test_a_conflict_tells_the_sdks_not_to_repeat_it() -> None:
    assert problems.of(Conflict("x", code="instance.already_exists")).headers == {"x-should-retry": "false"}


def test_unavailable_says_when_to_come_again() -> None:
    assert int(problems.of(Unavailable("x")).headers["retry-after"]) > 0


def test_an_unexpected_error_tells_only_its_request_id() -> None:
    problem = problems.unexpected("abc123")
    assert (problem.status, problem.number, problem.headers) == (500, 10001, {"x-request-id": "abc123"})
    assert "abc123" in problem.message


@pytest.mark.parametrize(
    ("shape", "value", "message"),
    [
        (StatusBody, {}, "status: field required"),
        (StatusBody, {"status": "restart", "from": {"name": "a", "count": 0}}, "from.count: input should be greater than or equal to 1"),
        (StatusBody, {"status": "pause", "from": {"name": "a"}}, "from: only a restart starts from a step"),
        (StatusBody, [1], "must be an object"),
        (CreateBatchBody, [{}, {"instance_id": 5}], "[1].instance_id: input should be a valid string"),
        (DeleteBatchBody, {"instances": ["a", "b\n"]}, "instances[1]: "),
    ],
)
def test_a_fault_names_its_place(shape: Any, value: object, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(shape).validate_python(value)
    assert problems.invalid(caught.value, "body").message.startswith(message)


def test_many_faults_are_counted_not_listed() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(CreateBatchBody).validate_python([{"id": n} for n in range(9)])
    error = problems.invalid(caught.value, "body")
    assert error.message.count("; ") == 3
    assert error.message.endswith("and 6 more")
