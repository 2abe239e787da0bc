"""The end of a child, as it travels to its parent."""

from __future__ import annotations

import pytest

from hub.core import codec
from hub.core.errors import ErrorInfo
from hub.core.family import ChildEnd, inbox_type, read_end, write_end
from hub.core.model import Status

ERROR = ErrorInfo(name="ValueError", message="no such file ✗", stack="line 1\nline 2")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (write_end(Status.COMPLETE, codec.encode({"n": 1})), ChildEnd(status=Status.COMPLETE, output=b'{"n":1}')),
        (write_end(Status.COMPLETE), ChildEnd(status=Status.COMPLETE, output=b"null")),
        (write_end(Status.ERRORED, error=ERROR), ChildEnd(status=Status.ERRORED, error=ERROR)),
        (
            write_end(Status.TERMINATED),
            ChildEnd(status=Status.TERMINATED, error=ErrorInfo(name="Terminated", message="the child was terminated")),
        ),
    ],
    ids=["complete", "without output", "errored", "terminated"],
)
def test_what_is_written_of_an_end_is_read(written: bytes, read: ChildEnd) -> None:
    assert read_end(written) == read


def test_half_a_surrogate_pair_in_an_error_does_not_keep_a_child_from_ending() -> None:
    end = read_end(write_end(Status.ERRORED, error=ErrorInfo(name="E", message="bad \ud83d name", stack="\udc00")))

    assert end.error == ErrorInfo(name="E", message="bad \\ud83d name", stack="\\udc00")


def test_each_call_of_a_name_has_an_inbox_type_of_its_own() -> None:
    assert inbox_type("call", 1) != inbox_type("call", 2)
