"""Every error that the hub raises on purpose, in one tree.

The class docstring is the default message; `code` is stable text for programs; HTTP statuses live in `hub/api/problems.py`.
Expected results (a duplicate, a fenced write) are values, never exceptions.
"""

from __future__ import annotations

import builtins
import os
import traceback
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar


class HubError(Exception):
    """Something went wrong in the hub."""

    code: ClassVar[str] = "hub.error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())

    @property
    def message(self) -> str:
        """The text for people."""
        return str(self.args[0])


class Rejected(HubError):
    """The input can never be accepted: do not send it again."""

    code = "rejected"

    def __init__(self, message: str | None = None, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code  # type: ignore[misc]  # an instance may be more exact than its class


class PayloadTooLarge(Rejected):
    """The payload is larger than the limit."""

    code = "payload.too_large"


class Unavailable(HubError):
    """The hub cannot store anything right now: nothing was written, try again."""

    code = "unavailable"

    def __init__(self, message: str | None = None, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(Unavailable):
    """So much work is waiting that no more is accepted: nothing was written, try again later."""

    code = "overloaded"


class RateLimited(Unavailable):
    """Requests come faster than they are accepted: nothing was looked at, try again later."""

    code = "rate_limit"


class NotFound(HubError):
    """There is no such thing here."""

    code = "not_found"

    def __init__(self, message: str | None = None, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code  # type: ignore[misc]  # as in Rejected


class Conflict(HubError):
    """The state of the instance does not allow that."""

    code = "conflict"

    def __init__(self, message: str | None = None, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code  # type: ignore[misc]  # as in Rejected


class ConfigError(HubError):
    """A setting is wrong."""

    code = "config"

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


class StoreInUse(ConfigError):
    """Another hub has the store. `owner` is how that one is called: its process, and since when."""

    code = "store.in_use"

    def __init__(self, message: str, *, owner: str) -> None:
        super().__init__(message, path="store.url")
        self.owner = owner


# ---- what workflow authors raise and catch


class NonRetryableError(Exception):
    """Raised in a step body: stop retrying now, this can never succeed. With a `name` of its own it is caught as `StepFailed`."""

    def __init__(self, message: str = "", name: str | None = None) -> None:
        super().__init__(message)
        self.name = name or "NonRetryableError"


class StepFailed(Exception):
    """A step ran out of attempts; `name` is the class name of the body's last error."""

    def __init__(self, message: str = "", name: str = "StepFailed") -> None:
        super().__init__(message)
        self.name = name


class StepTimeout(StepFailed):
    """One attempt of a step took longer than its timeout."""

    def __init__(self, message: str = "", name: str = "StepTimeout") -> None:
        super().__init__(message, name)


class StepInterrupted(StepFailed):
    """The process ended during the last allowed attempt of a step."""

    def __init__(self, message: str = "", name: str = "StepInterrupted") -> None:
        super().__init__(message, name)


class WaitTimeout(StepFailed):
    """No event of the awaited type came in time."""

    def __init__(self, message: str = "", name: str = "WaitTimeout") -> None:
        super().__init__(message, name)


class Nondeterminism(HubError):
    """The workflow's code asks for something that its journal contradicts."""

    code = "workflow.nondeterminism"


# ---- errors as data: what the journal keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """An error as the journal keeps it: class name, message and a short stack of the author's own frames."""

    name: str
    message: str
    stack: str | None = None


_OWN: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (NonRetryableError, StepFailed, StepTimeout, StepInterrupted, WaitTimeout)
}
_STACK_FRAMES = 10  # enough for the author's frames, small enough for a row
_HUB = f"{Path(__file__).resolve().parents[1]}{os.sep}"  # the hub's own frames tell the author nothing


def describe(error: BaseException) -> ErrorInfo:
    """Turn an exception into data.

    The name is the class name, or the `name` attribute of the errors above, so that an error which passes
    through several steps keeps the name that it was born with.
    """
    name = error.name if isinstance(error, NonRetryableError | StepFailed) else type(error).__name__
    trace = traceback.TracebackException.from_exception(error, limit=-_STACK_FRAMES, compact=True)
    trace.stack[:] = [frame for frame in trace.stack if not frame.filename.startswith(_HUB)]
    return ErrorInfo(name=name, message=str(error), stack="".join(trace.format()).rstrip())


def rebuild(info: ErrorInfo) -> Exception:
    """Turn recorded data back into an exception that the author can catch.

    Built-in exceptions that a text can make, and the errors of this module, come back as themselves; every other class comes back as
    `StepFailed` with its name. The first run and every replay use this function, so both raise the same thing.
    """
    own = _OWN.get(info.name)
    if own is not None:
        return own(info.message)
    standard = getattr(builtins, info.name, None)
    if isinstance(standard, type) and issubclass(standard, Exception) and not issubclass(standard, UnicodeError | ExceptionGroup):
        return standard(_AsWritten(info.message) if standard is KeyError else info.message)
    return StepFailed(info.message, info.name)



class _AsWritten(str):
    """A text without quotes of its own: a KeyError shows its argument as `repr` does, and the message has that behind it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
