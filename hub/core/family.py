"""Parents and children: how the end of a child travels to the instance that waits for it, as an event in its inbox."""

from __future__ import annotations

from dataclasses import dataclass

from hub.core import codec
from hub.core.errors import ErrorInfo
from hub.core.model import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEnd:
    """How a child ended: `output` of a complete one, `error` of any other."""

    status: Status
    output: bytes | None = None
    error: ErrorInfo | None = None


def inbox_type(name: str, count: int) -> str:
    """Return the type of the event that tells the end of the child which `step.run_workflow(name)` started; no user may send it."""
    return f"workflow:{name}:{count}"


def write_end(status: Status, output: bytes | None = None, error: ErrorInfo | None = None) -> bytes:
    """Return the payload of that event."""
    text = output.decode() if output is not None else None
    told = {"name": error.name, "message": error.message, "stack": error.stack} if error is not None else None
    return codec.encode({"status": str(status), "output": text, "error": told and {key: _unicode(part) for key, part in told.items()}})


def read_end(payload: bytes) -> ChildEnd:
    """Return what the payload says. A child that was terminated or deleted has an error of that name."""
    told = codec.decode(payload)
    status = Status(told["status"])
    if status is Status.COMPLETE:
        return ChildEnd(status=status, output=(told["output"] or "null").encode())
    error = ErrorInfo(**told["error"]) if told["error"] else ErrorInfo(name=status.capitalize(), message=f"the child was {status}")
    return ChildEnd(status=status, error=error)


def _unicode(text: str | None) -> str | None:
    """Write half a surrogate pair, which no JSON can carry, as its escape: an error must travel whatever its message is."""
    return None if text is None else text.encode(errors="backslashreplace").decode()
