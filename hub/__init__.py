"""Trigger Hub: the public names that a workflow author imports.

Each is loaded when it is first used: the `hub` command imports this package too, and its help must not wait for the engine's nouns.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub.core.errors import NonRetryableError, NotFound, StepFailed, StepTimeout, WaitTimeout
    from hub.core.queue import Message, MessageBatch
    from hub.core.scheduled import ScheduledController
    from hub.core.web import Request, Response
    from hub.core.workflow import Env, WorkerEntrypoint, WorkflowEntrypoint, WorkflowEvent, WorkflowStep

__all__ = [
    "Env",
    "Message",
    "MessageBatch",
    "NonRetryableError",
    "NotFound",
    "Request",
    "Response",
    "ScheduledController",
    "StepFailed",
    "StepTimeout",
    "WaitTimeout",
    "WorkerEntrypoint",
    "WorkflowEntrypoint",
    "WorkflowEvent",
    "WorkflowStep",
]

_HOMES = {
    "Env": "hub.core.workflow",
    "Message": "hub.core.queue",
    "MessageBatch": "hub.core.queue",
    "NonRetryableError": "hub.core.errors",
    "NotFound": "hub.core.errors",
    "Request": "hub.core.web",
    "Response": "hub.core.web",
    "ScheduledController": "hub.core.scheduled",
    "StepFailed": "hub.core.errors",
    "StepTimeout": "hub.core.errors",
    "WaitTimeout": "hub.core.errors",
    "WorkerEntrypoint": "hub.core.workflow",
    "WorkflowEntrypoint": "hub.core.workflow",
    "WorkflowEvent": "hub.core.workflow",
    "WorkflowStep": "hub.core.workflow",
}

if not TYPE_CHECKING:  # a type checker knows the names above, and no others

    def __getattr__(name: str) -> Any:
        """Load a public name."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
