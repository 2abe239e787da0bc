"""How a command ends: its exit code, and the one exception that carries a message and a code to the edge.

Owns the numbers that scripts rely on; they never change their meaning. Never prints: `command.py` does.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the exit code of `hub` says."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DENIED = 3
    NOT_FOUND = 4
    CONFLICT = 5
    ERRORED = 6
    TERMINATED = 7
    UNFINISHED = 8
    INTERRUPTED = 130


MEANINGS = {
    Exit.OK: "done",
    Exit.FAILED: "the hub refused, failed, or cannot be reached; a check failed",
    Exit.USAGE: "wrong usage, or a wrong hub.toml",
    Exit.DENIED: "not allowed: the token is missing or wrong",
    Exit.NOT_FOUND: "no such workflow, instance, trigger or the like",
    Exit.CONFLICT: "the id is taken, or the instance as it stands does not allow it",
    Exit.ERRORED: "the instance that was run or waited for has errored",
    Exit.TERMINATED: "it was terminated",
    Exit.UNFINISHED: "it has not ended: the time of --wait is over, or it is paused",
    Exit.INTERRUPTED: "Ctrl-C; an instance of `hub run` is parked, and goes on later",
}


class Stop(Exception):
    """The command cannot go on: the message says what was wrong, where, and what to do."""

    def __init__(self, message: str, exit_code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class Unreachable(Stop):
    """There is no hub at the address, or none that answers."""


def of_outcome(status: str) -> Exit:
    """Turn the status of an instance into an exit code."""
    return {"complete": Exit.OK, "errored": Exit.ERRORED, "terminated": Exit.TERMINATED}.get(status, Exit.UNFINISHED)


def of_status(status: int) -> Exit:
    """Turn the HTTP status of a refused request into an exit code."""
    if status in (401, 403):
        return Exit.DENIED
    if status == 404:
        return Exit.NOT_FOUND
    if status == 409:
        return Exit.CONFLICT
    return Exit.FAILED
