"""Errors as data: what is recorded is what is raised again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hub
from hub.core.errors import (
    ConfigError,
    Conflict,
    ErrorInfo,
    HubError,
    NonRetryableError,
    NotFound,
    Rejected,
    StepFailed,
    StepTimeout,
    Unavailable,
    WaitTimeout,
    describe,
    rebuild,
)


class OwnError(Exception):
    """An error class of a workflow author."""


@pytest.mark.parametrize(
    "error",
    [
        *(ValueError("a"), KeyError("b"), KeyError(), KeyError(object), FileNotFoundError(2, "no file", "g"), TimeoutError("c")),
        *(NonRetryableError("d"), StepTimeout("e"), WaitTimeout("f")),
    ],
)
def test_known_errors_come_back_as_themselves(error: Exception) -> None:
    info = describe(error)
    again = rebuild(info)
    assert type(again) is type(error)
    assert describe(again).name == info.name == type(error).__name__
    assert describe(again).message == info.message == str(error)


def test_an_error_of_the_author_comes_back_as_step_failed_with_its_name() -> None:
    again = rebuild(describe(OwnError("no such account")))
    assert isinstance(again, StepFailed)
    assert (again.name, str(again)) == ("OwnError", "no such account")


def test_a_group_of_errors_comes_back_as_step_failed_with_what_it_said() -> None:
    again = rebuild(describe(ExceptionGroup("unhandled errors in a TaskGroup", [ValueError("a")])))
    assert isinstance(again, StepFailed)
    assert (again.name, str(again)) == ("ExceptionGroup", "unhandled errors in a TaskGroup (1 sub-exception)")


def test_the_name_survives_a_second_step() -> None:
    once = rebuild(describe(OwnError("x")))
    assert describe(rebuild(describe(once))) == ErrorInfo(name="OwnError", message="x", stack=describe(rebuild(describe(once))).stack)


@pytest.mark.parametrize("name", ["UnicodeDecodeError", "ExceptionGroup", "KeyboardInterrupt", "SystemExit", "print", "int", "__import__"])
def test_recorded_names_never_call_anything_but_ordinary_errors(name: str) -> None:
    again = rebuild(ErrorInfo(name=name, message="m"))
    assert type(again) is StepFailed
    assert again.name == name


def test_the_stack_shows_where_it_was_raised_and_stays_short() -> None:
    def deep(levels: int) -> None:
        if levels == 0:
            raise ValueError("bottom")
        deep(levels - 1)

    with pytest.raises(ValueError, match="bottom") as caught:
        deep(50)
    stack = describe(caught.value).stack
    assert stack is not None
    assert len(stack.splitlines()) <= 20
    assert stack.endswith("ValueError: bottom")


@pytest.mark.parametrize("kind", [Rejected, Unavailable, NotFound, Conflict])
def test_the_docstring_is_the_default_message_and_the_code_is_stable(kind: type[HubError]) -> None:
    error = kind()
    assert error.message == kind.__doc__
    assert error.code == kind.code


def test_one_error_may_carry_a_more_exact_code() -> None:
    assert Rejected("x", code="payload.malformed").code == "payload.malformed"
    assert Rejected("x").code == "rejected"


def test_a_config_error_begins_with_the_path_of_its_key() -> None:
    assert str(ConfigError("must be positive", path="runner.slots")) == "runner.slots: must be positive"
    assert ConfigError("no file").path == ""


def test_the_stack_leaves_out_the_hubs_own_lines_and_keeps_those_of_a_folder_whose_name_begins_like_its_own() -> None:
    home = Path(hub.__file__).parent
    called: dict[str, Any] = {}
    exec(compile("def fail():\n    raise LookupError", f"{home}berg/flows.py", "exec"), called)
    exec(compile("def call(fail):\n    fail()", f"{home}/engine.py", "exec"), called)

    with pytest.raises(LookupError) as caught:
        called["call"](called["fail"])

    stack = describe(caught.value).stack or ""
    assert "flows.py" in stack
    assert "engine.py" not in stack
